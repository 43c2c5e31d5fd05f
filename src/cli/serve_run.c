/* A server from its settings to its end: checks, listeners, supervisor. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "cli/roles.h"
#include "cli/serve_options.h"
#include "worker/supervisor.h"

void sc_listen_plan(const struct sc_settings *s, struct sc_listen_plan *plan)
{
    const struct {
        const char *address;
        unsigned short port;
        unsigned serves;
    } wanted[] = {
        {s->inference_address, 8080, SC_SERVES_INFERENCE},
        {s->management_address, 8081, SC_SERVES_MANAGEMENT},
        {s->enable_metrics_api ? s->metrics_address : NULL, 8082, SC_SERVES_METRICS},
    };
    *plan = (struct sc_listen_plan){0};
    for (size_t i = 0; i < SC_COUNT(wanted); i++) {
        unsigned k = 0;
        if (!wanted[i].address)
            continue;
        while (k < plan->n && strcmp(plan->address[k], wanted[i].address) != 0)
            k++;
        if (k == plan->n) {
            plan->address[k] = wanted[i].address;
            plan->default_port[k] = wanted[i].port;
            plan->n++;
        }
        plan->serves[k] |= wanted[i].serves;
    }
}

/* ---- checks before anything runs ------------------------------------------------------------------ */

static bool is_loopback(const char *address)
{
    struct sc_span a = sc_span_str(address), http = SC_SPAN("http://");
    char host[64];
    struct in_addr ip;
    if (sc_span_starts(a, SC_SPAN("unix:")))
        return true;
    if (a.n < http.n || !sc_span_eq_nocase(sc_span_sub(a, 0, http.n), http))
        return false;
    a = sc_span_sub(a, http.n, a.n);
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
    if (!o->insecure && !is_loopback(s->management_address))
        return sc_fail(msg, SC_EINVAL,
                       "the management API would listen on %s, which others can reach: whoever does can load "
                       "code. Use a loopback address or a unix socket, or say --insecure",
                       s->management_address);
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
    return 0;
}

static int settings_file(struct sc_span text)
{
    int fd = memfd_create("sconce-settings", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -1;
    if (write(fd, text.p, text.n) != (ssize_t)text.n ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static int read_all_settings(const struct sc_serve_options *o, struct sc_settings *s, struct sc_buf *text,
                             struct sc_msg *msg)
{
    sc_buf_init(text, 2 * SC_SETTINGS_FILE_BYTES);
    const char *file = o->config ? o->config : "config.properties";
    if (o->config || access(file, F_OK) == 0) {
        /* Alone first, so that a message can name the line. */
        int rc = sc_file_read(file, text, msg);
        if (rc == 0)
            rc = sc_settings_read(s, sc_buf_view(text), file, msg);
        sc_settings_free(s);
        if (rc < 0)
            return rc;
    }
    sc_buf_char(text, '\n');
    sc_properties_write(&o->overrides, text);
    if (text->failed)
        return sc_fail(msg, SC_ELIMIT, "the settings exceed %u bytes", 2 * SC_SETTINGS_FILE_BYTES);
    int rc = sc_settings_read(s, sc_buf_view(text), "", msg);
    return rc == 0 ? check(o, s, msg) : rc;
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

static int run_supervisor(const struct sc_settings *s, const struct sc_listen_plan *plan,
                          const int *listeners, struct sc_span text, struct sc_msg *msg)
{
    int fd = settings_file(text);
    if (fd < 0)
        return sc_fail(msg, SC_ESYS, "the settings cannot be handed to the frontend: %s", strerror(errno));
    struct sc_log_config log = {.dir = s->log_dir,
                                .metrics_dir = s->metrics_dir,
                                .level = SC_LOG_INFO,
                                .to_stdout = s->log_to_stdout,
                                .json = s->log_json};
    int rc = sc_log_open(&log, msg);
    if (rc < 0)
        return rc;
    sc_log_thread_name("supervisor");
    sc_log(SC_LOG_INFO, "sconce " SCONCE_VERSION ", pid %d", (int)getpid());
    for (unsigned i = 0; i < plan->n; i++)
        sc_log(SC_LOG_INFO, "%s%s%sAPI on %s", plan->serves[i] & SC_SERVES_INFERENCE ? "inference " : "",
               plan->serves[i] & SC_SERVES_MANAGEMENT ? "management " : "",
               plan->serves[i] & SC_SERVES_METRICS ? "metrics " : "", plan->address[i]);
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

static int supervise(const struct sc_settings *s, struct sc_span text, struct sc_msg *msg)
{
    struct sc_listen_plan plan;
    int listeners[3], rc = 0;
    unsigned n = 0;
    sc_listen_plan(s, &plan);
    while (rc == 0 && n < plan.n) {
        listeners[n] = sc_listen(sc_span_str(plan.address[n]), plan.default_port[n], msg);
        if (listeners[n] < 0)
            rc = listeners[n];
        else
            n++;
    }
    if (rc == 0)
        rc = run_supervisor(s, &plan, listeners, text, msg);
    unlink_sockets(&plan, n);
    return rc;
}

int sc_serve_run(const struct sc_serve_options *o)
{
    struct sc_settings s = {0};
    struct sc_buf text;
    struct sc_msg msg = {""};
    int rc = read_all_settings(o, &s, &text, &msg);
    if (rc == 0)
        rc = supervise(&s, sc_buf_view(&text), &msg);
    if (rc < 0)
        fprintf(stderr, "sconce: %s\n", msg.text);
    sc_buf_free(&text);
    sc_settings_free(&s);
    return rc < 0 ? SC_EXIT_FATAL : rc;
}
