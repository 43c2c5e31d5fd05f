#include "worker/executor.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/control.h"
#include "worker/executor_private.h"
#include "worker/supervisor.h"

/* How long a lane looks for more work before it sleeps; a wake-up costs more (docs/design.md §3.4). */
#define SPIN_NS 5000

static const char *env_or(const struct sconce_host *h, const char *name, const char *fallback)
{
    const char *v = sc_host_variable(h, name);
    return v ? v : fallback;
}

static long env_number(const struct sconce_host *h, const char *name, long min, long max, long fallback)
{
    const char *text = sc_host_variable(h, name);
    char *end;
    if (!text)
        return fallback;
    long v = strtol(text, &end, 10);
    return *text == '\0' || *end || v < min || v > max ? fallback : v;
}

static int load_backend(struct sc_executor *ex, struct sc_msg *msg)
{
    const char *name = env_or(&ex->host, SC_ENV_BACKEND, "");
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/libsconce_%s.so", ex->host.backend_dir, name);
    if (*name == '\0' || strchr(name, '/') || n < 0 || (size_t)n >= sizeof path)
        return sc_fail(msg, SC_EINVAL, "\"%s\" is no name of a backend", name);
    void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!lib)
        return sc_fail(msg, SC_ENOTFOUND, "backend %s cannot be loaded: %s", name, dlerror());
    sconce_backend_fn get;
    *(void **)&get = dlsym(lib, "sconce_backend");
    if (!get)
        return sc_fail(msg, SC_EINVAL, "%s exports no function sconce_backend: it is not a Sconce backend",
                       path);
    ex->ops = get();
    if (ex->ops->major != SCONCE_BACKEND_MAJOR || ex->ops->minor > SCONCE_BACKEND_MINOR)
        return sc_fail(msg, SC_EVERSION,
                       "backend %s speaks interface %u.%u, this server %u.%u: build both from one release",
                       name, ex->ops->major, ex->ops->minor, SCONCE_BACKEND_MAJOR, SCONCE_BACKEND_MINOR);
    return 0;
}

static int load_model(struct sc_executor *ex, struct sc_msg *msg)
{
    ex->info.size = sizeof ex->info;
    struct sconce_error *e = ex->ops->model_load(&ex->host, &ex->model, &ex->info);
    if (e) {
        sc_fail(msg, SC_EINVAL, "%s", sconce_error_text(e));
        sconce_error_free(e);
        return SC_EINVAL;
    }
    return 0;
}

static void read_environment(struct sc_executor *ex)
{
    struct sconce_host *h = &ex->host;
    h->ex = ex;
    h->ctl = -1;
    h->model = env_or(h, SC_ENV_MODEL, "");
    h->version = env_or(h, SC_ENV_VERSION, "1.0");
    h->dir = env_or(h, SC_ENV_DIR, "");
    h->backend_dir = env_or(h, SC_ENV_BACKEND_DIR, ".");
    h->lanes = (unsigned)env_number(h, SC_ENV_LANES, 1, SC_LANES_MAX, 1);
    h->max_response = (uint64_t)env_number(h, SC_ENV_MAX_RESPONSE, 1, LONG_MAX, SC_RESPONSE_BYTES);
    ex->batch_size = (uint32_t)env_number(h, SC_ENV_BATCH_SIZE, 1, SC_BATCH_SIZE_MAX, SC_BATCH_SIZE_MAX);
    ex->batch_delay_ns = env_number(h, SC_ENV_BATCH_DELAY, 0, INT_MAX, 100) * INT64_C(1000000);
    ex->fill = strcmp(env_or(h, SC_ENV_BATCH_POLICY, "eager"), "fill") == 0;
    cpu_set_t cpus;
    ex->spin_ns = sched_getaffinity(0, sizeof cpus, &cpus) == 0 && CPU_COUNT(&cpus) > 2 ? SPIN_NS : 0;
}

/* The latest order of lanes. */
struct sc_scaling {
    unsigned lanes;
    uint32_t order;
    bool told; /* how it ended */
};

static void attach(struct sc_executor *ex, struct sc_ctl_message *m)
{
    struct sc_ctl_attach a;
    struct sc_msg msg;
    if (m->payload.n < sizeof a) {
        sc_ctl_close_fds(m);
        return;
    }
    memcpy(&a, m->payload.p, sizeof a);
    if (a.channels == 0 || m->nfds != SC_BOARD_FDS + a.channels * SC_CHAN_FDS) {
        sc_log(SC_LOG_ERROR, "attachment with %u descriptors for %u channels", m->nfds, a.channels);
        sc_ctl_close_fds(m);
        return;
    }
    struct sc_port *port;
    int rc = sc_port_new(&port, m->fds, a.channels, a.epoch, &msg);
    m->nfds = 0;
    if (rc < 0) {
        sc_log(SC_LOG_ERROR, "attachment failed: %s", msg.text);
        return;
    }
    if (sc_lanes_attach(ex, port) < 0)
        sc_log(SC_LOG_ERROR, "attachment failed: out of memory");
}

/* What the frontend has to know. `refused`: why there are fewer lanes than were ordered, or NULL. */
static int tell_facts(const struct sc_executor *ex, const struct sc_scaling *s, const char *refused)
{
    json_t *facts = json_pack(
        "{s:i, s:I, s:i, s:I, s:I, s:s, s:I, s:s*}", "lanes", (int)ex->made, "maxBatchCost",
        (json_int_t)ex->info.max_batch_cost, "bytesPerCost", (int)ex->info.bytes_per_cost, "gpuWeights",
        (json_int_t)ex->info.gpu_weights, "gpuLane", (json_int_t)ex->info.gpu_lane, "interfaces",
        ex->info.interfaces ? ex->info.interfaces : "", "order", (json_int_t)s->order, "refused", refused);
    char *text = facts ? json_dumps(facts, JSON_COMPACT) : NULL;
    int rc = text ? sc_ctl_send_status(ex->host.ctl, SC_SLOT_LOADED, sc_span_str(text)) : SC_ENOMEM;
    free(text);
    json_decref(facts);
    return rc;
}

/* Goes on with an order of lanes, as far as it is possible now. */
static void scale(struct sc_executor *ex, struct sc_scaling *s)
{
    struct sc_msg msg;
    int rc = s->told ? 0 : sc_lanes_settle(ex, s->lanes, &msg);
    if (rc == 0)
        return;
    if (rc < 0) {
        sc_log(SC_LOG_ERROR, "model %s: %u lanes, and no more: %s", ex->host.model, ex->made, msg.text);
        s->lanes = ex->made;
    }
    rc = tell_facts(ex, s, rc < 0 ? msg.text : NULL);
    if (rc < 0)
        sc_log(SC_LOG_ERROR, "the number of lanes cannot be told: %s", sc_strerror(rc));
    s->told = true;
}

static void take_order(struct sc_executor *ex, struct sc_scaling *s, struct sc_span payload)
{
    struct sc_ctl_lanes order;
    if (sc_ctl_read_fixed(payload, &order, sizeof order) < 0 || order.lanes < 1 ||
        order.lanes > SC_LANES_MAX) {
        sc_log(SC_LOG_ERROR, "an order of lanes that cannot be");
        return;
    }
    *s = (struct sc_scaling){.lanes = order.lanes, .order = order.order};
    scale(ex, s);
}

/* Serves until the supervisor hangs up, or END or a signal asks to stop. */
static void serve(struct sc_executor *ex, int signals, struct sc_ctl_message *m)
{
    int ctl = ex->host.ctl;
    struct sc_scaling scaling = {.told = true};
    struct pollfd fds[3] = {{.fd = ctl, .events = POLLIN},
                            {.fd = signals, .events = POLLIN},
                            {.fd = ex->ended_fd, .events = POLLIN}};
    if (ex->host.waiting) {
        attach(ex, ex->host.waiting);
        sc_ctl_close_fds(ex->host.waiting);
        free(ex->host.waiting);
        ex->host.waiting = NULL;
    }
    while (!ex->host.end) {
        if (poll(fds, 3, -1) < 0 && errno != EINTR)
            return;
        if (fds[1].revents)
            return;
        if (fds[2].revents)
            scale(ex, &scaling);
        int rc;
        while ((rc = sc_ctl_receive(ctl, m)) == 1) {
            if (m->type == SC_CTL_ATTACH)
                attach(ex, m);
            else if (m->type == SC_CTL_LANES)
                take_order(ex, &scaling, m->payload);
            else if (m->type == SC_CTL_REOPEN_LOGS)
                sc_log_reopen();
            else if (m->type == SC_CTL_END)
                ex->host.end = true;
            sc_ctl_close_fds(m);
        }
        if (rc < 0)
            return;
    }
}

void sc_executor_open_log(const struct sconce_host *h)
{
    struct sc_msg msg;
    const char *form = env_or(h, SC_ENV_LOG_FORM, "stdout");
    struct sc_log_config log = {.dir = sc_host_variable(h, SC_ENV_LOG_DIR),
                                .level = strstr(form, "debug") ? SC_LOG_DEBUG : SC_LOG_INFO,
                                .to_stdout = strstr(form, "stdout") != NULL,
                                .json = strstr(form, "json") != NULL};
    if (sc_log_open(&log, &msg) < 0)
        fprintf(stderr, "%s\n", msg.text);
}

static int load(struct sc_executor *ex, int *signals, struct sc_msg *msg)
{
    int64_t start = sc_clock_ns();
    int rc = load_backend(ex, msg);
    int64_t backend = sc_clock_ns();
    if (rc == 0)
        rc = load_model(ex, msg);
    int64_t model = sc_clock_ns();
    if (!ex->host.env) /* a load is cut short, lanes are stopped in order */
        *signals = sc_ctl_open_signals();
    if (rc == 0)
        rc = sc_lanes_start(ex, msg);
    sc_log(SC_LOG_DEBUG, "ms to load the backend %.1f, the model %.1f, to start its lanes %.1f",
           (double)(backend - start) * 1e-6, (double)(model - backend) * 1e-6,
           (double)(sc_clock_ns() - model) * 1e-6);
    return rc;
}

static void let_go(struct sc_executor *ex)
{
    sc_lanes_stop(ex);
    if (ex->model)
        ex->ops->model_unload(ex->model);
    if (ex->host.waiting) {
        sc_ctl_close_fds(ex->host.waiting);
        free(ex->host.waiting);
    }
    ex->host.waiting = NULL;
}

int sc_executor_run(struct sc_executor *ex)
{
    struct sc_msg msg = {""};
    struct sconce_host *h = &ex->host;
    int signals = -1;
    read_environment(ex);
    char name[64];
    snprintf(name, sizeof name, "W-%s_%s", h->model, h->version);
    sc_log_thread_name(name);

    struct sc_ctl_message *m = malloc(sizeof *m);
    if (m)
        h->ctl = sc_ctl_connect_back_as(sc_host_variable(h, SC_ENV_SOCKET), sc_host_variable(h, SC_ENV_TOKEN),
                                        sc_host_variable(h, SC_ENV_RANK), &msg);
    if (h->ctl < 0) {
        sc_log(SC_LOG_ERROR, "%s", msg.text);
        free(m);
        return 1;
    }
    int rc = load(ex, &signals, &msg);
    if (rc == 0) {
        rc = tell_facts(ex, &(struct sc_scaling){0}, NULL);
        if (rc == 0)
            serve(ex, signals, m);
    } else {
        sc_log(SC_LOG_ERROR, "model %s cannot be served: %s", h->model, msg.text);
        if (sc_ctl_send_status(h->ctl, SC_SLOT_FAILED, sc_span_str(msg.text)) < 0)
            sc_log(SC_LOG_ERROR, "the supervisor is gone");
    }
    let_go(ex);
    free(m);
    struct sc_ctl_left left = {.code = rc == 0 ? 0 : 1};
    if (h->env &&
        sc_ctl_send(h->ctl, SC_CTL_LEFT, sc_span(&left, sizeof left), sc_span(NULL, 0), NULL, 0) < 0)
        sc_log(SC_LOG_ERROR, "the supervisor is gone");
    if (h->env)
        close(h->ctl);
    return left.code;
}

int sc_executor_main(void)
{
    static struct sc_executor ex;
    sc_executor_open_log(&ex.host);
    int code = sc_executor_run(&ex);
    sc_log_close();
    return code;
}
