/*
 * `sconce tune MODEL`: starts a server for the model, measures its configurations (tune/tune.h says which),
 * says which to use and why, writes the report, and writes the recommendation where a server finds it.
 */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/mix.h"
#include "cli/bench_load.h"
#include "cli/roles.h"
#include "cli/tune_model.h"
#include "gpu/agent.h"
#include "load/http_client.h"
#include "tune/apply.h"
#include "tune/report.h"

#define SELF "/proc/self/exe"
#define GPU_LOOK_MS 20000
#define DEATHS_MAX 3 /* of the server; then it is given up */
#define NOTES 8
#define STATE "tune.json"

enum { EXIT_NOTHING = 1, EXIT_UNABLE = 2, EXIT_INTERRUPTED = 130 };

struct tuner {
    struct sc_bench_options o;
    struct sc_tune t;
    struct sc_tune_model model;
    struct sc_load_config load;
    struct sc_payload payload;
    struct sc_fact facts[SC_FACTS_MAX + 3];
    unsigned nfacts, deaths, nnotes;
    char notes[NOTES][400];
    char gpu[96], driver[80];
    char command[2048], subject[300], *url, *key;
    double loading; /* beside the budget */
    int64_t began_ms;
    int loaded; /* the branch that runs; -1: none */
    bool terminal, told;
    const struct sc_tune_step *step;
    int64_t shown_at;
    enum sc_tune_phase said;
};

static void note(struct tuner *u, const char *fmt, ...) SC_PRINTF(2, 3);
static void note(struct tuner *u, const char *fmt, ...)
{
    va_list args;
    if (u->nnotes == NOTES)
        return;
    va_start(args, fmt);
    vsnprintf(u->notes[u->nnotes++], sizeof u->notes[0], fmt, args);
    va_end(args);
}

/* ---- the report ---- */

/* What is to be set, as people would write it. */
static void settings(const struct tuner *u, struct sc_buf *out)
{
    struct sc_tune_key keys[SC_TUNE_KEYS_MAX];
    const int best = sc_tune_recommended(&u->t);
    const struct sc_tune_config *c = best < 0 ? NULL : &u->t.branches[best].config;
    unsigned n = c ? sc_tune_keys(c, u->model.facts.native, keys) : 0;
    for (unsigned i = 0; i < n; i++)
        sc_buf_printf(out, "%s: %s\n", keys[i].name, keys[i].value);
    if (c && c->way != SC_TUNE_NO_GPU && c->workers > 1)
        sc_buf_printf(out, "# and in config.properties: mps=%s\n", c->way == SC_TUNE_MPS ? "managed" : "off");
    sc_buf_char(out, '\0');
}

static void with_about(struct tuner *u, struct sc_buf *text, struct sc_tune_about *a)
{
    static const char *notes[NOTES];
    sc_buf_init(text, 4096);
    settings(u, text);
    for (unsigned i = 0; i < u->nnotes; i++)
        notes[i] = u->notes[i];
    *a = (struct sc_tune_about){.subject = u->subject,
                                .command = u->command,
                                .ended = u->t.phase == SC_TUNE_DONE ? "complete"
                                         : atomic_load(&sc_bench_stop)
                                             ? "interrupted; --resume goes on"
                                             : "not all was measured; --resume goes on",
                                .settings = text->n > 1 ? text->p : NULL,
                                .began_ms = u->began_ms,
                                .loading = u->loading,
                                .facts = u->facts,
                                .nfacts = u->nfacts,
                                .notes = notes,
                                .nnotes = u->nnotes};
}

static int write_state(struct tuner *u, struct sc_msg *msg)
{
    struct sc_tune_about a;
    struct sc_buf text, lines;
    with_about(u, &lines, &a);
    sc_buf_init(&text, SC_TUNE_STATE_BYTES);
    sc_tune_json(&u->t, &a, u->key, &text);
    int rc = sc_bench_write(u->o.out, STATE, &text, msg);
    sc_buf_free(&text);
    sc_buf_free(&lines);
    return rc;
}

static int write_report(struct tuner *u, struct sc_msg *msg)
{
    struct sc_tune_about a;
    struct sc_buf text, lines;
    int rc = write_state(u, msg);
    with_about(u, &lines, &a);
    sc_buf_init(&text, SC_TUNE_STATE_BYTES);
    sc_tune_csv(&u->t, &text);
    if (rc == 0)
        rc = sc_bench_write(u->o.out, "points.csv", &text, msg);
    sc_buf_clear(&text);
    sc_tune_html(&u->t, &a, &text);
    if (rc == 0)
        rc = sc_bench_write(u->o.out, "report.html", &text, msg);
    for (unsigned i = 0; i < SC_TUNE_PICTURES && rc == 0; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s.svg", sc_tune_picture_name((enum sc_tune_picture)i));
        sc_buf_clear(&text);
        if (sc_tune_picture(&u->t, (enum sc_tune_picture)i, true, &text))
            rc = sc_bench_write(u->o.out, name, &text, msg);
    }
    sc_buf_clear(&text);
    if (u->o.json)
        sc_tune_json(&u->t, &a, u->key, &text);
    else
        sc_tune_text(&u->t, &a, &text);
    fwrite(text.p, 1, text.n, stdout);
    if (rc == 0 && !u->o.json)
        printf("report: %s/report.html\n", u->o.out);
    sc_buf_free(&text);
    sc_buf_free(&lines);
    return rc;
}

/* ---- while it runs ---- */

static void show(struct tuner *u, double rate)
{
    char name[80], left[32];
    double seconds = fmax(u->t.goal.budget - u->t.spent, 0);
    sc_tune_name(&u->t.branches[u->step->branch].config, name, sizeof name);
    snprintf(left, sizeof left, "%.0f:%02.0f", floor(seconds / 60), floor(fmod(seconds, 60)));
    const int best = sc_tune_leader(&u->t);
    fprintf(stderr, "\r\033[K%s: %s, %u at once", sc_tune_phase_name(u->t.phase), name, u->step->concurrency);
    if (rate > 0)
        fprintf(stderr, ": %.0f/s", rate);
    if (best >= 0) {
        sc_tune_name(&u->t.branches[best].config, name, sizeof name);
        fprintf(stderr, "; best %s with %.0f/s", name,
                sc_tune_interval(sc_tune_best(&u->t, &u->t.branches[best])).mean);
    }
    fprintf(stderr, "; %s left", left);
    fflush(stderr);
    u->told = true;
}

static void progress(void *ctx, unsigned run, const struct sc_load_progress *p)
{
    struct tuner *u = ctx;
    (void)run;
    if (!u->terminal || sc_clock_ms() - u->shown_at < 200)
        return;
    u->shown_at = sc_clock_ms();
    show(u, p->seconds > 0 && !p->warming ? (double)p->good / p->seconds : 0);
}

static void say_phase(struct tuner *u)
{
    unsigned open = 0;
    if (u->terminal || u->o.quiet || u->said == u->t.phase)
        return;
    for (unsigned i = 0; i < u->t.n; i++)
        open += !u->t.branches[i].out;
    u->said = u->t.phase;
    fprintf(stderr, "%s: %u configurations, %.0f s left\n", sc_tune_phase_name(u->t.phase), open,
            fmax(u->t.goal.budget - u->t.spent, 0));
}

/* ---- measuring ---- */

/* Time goes from the budget, but not what a handler of Python takes to load. */
static void spend(struct tuner *u, double seconds, bool load)
{
    if (load && !u->model.facts.native)
        u->loading += seconds;
    else
        u->t.spent += seconds;
    if (load && u->model.facts.native)
        u->t.loading = u->t.loading > 0 ? 0.7 * u->t.loading + 0.3 * seconds : seconds;
}

/* 0: the configuration of the step runs; 1: it cannot, and is out; an error ends the search. */
static int have_loaded(struct tuner *u, struct sc_msg *msg)
{
    const unsigned branch = u->step->branch;
    if (u->loaded == (int)branch && !u->step->reload && sc_bench_server_alive(&u->model.server))
        return 0;
    u->loaded = -1;
    if (u->terminal)
        show(u, 0);
    int64_t start = sc_clock_ms();
    int rc = sc_tune_model_load(&u->model, &u->t.branches[branch].config, msg);
    spend(u, (double)(sc_clock_ms() - start) / 1e3, true);
    if (rc == SC_EINVAL || rc == SC_ECLOSED || rc == SC_ETIMEOUT) {
        sc_tune_drop(&u->t, branch, true, msg->text);
        return 1;
    }
    if (rc < 0)
        return rc;
    u->loaded = (int)branch;
    return !sc_tune_weigh(&u->t, branch, u->model.memory);
}

/* What the load of a step is sent to. */
static int set_load(struct tuner *u, unsigned concurrency, struct sc_msg *msg)
{
    char text[1024];
    const char *path = u->o.inference_model_url ? u->o.inference_model_url : "predictions/benchmark";
    snprintf(text, sizeof text, "%s/%s", u->model.server.inference, path + (*path == '/'));
    free(u->url);
    u->url = sc_strdup(text);
    u->o.concurrency = concurrency;
    enum sc_load_protocol protocol = u->load.protocol;
    int rc = sc_load_url(&u->load, u->url, msg);
    u->load.protocol = protocol;
    u->load.gone = 5;
    u->load.count = 0;
    return rc == 0 ? sc_bench_places(&u->load, &u->o, msg) : rc;
}

static void died(struct tuner *u, unsigned branch)
{
    char tail[200], why[240];
    sc_bench_server_tail(&u->model.server, tail, sizeof tail);
    snprintf(why, sizeof why, "the server ended; its last words: %.160s", tail);
    u->deaths++;
    u->loaded = -1;
    sc_tune_drop(&u->t, branch, false, why);
}

static int measure(struct tuner *u, struct sc_msg *msg)
{
    const struct sc_tune_step *s = u->step;
    struct sc_measured m = {0};
    struct sc_msg why;
    int rc = have_loaded(u, msg);
    if (rc == 0)
        rc = set_load(u, s->concurrency, msg);
    if (rc != 0)
        return SC_MIN(rc, 0);
    const struct sc_measure how = {
        .load = &u->load, .runs = s->runs, .stop = &sc_bench_stop, .progress = progress, .ctx = u};
    int64_t start = sc_clock_ms();
    u->load.warmup = s->warmup;
    u->load.duration = s->seconds;
    if (rc == 0)
        rc = sc_measure(&how, &m, msg);
    spend(u, (double)(sc_clock_ms() - start) / 1e3, false);
    if (rc == 0 && !atomic_load(&sc_bench_stop)) {
        if (m.ended == SC_LOAD_GONE || !sc_bench_server_alive(&u->model.server))
            died(u, s->branch);
        else
            sc_tune_take(&u->t, s, m.runs, m.nruns, sc_load_saturated(&u->load, &m.all, &why));
        if (u->loaded >= 0 && !s->settle && !u->t.branches[s->branch].out)
            (void)sc_tune_weigh(&u->t, s->branch, sc_tune_model_memory(&u->model));
    }
    sc_measured_free(&m);
    return rc < 0 || atomic_load(&sc_bench_stop) || s->settle ? SC_MIN(rc, 0) : write_state(u, msg);
}

static int search(struct tuner *u, struct sc_msg *msg)
{
    struct sc_tune_step step;
    int rc = 0;
    u->step = &step;
    while (rc == 0 && !atomic_load(&sc_bench_stop) && u->deaths < DEATHS_MAX && sc_tune_next(&u->t, &step)) {
        say_phase(u);
        rc = measure(u, msg);
    }
    if (u->told)
        fputs("\r\033[K", stderr);
    if (u->deaths >= DEATHS_MAX)
        note(u, "the server ended %u times: the search was given up", u->deaths);
    return atomic_load(&sc_bench_stop) ? 0 : rc;
}

/* ---- before and after ---- */

/* One worker, one request: whether the model loads and understands what it is sent. */
static int probe(struct tuner *u, struct sc_msg *msg)
{
    struct sc_tune_config one = {.batch = 1, .workers = 1, .threads = -1, .way = SC_TUNE_NO_GPU};
    struct sc_measure how = {.load = &u->load, .runs = 1, .stop = &sc_bench_stop};
    struct sc_measured m = {0};
    if (!u->o.quiet)
        fprintf(stderr, "starting a server for %s\n", u->o.url);
    int rc = sc_tune_model_load(&u->model, &one, msg);
    u->loading += u->model.loaded_s;
    if (rc == 0)
        rc = set_load(u, 1, msg);
    if (rc < 0)
        return rc;
    u->load.warmup = u->load.duration = 0;
    u->load.count = 1;
    rc = sc_measure(&how, &m, msg);
    if (rc == 0 && m.all.failed && !atomic_load(&sc_bench_stop))
        rc = sc_fail(msg, SC_EINVAL, "the model does not answer the first request well: %s",
                     m.all.wrong[0] ? m.all.wrong : "no answer came");
    sc_measured_free(&m);
    return rc;
}

static int look_for_gpu(struct tuner *u, struct sc_msg *msg)
{
    if (!u->model.facts.gpu)
        return 0;
    struct sc_gpu_report *r = sc_alloc(sizeof *r);
    int rc = sc_gpu_look(SELF, GPU_LOOK_MS, r, msg);
    if (rc == 0 && r->ngpus) {
        snprintf(u->gpu, sizeof u->gpu, "%s", r->gpus[0].name);
        snprintf(u->driver, sizeof u->driver, "%s", r->driver);
        u->facts[u->nfacts].name = "GPU";
        snprintf(u->facts[u->nfacts++].value, sizeof u->facts->value, "%s, driver %.50s", u->gpu, u->driver);
        if (r->ngpus > 1)
            note(u, "this machine has %u GPUs: the workers were spread over them", r->ngpus);
    }
    free(r);
    return rc;
}

/* What must be the same for a search to go on. */
static void make_key(struct tuner *u)
{
    uint64_t h = SC_MIX_START;
    char payload[20];
    for (size_t i = 0; i < u->load.nbodies; i++)
        h = sc_mix_bytes(h, u->load.bodies[i].p, u->load.bodies[i].n);
    snprintf(payload, sizeof payload, "%016" PRIx64, h);
    json_t *configurations = json_array();
    for (unsigned i = 0; i < u->t.n; i++) {
        char name[80];
        sc_tune_name(&u->t.branches[i].config, name, sizeof name);
        json_array_append_new(configurations, json_string(name));
    }
    json_t *j = json_pack("{s:s, s:s, s:i, s:s, s:f, s:I, s:i, s:o, s:s}", "content", u->model.content,
                          "requests", payload, "cores", (int)u->model.facts.cores, "gpu", u->gpu, "p99",
                          u->t.goal.p99, "memory", (json_int_t)u->t.goal.memory, "concurrency",
                          (int)u->t.goal.most, "configurations", configurations, "sconce", SCONCE_VERSION);
    u->key = json_dumps(j, JSON_COMPACT);
    json_decref(j);
}

static int resume(struct tuner *u, struct sc_msg *msg)
{
    struct sc_buf text;
    char path[1100];
    double loading = u->loading;
    snprintf(path, sizeof path, "%s/" STATE, u->o.out);
    sc_buf_init(&text, SC_TUNE_STATE_BYTES);
    int rc = sc_file_read(path, &text, msg);
    if (rc == 0)
        rc = sc_tune_resume(&u->t, sc_buf_view(&text), path, u->key, &u->loading, &u->began_ms, msg);
    u->loading += loading;
    sc_buf_free(&text);
    return rc;
}

static int prepare(struct tuner *u, struct sc_msg *msg)
{
    struct sc_bench_options *o = &u->o;
    struct sc_tune_goal goal;
    char out[600];
    sc_load_defaults(&u->load);
    snprintf(u->subject, sizeof u->subject, "%.290s", o->url);
    int rc = sc_tune_goal(&goal, o, msg);
    sc_tune_init(&u->t, &goal);
    if (rc == 0)
        rc = sc_bench_load(&u->load, &u->payload, o, msg);
    if (rc == 0)
        rc = sc_tune_model_open(&u->model, o, &sc_bench_stop, msg);
    if (rc < 0)
        return rc;
    snprintf(out, sizeof out, "%s-tune", u->model.given);
    if (!o->out)
        o->out = sc_strdup(out);
    rc = sc_bench_folder(o->out, msg);
    if (rc == 0)
        rc = probe(u, msg);
    u->nfacts = sc_machine_facts(u->facts);
    if (rc == 0)
        rc = look_for_gpu(u, msg);
    if (rc == 0)
        rc = sc_tune_space(&u->t, o, &u->model.facts, msg);
    make_key(u);
    return rc == 0 && o->resume ? resume(u, msg) : rc;
}

static int write_record(struct tuner *u, struct sc_msg *msg)
{
    struct sc_tune_record r;
    struct sc_tune_entry like = {0};
    char path[4200];
    snprintf(path, sizeof path, u->o.record ? "%.4095s" : "%.4000s/tune.json",
             u->o.record ? u->o.record : u->model.store);
    snprintf(like.gpu, sizeof like.gpu, "%s", u->gpu);
    snprintf(like.driver, sizeof like.driver, "%s", u->driver);
    snprintf(like.content, sizeof like.content, "%s", u->model.content);
    snprintf(like.model, sizeof like.model, "%.200s", u->model.given);
    time_t now = (time_t)(sc_wall_ms() / 1000);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(like.at, sizeof like.at, "%Y-%m-%dT%H:%M:%SZ", &tm);
    int rc = sc_tune_record_read(&r, path, msg);
    if (rc == SC_ENOTFOUND)
        rc = 0;
    if (rc == 0) {
        sc_tune_put_record(&u->t, &like, &r);
        rc = sc_tune_record_write(&r, path, msg);
    }
    sc_tune_record_free(&r);
    if (rc == 0 && !u->o.json)
        printf("recorded: %s (the setting tune_record=%s has mps=auto obey it)\n", path, path);
    return rc;
}

static int apply(struct tuner *u, struct sc_msg *msg)
{
    char where[4500];
    const int best = sc_tune_recommended(&u->t);
    int rc = sc_tune_model_apply(&u->model, &u->t.branches[best].config, where, sizeof where, msg);
    if (rc == 0 && !u->o.json)
        printf("applied: %s\n", where);
    return rc == 0 && u->model.facts.gpu ? write_record(u, msg) : rc;
}

int sc_cli_tune(int argc, char **argv)
{
    struct tuner *u = sc_alloc(sizeof *u);
    struct sc_msg msg = {""};
    u->loaded = -1;
    u->said = SC_TUNE_DONE;
    u->began_ms = sc_wall_ms();
    int rc = sc_bench_options_read(&u->o, true, argc, argv, &msg), code = 0;
    sc_bench_command(u->command, sizeof u->command, argc, argv);
    u->terminal = isatty(STDERR_FILENO) && !u->o.quiet;
    sc_bench_catch_signals(sc_tune_model_interrupt);
    const bool help = rc > 0;
    if (rc == 0)
        rc = prepare(u, &msg);
    const bool ready = rc == 0;
    if (ready)
        rc = search(u, &msg);
    sc_tune_model_stop(&u->model);
    const int best = ready ? sc_tune_recommended(&u->t) : -1;
    if (ready) {
        struct sc_msg why = msg;
        if (rc < 0)
            note(u, "%s", why.text);
        code = rc < 0 || best < 0 || u->t.phase != SC_TUNE_DONE ? EXIT_NOTHING : 0;
        rc = write_report(u, &msg);
        if (rc == 0 && u->o.apply && code == 0)
            rc = apply(u, &msg);
        else if (rc == 0 && u->o.apply)
            fputs("sconce tune: nothing is applied: the search is not complete\n", stderr);
    }
    if (rc < 0 && !(atomic_load(&sc_bench_stop) && !ready)) {
        fprintf(stderr, "sconce tune: %s\n", msg.text);
        code = EXIT_UNABLE;
    }
    if (atomic_load(&sc_bench_stop))
        code = EXIT_INTERRUPTED;
    if (!help)
        sc_tune_model_free(&u->model);
    sc_tune_free(&u->t);
    sc_payload_free(&u->payload);
    sc_bench_options_free(&u->o);
    free(u->url);
    free(u->key);
    free(u);
    return code;
}
