/*
 * `sconce bench`: measures a server that runs, or one that it starts for a model as TorchServe's
 * benchmark-ab.py does, and reports.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "cli/bench_ab.h"
#include "cli/bench_load.h"
#include "cli/bench_server.h"
#include "cli/roles.h"
#include "load/http_client.h"

#define SELF "/proc/self/exe"

enum { EXIT_FAILED = 1, EXIT_UNABLE = 2, EXIT_INTERRUPTED = 130 };

struct bench {
    struct sc_bench_options o;
    struct sc_load_config load;
    struct sc_payload payload;
    struct sc_span answer;
    struct sc_bench_server server;
    struct sc_measured m;
    struct sc_log_metrics log;
    struct sc_fact facts[SC_FACTS_MAX + 1];
    unsigned nfacts;
    int64_t log_from; /* bytes of the server's output before the first counted request */
    char *url;        /* what sc_load_url took apart */
    char subject[512], command[2048];
    bool terminal, told;
    int64_t shown_at;
    uint64_t shown_good;
};

/* ---- where the report goes ---- */

static int make_out(struct sc_bench_options *o, struct sc_msg *msg)
{
    char path[512];
    const char *base = o->report_location;
    if (!o->out && !base && o->url)
        base = o->tmp_dir ? o->tmp_dir : getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
    if (!o->out && base) {
        snprintf(path, sizeof path, "%.480s/benchmark", base);
        o->out = sc_strdup(path);
    }
    return o->out ? sc_bench_folder(o->out, msg) : 0;
}

static int write_report(struct bench *b, const struct sc_report *r, struct sc_msg *msg)
{
    static const struct {
        const char *name;
        void (*write)(const struct sc_report *, struct sc_buf *);
    } files[] = {
        {"report.json", sc_report_json}, {"runs.csv", sc_report_csv}, {"report.html", sc_report_html}};
    struct sc_buf text;
    int rc = 0;
    sc_buf_init(&text, SC_REPORT_BYTES);
    for (unsigned i = 0; i < SC_COUNT(files) && rc == 0; i++) {
        sc_buf_clear(&text);
        files[i].write(r, &text);
        rc = sc_bench_write(b->o.out, files[i].name, &text, msg);
    }
    for (unsigned i = 0; i < SC_PICTURES && rc == 0; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s.svg", sc_report_picture_name((enum sc_picture)i));
        sc_buf_clear(&text);
        if (sc_report_picture(r, (enum sc_picture)i, true, &text))
            rc = sc_bench_write(b->o.out, name, &text, msg);
    }
    sc_buf_clear(&text);
    sc_ab_report(&b->o, r, &b->log, &text);
    if (rc == 0)
        rc = sc_bench_write(b->o.out, "ab_report.csv", &text, msg);
    sc_buf_free(&text);
    return rc;
}

/* ---- while it runs ---- */

static void progress(void *ctx, unsigned run, const struct sc_load_progress *p)
{
    struct bench *b = ctx;
    int64_t now = sc_clock_ms();
    if (b->o.url && !sc_bench_server_alive(&b->server))
        atomic_store(&sc_bench_stop, true);
    if (!b->terminal || now - b->shown_at < 200)
        return;
    double rate = p->good >= b->shown_good
                      ? (double)(p->good - b->shown_good) * 1e3 / (double)SC_MAX(now - b->shown_at, 1)
                      : 0;
    b->shown_at = now;
    b->shown_good = p->good;
    b->told = true;
    fprintf(stderr, "\r\033[Krun %u of %u, ", run + 1, (unsigned)b->o.repeat);
    if (p->warming)
        fprintf(stderr, "warm-up");
    else if (p->count)
        fprintf(stderr, "%" PRIu64 " of %" PRIu64, p->good + p->failed, p->count);
    else
        fprintf(stderr, "%.1f of %.1f s", p->seconds, p->of);
    fprintf(stderr, "  %.0f requests/s", rate);
    if (p->failed)
        fprintf(stderr, "  %" PRIu64 " FAILED", p->failed);
    fflush(stderr);
}

static void warm(void *ctx)
{
    struct bench *b = ctx;
    b->log_from = sc_bench_server_said(&b->server);
}

/* ---- what is measured ---- */

static int reachable(const struct sc_load_config *c, const char *address, struct sc_msg *msg)
{
    int fd = socket(c->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = fd < 0 ? -1 : connect(fd, (const struct sockaddr *)&c->address, c->address_size);
    int err = errno;
    if (fd >= 0)
        close(fd);
    return rc == 0 ? 0 : sc_fail(msg, SC_ECLOSED, "nobody listens at %s: %s", address, strerror(err));
}

static int server_address(struct bench *b, struct sc_msg *msg)
{
    const struct sc_bench_options *o = &b->o;
    char text[1024];
    const char *path = o->inference_model_url ? o->inference_model_url : "predictions/benchmark";
    if (b->server.workflow)
        path = "wfpredict/benchmark";
    snprintf(text, sizeof text, "%s/%s", b->server.inference, path + (*path == '/'));
    b->url = sc_strdup(text);
    return sc_load_url(&b->load, b->url, msg);
}

/* The version, where the server describes itself as TorchServe does. */
static void ask_version(struct bench *b, const char *address)
{
    struct sc_fetched a;
    struct sc_msg ignored;
    struct sc_fact *f = &b->facts[b->nfacts];
    if (strncmp(address, "http://", 7) != 0)
        return;
    int rc = sc_http_get(&a, address, 80, "/api-description", NULL, 2000, &ignored);
    const char *at =
        rc == 0 && a.status == 200 && a.body.n ? memmem(a.body.p, a.body.n, "\"version\"", 9) : NULL;
    size_t left = at ? a.body.n - (size_t)(at + 9 - a.body.p) : 0;
    struct sc_span text = sc_span(at ? at + 9 : NULL, SC_MIN(left, (size_t)60));
    size_t open = sc_span_find(text, '"');
    text = sc_span_sub(text, open + 1, text.n);
    size_t close = sc_span_find(text, '"');
    if (close < text.n) {
        f->name = "the server's version, as it says";
        snprintf(f->value, sizeof f->value, "%.*s", (int)close, text.p);
        b->nfacts++;
    }
    sc_fetched_free(&a);
}

static void say_notes(struct bench *b)
{
    struct sc_bench_options *o = &b->o;
    if (o->exec_env && strcmp(o->exec_env, "local") != 0)
        sc_bench_note(o, "exec_env %s: the server ran on this machine itself, not in a container",
                      o->exec_env);
    if (o->benchmark_backend && strcmp(o->benchmark_backend, "ab") != 0)
        sc_bench_note(o, "benchmark_backend %s: the load came from sconce bench itself",
                      o->benchmark_backend);
    if (o->url)
        sc_bench_note(o,
                      "Model_p50, p90 and p99 in ab_report.csv are true percentiles of the batches' times; "
                      "benchmark-ab.py's are lower ones (docs/running.md)");
}

/* 0, or an error that leaves nothing to be reported. */
static int measure(struct bench *b, struct sc_msg *msg)
{
    struct sc_bench_options *o = &b->o;
    struct sc_measure m = {.load = &b->load,
                           .runs = (unsigned)SC_MIN(o->repeat, UINT32_MAX),
                           .exe = SELF,
                           .metrics = o->metrics,
                           .stop = &sc_bench_stop,
                           .progress = progress,
                           .warm = warm,
                           .ctx = b};
    int rc = 0;
    if (o->url) {
        if (!o->quiet)
            fprintf(stderr, "starting a server for %s\n", o->url);
        rc = sc_bench_server_start(&b->server, o, NULL, &sc_bench_stop, msg);
        if (rc == 0)
            rc = sc_bench_server_register(&b->server, o, true, msg);
        if (rc == 0)
            rc = server_address(b, msg);
        if (!sc_bench_given(o, &o->warmup) && b->load.count)
            m.warmup_count = SC_MAX(b->load.count / 10, 1);
        b->log_from = sc_bench_server_said(&b->server);
    } else {
        rc = reachable(&b->load, o->address, msg);
    }
    if (rc == 0)
        rc = sc_measure(&m, &b->m, msg);
    if (b->told)
        fputs("\r\033[K", stderr);
    if (rc < 0)
        return rc;
    b->nfacts = sc_machine_facts(b->facts);
    ask_version(b, o->url ? b->server.inference : o->address);
    if (b->server.died) {
        char tail[300];
        sc_bench_server_tail(&b->server, tail, sizeof tail);
        sc_bench_note(o, "the server ended while it was measured; its last words: %s", tail);
        b->m.ended = SC_LOAD_GONE;
    }
    return 0;
}

static int report(struct bench *b, struct sc_msg *msg)
{
    struct sc_bench_options *o = &b->o;
    struct sc_buf text;
    int rc = 0;
    if (o->url && sc_log_metrics_read(&b->log, b->server.log, b->log_from, msg) < 0)
        sc_bench_note(o, "%s", msg->text);
    struct sc_report r = {.subject = b->subject,
                          .command = b->command,
                          .load = &b->load,
                          .m = &b->m,
                          .facts = b->facts,
                          .nfacts = b->nfacts,
                          .notes = (const char *const *)o->notes,
                          .nnotes = o->nnotes};
    sc_buf_init(&text, SC_REPORT_BYTES);
    if (o->json)
        sc_report_json(&r, &text);
    else
        sc_report_text(&r, &text);
    fwrite(text.p, 1, text.n, stdout);
    sc_buf_free(&text);
    if (o->out)
        rc = write_report(b, &r, msg);
    if (o->out && rc == 0 && !o->json)
        printf("report: %s/report.html\n", o->out);
    return rc;
}

static int prepare(struct bench *b, struct sc_msg *msg)
{
    struct sc_bench_options *o = &b->o;
    sc_load_defaults(&b->load);
    snprintf(b->subject, sizeof b->subject, "%.500s", o->url ? o->url : o->address);
    int rc = 0;
    if (o->address) {
        b->url = sc_strdup(o->address);
        rc = sc_load_url(&b->load, b->url, msg);
    }
    if (rc == 0)
        rc = sc_bench_load(&b->load, &b->payload, &b->o, msg);
    if (rc == 0)
        rc = make_out(o, msg);
    say_notes(b);
    return rc;
}

static int unable(const struct sc_msg *msg)
{
    fprintf(stderr, "sconce bench: %s\n", msg->text);
    return EXIT_UNABLE;
}

int sc_cli_bench(int argc, char **argv)
{
    struct bench *b = sc_alloc(sizeof *b);
    struct sc_msg msg = {""};
    int rc = sc_bench_options_read(&b->o, false, argc, argv, &msg), code = 0;
    sc_bench_command(b->command, sizeof b->command, argc, argv);
    if (rc == 0)
        rc = prepare(b, &msg);
    sc_bench_catch_signals(NULL);
    b->terminal = isatty(STDERR_FILENO) && !b->o.quiet;
    if (rc == 0)
        rc = measure(b, &msg);
    /* Of a server that could not be measured, too. */
    sc_bench_server_stop(&b->server);
    if (rc == 0) {
        code = b->m.all.failed || b->m.ended != SC_LOAD_COMPLETE || b->m.all.good == 0 ? EXIT_FAILED : 0;
        rc = report(b, &msg);
    }
    if (rc < 0)
        code = unable(&msg);
    char log[1100];
    snprintf(log, sizeof log, "%s/model_metrics.log", b->o.out ? b->o.out : "");
    sc_bench_server_forget(&b->server, b->o.out ? log : NULL);
    if (atomic_load(&sc_bench_stop) && !b->server.died)
        code = EXIT_INTERRUPTED;
    sc_log_metrics_free(&b->log);
    sc_measured_free(&b->m);
    sc_payload_free(&b->payload);
    sc_bench_options_free(&b->o);
    free(b->url);
    free(b);
    return code;
}
