#include "cli/bench_server.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/span.h"
#include "load/http_client.h"
#include "proto/properties.h"

#define SELF "/proc/self/exe"
#define START_MS 120000
#define REGISTER_MS 1200000 /* loading may take long, dependencies longer */
#define STOP_MS 60000
#define ADDRESSES 5

extern char **environ;

static void nap(int ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000L}, NULL);
}

/* ---- its settings ---- */

/* Ports that are free at this moment. */
static int free_ports(unsigned ports[ADDRESSES], struct sc_msg *msg)
{
    int fds[ADDRESSES], rc = 0;
    for (unsigned i = 0; i < ADDRESSES; i++) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t n = sizeof a;
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fds[i] < 0 || bind(fds[i], (struct sockaddr *)&a, n) < 0 ||
            getsockname(fds[i], (struct sockaddr *)&a, &n) < 0)
            rc = sc_fail(msg, SC_ESYS, "there is no free port: %s", strerror(errno));
        ports[i] = ntohs(a.sin_port);
    }
    for (unsigned i = 0; i < ADDRESSES; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    return rc;
}

static int write_file(const char *path, struct sc_span text, struct sc_msg *msg)
{
    FILE *f = fopen(path, "we");
    bool ok = f && fwrite(text.p, 1, text.n, f) == text.n;
    if (f && fclose(f) != 0)
        ok = false;
    return ok ? 0 : sc_fail(msg, SC_ESYS, "%s cannot be written: %s", path, strerror(errno));
}

/* As the configuration that comes with benchmark-ab.py, on ports that are free. */
static int default_config(struct sc_bench_server *s, struct sc_buf *text, struct sc_msg *msg)
{
    unsigned ports[ADDRESSES];
    int rc = free_ports(ports, msg);
    snprintf(s->inference, sizeof s->inference, "http://127.0.0.1:%u", ports[0]);
    snprintf(s->management, sizeof s->management, "http://127.0.0.1:%u", ports[1]);
    sc_buf_printf(
        text,
        "inference_address=%s\nmanagement_address=%s\nmetrics_address=http://127.0.0.1:%u\n"
        "grpc_inference_port=%u\ngrpc_management_port=%u\njob_queue_size=1000\n"
        "default_response_timeout=300\nunregister_model_timeout=300\ninstall_py_dep_per_model=true\n",
        s->inference, s->management, ports[2], ports[3], ports[4]);
    return rc;
}

static int given_config(struct sc_bench_server *s, const char *file, struct sc_buf *text, struct sc_msg *msg)
{
    struct sc_properties p = {0};
    int rc = sc_file_read(file, text, msg);
    if (rc == 0)
        rc = sc_properties_read(&p, sc_buf_view(text), file, msg);
    const char *inference = rc == 0 ? sc_properties_get(&p, "inference_address") : NULL;
    const char *management = rc == 0 ? sc_properties_get(&p, "management_address") : NULL;
    snprintf(s->inference, sizeof s->inference, "%s", inference ? inference : "http://127.0.0.1:8080");
    snprintf(s->management, sizeof s->management, "%s", management ? management : "http://127.0.0.1:8081");
    sc_properties_free(&p);
    return rc;
}

/* The model where the server looks for it: in its store, under its own name. */
static int put_model(const struct sc_bench_server *s, const char *url, struct sc_msg *msg)
{
    char from[PATH_MAX], to[PATH_MAX + 300];
    if (strstr(url, "://"))
        return 0;
    if (!realpath(url, from))
        return sc_fail(msg, SC_ENOTFOUND, "the model %s: %s", url, strerror(errno));
    const char *name = strrchr(from, '/');
    snprintf(to, sizeof to, "%s/%s%s", s->folder, s->workflow ? "wf_store" : "model_store", name);
    return symlink(from, to) == 0 ? 0 : sc_fail(msg, SC_ESYS, "%s: %s", to, strerror(errno));
}

static int prepare(struct sc_bench_server *s, const struct sc_bench_options *o, const char *settings,
                   struct sc_msg *msg)
{
    static const char *const folders[] = {"", "/model_store", "/wf_store", "/tmp"};
    const char *tmp = o->tmp_dir ? o->tmp_dir : getenv("TMPDIR");
    struct sc_span url = sc_span_str(o->url), war = SC_SPAN(".war");
    struct sc_buf text;
    char path[300];
    s->workflow = url.n > war.n && sc_span_eq(sc_span_sub(url, url.n - war.n, war.n), war);
    snprintf(s->folder, sizeof s->folder, "%.200s/sconce-bench-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(s->folder)) {
        int err = errno;
        char name[256];
        snprintf(name, sizeof name, "%s", s->folder);
        s->folder[0] = '\0';
        return sc_fail(msg, SC_ESYS, "%s cannot be made: %s", name, strerror(err));
    }
    snprintf(s->log, sizeof s->log, "%s/model_metrics.log", s->folder);
    for (unsigned i = 1; i < SC_COUNT(folders); i++) {
        snprintf(path, sizeof path, "%s%s", s->folder, folders[i]);
        if (mkdir(path, 0700) < 0)
            return sc_fail(msg, SC_ESYS, "%s: %s", path, strerror(errno));
    }
    sc_buf_init(&text, SC_SETTINGS_FILE_BYTES);
    int rc = o->config_properties ? given_config(s, o->config_properties, &text, msg)
                                  : default_config(s, &text, msg);
    snprintf(path, sizeof path, "%s/config.properties", s->folder);
    if (settings)
        sc_buf_printf(&text, "\n%s", settings);
    if (rc == 0)
        rc = text.failed ? sc_fail(msg, SC_ELIMIT, "the server's configuration is too large")
                         : write_file(path, sc_buf_view(&text), msg);
    sc_buf_free(&text);
    return rc == 0 ? put_model(s, o->url, msg) : rc;
}

/* ---- the process ---- */

static _Noreturn void become(const struct sc_bench_server *s, const struct sc_bench_options *o, pid_t parent)
{
    char tmp[300];
    const char *ours = o->server ? o->server : SELF;
    char *argv[] = {(char *)"torchserve",
                    (char *)"--start",
                    (char *)"--foreground",
                    (char *)"--ncs",
                    (char *)"--model-store",
                    (char *)"model_store",
                    (char *)"--workflow-store",
                    (char *)"wf_store",
                    (char *)"--enable-model-api",
                    (char *)"--disable-token-auth",
                    (char *)"--ts-config",
                    (char *)"config.properties",
                    NULL};
    int log = open(s->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* A Ctrl-C is for the one who measures. */
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    snprintf(tmp, sizeof tmp, "%s/tmp", s->folder);
    setenv("TMPDIR", tmp, 1); /* where a PID file says that a server runs */
    setenv("TEMP", tmp, 1);
    if (o->backend_profiling)
        setenv("TS_BENCHMARK", "True", 1);
    if (getppid() != parent || log < 0 || null < 0 || dup2(null, 0) < 0 || dup2(log, 1) < 0 ||
        dup2(log, 2) < 0 || chdir(s->folder) < 0)
        _exit(126);
    if (o->server)
        execvp(ours, argv);
    else
        execv(ours, argv);
    dprintf(2, "%s: %s\n", ours, strerror(errno));
    _exit(127);
}

bool sc_bench_server_alive(struct sc_bench_server *s)
{
    if (s->pid <= 0)
        return false;
    if (waitpid(s->pid, NULL, WNOHANG) != s->pid)
        return true;
    kill(-s->pid, SIGKILL);
    s->pid = 0;
    s->died = true;
    return false;
}

int64_t sc_bench_server_said(const struct sc_bench_server *s)
{
    struct stat st;
    return stat(s->log, &st) == 0 ? st.st_size : 0;
}

void sc_bench_server_tail(const struct sc_bench_server *s, char *to, size_t size)
{
    int fd = open(s->log, O_RDONLY | O_CLOEXEC);
    int64_t n = sc_bench_server_said(s);
    to[0] = '\0';
    if (fd < 0)
        return;
    ssize_t got = pread(fd, to, size - 1, n > (int64_t)size - 1 ? n - (int64_t)size + 1 : 0);
    to[got > 0 ? got : 0] = '\0';
    for (char *c = to; *c; c++)
        if ((unsigned char)*c < ' ')
            *c = ' ';
    close(fd);
}

static int ended(struct sc_bench_server *s, struct sc_msg *msg)
{
    char tail[300];
    sc_bench_server_tail(s, tail, sizeof tail);
    return sc_fail(msg, SC_ECLOSED, "the server ended; its last words: %s", tail);
}

static int await_ping(struct sc_bench_server *s, const atomic_bool *stop, struct sc_msg *msg)
{
    int64_t end = sc_clock_ms() + START_MS;
    for (;;) {
        struct sc_fetched a;
        struct sc_msg ignored;
        int rc = sc_http_get(&a, s->inference, 8080, "/ping", NULL, 5000, &ignored);
        int status = rc == 0 ? a.status : 0;
        sc_fetched_free(&a);
        if (atomic_load(stop))
            return sc_fail(msg, SC_ECANCELED, "interrupted");
        if (!sc_bench_server_alive(s))
            return ended(s, msg);
        if (status == 200)
            return 0;
        if (sc_clock_ms() > end)
            return sc_fail(msg, SC_ETIMEOUT, "the server is not healthy after %d s", START_MS / 1000);
        nap(50);
    }
}

int sc_bench_server_register(struct sc_bench_server *s, const struct sc_bench_options *o, bool asked,
                             struct sc_msg *msg)
{
    struct sc_buf path;
    struct sc_fetched a = {0};
    const char *name = strrchr(o->url, '/');
    char local[PATH_MAX];
    /* "model/" is the folder "model": what its link in the store is called. */
    if (!strstr(o->url, "://") && realpath(o->url, local))
        name = strrchr(local, '/');
    sc_buf_init(&path, 8192);
    sc_buf_str(&path,
               s->workflow ? "/workflows?workflow_name=benchmark&url=" : "/models?model_name=benchmark&url=");
    sc_http_escape(&path, strstr(o->url, "://") ? o->url : name + 1, "/:");
    if (!asked)
        sc_buf_str(&path, "&synchronous=true");
    if (asked && !s->workflow) {
        sc_buf_printf(&path, "&batch_size=%llu&initial_workers=%llu&synchronous=true",
                      (unsigned long long)o->batch_size, (unsigned long long)o->workers);
        if (sc_bench_given(o, &o->batch_delay))
            sc_buf_printf(&path, "&max_batch_delay=%llu", (unsigned long long)o->batch_delay);
    }
    sc_buf_char(&path, '\0');
    int rc = path.failed ? sc_fail(msg, SC_ELIMIT, "the model's address is too long")
                         : sc_http_ask(&a, "POST", s->management, 8081, path.p, NULL, REGISTER_MS, msg);
    if (rc == 0 && a.status != 200)
        rc = sc_fail(msg, SC_EINVAL, "the model is not taken: %d %.*s", a.status,
                     (int)SC_MIN(a.body.n, (size_t)300), a.body.p ? a.body.p : "");
    sc_fetched_free(&a);
    sc_buf_free(&path);
    s->registered = rc == 0;
    return rc < 0 && s->pid > 0 && !sc_bench_server_alive(s) ? ended(s, msg) : rc;
}

int sc_bench_server_start(struct sc_bench_server *s, const struct sc_bench_options *o, const char *settings,
                          const atomic_bool *stop, struct sc_msg *msg)
{
    *s = (struct sc_bench_server){0};
    int rc = prepare(s, o, settings, msg);
    if (rc < 0)
        return rc;
    fflush(NULL);
    pid_t parent = getpid();
    s->pid = fork();
    if (s->pid == 0)
        become(s, o, parent);
    if (s->pid < 0)
        return sc_fail(msg, SC_ESYS, "no process for the server: %s", strerror(errno));
    return await_ping(s, stop, msg);
}

void sc_bench_server_unregister(struct sc_bench_server *s)
{
    struct sc_fetched a;
    struct sc_msg ignored;
    if (!s->registered || !sc_bench_server_alive(s))
        return;
    (void)!sc_http_ask(&a, "DELETE", s->management, 8081,
                       s->workflow ? "/workflows/benchmark" : "/models/benchmark", NULL, STOP_MS, &ignored);
    sc_fetched_free(&a);
    s->registered = false;
}

void sc_bench_server_stop(struct sc_bench_server *s)
{
    sc_bench_server_unregister(s);
    if (s->pid <= 0)
        return;
    pid_t group = s->pid;
    int64_t end = sc_clock_ms() + STOP_MS;
    kill(-group, SIGTERM);
    while (sc_clock_ms() < end && waitpid(group, NULL, WNOHANG) == 0)
        nap(20);
    kill(-group, SIGKILL);
    (void)waitpid(group, NULL, 0);
    s->pid = 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

void sc_bench_server_forget(struct sc_bench_server *s, const char *path)
{
    if (!s->folder[0])
        return;
    struct sc_buf text;
    struct sc_msg ignored;
    sc_buf_init(&text, SC_LOAD_PAYLOAD_BYTES);
    if (path && sc_file_read(s->log, &text, &ignored) == 0)
        (void)!write_file(path, sc_buf_view(&text), &ignored);
    sc_buf_free(&text);
    (void)nftw(s->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    s->folder[0] = '\0';
}
