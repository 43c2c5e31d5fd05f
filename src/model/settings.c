#include "model/settings.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "model/settings_parts.h"
#include "model/settings_table.h"
#include "model/spec_models.h"
#include "proto/java_regex.h"
#include "proto/number.h"

/* Key in the text of resolved settings; no user's key begins so (sc_settings_resolve drops them). */
const struct sc_settings_mark sc_settings_marks[] = {
    {SC_SETTINGS_PREFIX "face", 0},
    {SC_SETTINGS_PREFIX "snapshots", 0},
    {SC_SETTINGS_PREFIX "gpus", 0},
    {SC_SETTINGS_PREFIX "home", offsetof(struct sc_settings, home)},
    {SC_SETTINGS_PREFIX "temp", offsetof(struct sc_settings, temp)},
    {SC_SETTINGS_PREFIX "log", offsetof(struct sc_settings, log_dir)},
    {SC_SETTINGS_PREFIX "metrics", offsetof(struct sc_settings, metrics_dir)},
};
const size_t sc_settings_nmarks = SC_COUNT(sc_settings_marks);

static void replace(char **at, const char *text)
{
    free(*at);
    *at = text && *text ? sc_strdup(text) : NULL;
}

/* ---- one value ------------------------------------------------------------------------------------- */

struct value {
    struct sc_settings *s;
    const struct sc_setting_key *k;
    const struct sc_property *p; /* NULL: the default */
    struct sc_span text;         /* without blanks around it; a default's, too */
    struct sc_msg *msg;
};

/* " (config.properties:3: " or " (", for what follows TorchServe's words. */
static void put_place(const struct value *v, char *room, size_t size, const char *before, const char *after)
{
    const char *file = v->s->all.file;
    room[0] = '\0';
    if (v->p && v->p->line && file && *file)
        snprintf(room, size, "%s%s:%u%s", before, file, v->p->line, after);
    else
        snprintf(room, size, "%s", before);
}

static int refuse_number(const struct value *v)
{
    char place[1024];
    if (v->s->face == SC_FACE_TORCHSERVE) {
        put_place(v, place, sizeof place, " (", ": ");
        return sc_fail(v->msg, SC_EINVAL,
                       "For input string: \"%.100s\"%.300s%s must be an integer from %lld to %lld)",
                       v->p->value, place, v->k->name, (long long)v->k->min, (long long)v->k->max);
    }
    put_place(v, place, sizeof place, "", ": ");
    return sc_fail(v->msg, SC_EINVAL, "%.300s%s is \"%.100s\": it must be an integer from %lld to %lld",
                   place, v->k->name, v->p->value, (long long)v->k->min, (long long)v->k->max);
}

static int take_number(const struct value *v, int64_t *out)
{
    struct sc_span digits = v->text;
    uint64_t n = 0;
    bool minus = digits.n && digits.p[0] == '-';
    if (digits.n && (minus || digits.p[0] == '+'))
        digits = sc_span_sub(digits, 1, digits.n);
    if (!sc_span_u64(digits, INT64_MAX, &n))
        return refuse_number(v);
    *out = minus ? -(int64_t)n : (int64_t)n;
    return *out < v->k->min || *out > v->k->max ? refuse_number(v) : 0;
}

/* A message of a reader, with the place and the key. */
static int refuse_as(const struct value *v, int rc, const char *said)
{
    char place[1024];
    put_place(v, place, sizeof place, " (", ": ");
    return sc_fail(v->msg, rc, "%.300s%.150s%s)", said, place, v->k->name);
}

static int take_regex(const struct value *v, char **at)
{
    struct sc_buf posix;
    struct sc_msg why = {""}, msg;
    regex_t re;
    sc_buf_init(&posix, 4 * SC_SETTINGS_FILE_BYTES);
    int rc = sc_java_regex(&re, v->text, SC_JAVA_REGEX_QUOTES, &posix, &why);
    if (rc == 0) {
        regfree(&re);
        *at = sc_span_dup(sc_buf_view(&posix));
    }
    sc_buf_free(&posix);
    if (rc == 0)
        return 0;
    sc_fail(&msg, rc, "\"%.*s\" is no regular expression: %s", (int)SC_MIN(v->text.n, (size_t)200), v->text.p,
            why.text);
    return refuse_as(v, rc, msg.text);
}

static int take_address(const struct value *v, char **at)
{
    struct sc_msg why = {""};
    bool https;
    char place[1024];
    if (v->text.n == 0 && v->s->face == SC_FACE_SCONCE) {
        put_place(v, place, sizeof place, "", ": ");
        return sc_fail(v->msg, SC_EINVAL, "%.300s%s is empty: leave it out for %s", place, v->k->name,
                       v->k->fallback);
    }
    char *text = sc_span_dup(v->text);
    int rc = text ? sc_settings_check_address(text, &https, &why) : SC_ENOMEM;
    *at = text;
    return rc < 0 ? refuse_as(v, rc, why.text) : 0;
}

static int take_models(const struct value *v, char **at)
{
    struct sc_msg why = {""};
    *at = v->text.n ? sc_span_dup(v->text) : NULL;
    int rc = *at ? sc_spec_models_check(*at, &why) : 0;
    return rc < 0 ? refuse_as(v, rc, why.text) : 0;
}

static void take_mode(const struct value *v, enum sc_metrics_mode *at)
{
    *at = sc_span_eq_nocase(v->text, SC_SPAN("prometheus")) ? SC_METRICS_PROMETHEUS
          : sc_span_eq_nocase(v->text, SC_SPAN("legacy"))   ? SC_METRICS_LEGACY
                                                            : SC_METRICS_LOG;
    v->s->prometheus = *at != SC_METRICS_LOG;
}

/* Integers and words may have blanks behind them, which TorchServe keeps; an empty one stands for the
 * default. */
static int take(struct value *v)
{
    char *at = (char *)v->s + v->k->offset;
    int64_t n = 0;
    int rc = 0;
    switch (v->k->kind) {
    case SC_KIND_TEXT:
    case SC_KIND_PATH: *(char **)(void *)at = v->text.n ? sc_span_dup(v->text) : NULL; return 0;
    case SC_KIND_ADDRESS: return take_address(v, (char **)(void *)at);
    case SC_KIND_BOOL: *(bool *)at = sc_span_eq_nocase(v->text, SC_SPAN("true")); return 0;
    case SC_KIND_NOT: *(bool *)at = !sc_span_eq_nocase(v->text, SC_SPAN("true")); return 0;
    case SC_KIND_INT:
    case SC_KIND_LONG:
    case SC_KIND_BYTES:
        rc = take_number(v, &n);
        if (v->k->kind == SC_KIND_INT)
            *(int *)(void *)at = (int)n;
        else if (v->k->kind == SC_KIND_LONG)
            *(int64_t *)(void *)at = n;
        else
            *(uint64_t *)(void *)at = (uint64_t)n;
        return rc;
    case SC_KIND_MINUTES:
        if (!sc_settings_minutes(v->text, (double *)(void *)at))
            *(double *)(void *)at = 60;
        return 0;
    case SC_KIND_MODE: take_mode(v, (enum sc_metrics_mode *)(void *)at); return 0;
    case SC_KIND_REGEX: return v->text.n ? take_regex(v, (char **)(void *)at) : 0;
    case SC_KIND_MODELS: return take_models(v, (char **)(void *)at);
    case SC_KIND_SWITCH: return 0;
    }
    return 0;
}

bool sc_settings_minutes(struct sc_span text, double *out)
{
    return sc_number_read(text, out) && *out >= 0 && *out < 1e9;
}

static int take_key(struct sc_settings *s, const struct sc_setting_key *k, struct sc_msg *msg)
{
    const char *fallback = sc_setting_default(k, s->face);
    struct value v = {.s = s, .k = k, .p = sc_properties_find(&s->all, k->name), .msg = msg};
    v.text = sc_span_trim(sc_span_str(v.p ? v.p->value : fallback));
    bool number = k->kind == SC_KIND_INT || k->kind == SC_KIND_LONG || k->kind == SC_KIND_BYTES ||
                  k->kind == SC_KIND_MINUTES;
    if (number && v.text.n == 0) {
        v.text = sc_span_str(fallback);
        if (v.text.n == 0)
            v.text = SC_SPAN("-1"); /* number_of_gpu */
    }
    return take(&v);
}

/* ---- all of them ----------------------------------------------------------------------------------- */

int sc_settings_apply(struct sc_settings *s, struct sc_msg *msg)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sc_setting_count(); i++)
        rc = take_key(s, sc_setting_at(i), msg);
    if (rc < 0)
        return rc;
    const char *addresses[] = {s->inference_address, s->management_address, s->metrics_address};
    for (size_t i = 0; i < SC_COUNT(addresses); i++)
        if (!s->use_native_io && strncasecmp(addresses[i], "unix:", 5) == 0)
            return sc_fail(msg, SC_EINVAL, "unix domain socket requires use_native_io set to true.");
    return sc_settings_check_mps(s, msg);
}

void sc_settings_folders(struct sc_settings *s, const char *(*lookup)(const char *, void *), void *ctx)
{
    const char *log = lookup("LOG_LOCATION", ctx), *metrics = lookup("METRICS_LOCATION", ctx);
    if (!s->log_dir)
        s->log_dir = sc_strdup(log && *log ? log : "logs");
    if (!s->metrics_dir)
        s->metrics_dir = sc_strdup(metrics && *metrics ? metrics : log && *log ? log : s->log_dir);
    if (!s->temp) {
        const char *temp = lookup("TEMP", ctx);
        s->temp = sc_strdup(temp && *temp ? temp : "/tmp");
    }
}

const char *sc_settings_getenv(const char *name, void *ctx)
{
    (void)ctx;
    return getenv(name);
}

static bool is_mark(const char *key)
{
    return strncmp(key, SC_SETTINGS_PREFIX, strlen(SC_SETTINGS_PREFIX)) == 0;
}

/* What stood in the marks; they are no settings and leave the table. */
static int take_marks(struct sc_settings *s)
{
    struct sc_properties kept = {0};
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < s->all.n; i++) {
        const struct sc_property *p = &s->all.items[i];
        if (!is_mark(p->key))
            rc = sc_properties_set(&kept, p->key, p->value);
        for (size_t m = 0; m < sc_settings_nmarks; m++)
            if (strcmp(p->key, sc_settings_marks[m].key) == 0 && sc_settings_marks[m].offset)
                replace((char **)(void *)((char *)s + sc_settings_marks[m].offset), p->value);
    }
    const char *snapshots = sc_properties_get(&s->all, SC_SETTINGS_PREFIX "snapshots");
    const char *gpus = sc_properties_get(&s->all, SC_SETTINGS_PREFIX "gpus");
    s->snapshots = snapshots && strcmp(snapshots, "true") == 0;
    s->gpus_as_said = gpus && strcmp(gpus, "as said") == 0;
    sc_properties_free(&s->all);
    s->all = kept;
    return rc;
}

int sc_settings_read(struct sc_settings *s, struct sc_span text, const char *name, struct sc_msg *msg)
{
    *s = (struct sc_settings){.snapshots = true};
    int rc = sc_properties_read(&s->all, text, name, msg);
    const char *face = sc_properties_get(&s->all, SC_SETTINGS_PREFIX "face");
    bool resolved = face != NULL;
    s->face = face && strcmp(face, "torchserve") == 0 ? SC_FACE_TORCHSERVE : SC_FACE_SCONCE;
    if (rc == 0 && !resolved)
        rc = sc_properties_expand(&s->all, sc_settings_getenv, NULL, msg);
    if (rc == 0)
        rc = sc_settings_apply(s, msg);
    if (rc == 0 && resolved)
        rc = take_marks(s);
    if (rc == 0)
        sc_settings_folders(s, sc_settings_getenv, NULL);
    return rc;
}

static bool has_text(const struct sc_setting_key *k)
{
    return k->kind == SC_KIND_TEXT || k->kind == SC_KIND_PATH || k->kind == SC_KIND_ADDRESS ||
           k->kind == SC_KIND_REGEX || k->kind == SC_KIND_MODELS;
}

void sc_settings_free(struct sc_settings *s)
{
    for (size_t i = 0; i < sc_setting_count(); i++)
        if (has_text(sc_setting_at(i)))
            free(*(char **)(void *)((char *)s + sc_setting_at(i)->offset));
    free(s->home);
    free(s->temp);
    sc_properties_free(&s->all);
    *s = (struct sc_settings){0};
}

/* ---- what follows from them ------------------------------------------------------------------------ */

void sc_settings_set_gpus(struct sc_settings *s, int detected)
{
    char text[16];
    if (!s->gpus_as_said || s->number_of_gpu < 0)
        s->number_of_gpu = s->number_of_gpu < 0 ? detected : SC_MIN(s->number_of_gpu, detected);
    snprintf(text, sizeof text, "%d", s->number_of_gpu);
    if (sc_properties_set(&s->all, "number_of_gpu", text) < 0)
        sc_log(SC_LOG_WARN, "out of memory: snapshots will not tell number_of_gpu");
}

int sc_settings_default_workers(const struct sc_settings *s)
{
    cpu_set_t set;
    if (s->debug)
        return 1;
    if (s->default_workers > 0)
        return s->default_workers;
    if (s->number_of_gpu > 0)
        return s->number_of_gpu;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}
