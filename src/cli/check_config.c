/* `sconce check-config`: what each setting of a file does here. */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/limits.h"
#include "cli/roles.h"
#include "cli/serve_tls.h"
#include "model/settings.h"

enum { GOOD, WARNED, REFUSED };

static void usage(FILE *to)
{
    fputs("usage: sconce check-config [OPTION...] [FILE]\n"
          "\n"
          "Reads a config.properties as the server would and tells what each setting in it does, what is "
          "unknown,\n"
          "what differs from TorchServe, and what is refused. Without FILE: the file that the server would "
          "read\n"
          "(TS_CONFIG_FILE, the newest snapshot below LOG_LOCATION, ./config.properties). Starts nothing.\n"
          "\n"
          "  --for {torchserve,serve}   whose defaults count: those of `torchserve` (the default) or `sconce "
          "serve`\n"
          "  --all              also tell the settings that the file leaves out, with their defaults\n"
          "  --no-config-snapshots, --ncs   do not look for a snapshot\n"
          "  --help             print this\n"
          "\n"
          "Exit code: 0 every setting is used; 1 some are unknown or have no effect in this version; 2 a "
          "server\n"
          "would refuse the file.\n",
          to);
}

struct options {
    const char *file;
    enum sc_face face;
    bool all, snapshots;
};

struct checking {
    const struct options *o;
    struct sc_properties file; /* as written */
    unsigned counts[SC_SETTING_OURS + 1], unknown, refused;
};

static const char *const effects[] = {[SC_SETTING_USED] = "used",
                                      [SC_SETTING_DIFFERS] = "differs",
                                      [SC_SETTING_LATER] = "no effect",
                                      [SC_SETTING_IGNORED] = "ignored",
                                      [SC_SETTING_OURS] = "ours"};

static bool find(const char *name, enum sc_face face, struct sc_setting_info *out)
{
    for (size_t i = 0; sc_settings_info(i, face, out); i++)
        if (strcmp(out->name, name) == 0)
            return true;
    return false;
}

static void SC_PRINTF(2, 3) say(const char *what, const char *fmt, ...)
{
    va_list args;
    printf("  %-10s ", what);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    putchar('\n');
}

/* The line below a setting. */
static void SC_PRINTF(1, 2) explain(const char *fmt, ...)
{
    va_list args;
    printf("%13s", "");
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    putchar('\n');
}

/* ---- one setting --------------------------------------------------------------------------------------- */

/* How many letters must change to make b of a; more than `most` counts as that. */
static size_t distance(const char *a, const char *b, size_t most)
{
    size_t row[64], n = strlen(b);
    if (n >= SC_COUNT(row))
        return most + 1;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t corner = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            size_t change = corner + (a[i] != b[j]);
            corner = row[j + 1];
            row[j + 1] = SC_MIN(change, SC_MIN(row[j], corner) + 1);
        }
    }
    return row[n];
}

static const char *similar(const char *name)
{
    struct sc_setting_info k;
    const char *best = NULL;
    size_t least = 4;
    for (size_t i = 0; strlen(name) < 64 && sc_settings_info(i, SC_FACE_TORCHSERVE, &k); i++)
        if (distance(name, k.name, least) < least) {
            least = distance(name, k.name, least);
            best = k.name;
        }
    return best;
}

/* A value as it is shown: no secret, and not without end. */
static void shown(const struct sc_property *p, char room[80])
{
    bool secret = strstr(p->key, "pass") != NULL;
    struct sc_span v = secret ? SC_SPAN("(not shown)") : sc_span_trim(sc_span_str(p->value));
    snprintf(room, 80, "%.*s%s", (int)SC_MIN(v.n, 60u), v.n ? v.p : "", v.n > 60 ? "..." : "");
    for (char *c = room; *c; c++)
        if ((unsigned char)*c < ' ')
            *c = ' ';
}

/* The setting by itself, as a server reads it. */
static bool accepted(const struct checking *c, const struct sc_property *p, struct sc_msg *why)
{
    struct sc_properties one = {0};
    struct sc_settings s = {0};
    struct sc_settings_sources from = {.face = c->o->face, .command_line = &one, .gpus = -1};
    int rc = sc_properties_set(&one, p->key, p->value);
    if (rc == 0)
        rc = sc_settings_resolve(&s, &from, why);
    sc_settings_free(&s);
    sc_properties_free(&one);
    return rc == 0;
}

static bool ends_blank(const char *text)
{
    size_t n = strlen(text);
    return n && (text[n - 1] == ' ' || text[n - 1] == '\t');
}

static void check_one(struct checking *c, const struct sc_property *p)
{
    struct sc_setting_info k;
    struct sc_msg why = {""};
    char value[80];
    shown(p, value);
    if (!find(p->key, c->o->face, &k)) {
        const char *meant = similar(p->key);
        say("unknown", "%s=%s", p->key, value);
        explain("ignored, as by TorchServe%s%s%s", meant ? "; did you mean " : "", meant ? meant : "",
                meant ? "?" : "");
        c->unknown++;
    } else if (!accepted(c, p, &why)) {
        say("refused", "%s=%s", p->key, value);
        explain("line %u: %s", p->line, why.text);
        c->refused++;
    } else {
        say(effects[k.effect], "%s=%s", p->key, value);
        explain("%s", k.about);
        if (ends_blank(p->value))
            explain("the blank behind the value does not count; TorchServe keeps it");
        c->counts[k.effect]++;
    }
}

/* ---- the whole ------------------------------------------------------------------------------------------
 */

static void tell_note(void *ctx, enum sc_log_level level, const char *text)
{
    (void)ctx;
    if (level >= SC_LOG_WARN)
        say("note", "%s", text);
}

static const char *folder_problem(const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return strerror(errno);
    return S_ISDIR(st.st_mode) ? NULL : "it is no folder";
}

static void check_folders(struct checking *c, const struct sc_settings *s)
{
    const char *problem = s->model_store ? folder_problem(s->model_store) : NULL;
    struct stat st;
    if (problem) {
        say("refused", "model_store is %s: %s", s->model_store, problem);
        c->refused++;
    }
    if (!s->model_store && s->face == SC_FACE_TORCHSERVE)
        say("note", "no model_store: the command line must name one with --model-store");
    if (s->metrics_config && stat(s->metrics_config, &st) < 0)
        say("note", "metrics_config is %s: %s", s->metrics_config, strerror(errno));
}

/* Variables that the server would prefer to the file. */
static void tell_environment(struct checking *c, const struct sc_settings *s)
{
    struct sc_setting_info k;
    bool enabled =
        sc_span_eq_nocase(sc_span_str(sc_properties_get(&s->all, "enable_envvars_config")), SC_SPAN("true"));
    for (size_t i = 0; sc_settings_info(i, c->o->face, &k); i++) {
        const char *value = k.environment ? getenv(k.environment) : NULL;
        bool always =
            strcmp(k.name, "ts_open_inference_protocol") == 0 || strcmp(k.name, "model_server_home") == 0;
        if (!value || !*value)
            continue;
        if (enabled || always)
            say("overridden", "%s by the environment: %s=%.60s", k.name, k.environment, value);
        else
            say("note", "%s is set, but counts only with enable_envvars_config=true", k.environment);
    }
}

static void tell_defaults(const struct checking *c)
{
    struct sc_setting_info k;
    puts("\nNot in the file:");
    for (size_t i = 0; sc_settings_info(i, c->o->face, &k); i++)
        if (!sc_properties_find(&c->file, k.name) && k.effect != SC_SETTING_IGNORED) {
            say(effects[k.effect], "%s (%s%s)", k.name, k.fallback ? "default " : "no default",
                k.fallback ? k.fallback : "");
            explain("%s", k.about);
        }
}

static void check_whole(struct checking *c, const char *file, struct sc_span text)
{
    struct sc_settings s = {0};
    struct sc_msg why = {""};
    struct sc_settings_sources from = {
        .face = c->o->face, .file = file, .text = text, .no_snapshots = !c->o->snapshots, .gpus = -1};
    if (sc_settings_resolve(&s, &from, &why) < 0) {
        if (!c->refused) { /* else it was said of the setting itself */
            say("refused", "%s", why.text);
            c->refused++;
        }
    } else if (sc_serve_tls_check(&s, &why) < 0) {
        say("refused", "%s", why.text);
        c->refused++;
    } else {
        check_folders(c, &s);
        tell_environment(c, &s);
        sc_settings_notes(&s, tell_note, NULL);
    }
    sc_settings_free(&s);
}

static int verdict(const struct checking *c)
{
    const unsigned *n = c->counts;
    unsigned without = n[SC_SETTING_LATER] + n[SC_SETTING_IGNORED];
    printf("\n%u as in TorchServe, %u with a difference, %u of ours, %u without effect, %u unknown, %u "
           "refused\n",
           n[SC_SETTING_USED], n[SC_SETTING_DIFFERS], n[SC_SETTING_OURS], without, c->unknown, c->refused);
    if (c->refused)
        return REFUSED;
    return c->unknown || n[SC_SETTING_LATER] ? WARNED : GOOD;
}

static int check_text(const struct options *o, const char *file, struct sc_span text)
{
    struct checking c = {.o = o};
    struct sc_msg why = {""};
    int rc;
    printf("%s, as `%s` reads it:\n\n", file, o->face == SC_FACE_TORCHSERVE ? "torchserve" : "sconce serve");
    if (sc_properties_read(&c.file, text, file, &why) < 0) {
        say("refused", "%s", why.text);
        c.refused++;
    } else {
        for (unsigned i = 0; i < c.file.n; i++)
            check_one(&c, &c.file.items[i]);
        check_whole(&c, file, text);
        if (o->all)
            tell_defaults(&c);
    }
    rc = verdict(&c);
    sc_properties_free(&c.file);
    return rc;
}

/* ---- command line ----------------------------------------------------------------------------------------
 */

enum { OPT_FOR = 1, OPT_ALL, OPT_NCS, OPT_HELP };

/* -1: go on; else the exit code. */
static int parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {{"for", required_argument, NULL, OPT_FOR},
                                          {"all", no_argument, NULL, OPT_ALL},
                                          {"no-config-snapshots", no_argument, NULL, OPT_NCS},
                                          {"ncs", no_argument, NULL, OPT_NCS},
                                          {"help", no_argument, NULL, OPT_HELP},
                                          {NULL, 0, NULL, 0}};
    int opt;
    while ((opt = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        switch (opt) {
        case OPT_FOR:
            if (strcmp(optarg, "torchserve") != 0 && strcmp(optarg, "serve") != 0) {
                fprintf(stderr, "sconce check-config: --for is torchserve or serve, not \"%s\"\n", optarg);
                return REFUSED;
            }
            o->face = strcmp(optarg, "serve") == 0 ? SC_FACE_SCONCE : SC_FACE_TORCHSERVE;
            break;
        case OPT_ALL: o->all = true; break;
        case OPT_NCS: o->snapshots = false; break;
        case OPT_HELP:
        case 'h': usage(stdout); return GOOD;
        default: fputs("Try `sconce check-config --help`.\n", stderr); return REFUSED;
        }
    }
    if (optind + 1 < argc) {
        fputs("sconce check-config: one file at a time. Try `sconce check-config --help`.\n", stderr);
        return REFUSED;
    }
    o->file = optind < argc ? argv[optind] : NULL;
    return -1;
}

int sc_cli_check_config(int argc, char **argv)
{
    static char title[] = "sconce check-config";
    struct options o = {.face = SC_FACE_TORCHSERVE, .snapshots = true};
    struct sc_msg why = {""};
    struct sc_buf text;
    argv[0] = title; /* what getopt calls the program */
    int code = parse(argc, argv, &o);
    if (code >= 0)
        return code;
    /* A file that is named is the one to be checked, whatever TS_CONFIG_FILE says. */
    char *file = o.file ? sc_span_dup(sc_span_str(o.file)) : sc_settings_find_file(NULL, o.snapshots);
    if (!file) {
        puts("There is no config.properties here and no snapshot: the server would use its defaults.");
        return GOOD;
    }
    sc_buf_init(&text, SC_SETTINGS_FILE_BYTES);
    if (sc_file_read(file, &text, &why) < 0) {
        fprintf(stderr, "sconce check-config: %s\n", why.text);
        code = REFUSED;
    } else {
        code = check_text(&o, file, sc_buf_view(&text));
    }
    sc_buf_free(&text);
    free(file);
    return code;
}
