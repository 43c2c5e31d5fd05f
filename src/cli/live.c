#include "cli/live.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "cli/serve_options.h"

#define PROC_BYTES 65536 /* of one file of /proc; command lines are looked at only in their beginning */

/* A small file of /proc/PID; empty if it cannot be read. */
static void read_proc(pid_t pid, const char *name, struct sc_buf *b)
{
    char path[64];
    sc_buf_init(b, PROC_BYTES);
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    FILE *f = fopen(path, "re");
    if (!f)
        return;
    if (sc_buf_reserve(b, PROC_BYTES) == 0)
        b->n = fread(b->p, 1, PROC_BYTES, f);
    fclose(f);
}

/* Where a link of /proc leads; NULL if that cannot be read. The caller frees it. */
static char *read_link(pid_t pid, const char *name)
{
    char path[64], to[PATH_MAX];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    ssize_t n = readlink(path, to, sizeof to - 1);
    if (n < 0)
        return NULL;
    to[n] = '\0';
    return sc_strdup(to);
}

/* The next NUL-ended word of a command line. */
static struct sc_span next_word(struct sc_span *line)
{
    size_t n = sc_span_find(*line, '\0');
    struct sc_span word = sc_span_sub(*line, 0, n);
    *line = sc_span_sub(*line, n + 1, line->n);
    return word;
}

/* True if that is the command line of a supervisor; *pidfile: as in struct sc_live. */
static bool is_supervisor(struct sc_span line, struct sc_span *pidfile)
{
    struct sc_span option = SC_SPAN(SC_TORCHSERVE_OPTION "=");
    if (!sc_span_eq(next_word(&line), SC_SPAN(SC_SUPERVISOR_TITLE)) ||
        !sc_span_eq(next_word(&line), SC_SPAN(SC_SUPERVISOR_ROLE)))
        return false;
    struct sc_span third = next_word(&line);
    *pidfile = sc_span(NULL, 0);
    if (sc_span_starts(third, option))
        *pidfile = sc_span_sub(third, option.n, third.n);
    return true;
}

/* Fields of /proc/PID/stat behind the name, which may contain anything: state is number 3 as proc(5) counts.
 */
static struct sc_span stat_field(const struct sc_buf *stat, unsigned number)
{
    const char *end = stat->n ? memrchr(stat->p, ')', stat->n) : NULL;
    if (!end)
        return sc_span(NULL, 0);
    struct sc_span rest = sc_span_sub(sc_buf_view(stat), (size_t)(end - stat->p) + 2, stat->n);
    for (; number > 3; number--)
        rest = sc_span_sub(rest, sc_span_find(rest, ' ') + 1, rest.n);
    return sc_span_sub(rest, 0, sc_span_find(rest, ' '));
}

bool sc_live_alive(pid_t pid)
{
    struct sc_buf stat;
    read_proc(pid, "stat", &stat);
    struct sc_span state = stat_field(&stat, 3);
    bool alive = state.n == 1 && state.p[0] != 'Z' && state.p[0] != 'X';
    sc_buf_free(&stat);
    return alive;
}

bool sc_live_is_torchserve(pid_t pid, const char *pidfile)
{
    struct sc_buf line;
    struct sc_span its;
    read_proc(pid, "cmdline", &line);
    bool yes = is_supervisor(sc_buf_view(&line), &its) && its.p && sc_span_eq(its, sc_span_str(pidfile));
    sc_buf_free(&line);
    return yes;
}

/* ---- list ------------------------------------------------------------------------------------------ */

static int64_t seconds_up(pid_t pid)
{
    struct sc_buf stat;
    uint64_t ticks = 0;
    struct timespec now;
    read_proc(pid, "stat", &stat);
    bool ok = sc_span_u64(stat_field(&stat, 22), UINT64_MAX, &ticks);
    sc_buf_free(&stat);
    clock_gettime(CLOCK_BOOTTIME, &now);
    return ok ? SC_MAX(now.tv_sec - (int64_t)(ticks / (uint64_t)sysconf(_SC_CLK_TCK)), 0) : 0;
}

static bool is_ours(pid_t pid, const char *network)
{
    char path[32];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%d", (int)pid);
    if (stat(path, &st) < 0 || (geteuid() != 0 && st.st_uid != geteuid()))
        return false;
    char *its = read_link(pid, "ns/net");
    bool same = !its || !network || strcmp(its, network) == 0;
    free(its);
    return same;
}

static int by_pid(const void *a, const void *b)
{
    pid_t x = ((const struct sc_live *)a)->pid, y = ((const struct sc_live *)b)->pid;
    return (x > y) - (x < y);
}

unsigned sc_live_list(struct sc_live **list)
{
    DIR *d = opendir("/proc");
    char *network = read_link(getpid(), "ns/net");
    unsigned n = 0;
    *list = NULL;
    for (struct dirent *e; d && (e = readdir(d));) {
        struct sc_buf line;
        struct sc_span pidfile;
        int32_t pid = 0;
        if (!isdigit((unsigned char)e->d_name[0]) || !sc_span_i32(sc_span_str(e->d_name), &pid))
            continue;
        read_proc(pid, "cmdline", &line);
        if (pid != getpid() && is_supervisor(sc_buf_view(&line), &pidfile) && is_ours(pid, network) &&
            sc_live_alive(pid)) {
            char *folder = read_link(pid, "cwd");
            *list = sc_realloc_array(*list, n + 1, sizeof **list);
            (*list)[n++] = (struct sc_live){
                .pid = pid,
                .up_s = seconds_up(pid),
                .pidfile = pidfile.p ? sc_span_dup(pidfile) : NULL,
                .folder = folder ? folder : sc_strdup(""),
            };
        }
        sc_buf_free(&line);
    }
    if (d)
        closedir(d);
    free(network);
    if (n)
        qsort(*list, n, sizeof **list, by_pid);
    return n;
}

void sc_live_free(struct sc_live *list, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        free(list[i].pidfile);
        free(list[i].folder);
    }
    free(list);
}

/* ---- one of them ----------------------------------------------------------------------------------- */

int sc_live_settings(pid_t pid, struct sc_buf *text, struct sc_msg *msg)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *d = opendir(path);
    if (!d)
        return sc_fail(msg, SC_ESYS, "the settings of the server with pid %d cannot be read: %s", (int)pid,
                       strerror(errno));
    int rc = SC_ENOTFOUND;
    for (struct dirent *e; rc == SC_ENOTFOUND && (e = readdir(d));) {
        char name[32];
        snprintf(name, sizeof name, "fd/%.20s", e->d_name);
        char *to = read_link(pid, name);
        if (to && sc_span_starts(sc_span_str(to), SC_SPAN("/memfd:" SC_SETTINGS_MEMFD " "))) {
            snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
            rc = sc_file_read(path, text, msg);
        }
        free(to);
    }
    closedir(d);
    if (rc == SC_ENOTFOUND)
        return sc_fail(msg, SC_AGAIN, "the server with pid %d is starting or has ended", (int)pid);
    return rc;
}

int sc_live_wait(pid_t pid, int64_t ms)
{
    int64_t end = sc_clock_ms() + ms;
    /* The descriptor tells of the end at once; on kernels without it, and for zombies, a look now and then.
     */
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    int rc = 0;
    while (rc == 0 && sc_live_alive(pid)) {
        int64_t left = ms < 0 ? 1000 : end - sc_clock_ms();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (left <= 0)
            rc = SC_ETIMEOUT;
        else if (poll(&p, 1, (int)SC_MIN(left, fd < 0 ? 20 : 1000)) > 0)
            break;
    }
    if (fd >= 0)
        close(fd);
    return rc;
}
