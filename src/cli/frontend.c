/* The frontend process: loops, models, HTTP. Started, and started again, by the supervisor. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "api/auth_http.h"
#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include "base/log_levels.h"
#include "cli/notify.h"
#include "cli/places.h"
#include "cli/roles.h"
#include "cli/serve_options.h"
#include "cli/serve_tls.h"
#include "cli/startup.h"
#include "metrics/collector.h"
#include "metrics/registry.h"
#include "metrics/system.h"
#include "worker/supervisor.h"

struct frontend {
    struct sc_settings settings;
    struct sc_loops *loops;
    struct sc_app app;
    char backend_dir[PATH_MAX];
    int listeners[SC_LISTENERS_MAX];
    unsigned nlisteners;
    uv_timer_t system_timer;
    struct sc_collector *collector; /* NULL: none */
    struct sc_serve_tls tls;
    uv_timer_t tls_timer; /* until the files of TLS could be read */
    bool sampling, ending, retrying;
};

static unsigned cpu_count(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

/* ---- life ------------------------------------------------------------------------------------------ */

static void sample_system(uv_timer_t *t)
{
    struct frontend *f = t->data;
    sc_metrics_sample_system(f->app.metrics);
}

static void end(void *arg)
{
    struct frontend *f = arg;
    if (f->ending)
        return;
    f->ending = true;
    if (f->app.server)
        sc_http_server_close(f->app.server);
    if (f->retrying)
        uv_close((uv_handle_t *)&f->tls_timer, NULL);
    if (f->sampling)
        uv_close((uv_handle_t *)&f->system_timer, NULL);
    if (f->collector)
        sc_collector_stop(f->collector);
    sc_engine_close(f->app.engine);
    sc_loops_stop(f->loops);
}

/* ---- TLS ------------------------------------------------------------------------------------------- */

static void tell_tls(void *ctx, enum sc_log_level level, const char *text)
{
    (void)ctx;
    sc_log(level, "TLS: %s", text);
}

static void retry_tls(uv_timer_t *t)
{
    struct frontend *f = t->data;
    if (!sc_serve_tls_load(&f->tls, tell_tls, NULL))
        return;
    sc_log(SC_LOG_INFO, "TLS: the certificate could be read now");
    uv_timer_stop(t);
}

/* The server's start has read them already: they are gone, or changed, since. */
static void start_tls(struct frontend *f)
{
    if (sc_serve_tls_load(&f->tls, tell_tls, NULL))
        return;
    uv_timer_init(&sc_loops_at(f->loops, 0)->uv, &f->tls_timer);
    f->tls_timer.data = f;
    f->retrying = true;
    uv_timer_start(&f->tls_timer, retry_tls, SC_TLS_RETRY_MS, SC_TLS_RETRY_MS);
}

static void on_hup(void *ctx)
{
    struct frontend *f = ctx;
    if (!f->tls.kind[SC_TLS_REST] && !f->tls.kind[SC_TLS_GRPC])
        return;
    if (sc_serve_tls_load(&f->tls, tell_tls, NULL))
        sc_log(SC_LOG_INFO, "TLS: new connections get the certificate as it is now");
    else
        sc_log(SC_LOG_WARN, "TLS: the certificate that was in use stays");
}

/* ---- life, again ------------------------------------------------------------------------------------ */

static void on_drain(void *ctx)
{
    struct frontend *f = ctx;
    sc_log(SC_LOG_INFO, "stopping: what is in flight is finished first");
    if (f->app.server)
        sc_http_server_drain(f->app.server, end, f);
    else
        end(f);
}

static void on_lost(void *ctx)
{
    (void)ctx;
    sc_log_close();
    _exit(1);
}

static void on_listeners(void *ctx, const int *fds, unsigned n)
{
    struct frontend *f = ctx;
    f->nlisteners = SC_MIN(n, (unsigned)SC_LISTENERS_MAX);
    memcpy(f->listeners, fds, f->nlisteners * sizeof *fds);
}

/* ---- metrics of the machine: ours, or those of somebody's program ------------------------------------- */

static void worker_pids(void *ctx, struct sc_buf *out)
{
    struct frontend *f = ctx;
    sc_engine_pids(f->app.engine, out);
}

static void worker_memory(void *ctx, int pid, int64_t bytes)
{
    struct frontend *f = ctx;
    sc_engine_memory(f->app.engine, pid, bytes);
}

static void start_collector(struct frontend *f)
{
    struct sc_collector_config c = {
        .python = sc_settings_python(&f->settings),
        .command = f->settings.system_metrics_cmd,
        .home = f->settings.home,
        .interval_s = (unsigned)f->settings.metric_interval,
        .metrics = f->app.metrics,
        .pids = worker_pids,
        .memory = worker_memory,
        .ctx = f,
    };
    f->collector = sc_collector_start(sc_loops_at(f->loops, 0), &c);
}

static void start_system_metrics(struct frontend *f)
{
    if (f->settings.system_metrics_cmd && *f->settings.system_metrics_cmd) {
        start_collector(f);
        return;
    }
    uint64_t ms = (uint64_t)f->settings.metric_interval * 1000;
    uv_timer_init(&sc_loops_at(f->loops, 0)->uv, &f->system_timer);
    f->system_timer.data = f;
    uv_timer_start(&f->system_timer, sample_system, 0, ms);
    f->sampling = true;
}

/* Tools wait for this line on standard output, as TorchServe prints it: at once, with nothing before it. */
static void say_started(const struct frontend *f)
{
    static const char line[] = "Model server started.\n";
    if (f->settings.face != SC_FACE_TORCHSERVE) {
        sc_log(SC_LOG_INFO, "Model server started.");
        return;
    }
    sc_log_sync(); /* behind what was said before it */
    if (write(STDOUT_FILENO, line, sizeof line - 1) < 0)
        sc_log(SC_LOG_WARN, "standard output cannot be written: %s", strerror(errno));
}

static void answered(void *ctx, int status)
{
    struct frontend *f = ctx;
    sc_metrics_response(f->app.metrics, status);
}

static uint64_t limited(int64_t ms)
{
    return ms == INT64_MAX ? 0 : (uint64_t)ms;
}

static void limit_age(const struct sc_settings *s, unsigned serves, struct sc_http_listen *l)
{
    bool inference = serves & SC_SERVES_INFERENCE;
    l->max_age_ms = limited(inference ? s->grpc_inference_age_ms : s->grpc_management_age_ms);
    l->max_age_grace_ms = limited(inference ? s->grpc_inference_grace_ms : s->grpc_management_grace_ms);
}

static void serve(void *ctx)
{
    struct frontend *f = ctx;
    struct sc_msg msg = {""};
    if (f->ending)
        return;
    struct sc_listen_plan plan;
    struct sc_http_listen listen[SC_LISTENERS_MAX] = {0};
    sc_listen_plan(&f->settings, &plan);
    sc_serve_tls_make(&f->tls, &f->settings);
    start_tls(f);
    for (unsigned i = 0; i < plan.n; i++) {
        f->app.serves[i] = plan.serves[i];
        listen[i].fd = f->listeners[i];
        if (sc_is_https(plan.address[i]))
            listen[i].tls = f->tls.kind[plan.serves[i] & SC_SERVES_GRPC ? SC_TLS_GRPC : SC_TLS_REST];
        listen[i].pinned = !(plan.serves[i] & SC_SERVES_INFERENCE);
        listen[i].h2_only = plan.serves[i] & SC_SERVES_GRPC;
        if (listen[i].h2_only)
            limit_age(&f->settings, plan.serves[i], &listen[i]);
    }
    struct sc_http_config c = {
        .max_request_size = f->settings.max_request_size,
        .header_timeout_ms = SC_CONN_HEADER_TIMEOUT_MS,
        .body_timeout_ms = SC_CONN_BODY_TIMEOUT_MS,
        .write_timeout_ms = SC_CONN_WRITE_TIMEOUT_MS,
        .max_connections = SC_CONNECTIONS_MAX,
        .cors_origin = f->settings.cors_origin,
        .cors_methods = f->settings.cors_methods,
        .cors_headers = f->settings.cors_headers,
        .access_log = f->settings.access_log,
        .answered = answered,
        .answered_ctx = f,
    };
    struct sc_http_app http;
    sc_app_init(&f->app, &http);
    if (sc_app_auth(&f->app, &msg) < 0) {
        sc_log(SC_LOG_ERROR, "%s", msg.text);
        sc_log_close();
        _exit(SC_EXIT_FATAL);
    }
    if (f->nlisteners != plan.n ||
        sc_http_server_new(&f->app.server, f->loops, &c, &http, listen, plan.n, &msg) < 0) {
        sc_log(SC_LOG_ERROR, "the listeners cannot be served: %s", msg.text);
        sc_log_close();
        _exit(SC_EXIT_FATAL);
    }
    if (f->settings.system_metrics)
        start_system_metrics(f);
    sc_engine_started(f->app.engine);
    say_started(f);
    sc_notify("READY=1");
}

/* The ports answer when the models that were named are known; those of an earlier life are known already. */
static void on_ready(void *ctx)
{
    struct frontend *f = ctx;
    if (sc_engine_fresh(f->app.engine))
        sc_startup_load(f->app.engine, &f->settings, serve, f);
    else
        serve(f);
}

static int read_settings(struct frontend *f, struct sc_msg *msg)
{
    struct sc_buf b;
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", SC_FD_SETTINGS);
    sc_buf_init(&b, 2 * SC_SETTINGS_FILE_BYTES);
    int rc = sc_file_read(path, &b, msg);
    if (rc == 0)
        rc = sc_settings_read(&f->settings, sc_buf_view(&b), "settings", msg);
    sc_buf_free(&b);
    close(SC_FD_SETTINGS);
    return rc;
}

static void raise_descriptor_limit(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
        r.rlim_cur = r.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &r) < 0)
            sc_log(SC_LOG_WARN, "the limit of open files stays at %llu", (unsigned long long)r.rlim_cur);
    }
}

static int configure_metrics(struct frontend *f, struct sc_msg *msg)
{
    static const enum sc_metrics_to to[] = {[SC_METRICS_LOG] = SC_METRICS_TO_LOG,
                                            [SC_METRICS_PROMETHEUS] = SC_METRICS_TO_PROMETHEUS,
                                            [SC_METRICS_LEGACY] = SC_METRICS_TO_LEGACY};
    struct sc_metrics_config c = {.to = to[f->settings.metrics_mode],
                                  .file = f->settings.metrics_config,
                                  .auto_detect = f->settings.model_metrics_auto_detect,
                                  .name_lines = f->settings.face == SC_FACE_TORCHSERVE};
    return sc_metrics_configure(f->app.metrics, &c, msg);
}

static const char *environment(const char *name)
{
    return getenv(name);
}

/* Once the metrics are configured. Without a collector that can be used, requests are served all the same. */
static void start_tracing(struct frontend *f)
{
    struct sc_tracing *t = &f->app.tracing;
    struct sc_spans_config c;
    struct sc_msg msg = {""};
    sc_spans_config_read(&c, f->settings.otlp_endpoint, environment);
    t->sampler = c.sampler;
    if (c.url) {
        sc_log(SC_LOG_INFO, "spans are sent to %.200s", c.url);
        if (sc_spans_start(&t->spans, &c, &msg) < 0)
            sc_log(SC_LOG_ERROR, "spans are not sent: %s", msg.text);
        else
            sc_metrics_spans(f->app.metrics, sc_spans_counts, t->spans);
    }
    sc_spans_config_free(&c);
    t->exemplars = f->settings.metrics_mode == SC_METRICS_PROMETHEUS;
    t->on = t->exemplars || t->spans;
}

int sc_cli_frontend(void)
{
    static struct frontend f;
    struct sc_msg msg = {""};
    signal(SIGPIPE, SIG_IGN);
    if (read_settings(&f, &msg) < 0) {
        fprintf(stderr, "sconce: %s\n", msg.text);
        return SC_EXIT_FATAL;
    }
    struct sc_log_config log = {
        .dir = f.settings.log_dir,
        .metrics_dir = f.settings.metrics_dir,
        .level = SC_LOG_INFO,
        .to_stdout = f.settings.log_to_stdout,
        .json = f.settings.log_json,
        .access = f.settings.access_log,
    };
    struct sc_log_levels levels;
    sc_serve_log_levels(&f.settings, &levels, false);
    log.levels = &levels;
    if (sc_log_open(&log, &msg) < 0) {
        fprintf(stderr, "sconce: %s\n", msg.text);
        return SC_EXIT_FATAL;
    }
    sc_log_thread_name("main");
    raise_descriptor_limit();
    if (f.settings.backend_dir)
        snprintf(f.backend_dir, sizeof f.backend_dir, "%s", f.settings.backend_dir);
    else
        sc_place_plugins(f.backend_dir, sizeof f.backend_dir);
    unsigned cpus = cpu_count();
    unsigned chosen = SC_MIN(SC_MAX(cpus / 2, 1u), (unsigned)SC_LOOPS_CHOSEN_MAX);
    unsigned n = f.settings.loops > 0 ? (unsigned)f.settings.loops : chosen;
    if (sc_loops_new(&f.loops, SC_MIN(n, (unsigned)SC_LOOPS_MAX), &msg) < 0) {
        sc_log(SC_LOG_ERROR, "%s", msg.text);
        sc_log_close();
        return 1;
    }
    f.app.loops = f.loops;
    f.app.settings = &f.settings;
    char host[256] = "localhost";
    gethostname(host, sizeof host - 1);
    f.app.metrics = sc_metrics_new(sc_loops_count(f.loops), host);
    if (configure_metrics(&f, &msg) < 0) {
        sc_log(SC_LOG_ERROR, "%s", msg.text);
        sc_log_close();
        return SC_EXIT_FATAL;
    }
    start_tracing(&f);
    f.app.renderer = sc_renderer_new(f.app.metrics, sc_loops_at(f.loops, 0), sc_metrics_before, &f.app);
    struct sc_engine_spec spec = {
        .loops = f.loops,
        .settings = &f.settings,
        .metrics = f.app.metrics,
        .control = SC_FD_CONTROL,
        .backend_dir = f.backend_dir,
        .exe = "/proc/self/exe",
        .home = f.settings.home,
        .on_listeners = on_listeners,
        .on_ready = on_ready,
        .on_drain = on_drain,
        .on_hup = on_hup,
        .on_lost = on_lost,
        .ctx = &f,
    };
    f.app.engine = sc_engine_new(&spec);
    sc_loops_run(f.loops);
    sc_renderer_stop(f.app.renderer);
    sc_loops_del(
        f.loops); /* runs what loops posted to each other at the end: the engine must still be there */
    sc_serve_tls_free(&f.tls);
    sc_engine_del(f.app.engine);
    sc_app_free(&f.app);
    sc_renderer_del(f.app.renderer);
    if (f.app.tracing.spans)
        sc_spans_stop(f.app.tracing.spans);
    sc_metrics_del(f.app.metrics);
    sc_log(SC_LOG_INFO, "Model server stopped.");
    sc_log_close();
    sc_settings_free(&f.settings);
    return 0;
}
