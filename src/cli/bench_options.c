#include "cli/bench_options.h"

#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/span.h"

enum kind { TEXT, COUNT, NUMBER, FLAG, HEADER, CONFIG, HELP };
enum level { DEFAULT, PLAN, FILE_KEY, OPTION };

#define AT(member) offsetof(struct sc_bench_options, member)

/* Names with '_' are understood with '-' as well. */
static const struct entry {
    const char *name, *brief;
    enum kind kind;
    size_t at;
    const char *value, *help;
    enum { BENCH, TUNE, BOTH } who;
} entries[] = {
    {"concurrency", "c", COUNT, AT(concurrency), "N", "requests at once (10)", BENCH},
    {"requests", "r", COUNT, AT(requests), "N",
     "requests to measure, in place of a duration (with --url: 100)", BENCH},
    {"duration", "d", NUMBER, AT(duration), "S", "seconds to measure (10)", BENCH},
    {"warmup", NULL, NUMBER, AT(warmup), "S", "seconds before that (1; with --url a tenth of the requests)",
     BENCH},
    {"repeat", NULL, COUNT, AT(repeat), "N", "runs; median and spread are shown (1)", BENCH},
    {"rate", NULL, NUMBER, AT(rate), "R", "open loop: R requests a second, whatever the server does", BENCH},
    {"constant", NULL, FLAG, AT(constant), NULL, "open loop: evenly spaced (Poisson)", BENCH},
    {"threads", "t", COUNT, AT(threads), "N", "of the generator (1)", BOTH},
    {"http2", NULL, FLAG, AT(http2), NULL, "HTTP/2, with https by ALPN, else with prior knowledge", BOTH},
    {"connections", NULL, COUNT, AT(connections), "N",
     "HTTP/2, gRPC: that share the concurrency (one per thread)", BOTH},
    {"timeout", NULL, NUMBER, AT(timeout), "S", "of one request (30)", BOTH},
    {"method", "m", TEXT, AT(method), "M", "(GET, or POST if there is a body)", BOTH},
    {"header", "H", HEADER, AT(headers), "LINE", "a further header; may be repeated", BOTH},
    {"input", "i", TEXT, AT(input), "PATH", "a file: the body; a folder: each of its files, in turn", BOTH},
    {"content_type", "ic", TEXT, AT(content_type), "TYPE", "of the body", BOTH},
    {"body", "b", TEXT, AT(body), "TEXT", "the body", BOTH},
    {"lines", NULL, TEXT, AT(lines), "FILE", "each line is a body (JSONL, texts), in turn", BOTH},
    {"random", NULL, TEXT, AT(random), "MIN[:MAX]", "bodies of random bytes", BOTH},
    {"texts", NULL, TEXT, AT(texts), "LENGTHS",
     "made-up texts of N, MIN:MAX, normal:MEAN:SD or lognormal:MEDIAN:SIGMA words", BOTH},
    {"around", NULL, TEXT, AT(around), "TEXT",
     "the body around a made-up text, e.g. '{\"inputs\": \"{text}\"}'", BOTH},
    {"status", NULL, COUNT, AT(status), "N", "the expected status (any below 400)", BOTH},
    {"expect", NULL, TEXT, AT(expect), "TEXT", "the answer must be this", BOTH},
    {"regex", NULL, TEXT, AT(regex), "RE", "this must be found in the answer (POSIX extended)", BOTH},
    {"same", NULL, FLAG, AT(same), NULL, "the answer must equal the first one to the same body", BOTH},
    {"echo", NULL, FLAG, AT(echo), NULL, "the answer must equal the body", BOTH},
    {"metrics", NULL, TEXT, AT(metrics), "ADDRESS", "the server's Prometheus page, read once a second",
     BENCH},
    {"out", "o", TEXT, AT(out), "FOLDER", "where the report is written: HTML, JSON, CSV, SVG, ab_report.csv",
     BENCH},
    {"json", NULL, FLAG, AT(json), NULL, "JSON on standard output", BOTH},
    {"quiet", "q", FLAG, AT(quiet), NULL, "no progress", BOTH},
    {"seed", NULL, COUNT, AT(seed), "N", "of everything that is drawn (1)", BOTH},
    {"url", "u", TEXT, AT(url), "MODEL", "start a server for this archive or folder and measure it", BENCH},
    {"server", NULL, TEXT, AT(server), "COMMAND", "the torchserve command to start (ours)", BENCH},
    {"config", NULL, CONFIG, 0, "FILE", "options of this list as JSON; any option given here wins", BENCH},
    {"batch_size", "bs", COUNT, AT(batch_size), "N", "of the model (1)", BENCH},
    {"batch_delay", "bd", COUNT, AT(batch_delay), "MS", "of the model (the archive's)", BENCH},
    {"workers", "w", COUNT, AT(workers), "N", "of the model (1)", BENCH},
    {"inference_model_url", "imu", TEXT, AT(inference_model_url), "PATH",
     "what is asked (predictions/benchmark)", BOTH},
    {"config_properties", "cp", TEXT, AT(config_properties), "FILE", "of the server (defaults on free ports)",
     BOTH},
    {"report_location", "rl", TEXT, AT(report_location), "FOLDER",
     "--out is its folder `benchmark` (with --url: the temporary folder's)", BENCH},
    {"tmp_dir", "td", TEXT, AT(tmp_dir), "FOLDER", "for the server's files while it runs", BOTH},
    {"handler_profiling", "hp", FLAG, AT(handler_profiling), NULL, "three more columns in ab_report.csv",
     BENCH},
    {"backend_profiling", "bp", FLAG, AT(backend_profiling), NULL, "TS_BENCHMARK=True for the server", BENCH},
    {"generate_graphs", "gg", FLAG, AT(generate_graphs), NULL, "(they are always drawn)", BENCH},
    {"exec_env", "e", TEXT, AT(exec_env), "local", "(docker: the server runs here all the same)", BENCH},
    {"gpus", "g", TEXT, AT(gpus), "...", "(of docker)", BENCH},
    {"image", "di", TEXT, AT(image), "...", "(of docker)", BENCH},
    {"docker_runtime", "dr", TEXT, AT(docker_runtime), "...", "(of docker)", BENCH},
    {"benchmark_backend", "bb", TEXT, AT(benchmark_backend), "...", "(ab or locust: the generator is ours)",
     BENCH},
    {"out", "o", TEXT, AT(out), "FOLDER", "of the report and of what --resume goes on from (MODEL-tune)",
     TUNE},
    {"budget", NULL, TEXT, AT(budget), "TIME", "for measuring, as in 90s, 5m (5m)", TUNE},
    {"p99", NULL, TEXT, AT(p99), "TIME", "what p99 must keep, as in 20ms", TUNE},
    {"memory", NULL, TEXT, AT(memory), "SIZE",
     "what the workers may take, as in 4G: of the GPU, or of the host where there is none", TUNE},
    {"precision", NULL, NUMBER, AT(precision), "PERCENT",
     "how sure the figure is to be: its 95 % interval (5)", TUNE},
    {"concurrency", "c", COUNT, AT(most), "N", "at most so many requests at once (512)", TUNE},
    {"batches", NULL, TEXT, AT(batches), "LIST", "batch sizes to try (1,2,4,8,16,32,64,128)", TUNE},
    {"workers", "w", TEXT, AT(worker_list), "LIST", "numbers of workers to try (1,2,4... by cores or GPU)",
     TUNE},
    {"tokenizer_threads", NULL, TEXT, AT(thread_list), "LIST",
     "the encoder's, to try (0,1; on a GPU as it is)", TUNE},
    {"sharing", NULL, TEXT, AT(sharing), "LIST", "ways to share the GPU to try (timeslice,mps,lanes)", TUNE},
    {"resume", NULL, FLAG, AT(resume), NULL, "go on from the report in --out", TUNE},
    {"apply", NULL, FLAG, AT(apply), NULL,
     "write the recommendation: to a folder's model-config.yaml, or beside an archive, as "
     "<archive>.sconce.yaml",
     TUNE},
    {"record", NULL, TEXT, AT(record), "FILE",
     "of --apply: what was measured of the GPU, the server's setting tune_record (beside the model: "
     "tune.json)",
     TUNE},
    {"help", "h", HELP, 0, NULL, "this", BOTH},
};
_Static_assert(SC_COUNT(entries) <= SC_COUNT(((struct sc_bench_options *)0)->level), "room for all levels");

/* The plans of benchmark-ab.py, as far as they are numbers: their models are on a host that may be gone. */
static const struct plan {
    const char *name, *requests, *concurrency, *batch_size;
} plans[] = {
    {"soak", "100000", "10", NULL},
    {"vgg11_1000r_10c", "1000", "10", NULL},
    {"vgg11_10000r_100c", "10000", "100", NULL},
    {"resnet152_batch", "1000", "10", "4"},
    {"resnet152_batch_docker", "1000", "10", "4"},
    {"bert_batch", "1000", "10", "4"},
    {"workflow_nmt", NULL, NULL, NULL},
    {"custom", NULL, NULL, NULL},
};

static void usage(bool tune)
{
    fputs(tune ? "usage: sconce tune [OPTION...] MODEL            find the best batch size and workers for "
                 "an archive or a "
                 "folder\n\n"
               : "usage: sconce bench [OPTION...] ADDRESS         measure a server: http://HOST:PORT/PATH,\n"
                 "                                                grpc://HOST:PORT/MODEL[/VERSION], "
                 "unix:SOCKET:/PATH\n"
                 "       sconce bench [OPTION...] --url MODEL     start a server for a model and measure it\n"
                 "       sconce bench [OPTION...] config.json     the same; the file of TorchServe's "
                 "benchmark-ab.py\n\n",
          stdout);
    for (unsigned i = 0; i < SC_COUNT(entries); i++) {
        const struct entry *e = &entries[i];
        char left[64];
        if (e->who == (tune ? BENCH : TUNE))
            continue;
        snprintf(left, sizeof left, "%s%s%s--%s%s%s", e->brief ? "-" : "", e->brief ? e->brief : "",
                 e->brief ? ", " : "", e->name, e->value ? " " : "", e->value ? e->value : "");
        printf("  %-32s %s\n", left, e->help);
    }
    fputs(
        tune
            ? "\nExit codes: 0; 1 there is nothing to recommend, or the report is partial; 2 it could not be "
              "measured; 130 interrupted.\n"
            : "\nExit codes: 0; 1 a request failed, or the report is partial; 2 it could not be measured; "
              "130 "
              "interrupted.\n",
        stdout);
}

static const struct entry *find(bool tune, struct sc_span name, bool brief)
{
    for (unsigned i = 0; i < SC_COUNT(entries); i++) {
        const char *n = brief ? entries[i].brief : entries[i].name;
        size_t k = 0;
        while (n && k < name.n && n[k] && (n[k] == name.p[k] || (n[k] == '_' && name.p[k] == '-')))
            k++;
        if (n && k == name.n && n[k] == '\0' && entries[i].who != (tune ? BENCH : TUNE))
            return &entries[i];
    }
    return NULL;
}

static int set_flag(bool *to, const char *value)
{
    static const char *const yes[] = {"true", "True", "1", "yes"}, *const no[] = {"false", "False", "0", "no",
                                                                                  ""};
    for (unsigned i = 0; i < SC_COUNT(yes); i++)
        if (strcmp(value, yes[i]) == 0) {
            *to = true;
            return 0;
        }
    for (unsigned i = 0; i < SC_COUNT(no); i++)
        if (strcmp(value, no[i]) == 0) {
            *to = false;
            return 0;
        }
    return SC_EINVAL;
}

static int set(struct sc_bench_options *o, const struct entry *e, enum level level, const char *value,
               struct sc_msg *msg)
{
    unsigned *now = &o->level[e - entries];
    void *to = (char *)o + e->at;
    char *end;
    if (level < *now)
        return 0;
    *now = level;
    switch (e->kind) {
    case TEXT:
        free(*(char **)to);
        *(char **)to = sc_strdup(value);
        return 0;
    case COUNT:
        if (!sc_span_u64(sc_span_str(value), INT64_MAX, to))
            return sc_fail(msg, SC_EINVAL, "%s: \"%s\" is no whole number", e->name, value);
        return 0;
    case NUMBER:
        *(double *)to = strtod(value, &end);
        if (!*value || *end || !isfinite(*(double *)to) || *(double *)to < 0 || *(double *)to > 1e9)
            return sc_fail(msg, SC_EINVAL, "%s: \"%s\" is no number that can be meant here", e->name, value);
        return 0;
    case FLAG:
        return set_flag(to, value) == 0
                   ? 0
                   : sc_fail(msg, SC_EINVAL, "%s: \"%s\" is neither true nor false", e->name, value);
    case HEADER:
        if (strchr(value, '\r') || strchr(value, '\n') || !strchr(value, ':') || value[0] == ':')
            return sc_fail(msg, SC_EINVAL, "\"%s\" is no header: NAME: VALUE", value);
        sc_buf_printf(&o->headers, "%s\r\n", value);
        return 0;
    case CONFIG:
    case HELP: break;
    }
    return sc_fail(msg, SC_EINVAL, "%s cannot stand in a file", e->name);
}

/* ---- config.json ---- */

static int set_json(struct sc_bench_options *o, const char *file, const char *key, const json_t *v,
                    struct sc_msg *msg)
{
    const struct entry *e = find(o->tune, sc_span_str(key), false);
    char number[64];
    const char *text = number;
    if (!e || e->kind == CONFIG || e->kind == HELP) {
        sc_bench_note(o, "%s: the key \"%s\" is not known here and was ignored", file, key);
        return 0;
    }
    if (json_is_null(v))
        return 0;
    if (json_is_string(v))
        text = json_string_value(v);
    else if (json_is_integer(v))
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(v));
    else if (json_is_real(v))
        snprintf(number, sizeof number, "%.17g", json_real_value(v));
    else if (json_is_boolean(v))
        text = json_is_true(v) ? "true" : "false";
    else
        return sc_fail(msg, SC_EINVAL, "%s: %s wants one value, not a list or an object", file, key);
    struct sc_msg why;
    if (e->kind == TEXT && !*text) /* benchmark-ab.py's way to say "none" */
        return 0;
    int rc = set(o, e, FILE_KEY, text, &why);
    return rc < 0 ? sc_fail(msg, rc, "%s: %s", file, why.text) : 0;
}

static int read_config(struct sc_bench_options *o, const char *file, struct sc_msg *msg)
{
    struct sc_buf text;
    json_error_t err;
    const char *key;
    json_t *v;
    sc_buf_init(&text, SC_SETTINGS_FILE_BYTES);
    int rc = sc_file_read(file, &text, msg);
    json_t *all = rc == 0 ? json_loadb(text.n ? text.p : "", text.n, 0, &err) : NULL;
    if (rc == 0 && !all)
        rc = sc_fail(msg, SC_EINVAL, "%s:%d: %s", file, err.line, err.text);
    else if (rc == 0 && !json_is_object(all))
        rc = sc_fail(msg, SC_EINVAL, "%s: this is no JSON object", file);
    json_object_foreach(all, key, v) if (rc == 0) rc = set_json(o, file, key, v, msg);
    json_decref(all);
    sc_buf_free(&text);
    return rc;
}

/* ---- the command line ---- */

static int set_plan(struct sc_bench_options *o, const struct plan *p, struct sc_msg *msg)
{
    const struct {
        const char *name, *value;
    } all[] = {{"requests", p->requests}, {"concurrency", p->concurrency}, {"batch_size", p->batch_size}};
    int rc = 0;
    for (unsigned i = 0; i < SC_COUNT(all) && rc == 0; i++)
        if (all[i].value)
            rc = set(o, find(false, sc_span_str(all[i].name), false), PLAN, all[i].value, msg);
    return rc;
}

static int positional(struct sc_bench_options *o, const char *word, struct sc_msg *msg)
{
    struct sc_span w = sc_span_str(word), json = SC_SPAN(".json");
    if (o->tune && o->url)
        return sc_fail(msg, SC_EINVAL, "one model at a time: %s and %s", o->url, word);
    if (o->tune) {
        o->url = sc_strdup(word);
        return 0;
    }
    for (unsigned i = 0; i < SC_COUNT(plans); i++)
        if (strcmp(word, plans[i].name) == 0)
            return set_plan(o, &plans[i], msg);
    if (strstr(word, "://") || strncmp(word, "unix:", 5) == 0) {
        if (o->address)
            return sc_fail(msg, SC_EINVAL, "one address at a time: %s and %s", o->address, word);
        o->address = sc_strdup(word);
        return 0;
    }
    if (w.n > json.n && sc_span_eq(sc_span_sub(w, w.n - json.n, json.n), json))
        return read_config(o, word, msg);
    return sc_fail(msg, SC_EINVAL, "\"%s\" is no address (http://...), no config.json and no test plan",
                   word);
}

/* One option at argv[*i]; *i moves to its last word. */
static int option(struct sc_bench_options *o, int argc, char **argv, int *i, struct sc_msg *msg)
{
    bool brief = argv[*i][1] != '-';
    struct sc_span word = sc_span_str(argv[*i] + (brief ? 1 : 2));
    size_t eq = brief ? word.n : sc_span_find(word, '=');
    const struct entry *e = find(o->tune, sc_span_sub(word, 0, eq), brief);
    const char *value = eq < word.n ? word.p + eq + 1 : NULL;
    if (!e)
        return sc_fail(msg, SC_EINVAL, "there is no option %s", argv[*i]);
    if (e->kind == HELP) {
        usage(o->tune);
        return 1;
    }
    /* benchmark-ab.py's flags take a value; ours need none. */
    if (e->kind == FLAG && !value) {
        bool ignored;
        value = *i + 1 < argc && *argv[*i + 1] && set_flag(&ignored, argv[*i + 1]) == 0 ? argv[++*i] : "true";
    }
    if (!value) {
        if (*i + 1 >= argc)
            return sc_fail(msg, SC_EINVAL, "%s wants a value", argv[*i]);
        value = argv[++*i];
    }
    return e->kind == CONFIG ? read_config(o, value, msg) : set(o, e, OPTION, value, msg);
}

int sc_bench_options_read(struct sc_bench_options *o, bool tune, int argc, char **argv, struct sc_msg *msg)
{
    int rc = 0;
    *o = (struct sc_bench_options){.tune = tune,
                                   .precision = 5,
                                   .most = 512,
                                   .concurrency = 10,
                                   .batch_size = 1,
                                   .workers = 1,
                                   .threads = 1,
                                   .repeat = 1,
                                   .seed = 1,
                                   .timeout = 30};
    sc_buf_init(&o->headers, SC_LOAD_HEAD_BYTES);
    for (int i = 1; i < argc && rc == 0; i++)
        rc = argv[i][0] == '-' && argv[i][1] ? option(o, argc, argv, &i, msg) : positional(o, argv[i], msg);
    if (rc != 0)
        return rc;
    sc_buf_char(&o->headers, '\0');
    if (o->headers.failed)
        return sc_fail(msg, SC_ELIMIT, "the headers are larger than %u bytes", SC_LOAD_HEAD_BYTES);
    o->headers.n--;
    if (tune && !o->url)
        return sc_fail(msg, SC_EINVAL, "which model? Give its archive or folder");
    if (!o->address && !o->url)
        return sc_fail(msg, SC_EINVAL, "what is to be measured? Give an address, or a model with --url");
    if (!o->address || !o->url)
        return 0;
    if (o->level[find(false, SC_SPAN("url"), false) - entries] == OPTION)
        return sc_fail(msg, SC_EINVAL,
                       "%s and the model %s: measure a server that runs, or one that is started", o->address,
                       o->url);
    sc_bench_note(o, "%s is measured as it runs; the model %s of the file is not started", o->address,
                  o->url);
    free(o->url);
    o->url = NULL;
    return 0;
}

void sc_bench_options_free(struct sc_bench_options *o)
{
    for (unsigned i = 0; i < SC_COUNT(entries); i++)
        if (entries[i].kind == TEXT) {
            char **text = (char **)(void *)((char *)o + entries[i].at);
            free(*text);
            *text = NULL; /* it may stand in the table twice */
        }
    for (unsigned i = 0; i < o->nnotes; i++)
        free(o->notes[i]);
    free(o->address);
    sc_buf_free(&o->headers);
}

bool sc_bench_given(const struct sc_bench_options *o, const void *member)
{
    size_t at = (size_t)((const char *)member - (const char *)o);
    for (unsigned i = 0; i < SC_COUNT(entries); i++)
        if (entries[i].at == at && entries[i].kind != CONFIG && entries[i].kind != HELP)
            return o->level[i] > DEFAULT;
    return false;
}

void sc_bench_note(struct sc_bench_options *o, const char *fmt, ...)
{
    char text[400];
    va_list args;
    if (o->nnotes == SC_BENCH_NOTES_MAX)
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    o->notes[o->nnotes++] = sc_strdup(text);
}
