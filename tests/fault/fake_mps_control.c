/*
 * nvidia-cuda-mps-control for machines without a GPU: the commands, files, answers and log lines that were
 * seen of the real one, and misbehaviour on request. Its folder goes in front of PATH.
 *
 * A process becomes a client by connecting to PIPE/control and sending "client PID\n"; it stays one until it
 * closes the connection, and learns of its end by the other side's closing. The server is a process that
 * waits. FAKE_MPS says how it behaves, parted by blanks:
 *
 *     hang=COMMAND   that command is never answered
 *     fail=start     it ends at once with code 1
 *     keep=1         terminate_client fails
 *     busy=1         a client that ends by itself takes all others with it
 *
 * FAKE_MPS_LOG names a file to which a line is appended for each order: "start PIPE DEVICES",
 * "terminate_client PID alive", "quit". A command of its own, "fault", is a fatal GPU error: every client is
 * lost, and the server takes no other.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/array.h"

#define MAX 128

static struct connection {
    int fd, client; /* client: pid; 0: carries commands */
    bool hangs;     /* it waits for an answer that does not come */
    char in[512];
    size_t n;
} all[MAX];
static unsigned count;
static pid_t server;
static bool faulted;
static char pipe_dir[4096] = "/tmp/nvidia-mps";
static const char *percentage = "100.0";

static void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void note(const char *fmt, ...)
{
    const char *path = getenv("FAKE_MPS_LOG");
    FILE *f = path ? fopen(path, "ae") : NULL;
    va_list ap;
    if (!f)
        return;
    va_start(ap, fmt);
    vfprintf(f, fmt, ap);
    va_end(ap);
    fputc('\n', f);
    fclose(f);
}

static bool told(const char *word)
{
    const char *text = getenv("FAKE_MPS");
    return text && strstr(text, word);
}

static const char *file(const char *name)
{
    static char path[8192];
    snprintf(path, sizeof path, "%s/%s", pipe_dir, name);
    return path;
}

static int reach(bool listens)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(file("control")) >= sizeof a.sun_path)
        return -1;
    memcpy(a.sun_path, file("control"), strlen(file("control")));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listens)
        unlink(a.sun_path);
    int rc =
        listens ? bind(fd, (struct sockaddr *)&a, sizeof a) : connect(fd, (struct sockaddr *)&a, sizeof a);
    return rc < 0 || (listens && listen(fd, MAX) < 0) ? -1 : fd;
}

/* ---- with commands --------------------------------------------------------------------------------- */

static int carry(void)
{
    char bytes[4096];
    ssize_t n;
    int fd = reach(false);
    if (fd < 0) {
        fprintf(stderr, "Cannot find MPS control daemon process\n");
        return 1;
    }
    while ((n = read(STDIN_FILENO, bytes, sizeof bytes)) > 0)
        if (write(fd, bytes, (size_t)n) != n)
            return 1;
    shutdown(fd, SHUT_WR);
    while ((n = read(fd, bytes, sizeof bytes)) > 0)
        if (write(STDOUT_FILENO, bytes, (size_t)n) != n)
            return 1;
    return 0;
}

/* ---- the daemon ------------------------------------------------------------------------------------ */

static void drop(unsigned i)
{
    close(all[i].fd);
    all[i] = all[--count];
}

static void drop_clients(int pid)
{
    for (unsigned i = count; i-- > 0;)
        if (all[i].client && (!pid || all[i].client == pid))
            drop(i);
}

static void start_server(void)
{
    faulted = false;
    server = fork();
    if (server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)close_range(3, ~0u, 0); /* a connection ends when the daemon closes it */
        for (;;)
            pause();
    }
    printf("[2026-11-23 05:00:00.000 Control %d] Starting new server %d for user 0\n", getpid(), server);
    printf("[2026-11-23 05:00:00.000 Server %d] Server has started\n", server);
}

static void say(int fd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(int fd, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vdprintf(fd, fmt, ap);
    va_end(ap);
}

static void terminate(int fd, int of, int pid)
{
    note("terminate_client %d %s", pid, kill(pid, 0) == 0 ? "alive" : "gone");
    if (of != server) {
        say(fd, "Server %d not found\nServer %d not found\n1\n", of, of);
        return;
    }
    if (!told("keep=1"))
        drop_clients(pid);
    say(fd, "%d\n", told("keep=1") ? 1 : 0);
}

static void fault(void)
{
    printf(
        "[2026-11-23 05:00:00.000 Server   %d] Client {PID: %d, Context: 1} encountered a fatal GPU error.\n",
        server, (int)getpid());
    printf("[2026-11-23 05:00:00.000 Server   %d] Server is handling a fatal GPU error.\n", server);
    faulted = true; /* until the server's end: the real one may never get over it */
    drop_clients(0);
}

/* False: it is not answered. */
static bool obey(int fd, char *line)
{
    char *rest = line, *name = strsep(&rest, " "), hang[64];
    int first = rest ? (int)strtol(rest, &rest, 10) : 0;
    snprintf(hang, sizeof hang, "hang=%s", name);
    if (told(hang))
        return false;
    if (strcmp(name, "get_server_list") == 0) {
        if (server)
            say(fd, "%d\n", server);
    } else if (strcmp(name, "get_server_status") == 0) {
        if (first == server && server)
            say(fd, "%s\n", faulted ? "FAULT" : "ACTIVE");
        else
            say(fd, "Server %d not found\n", first);
    } else if (strcmp(name, "get_client_list") == 0) {
        for (unsigned i = 0; i < count; i++)
            if (all[i].client)
                say(fd, "%d\n", all[i].client);
    } else if (strcmp(name, "get_default_active_thread_percentage") == 0) {
        say(fd, "%s\n", percentage);
    } else if (strcmp(name, "terminate_client") == 0) {
        terminate(fd, first, rest ? (int)strtol(rest, NULL, 10) : 0);
    } else if (strcmp(name, "fault") == 0) {
        fault();
    } else if (strcmp(name, "quit") == 0) {
        note("quit");
        unlink(file("log"));
        unlink(file("nvidia-cuda-mps-control.pid"));
        exit(0);
    } else {
        say(fd, "Unknown command \"%s\"\n", name);
    }
    return true;
}

/* False: the connection is over. */
static bool hear(struct connection *c)
{
    char *end;
    ssize_t n =
        c->client || c->n == sizeof c->in - 1 ? 0 : read(c->fd, c->in + c->n, sizeof c->in - 1 - c->n);
    if (n <= 0)
        return false;
    c->n += (size_t)n;
    c->in[c->n] = '\0';
    while ((end = strchr(c->in, '\n'))) {
        *end = '\0';
        if (strncmp(c->in, "client ", 7) == 0) {
            c->client = (int)strtol(c->in + 7, NULL, 10);
            if (!server)
                start_server();
            if (faulted) {
                printf("[2026-11-23 05:00:00.000 Server %d] Failed to accept client {PID: %d, Context ID: 0} "
                       "with status 807\n",
                       server, c->client);
                c->client = 0;
                return false;
            }
        } else if (!obey(c->fd, c->in)) {
            c->hangs = true;
            return true;
        }
        c->n -= (size_t)(end + 1 - c->in);
        memmove(c->in, end + 1, c->n + 1);
    }
    return true;
}

static _Noreturn void serve(int listener)
{
    for (;;) {
        struct pollfd p[MAX + 1];
        unsigned n = count;
        fflush(stdout);
        for (unsigned i = 0; i < n; i++)
            p[i] = (struct pollfd){.fd = all[i].hangs ? -1 : all[i].fd, .events = POLLIN};
        p[n] = (struct pollfd){.fd = count < MAX ? listener : -1, .events = POLLIN};
        poll(p, n + 1, 50);
        if (server && waitpid(server, NULL, WNOHANG) == server) {
            printf("[2026-11-23 05:00:00.000 Control %d] Server %d exited with status 9\n", getpid(), server);
            server = 0;
            drop_clients(0);
            continue;
        }
        if (p[n].revents)
            all[count++] = (struct connection){.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)};
        for (unsigned i = n; i-- > 0;)
            for (unsigned k = 0; p[i].revents && k < count; k++)
                if (all[k].fd == p[i].fd) {
                    bool over = !hear(&all[k]);
                    if (over && all[k].client && told("busy=1"))
                        fault();
                    else if (over)
                        drop(k);
                    break;
                }
    }
}

static int run_daemon(bool background)
{
    FILE *f = fopen(file("nvidia-cuda-mps-control.pid"), "re");
    int pid = 0, up[2];
    char byte = 0, text[32] = "";
    if (f && fgets(text, sizeof text, f))
        pid = (int)strtol(text, NULL, 10);
    if (f)
        fclose(f);
    if (told("fail=start"))
        return 1;
    if (pid && reach(false) >= 0) {
        printf("An instance of this daemon is already running\n");
        return 1;
    }
    if (mkdir(pipe_dir, 0777) < 0 && errno != EEXIST) {
        printf("Cannot access CUDA_MPS_PIPE_DIRECTORY=%s\n", pipe_dir);
        return 1;
    }
    if (pipe(up) < 0)
        return 1;
    if (background) {
        pid_t child = fork();
        if (child) {
            close(up[1]);
            return read(up[0], &byte, 1) == 1 ? 0 : 1;
        }
        setsid();
    }
    int listener = reach(true);
    f = listener < 0 ? NULL : fopen(file("nvidia-cuda-mps-control.pid"), "we");
    if (!f)
        return 1; /* also for a path that is too long, and without a word */
    fprintf(f, "%d", getpid());
    fclose(f);
    note("start %s %s", pipe_dir, getenv("CUDA_VISIBLE_DEVICES"));
    printf("[2026-11-23 05:00:00.000 Control %d] Starting control daemon using socket %s\n", getpid(),
           file("control"));
    fflush(stdout);
    if (write(up[1], &byte, 1) != 1)
        return 1;
    close(up[0]);
    close(up[1]);
    serve(listener);
}

int main(int argc, char **argv)
{
    const char *pipe_name = getenv("CUDA_MPS_PIPE_DIRECTORY");
    (void)signal(SIGPIPE, SIG_IGN);
    if (pipe_name && *pipe_name)
        snprintf(pipe_dir, sizeof pipe_dir, "%s", pipe_name);
    if (argc < 2)
        return carry();
    if (strcmp(argv[1], "-d") == 0 || strcmp(argv[1], "-f") == 0)
        return run_daemon(argv[1][1] == 'd');
    fprintf(stderr, "Unrecognized option %s\n", argv[1]);
    return 1;
}
