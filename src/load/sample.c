#include "load/sample.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/limits.h"
#include "load/http_client.h"
#include "metrics/system.h"

#define INTERVAL_MS 250
#define SCRAPE_MS 1000
#define SCRAPE_WAIT_MS 2000
#define MIB (1024.0 * 1024.0)

struct sc_sampler {
    pthread_t thread;
    bool running;
    const char *exe, *metrics;
    int stop; /* an eventfd */
    pid_t agent;
    int to_agent, from_agent;
    struct sc_buf line;
    struct sc_gpu_report gpus; /* the latest */
    uint64_t busy, total;      /* of /proc/stat, at the sample before */
    int64_t began;
    struct sc_samples out;
    unsigned room;
};

extern char **environ;

/* ---- the GPUs ---- */

static void start_agent(struct sc_sampler *s)
{
    char *argv[] = {(char *)"sconce: gpu agent", (char *)"--role=gpu-agent", (char *)"--interval=250", NULL};
    int in[2], out[2];
    posix_spawn_file_actions_t fa;
    if (pipe2(in, O_CLOEXEC) < 0)
        return;
    if (pipe2(out, O_CLOEXEC) < 0) {
        close(in[0]);
        close(in[1]);
        return;
    }
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_adddup2(&fa, in[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&fa, out[1], STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&fa, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    if (posix_spawn(&s->agent, s->exe, &fa, NULL, argv, environ) != 0)
        s->agent = -1;
    posix_spawn_file_actions_destroy(&fa);
    close(in[0]);
    close(out[1]);
    s->to_agent = in[1];
    s->from_agent = out[0];
    (void)fcntl(s->from_agent, F_SETFL, O_NONBLOCK);
}

static void end_agent(struct sc_sampler *s)
{
    if (s->to_agent >= 0)
        close(s->to_agent);
    if (s->from_agent >= 0)
        close(s->from_agent);
    if (s->agent > 0) {
        kill(s->agent, SIGKILL); /* NVML may hang in it */
        (void)waitpid(s->agent, NULL, 0);
    }
}

static void read_agent(struct sc_sampler *s)
{
    for (;;) {
        if (sc_buf_reserve(&s->line, 4096) < 0) {
            sc_buf_clear(&s->line);
            continue;
        }
        ssize_t n = read(s->from_agent, s->line.p + s->line.n, s->line.cap - s->line.n);
        if (n == 0) {
            close(s->from_agent);
            s->from_agent = -1;
        }
        if (n <= 0)
            break;
        s->line.n += (size_t)n;
    }
    size_t end;
    while ((end = sc_span_find(sc_buf_view(&s->line), '\n')) < s->line.n) {
        (void)!sc_gpu_parse_line(sc_span(s->line.p, end), &s->gpus);
        sc_buf_consume(&s->line, end + 1);
    }
}

/* ---- the host ---- */

static struct sc_span read_text(const char *path, char *to, size_t size)
{
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(to, 1, size, f) : 0;
    if (f)
        fclose(f);
    return sc_span(to, n);
}

static void sample_host(struct sc_sampler *s, struct sc_sample *to)
{
    char text[8192];
    uint64_t busy, total;
    struct sc_system_memory memory;
    to->cpu = to->memory = -1;
    if (sc_system_cpu(read_text("/proc/stat", text, sizeof text), &busy, &total)) {
        if (s->total && total > s->total)
            to->cpu = (float)(100.0 * (double)(busy - s->busy) / (double)(total - s->total));
        s->busy = busy;
        s->total = total;
    }
    if (sc_system_memory(read_text("/proc/meminfo", text, sizeof text), &memory))
        to->memory = (float)memory.percent;
}

static void sample(struct sc_sampler *s)
{
    struct sc_samples *o = &s->out;
    if (o->n == SC_LOAD_SAMPLES_MAX) {
        for (unsigned i = 0; i < o->n / 2; i++)
            o->list[i] = o->list[2 * i];
        o->n /= 2;
        o->interval_ms *= 2;
    }
    if (o->n == s->room) {
        s->room = s->room ? 2 * s->room : 64;
        o->list = sc_realloc_array(o->list, s->room, sizeof *o->list);
    }
    struct sc_sample *to = &o->list[o->n];
    to->seconds = (float)((double)(sc_clock_ns() - s->began) * 1e-9);
    sample_host(s, to);
    for (unsigned i = 0; i < SC_SAMPLE_GPUS; i++) {
        const struct sc_gpu_info *g = i < s->gpus.ngpus ? &s->gpus.gpus[i] : NULL;
        to->gpu[i] = (struct sc_gpu_sample){
            .busy = g ? (float)g->utilization : -1,
            .memory_mib = g && g->memory_used >= 0 ? (float)((double)g->memory_used / MIB) : -1,
            .watts = g && g->power >= 0 ? (float)g->power / 1000 : -1,
            .memory = g ? (float)sc_gpu_memory_percent(g) : -1,
        };
        if (g && i >= o->ngpus) {
            o->ngpus = i + 1;
            snprintf(o->gpu_name[i], sizeof o->gpu_name[i], "%s", g->name);
            snprintf(o->driver, sizeof o->driver, "%s", s->gpus.driver);
        }
    }
    if (to->cpu >= 0) /* the first look has nothing to compare with */
        o->n++;
}

/* ---- the server's page ---- */

static struct sc_metric_seen *metric_of(struct sc_samples *o, struct sc_span name, bool counter)
{
    for (unsigned i = 0; i < o->nmetrics; i++)
        if (sc_span_eq(sc_span_str(o->metrics[i].name), name))
            return &o->metrics[i];
    if (o->nmetrics == SC_LOAD_METRICS_MAX)
        return NULL;
    if (!o->metrics)
        o->metrics = sc_alloc_array(SC_LOAD_METRICS_MAX, sizeof *o->metrics);
    struct sc_metric_seen *m = &o->metrics[o->nmetrics];
    m->name = sc_span_dup(name);
    if (!m->name)
        return NULL;
    m->counter = counter;
    o->nmetrics++;
    return m;
}

static void take_line(struct sc_samples *o, struct sc_span line, bool counter)
{
    const char *last = line.n ? memrchr(line.p, ' ', line.n) : NULL;
    char value[64];
    struct sc_span number;
    if (!last)
        return;
    number = sc_span_sub(line, (size_t)(last - line.p) + 1, line.n);
    snprintf(value, sizeof value, "%.*s", (int)SC_MIN(number.n, sizeof value - 1), number.p);
    char *end;
    double v = strtod(value, &end);
    struct sc_span name = sc_span_trim(sc_span_sub(line, 0, (size_t)(last - line.p)));
    /* Buckets are many and say little without their picture. */
    if (*end || end == value || sc_span_find(name, '{') == 0 || memmem(name.p, name.n, "_bucket{", 8))
        return;
    struct sc_metric_seen *m = metric_of(o, name, counter);
    if (!m)
        return;
    if (m->n++ == 0)
        m->first = m->min = m->max = v;
    m->last = v;
    m->sum += v;
    m->min = SC_MIN(m->min, v);
    m->max = SC_MAX(m->max, v);
}

static void take_page(struct sc_samples *o, struct sc_span page)
{
    bool counter = false;
    while (page.n) {
        size_t n = sc_span_find(page, '\n');
        struct sc_span line = sc_span_trim(sc_span_sub(page, 0, n)), type = SC_SPAN("# TYPE ");
        page = sc_span_sub(page, n + 1, page.n);
        if (sc_span_starts(line, type)) {
            const char *kind = memrchr(line.p, ' ', line.n);
            struct sc_span k = sc_span(kind + 1, line.n - (size_t)(kind + 1 - line.p));
            counter = !sc_span_eq(k, SC_SPAN("gauge")) && !sc_span_eq(k, SC_SPAN("untyped"));
        } else if (line.n && line.p[0] != '#') {
            take_line(o, line, counter);
        }
    }
}

static void scrape(struct sc_sampler *s)
{
    struct sc_fetched a;
    struct sc_msg msg;
    struct sc_span all = sc_span_str(s->metrics),
                   rest = sc_span_sub(all, 8, all.n); /* behind http:// or so */
    size_t slash = sc_span_find(rest, '/');
    const char *path = slash < rest.n ? rest.p + slash : "/metrics";
    char address[300];
    snprintf(address, sizeof address, "%.*s", (int)SC_MIN(all.n - (rest.n - slash), sizeof address - 1),
             all.p);
    int rc = sc_http_get(&a, address, 80, path, NULL, SCRAPE_WAIT_MS, &msg);
    if (rc == 0 && a.status != 200)
        rc = sc_fail(&msg, SC_EPROTO, "%.200s answers %d", s->metrics, a.status);
    s->out.scrapes++;
    if (rc == 0)
        take_page(&s->out, sc_buf_view(&a.body));
    else if (!s->out.scrapes_failed++)
        snprintf(s->out.trouble, sizeof s->out.trouble, "%.255s", msg.text);
    sc_fetched_free(&a);
}

/* ---- the thread ---- */

static void *run(void *arg)
{
    struct sc_sampler *s = arg;
    int64_t next = 0, next_scrape = 0;
    if (s->exe)
        start_agent(s);
    for (;;) {
        int64_t now = sc_clock_ms();
        if (now >= next) {
            sample(s);
            next = now + s->out.interval_ms;
        }
        if (s->metrics && now >= next_scrape) {
            scrape(s);
            next_scrape = now + SCRAPE_MS;
        }
        struct pollfd p[] = {{.fd = s->stop, .events = POLLIN}, {.fd = s->from_agent, .events = POLLIN}};
        (void)poll(p, 2, (int)SC_MAX(next - sc_clock_ms(), 0));
        if (p[1].revents)
            read_agent(s);
        if (p[0].revents)
            break;
    }
    if (s->metrics)
        scrape(s);
    sample(s);
    end_agent(s);
    return NULL;
}

struct sc_sampler *sc_sampler_start(const char *exe, const char *metrics)
{
    struct sc_sampler *s = sc_alloc(sizeof *s);
    *s = (struct sc_sampler){.exe = exe,
                             .metrics = metrics,
                             .agent = -1,
                             .to_agent = -1,
                             .from_agent = -1,
                             .began = sc_clock_ns(),
                             .stop = eventfd(0, EFD_CLOEXEC),
                             .out = {.interval_ms = INTERVAL_MS}};
    sc_buf_init(&s->line, SC_GPU_LINE_BYTES);
    s->running = s->stop >= 0 && pthread_create(&s->thread, NULL, run, s) == 0;
    return s;
}

void sc_sampler_stop(struct sc_sampler *s, struct sc_samples *out)
{
    if (s->running) {
        (void)eventfd_write(s->stop, 1);
        pthread_join(s->thread, NULL);
    }
    if (s->stop >= 0)
        close(s->stop);
    *out = s->out;
    sc_buf_free(&s->line);
    free(s);
}

void sc_samples_free(struct sc_samples *s)
{
    for (unsigned i = 0; i < s->nmetrics; i++)
        free(s->metrics[i].name);
    free(s->metrics);
    free(s->list);
    *s = (struct sc_samples){0};
}

double sc_samples_value(const struct sc_sample *s, int gpu, unsigned which)
{
    if (gpu < 0)
        return (double)(which == 0 ? s->cpu : s->memory);
    const struct sc_gpu_sample *g = &s->gpu[gpu];
    const float values[] = {g->busy, g->memory_mib, g->watts, g->memory};
    return (double)values[which];
}

double sc_samples_mean(const struct sc_samples *s, int gpu, unsigned which)
{
    double sum = 0;
    unsigned n = 0;
    for (unsigned i = 0; i < s->n; i++) {
        double v = sc_samples_value(&s->list[i], gpu, which);
        sum += v >= 0 ? v : 0;
        n += v >= 0;
    }
    return n ? sum / n : -1;
}
