#include "metrics/collector.h"

#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "metrics/internal.h"
#include "metrics/line.h"

#define WORDS_MAX 64

struct sc_collector {
    struct sc_collector_config config;
    uv_loop_t *loop;
    char *text; /* of the command, cut into words */
    char *words[WORDS_MAX + 2];
    uv_timer_t next, limit;
    uv_process_t process;
    uv_pipe_t pipes[3];
    uv_write_t write;
    struct sc_buf input, output, errors;
    unsigned open;  /* handles of the run */
    unsigned fixed; /* timers */
    bool spawned, stopping, late;
};

/* ---- what it prints ----------------------------------------------------------------------------------- */

static void metric(struct sc_span line, struct sc_metrics *m)
{
    struct sc_metric_line l;
    double v;
    char name[256], room[4096], *o = room;
    const char *values[SC_METRIC_LABELS_MAX];
    bool ok = sc_metric_line_parse(line, &l) && sc_metric_value(l.value, &v) && l.name.n < sizeof name &&
              line.n < sizeof room - SC_METRIC_LABELS_MAX;
    if (!ok) {
        sc_log(SC_LOG_WARN, "Parse metrics failed: %.*s", (int)SC_MIN(line.n, (size_t)2000), line.p);
        return;
    }
    snprintf(name, sizeof name, "%.*s", SC_FMT(l.name));
    for (unsigned i = 0; i < l.ndims; i++) {
        values[i] = o;
        memcpy(o, l.values[i].p, l.values[i].n);
        o += l.values[i].n;
        *o++ = '\0';
    }
    sc_metrics_gauge(m, name, values, l.ndims, v);
}

void sc_collector_read(struct sc_span output, struct sc_metrics *m,
                       void (*memory)(void *ctx, int pid, int64_t bytes), void *ctx)
{
    bool metrics = true;
    while (output.n) {
        size_t end = sc_span_find(output, '\n');
        struct sc_span line = sc_span_sub(output, 0, end);
        uint64_t pid, bytes;
        output = sc_span_sub(output, end + 1, output.n);
        if (line.n && line.p[line.n - 1] == '\r')
            line.n--;
        if (metrics && line.n == 0) {
            metrics = false;
        } else if (metrics) {
            metric(line, m);
        } else {
            size_t colon = sc_span_find(line, ':');
            if (colon < line.n && sc_span_u64(sc_span_sub(line, 0, colon), INT_MAX, &pid) &&
                sc_span_u64(sc_span_trim(sc_span_sub(line, colon + 1, line.n)), INT64_MAX, &bytes) && memory)
                memory(ctx, (int)pid, (int64_t)bytes);
        }
    }
}

/* ---- a run -------------------------------------------------------------------------------------------- */

static void tell_errors(struct sc_collector *c)
{
    struct sc_span rest = sc_buf_view(&c->errors);
    while (rest.n) {
        size_t end = sc_span_find(rest, '\n');
        if (end)
            sc_log(SC_LOG_ERROR, "%.*s", (int)SC_MIN(end, (size_t)4000), rest.p);
        rest = sc_span_sub(rest, end + 1, rest.n);
    }
}

static void freed(uv_handle_t *h)
{
    struct sc_collector *c = h->data;
    if (--c->fixed > 0 || c->open > 0)
        return;
    sc_buf_free(&c->input);
    sc_buf_free(&c->output);
    sc_buf_free(&c->errors);
    free(c->text);
    free((char *)c->config.home);
    free(c);
}

static void free_if_stopped(struct sc_collector *c)
{
    if (!c->stopping || c->open > 0)
        return;
    uv_close((uv_handle_t *)&c->next, freed);
    uv_close((uv_handle_t *)&c->limit, freed);
}

static void ended(struct sc_collector *c)
{
    if (!c->stopping) {
        uv_timer_stop(&c->limit);
        tell_errors(c);
        if (c->output.failed)
            sc_log(SC_LOG_WARN, "system_metrics_cmd prints more than %u bytes: the rest is not read",
                   SC_METRICS_COLLECTOR_BYTES);
        sc_collector_read(sc_buf_view(&c->output), c->config.metrics, c->config.memory, c->config.ctx);
    }
    free_if_stopped(c);
}

static void on_closed(uv_handle_t *h)
{
    struct sc_collector *c = h->data;
    if (--c->open == 0)
        ended(c);
}

static void close_one(void *handle)
{
    if (!uv_is_closing(handle))
        uv_close(handle, on_closed);
}

static void on_ended(uv_process_t *p, int64_t status, int signal)
{
    struct sc_collector *c = p->data;
    if (!c->stopping && !c->late && (status != 0 || signal != 0))
        sc_log(SC_LOG_ERROR, "system_metrics_cmd ended with %s %lld", signal ? "signal" : "status",
               signal ? (long long)signal : (long long)status);
    close_one(p);
    close_one(&c->pipes[0]);
}

static void give_room(uv_handle_t *h, size_t suggested, uv_buf_t *b)
{
    struct sc_collector *c = h->data;
    struct sc_buf *to = h == (uv_handle_t *)&c->pipes[1] ? &c->output : &c->errors;
    (void)suggested;
    if (sc_buf_reserve(to, SC_MIN(to->max - to->n, (size_t)16384)) < 0 || to->cap == to->n)
        *b = uv_buf_init(NULL, 0);
    else
        *b = uv_buf_init(to->p + to->n, (unsigned)SC_MIN(to->cap - to->n, to->max - to->n));
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    struct sc_collector *c = s->data;
    struct sc_buf *to = s == (uv_stream_t *)&c->pipes[1] ? &c->output : &c->errors;
    (void)b;
    if (n > 0)
        to->n += (size_t)n;
    if (n == UV_ENOBUFS)
        to->failed = SC_ELIMIT;
    if (n < 0)
        close_one(s);
}

static void on_written(uv_write_t *w, int status)
{
    struct sc_collector *c = w->data;
    (void)status;
    close_one(&c->pipes[0]);
}

static void kill_all(struct sc_collector *c)
{
    if (c->spawned && !uv_is_closing((uv_handle_t *)&c->process))
        kill(-c->process.pid, SIGKILL); /* a session of its own */
    /* A grandchild may have escaped with the pipes. */
    for (unsigned i = 0; i < 3; i++)
        close_one(&c->pipes[i]);
}

static void on_late(uv_timer_t *t)
{
    struct sc_collector *c = t->data;
    c->late = true;
    sc_log(SC_LOG_ERROR, "system_metrics_cmd was not done after %d s and is killed",
           SC_METRICS_COLLECTOR_MS / 1000);
    kill_all(c);
}

static void on_next(uv_timer_t *t)
{
    struct sc_collector *c = t->data;
    uv_stdio_container_t io[3];
    if (c->open > 0)
        return;
    sc_buf_clear(&c->input);
    sc_buf_clear(&c->output);
    sc_buf_clear(&c->errors);
    if (c->config.pids)
        c->config.pids(c->config.ctx, &c->input);
    sc_buf_char(&c->input, '\n');
    for (unsigned i = 0; i < 3; i++) {
        uv_pipe_init(c->loop, &c->pipes[i], 0);
        c->pipes[i].data = c;
        io[i].flags = UV_CREATE_PIPE | (i == 0 ? UV_READABLE_PIPE : UV_WRITABLE_PIPE);
        io[i].data.stream = (uv_stream_t *)&c->pipes[i];
    }
    uv_process_options_t options = {.file = c->words[0],
                                    .args = c->words,
                                    .cwd = c->config.home,
                                    .flags = UV_PROCESS_DETACHED,
                                    .stdio = io,
                                    .stdio_count = 3,
                                    .exit_cb = on_ended};
    c->late = false;
    c->open = 4;
    c->process.data = c->write.data = c;
    int rc = uv_spawn(c->loop, &c->process, &options);
    c->spawned = rc == 0;
    if (rc < 0) {
        sc_log(SC_LOG_ERROR, "system_metrics_cmd cannot be run: %s: %s", c->words[0], uv_strerror(rc));
        close_one(&c->process);
        kill_all(c);
        return;
    }
    uv_buf_t b = uv_buf_init(c->input.p, (unsigned)c->input.n);
    if (uv_write(&c->write, (uv_stream_t *)&c->pipes[0], &b, 1, on_written) < 0)
        close_one(&c->pipes[0]);
    uv_read_start((uv_stream_t *)&c->pipes[1], give_room, on_read);
    uv_read_start((uv_stream_t *)&c->pipes[2], give_room, on_read);
    uv_timer_start(&c->limit, on_late, SC_METRICS_COLLECTOR_MS, 0);
}

/* ---- life --------------------------------------------------------------------------------------------- */

struct sc_collector *sc_collector_start(struct sc_loop *l, const struct sc_collector_config *config)
{
    struct sc_collector *c = sc_alloc(sizeof *c);
    char *rest = NULL;
    size_t python = strlen(config->python) + 1, command = strlen(config->command) + 1;
    unsigned n = 0;
    c->config = *config;
    c->config.home = config->home ? sc_strdup(config->home) : NULL;
    c->loop = &l->uv;
    c->text = sc_alloc(python + command);
    memcpy(c->text, config->python, python);
    memcpy(c->text + python, config->command, command);
    c->words[n++] = c->text;
    for (char *w = strtok_r(c->text + python, " \t\r\n\v\f", &rest); w && n <= WORDS_MAX;
         w = strtok_r(NULL, " \t\r\n\v\f", &rest))
        c->words[n++] = w;
    sc_buf_init(&c->input, SC_METRICS_COLLECTOR_BYTES);
    sc_buf_init(&c->output, SC_METRICS_COLLECTOR_BYTES);
    sc_buf_init(&c->errors, SC_METRICS_COLLECTOR_BYTES);
    uv_timer_init(c->loop, &c->next);
    uv_timer_init(c->loop, &c->limit);
    c->next.data = c->limit.data = c;
    c->fixed = 2;
    uv_timer_start(&c->next, on_next, 0, (uint64_t)SC_MAX(config->interval_s, 1u) * 1000);
    return c;
}

void sc_collector_stop(struct sc_collector *c)
{
    if (!c || c->stopping)
        return;
    c->stopping = true;
    uv_timer_stop(&c->next);
    uv_timer_stop(&c->limit);
    if (c->open > 0)
        kill_all(c);
    free_if_stopped(c);
}
