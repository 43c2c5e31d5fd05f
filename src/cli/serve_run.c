/* A server from its settings to its end: checks, listeners, supervisor. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive/archive.h"
#include "base/file.h"
#include "base/log.h"
#include "base/log_levels.h"
#include "cli/live.h"
#include "cli/places.h"
#include "cli/roles.h"
#include "cli/serve_options.h"
#include "cli/serve_tls.h"
#include "gpu/agent.h"
#include "model/cpu_launcher.h"
#include "worker/supervisor.h"

#define PREDECESSOR_WAIT_MS 45000

/* NULL: no such listener. */
static const char *grpc_address(const struct sc_settings *s, const char *host, int port, char out[300])
{
    snprintf(out, 300, "%s://%s:%d", s->enable_grpc_ssl ? "https" : "http", host, port);
    return port ? out : NULL;
}

void sc_listen_plan(const struct sc_settings *s, struct sc_listen_plan *plan)
{
    *plan = (struct sc_listen_plan){0};
    const struct {
        const char *address;
        unsigned short port, tls_port;
        unsigned serves;
    } wanted[] = {
        {s->inference_address, 8080, 443, SC_SERVES_INFERENCE},
        {s->management_address, 8081, 8444, SC_SERVES_MANAGEMENT},
        {s->enable_metrics_api ? s->metrics_address : NULL, 8082, 8445, SC_SERVES_METRICS},
        {grpc_address(s, s->grpc_inference_address, s->grpc_inference_port, plan->grpc[0]), 7070, 7070,
         SC_SERVES_GRPC | SC_SERVES_INFERENCE},
        {grpc_address(s, s->grpc_management_address, s->grpc_management_port, plan->grpc[1]), 7071, 7071,
         SC_SERVES_GRPC | SC_SERVES_MANAGEMENT},
    };
    for (size_t i = 0; i < SC_COUNT(wanted); i++) {
        unsigned k = 0;
        if (!wanted[i].address)
            continue;
        while (k < plan->n && (strcmp(plan->address[k], wanted[i].address) != 0 ||
                               (plan->serves[k] ^ wanted[i].serves) & SC_SERVES_GRPC))
            k++;
        if (k == plan->n) {
            plan->address[k] = wanted[i].address;
            plan->default_port[k] = sc_is_https(wanted[i].address) ? wanted[i].tls_port : wanted[i].port;
            plan->n++;
        }
        plan->serves[k] |= wanted[i].serves;
    }
}

/* ---- checks before anything runs ------------------------------------------------------------------ */

static bool is_loopback(const char *address)
{
    struct sc_span a = sc_span_str(address), http = SC_SPAN("http://"), https = SC_SPAN("https://");
    char host[64];
    struct in_addr ip;
    if (sc_span_starts(a, SC_SPAN("unix:")))
        return true;
    if (sc_span_eq_nocase(sc_span_sub(a, 0, http.n), http))
        a = sc_span_sub(a, http.n, a.n);
    else if (sc_span_eq_nocase(sc_span_sub(a, 0, https.n), https))
        a = sc_span_sub(a, https.n, a.n);
    else
        return false;
    a = sc_span_sub(a, 0, sc_span_find(a, ':'));
    if (sc_span_eq_nocase(a, SC_SPAN("localhost")))
        return true;
    /* 127.0.0.1 and its like; not a name that begins so. */
    snprintf(host, sizeof host, "%.*s", (int)SC_MIN(a.n, sizeof host - 1), a.p);
    return inet_pton(AF_INET, host, &ip) == 1 && ntohl(ip.s_addr) >> 24 == 127;
}

static int check(const struct sc_serve_options *o, const struct sc_settings *s, struct sc_msg *msg)
{
    struct stat st;
    struct sc_listen_plan plan;
    sc_listen_plan(s, &plan);
    for (unsigned i = 0; i < plan.n; i++)
        if (!o->pidfile && !o->insecure && s->disable_token_authorization &&
            (plan.serves[i] & SC_SERVES_MANAGEMENT) && !(s->tls_client_ca && sc_is_https(plan.address[i])) &&
            !is_loopback(plan.address[i]))
            return sc_fail(msg, SC_EINVAL,
                           "the management API would listen on %s, which others can reach: whoever does can "
                           "load code. Use a loopback address or a unix socket, https with tls_client_ca, or "
                           "say --insecure",
                           plan.address[i]);
    if (s->model_store && stat(s->model_store, &st) < 0)
        return sc_fail(msg, SC_ENOTFOUND,
                       "the model store %s cannot be used: %s. Create the folder or name another with "
                       "--model-store",
                       s->model_store, strerror(errno));
    if (s->model_store && !S_ISDIR(st.st_mode))
        return sc_fail(msg, SC_EINVAL,
                       "the model store %s is no folder: name the folder that the models lie in",
                       s->model_store);
    if (s->model_store && access(s->model_store, R_OK | X_OK) < 0)
        return sc_fail(msg, SC_ESYS, "the model store %s cannot be read: %s", s->model_store,
                       strerror(errno));
    return sc_serve_tls_check(s, msg);
}

static int settings_file(struct sc_span text)
{
    int fd = memfd_create(SC_SETTINGS_MEMFD, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -1;
    if (write(fd, text.p, text.n) != (ssize_t)text.n ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* number_of_gpu becomes how many there are to use. Why none can be used is said where there is a driver. */
static int find_gpus(struct sc_settings *s, struct sc_msg *msg)
{
    if (s->number_of_gpu == 0)
        return 0;
    int n = sc_gpu_detect("/proc/self/exe", SC_GPU_COUNT_MS, msg);
    if (n < 0)
        return n;
    if (*msg->text && access("/dev/nvidiactl", F_OK) == 0)
        sc_log(SC_LOG_WARN, "%s", msg->text);
    sc_settings_set_gpus(s, n);
    return 0;
}

/*
 * TorchServe's command restores the newest snapshot whatever else is said but a file by name. Ours does so
 * only when nobody says what to serve: who names models, or has a config.properties here, means them.
 */
static bool snapshot_wanted(const struct sc_serve_options *o)
{
    return o->pidfile ||
           (!sc_properties_get(&o->overrides, "load_models") && access("config.properties", F_OK) < 0);
}

/* *text: the settings as the frontend reads them. */
static int resolve(const struct sc_serve_options *o, struct sc_settings *s, struct sc_buf *text,
                   struct sc_msg *msg)
{
    struct sc_buf file;
    char plugins[PATH_MAX], home[PATH_MAX];
    sc_place_plugins(plugins, sizeof plugins);
    sc_place_home(plugins, home, sizeof home);
    char *path = sc_settings_find_file(o->config, !o->no_snapshots && snapshot_wanted(o));
    sc_buf_init(&file, SC_SETTINGS_FILE_BYTES);
    int rc = path ? sc_file_read(path, &file, msg) : 0;
    struct sc_settings_sources from = {
        .face = o->pidfile ? SC_FACE_TORCHSERVE : SC_FACE_SCONCE,
        .file = path,
        .text = sc_buf_view(&file),
        .command_line = &o->overrides,
        .no_snapshots = o->no_snapshots,
        .home = home,
        .gpus = -1,
    };
    if (rc == 0)
        rc = sc_settings_resolve(s, &from, msg);
    if (rc == 0)
        rc = check(o, s, msg);
    if (rc == 0)
        rc = find_gpus(s, msg);
    if (rc == 0 && s->cpu_launcher_enable)
        s->cpu_launcher_enable = sc_cpu_launcher_works(s);
    if (rc == 0)
        sc_settings_write(s, text);
    if (text->failed)
        rc = sc_fail(msg, SC_ELIMIT, "the settings exceed %u bytes", 2 * SC_SETTINGS_FILE_BYTES);
    sc_buf_free(&file);
    free(path);
    return rc;
}

static void log_line(int level, const char *line)
{
    sc_log_line(SC_LOGGER_SERVER, (enum sc_log_level)level, NULL, sc_span_str(line));
}

/* Paths of unix sockets are ours from the moment they are bound. */
static void unlink_sockets(const struct sc_listen_plan *plan, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (strncmp(plan->address[i], "unix:", 5) == 0)
            unlink(plan->address[i] + 5);
}

static void note(void *ctx, enum sc_log_level level, const char *text)
{
    (void)ctx;
    sc_log_line(SC_LOGGER_SERVER, level, NULL, sc_span_str(text));
}

/* What an operator reads first. Tools know TorchServe's lines by heart. */
static void announce(const struct sc_serve_options *o, const struct sc_settings *s,
                     const struct sc_listen_plan *plan)
{
    static const struct {
        unsigned bit;
        const char *name, *ours;
    } apis[] = {{SC_SERVES_INFERENCE, "Inference", "inference "},
                {SC_SERVES_MANAGEMENT, "Management", "management "},
                {SC_SERVES_METRICS, "Metrics", "metrics "}};
    sc_log(SC_LOG_INFO, "sconce " SCONCE_VERSION ", pid %d", (int)getpid());
    sc_settings_notes(s, note, NULL);
    if (o->pidfile) {
        struct sc_buf dump;
        sc_buf_init(&dump, SC_LOG_LINE_MAX);
        sc_settings_dump(s, &dump);
        sc_log_line(SC_LOGGER_SERVER, SC_LOG_INFO, NULL, sc_buf_view(&dump));
        sc_buf_free(&dump);
    }
    for (unsigned i = 0; i < plan->n; i++) {
        char names[64] = "";
        size_t used = 0;
        bool grpc = plan->serves[i] & SC_SERVES_GRPC;
        for (size_t k = 0; k < SC_COUNT(apis); k++) {
            if (!(plan->serves[i] & apis[k].bit))
                continue;
            if (o->pidfile)
                sc_log(SC_LOG_INFO, "%s %s bind to: %s", apis[k].name, grpc ? "gRPC API" : "API",
                       plan->address[i]);
            else
                used += (size_t)snprintf(names + used, sizeof names - used, "%s", apis[k].ours);
        }
        if (!o->pidfile)
            sc_log(SC_LOG_INFO, "%s%sAPI on %s", names, grpc ? "gRPC " : "", plan->address[i]);
    }
}

void sc_serve_log_levels(const struct sc_settings *s, struct sc_log_levels *levels, bool tell)
{
    static const char option[] = "-Dlog4j.configurationFile=";
    char from_vmargs[PATH_MAX];
    const char *file = s->log_config, *vmargs = sc_properties_get(&s->all, "vmargs");
    struct sc_buf text;
    struct sc_msg msg = {""};
    sc_log_levels_init(levels, s->face == SC_FACE_TORCHSERVE ? SC_LOG_DEBUG : SC_LOG_INFO);
    const char *at = vmargs && !file ? strstr(vmargs, option) : NULL;
    if (at) {
        at += sizeof option - 1;
        at += strncmp(at, "file://", 7) == 0 ? 7 : 0;
        snprintf(from_vmargs, sizeof from_vmargs, "%.*s", (int)strcspn(at, " \t"), at);
        file = from_vmargs;
    }
    if (!file)
        return;
    sc_buf_init(&text, SC_SETTINGS_FILE_BYTES);
    int rc = sc_file_read(file, &text, &msg);
    if (rc == 0 && sc_log_levels_read(levels, sc_buf_view(&text)) < 0)
        rc = sc_fail(&msg, SC_EUNSUPPORTED, "%s is no log4j configuration in XML", file);
    if (rc < 0 && tell)
        fprintf(stderr, "%s: it is ignored, lines are written as without it\n", msg.text);
    sc_buf_free(&text);
}

static int run_supervisor(const struct sc_serve_options *o, const struct sc_settings *s,
                          const struct sc_listen_plan *plan, const int *listeners, struct sc_span text,
                          struct sc_msg *msg)
{
    int fd = settings_file(text);
    if (fd < 0)
        return sc_fail(msg, SC_ESYS, "the settings cannot be handed to the frontend: %s", strerror(errno));
    struct sc_log_config log = {.dir = s->log_dir,
                                .metrics_dir = s->metrics_dir,
                                .level = SC_LOG_INFO,
                                .to_stdout = s->log_to_stdout,
                                .json = s->log_json};
    struct sc_log_levels levels;
    sc_serve_log_levels(s, &levels, true);
    log.levels = &levels;
    int rc = sc_log_open(&log, msg);
    if (rc < 0)
        return rc;
    sc_log_thread_name("supervisor");
    /* Held to the end: extracted models are this process's, whatever becomes of the frontend. */
    rc = sc_archive_claim(s->temp, msg);
    if (rc < 0) {
        sc_log_close();
        return rc;
    }
    sc_archive_sweep(s->temp);
    announce(o, s, plan);
    static char frontend_title[] = "sconce: frontend", frontend_role[] = "--role=frontend";
    char *argv[] = {frontend_title, frontend_role, NULL};
    struct sc_supervisor_spec spec = {
        .exe = "/proc/self/exe",
        .frontend_argv = argv,
        .listeners = listeners,
        .nlisteners = plan->n,
        .settings_fd = fd,
        .drain_ms = s->drain_ms,
        .reopen_logs = sc_log_reopen,
        .log = log_line,
    };
    rc = sc_supervisor_run(&spec);
    sc_log_close();
    return rc;
}

/*
 * `torchserve --stop` does not wait, so a start that follows at once finds its predecessor finishing what it
 * has. True if there was one, and it has ended.
 */
static bool waited_for_predecessor(const struct sc_serve_options *o)
{
    struct sc_live *list;
    unsigned n = o->pidfile ? sc_live_list(&list) : 0;
    bool ended = false;
    for (unsigned i = 0; i < n; i++) {
        if (!list[i].pidfile || strcmp(list[i].pidfile, o->pidfile) != 0)
            continue;
        printf("Waiting for the server with pid %d, which is being stopped.\n", (int)list[i].pid);
        fflush(stdout);
        ended = sc_live_wait(list[i].pid, PREDECESSOR_WAIT_MS) == 0;
    }
    if (o->pidfile)
        sc_live_free(list, n);
    return ended;
}

static int listen_on(const struct sc_serve_options *o, const struct sc_listen_plan *plan, unsigned i,
                     struct sc_msg *msg)
{
    struct sc_span address = sc_span_str(plan->address[i]);
    int fd = sc_listen(address, plan->default_port[i], msg);
    if (fd == SC_EEXIST && waited_for_predecessor(o))
        fd = sc_listen(address, plan->default_port[i], msg);
    if (fd < 0 && o->pidfile) {
        struct sc_msg why = *msg;
        return sc_fail(msg, fd, "Failed to bind to address: %s (%s)", plan->address[i], why.text);
    }
    return fd;
}

static int supervise(const struct sc_serve_options *o, const struct sc_settings *s, struct sc_span text,
                     struct sc_msg *msg)
{
    struct sc_listen_plan plan;
    int listeners[SC_LISTENERS_MAX], rc = 0;
    unsigned n = 0;
    sc_listen_plan(s, &plan);
    while (rc == 0 && n < plan.n) {
        listeners[n] = listen_on(o, &plan, n, msg);
        if (listeners[n] < 0)
            rc = listeners[n];
        else
            n++;
    }
    if (rc == 0)
        rc = run_supervisor(o, s, &plan, listeners, text, msg);
    unlink_sockets(&plan, n);
    return rc;
}

/* The exit code of a server that TorchServe's command started: 1 whenever it ends by itself, and nobody
 * learns it in the foreground. */
static int torchserve_code(const struct sc_serve_options *o, int rc)
{
    return o->foreground ? 0 : rc == 0 ? 128 + SIGTERM : 1;
}

int sc_serve_run(const struct sc_serve_options *o)
{
    struct sc_settings s = {0};
    struct sc_buf text;
    struct sc_msg msg = {""};
    sc_buf_init(&text, 2 * SC_SETTINGS_FILE_BYTES);
    int rc = resolve(o, &s, &text, &msg);
    if (rc < 0 && o->pidfile)
        printf("Invalid configuration: %s\n", msg.text);
    else if (rc < 0 || (rc = supervise(o, &s, sc_buf_view(&text), &msg)) < 0)
        fprintf(o->pidfile ? stdout : stderr, "%s%s\n", o->pidfile ? "" : "sconce: ", msg.text);
    sc_buf_free(&text);
    sc_settings_free(&s);
    return o->pidfile ? torchserve_code(o, rc) : rc < 0 ? SC_EXIT_FATAL : rc;
}
