#include "cli/arguments.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"

/* What a word of the command line is. */
enum kind { WORD, OPTION, UNKNOWN };

struct word {
    enum kind kind;
    struct sc_argument *arg;
    struct sc_span glued; /* the value behind '=' or behind a short option's letter; NULL pointer: none */
};

struct reader {
    struct sc_argument *args;
    unsigned n;
    int argc;
    char *const *argv;
    struct sc_msg *msg;
    struct sc_buf extras; /* words that nobody wants */
};

static struct sc_argument *find(const struct reader *r, struct sc_span name)
{
    for (unsigned i = 0; i < r->n; i++)
        for (unsigned k = 0; k < SC_COUNT(r->args[i].names); k++)
            if (r->args[i].names[k] && sc_span_eq(sc_span_str(r->args[i].names[k]), name))
                return &r->args[i];
    return NULL;
}

static const char *full_name(const struct sc_argument *a, char *to, size_t size)
{
    snprintf(to, size, "%s%s%s", a->names[0], a->names[1] ? "/" : "", a->names[1] ? a->names[1] : "");
    return to;
}

static int refuse_glued(const struct reader *r, const struct sc_argument *a, struct sc_span glued)
{
    char name[128];
    char quote = sc_span_find(glued, '\'') < glued.n && sc_span_find(glued, '"') == glued.n ? '"' : '\'';
    return sc_fail(r->msg, SC_EINVAL, "argument %s: ignored explicit argument %c%.*s%c",
                   full_name(a, name, sizeof name), quote, SC_FMT(glued), quote);
}

/* Long options that begin with `prefix`: their number, the last one, and a message that names them all. */
static unsigned abbreviated(const struct reader *r, struct sc_span whole, struct sc_span prefix,
                            struct sc_argument **last)
{
    char names[384] = "";
    size_t used = 0;
    unsigned count = 0;
    for (unsigned i = 0; i < r->n; i++)
        for (unsigned k = 0; k < SC_COUNT(r->args[i].names); k++) {
            const char *name = r->args[i].names[k];
            if (!name || !sc_span_starts(sc_span_str(name), prefix))
                continue;
            int m = snprintf(names + used, sizeof names - used, "%s%s", count ? ", " : "", name);
            used = SC_MIN(used + (size_t)m, sizeof names - 1);
            *last = &r->args[i];
            count++;
        }
    if (count > 1)
        (void)sc_fail(r->msg, SC_EINVAL, "ambiguous option: %.*s could match %s", SC_FMT(whole), names);
    return count;
}

static bool is_negative_number(struct sc_span s)
{
    bool digits = false, dot = false;
    for (size_t i = 1; i < s.n; i++) {
        if (s.p[i] >= '0' && s.p[i] <= '9')
            digits = true;
        else if (s.p[i] == '.' && !dot)
            dot = true;
        else
            return false;
    }
    return digits;
}

static int classify(const struct reader *r, const char *text, struct word *w)
{
    struct sc_span s = sc_span_str(text);
    *w = (struct word){.kind = WORD};
    if (s.n < 2 || s.p[0] != '-')
        return 0;
    size_t eq = sc_span_find(s, '=');
    struct sc_span name = sc_span_sub(s, 0, eq);
    w->arg = find(r, s);
    if (!w->arg && eq < s.n && (w->arg = find(r, name)))
        w->glued = sc_span(s.p + eq + 1, s.n - eq - 1);
    if (!w->arg && s.p[1] == '-') {
        unsigned matches = abbreviated(r, s, name, &w->arg);
        if (matches > 1)
            return SC_EINVAL;
        if (matches == 1 && eq < s.n)
            w->glued = sc_span(s.p + eq + 1, s.n - eq - 1);
    } else if (!w->arg && (w->arg = find(r, sc_span_sub(s, 0, 2)))) {
        w->glued = sc_span(s.p + 2, s.n - 2);
    }
    if (w->arg)
        w->kind = OPTION;
    else if (!is_negative_number(s) && sc_span_find(s, ' ') == s.n)
        w->kind = UNKNOWN;
    return 0;
}

static void extra(struct reader *r, const char *text)
{
    sc_buf_printf(&r->extras, "%s%s", r->extras.n ? " " : "", text);
}

/* Notes that an argument is given. 1: the reading ends. */
static int give(const struct reader *r, struct sc_argument *a)
{
    char mine[128], other[128];
    if (a->kind == SC_ARG_HELP)
        return 1;
    for (unsigned i = 0; a->group && i < r->n; i++)
        if (&r->args[i] != a && r->args[i].group == a->group && r->args[i].given)
            return sc_fail(r->msg, SC_EINVAL, "argument %s: not allowed with argument %s",
                           full_name(a, mine, sizeof mine), full_name(&r->args[i], other, sizeof other));
    a->given = true;
    return 0;
}

/* `-vh`: letters behind a short flag are flags, too. All are known before the first one counts. */
static int give_letters(const struct reader *r, struct sc_argument *a, struct sc_span letters)
{
    struct sc_argument *all[8] = {a};
    unsigned n = 1;
    int rc = 0;
    for (size_t i = 0; i < letters.n; i++) {
        char name[2] = {'-', letters.p[i]};
        struct sc_argument *next = find(r, sc_span(name, 2));
        if (!next || n == SC_COUNT(all))
            return refuse_glued(r, all[n - 1], sc_span_sub(letters, i, letters.n));
        all[n++] = next;
    }
    for (unsigned i = 0; rc == 0 && i < n; i++)
        rc = give(r, all[i]);
    return rc;
}

/* Reads the option at argv[at]; returns how many words it took behind itself, or the end of the reading. */
static int take(struct reader *r, int at, const struct word *w, unsigned words, int *end)
{
    struct sc_argument *a = w->arg;
    char name[128];
    if (a->kind == SC_ARG_FLAG || a->kind == SC_ARG_HELP) {
        bool is_short = r->argv[at][1] != '-';
        if (!w->glued.p)
            *end = give(r, a);
        else if (is_short && w->glued.n && w->glued.p == r->argv[at] + 2)
            *end = give_letters(r, a, w->glued);
        else
            *end = refuse_glued(r, a, w->glued);
        return 0;
    }
    if (!w->glued.p && words == 0) {
        *end = sc_fail(r->msg, SC_EINVAL, "argument %s: expected %s", full_name(a, name, sizeof name),
                       a->kind == SC_ARG_LIST ? "at least one argument" : "one argument");
        return 0;
    }
    *end = give(r, a);
    unsigned n = w->glued.p ? 1 : a->kind == SC_ARG_LIST ? words : 1;
    a->value = w->glued.p ? w->glued.p : r->argv[at + 1]; /* a glued value ends where its word ends */
    if (a->kind == SC_ARG_LIST) {
        free(a->words);
        a->words = sc_alloc_array(n, sizeof *a->words);
        a->nwords = n;
        for (unsigned i = 0; i < n; i++)
            a->words[i] = w->glued.p ? a->value : r->argv[at + 1 + (int)i];
    }
    return w->glued.p ? 0 : (int)n;
}

static int read_all(struct reader *r, struct word *words)
{
    int rc = 0, last = r->argc; /* a "--" ends the options */
    for (int i = 0; i < last; i++) {
        if (strcmp(r->argv[i], "--") == 0)
            last = i;
        else if ((rc = classify(r, r->argv[i], &words[i])) < 0)
            return rc;
    }
    for (int i = 0; rc == 0 && i < last; i++) {
        unsigned follow = 0;
        while (i + 1 + (int)follow < last && words[i + 1 + (int)follow].kind == WORD)
            follow++;
        if (words[i].kind == OPTION)
            i += take(r, i, &words[i], follow, &rc);
        else
            extra(r, r->argv[i]);
    }
    for (int i = last; i < r->argc; i++)
        extra(r, r->argv[i]);
    return rc;
}

int sc_arguments_read(struct sc_argument *args, unsigned n, int argc, char *const *argv, struct sc_msg *msg)
{
    struct reader r = {.args = args, .n = n, .argc = argc, .argv = argv, .msg = msg};
    struct word *words = sc_alloc_array((size_t)argc + 1, sizeof *words);
    sc_buf_init(&r.extras, sizeof msg->text);
    int rc = read_all(&r, words);
    if (rc == 0 && (r.extras.n || r.extras.failed))
        rc = sc_fail(msg, SC_EINVAL, "unrecognized arguments: %.*s%s", (int)r.extras.n,
                     r.extras.p ? r.extras.p : "", r.extras.failed ? "..." : "");
    sc_buf_free(&r.extras);
    free(words);
    return rc;
}

void sc_arguments_free(struct sc_argument *args, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        free(args[i].words);
        args[i].words = NULL;
    }
}
