#include "gpu/mps_find.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/span.h"
#include "gpu/mps_keeper.h"

#define PROC_BYTES 65536

/* A file of /proc/PID, or its beginning; empty if it cannot be read. */
static struct sc_span read_proc(pid_t pid, const char *name, char room[PROC_BYTES])
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(room, 1, PROC_BYTES - 1, f) : 0;
    if (f)
        fclose(f);
    room[n] = '\0';
    return sc_span(room, n);
}

static struct sc_span next_word(struct sc_span *area)
{
    size_t n = sc_span_find(*area, '\0');
    struct sc_span word = sc_span_sub(*area, 0, n);
    *area = sc_span_sub(*area, n + 1, area->n);
    return word;
}

/* Fields of /proc/PID/stat behind the name: state and parent. False: it is gone, or a zombie, which a dead
 * daemon stays in a container without a reaping init. */
static bool read_stat(pid_t pid, int32_t *parent, char room[PROC_BYTES])
{
    struct sc_span stat = read_proc(pid, "stat", room);
    const char *end = stat.n ? memrchr(stat.p, ')', stat.n) : NULL;
    if (!end)
        return false;
    struct sc_span rest = sc_span_sub(stat, (size_t)(end - stat.p) + 2, stat.n);
    char state = rest.n ? rest.p[0] : 'X';
    rest = sc_span_sub(rest, 2, rest.n);
    return state != 'Z' && state != 'X' && sc_span_i32(sc_span_sub(rest, 0, sc_span_find(rest, ' ')), parent);
}

/* The program with -d or -f; without it is a client that carries commands. */
static bool is_daemon(struct sc_span line)
{
    struct sc_span name = SC_SPAN(SC_MPS_CONTROL), word = next_word(&line);
    if (word.n < name.n || !sc_span_eq(sc_span_sub(word, word.n - name.n, word.n), name) ||
        (word.n > name.n && word.p[word.n - name.n - 1] != '/'))
        return false;
    while (line.n) {
        word = next_word(&line);
        if (sc_span_eq(word, SC_SPAN("-d")) || sc_span_eq(word, SC_SPAN("-f")))
            return true;
    }
    return false;
}

static void read_environment(struct sc_mps_daemon *d, char room[PROC_BYTES])
{
    struct sc_span all = read_proc(d->pid, "environ", room), pipe = SC_SPAN(SC_MPS_ENV_PIPE "="),
                   devices = SC_SPAN("CUDA_VISIBLE_DEVICES=");
    d->known = all.n > 0;
    snprintf(d->pipe, sizeof d->pipe, "%s", SC_MPS_PIPE);
    while (all.n) {
        struct sc_span word = next_word(&all);
        if (sc_span_starts(word, pipe) && word.n > pipe.n)
            snprintf(d->pipe, sizeof d->pipe, "%.*s", (int)(word.n - pipe.n), word.p + pipe.n);
        else if (sc_span_starts(word, devices))
            snprintf(d->devices, sizeof d->devices, "%.*s", (int)(word.n - devices.n), word.p + devices.n);
    }
}

static bool look_at(pid_t pid, struct sc_mps_daemon *d)
{
    static char room[PROC_BYTES];
    char path[32];
    struct stat st;
    int32_t parent = 0;
    if (!is_daemon(read_proc(pid, "cmdline", room)) || !read_stat(pid, &parent, room))
        return false;
    *d = (struct sc_mps_daemon){.pid = pid};
    snprintf(path, sizeof path, "/proc/%d", (int)pid);
    if (stat(path, &st) == 0)
        d->uid = st.st_uid;
    read_environment(d, room);
    d->managed = sc_span_starts(read_proc((pid_t)parent, "cmdline", room), SC_SPAN(SC_MPS_KEEPER_TITLE));
    return true;
}

unsigned sc_mps_find(struct sc_mps_daemon *out, unsigned max)
{
    DIR *all = opendir("/proc");
    unsigned n = 0;
    for (struct dirent *e; all && n < max && (e = readdir(all));) {
        int32_t pid;
        if (isdigit((unsigned char)e->d_name[0]) && sc_span_i32(sc_span_str(e->d_name), &pid) &&
            look_at((pid_t)pid, &out[n]))
            n++;
    }
    if (all)
        closedir(all);
    return n;
}

const char *sc_mps_pipe(void)
{
    const char *pipe = getenv(SC_MPS_ENV_PIPE);
    return pipe && *pipe ? pipe : SC_MPS_PIPE;
}

/* What the pid file says; 0: there is none. */
static pid_t written_pid(const char *pipe)
{
    char path[512], text[32];
    int32_t pid = 0;
    if (snprintf(path, sizeof path, "%s/%s", pipe, SC_MPS_PID_FILE) >= (int)sizeof path)
        return 0;
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(text, 1, sizeof text, f) : 0;
    if (f)
        fclose(f);
    return sc_span_i32(sc_span_trim(sc_span(text, n)), &pid) && pid > 0 ? (pid_t)pid : 0;
}

static bool same_folder(const char *a, const char *b)
{
    struct stat x, y;
    return strcmp(a, b) == 0 ||
           (stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

bool sc_mps_find_at(const char *pipe, struct sc_mps_daemon *out)
{
    pid_t pid = written_pid(pipe);
    /* A number that was used again may be another daemon's, for another folder. */
    if (!pid || !look_at(pid, out) || (out->known && !same_folder(out->pipe, pipe)))
        return false;
    snprintf(out->pipe, sizeof out->pipe, "%s", pipe);
    return true;
}

bool sc_mps_is_stale(const char *pipe)
{
    struct sc_mps_daemon d;
    char path[512];
    return snprintf(path, sizeof path, "%s/control", pipe) < (int)sizeof path && access(path, F_OK) == 0 &&
           !sc_mps_find_at(pipe, &d);
}

/*
 * Whether a socket is bound at a path that ends so: the file of a dead daemon's stays, its line goes. A
 * connection would tell, too, but is the daemon's to end. True, too, where nothing is listed. (proc(5),
 * /proc/net/unix)
 */
static bool is_bound(const char *end)
{
    char line[512];
    size_t n = strlen(end);
    FILE *f = fopen("/proc/net/unix", "re");
    bool found = !f;
    while (f && !found && fgets(line, sizeof line, f)) {
        size_t all = strcspn(line, "\n");
        found = all >= n && memcmp(line + all - n, end, n) == 0;
    }
    if (f)
        fclose(f);
    return found;
}

void sc_mps_await(void)
{
    char socket[288];
    const char *folder = strrchr(sc_mps_pipe(), '/');
    int64_t until = sc_clock_ms() + SC_MPS_AWAIT_MS;
    if (!folder || strncmp(folder + 1, SC_MPS_FOLDER, sizeof SC_MPS_FOLDER - 1) != 0 ||
        snprintf(socket, sizeof socket, "%s/control", folder) >= (int)sizeof socket)
        return;
    while (!is_bound(socket) && sc_clock_ms() < until)
        usleep(10000);
}

int sc_mps_find_external(struct sc_mps_daemon *out, struct sc_msg *msg)
{
    const char *pipe = sc_mps_pipe();
    char program[512];
    if (sc_mps_check_pipe(pipe, msg) < 0)
        return SC_EUNSUPPORTED;
    if (access(pipe, X_OK) < 0 && errno == EACCES)
        return sc_fail(msg, SC_EUNSUPPORTED, "%.300s is closed to this user: %s", pipe, strerror(errno));
    if (sc_mps_is_stale(pipe))
        return sc_fail(msg, SC_ENOTFOUND, "%.300s has the files of an MPS daemon that is dead", pipe);
    if (!sc_mps_find_at(pipe, out))
        return sc_fail(msg, SC_ENOTFOUND, "no MPS daemon lives in %.300s", pipe);
    if (out->uid != geteuid() && out->uid != 0)
        return sc_fail(msg, SC_EUNSUPPORTED,
                       "the MPS daemon in %.300s (pid %d) is user %u's, and serves that user alone; this "
                       "server's user is %u",
                       pipe, (int)out->pid, (unsigned)out->uid, (unsigned)geteuid());
    if (!sc_mps_program(program, sizeof program))
        return sc_fail(msg, SC_EUNSUPPORTED,
                       "an MPS daemon lives in %.300s (pid %d), and " SC_MPS_CONTROL
                       ", with which it is asked, is not in PATH",
                       pipe, (int)out->pid);
    return 0;
}

bool sc_mps_serves(const struct sc_mps_daemon *d, const struct sc_gpu_info *g)
{
    struct sc_span rest = sc_span_str(d->devices);
    if (!rest.n)
        return true;
    while (rest.n) {
        struct sc_span one = sc_span_sub(rest, 0, sc_span_find(rest, ','));
        int32_t index;
        /* An abbreviated UUID is one, too. */
        if (sc_span_i32(one, &index) ? index == (int32_t)g->index
                                     : one.n && sc_span_starts(sc_span_str(g->uuid), one))
            return true;
        rest = sc_span_sub(rest, one.n + 1, rest.n);
    }
    return false;
}

bool sc_mps_program(char *path, size_t size)
{
    struct sc_span rest = sc_span_str(getenv("PATH"));
    while (rest.n) {
        struct sc_span dir = sc_span_sub(rest, 0, sc_span_find(rest, ':'));
        rest = sc_span_sub(rest, dir.n + 1, rest.n);
        int n = snprintf(path, size, "%.*s/%s", SC_FMT(dir), SC_MPS_CONTROL);
        if (dir.n && n > 0 && (size_t)n < size && access(path, X_OK) == 0)
            return true;
    }
    return false;
}
