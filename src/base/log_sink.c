#include "base/log_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log_roll.h"

#define STDOUT_PATIENCE_MS 200
#define PENDING_BYTES ((size_t)SC_LOG_FORMATTED_MAX + 65536)

enum { FILE_TS, FILE_MODEL, FILE_ACCESS, FILE_METRICS, FILE_MODEL_METRICS, NFILES };

static const char *const file_names[NFILES] = {"ts_log", "model_log", "access_log", "ts_metrics",
                                               "model_metrics"};
static const bool in_metrics_dir[NFILES] = {[FILE_METRICS] = true, [FILE_MODEL_METRICS] = true};

struct sink_file {
    char path[PATH_MAX]; /* without ".log" */
    int fd;              /* -1: none */
    uint64_t size;
    int year, yday, mday, mon; /* when it was begun */
    bool broken;               /* the last write was cut: a newline comes first */
    size_t n;
    char pending[PENDING_BYTES];
};

struct sc_log_sink {
    struct sink_file files[NFILES]; /* FILE_TS's pending bytes are stdout's, too */
    struct sc_log_time time;
    bool to_stdout, json;
    bool stdout_file, stdout_socket;
    bool stalled, stdout_broken; /* nobody reads stdout; it ended in mid-line */
    uint64_t lost;
    char why[SC_LOG_WHY_BYTES];
};

static void lose(struct sc_log_sink *s, const char *p, size_t n, const char *what, int error)
{
    for (size_t i = 0; i < n; i++)
        s->lost += p[i] == '\n';
    snprintf(s->why, sizeof s->why, "%.80s: %s", what, error ? strerror(error) : "nobody reads it");
}

/* Writes all, or returns what was written and sets errno. */
static size_t write_all(int fd, const char *p, size_t n)
{
    size_t done = 0;
    while (done < n) {
        ssize_t w = write(fd, p + done, n - done);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            break;
        done += (size_t)w;
    }
    return done;
}

/*
 * Writes to a stdout that may be a pipe or a terminal without ever blocking for long. O_NONBLOCK would change
 * the descriptor for the processes that share it; a pipe that polls writable takes PIPE_BUF bytes at once.
 */
static size_t write_stdout(struct sc_log_sink *s, const char *p, size_t n)
{
    if (s->stdout_file)
        return write_all(STDOUT_FILENO, p, n);
    size_t done = 0;
    while (done < n) {
        struct pollfd pfd = {.fd = STDOUT_FILENO, .events = POLLOUT};
        int ready = poll(&pfd, 1, s->stalled ? 0 : STDOUT_PATIENCE_MS);
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0) {
            s->stalled = true;
            errno = 0;
            break;
        }
        size_t some = n - done < PIPE_BUF ? n - done : PIPE_BUF;
        ssize_t w = s->stdout_socket ? send(STDOUT_FILENO, p + done, some, MSG_DONTWAIT | MSG_NOSIGNAL)
                                     : write(STDOUT_FILENO, p + done, some);
        if (w < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (w <= 0)
            break;
        s->stalled = false;
        done += (size_t)w;
    }
    return done;
}

static int open_file(struct sink_file *f)
{
    char path[PATH_MAX + 8];
    snprintf(path, sizeof path, "%s.log", f->path);
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return SC_ESYS;
    struct stat st;
    time_t begun = time(NULL);
    if (fstat(fd, &st) == 0) {
        f->size = (uint64_t)st.st_size;
        if (st.st_size > 0)
            begun = st.st_mtime;
    }
    struct tm tm;
    if (localtime_r(&begun, &tm)) {
        f->year = tm.tm_year;
        f->yday = tm.tm_yday;
        f->mday = tm.tm_mday;
        f->mon = tm.tm_mon;
    }
    if (f->fd >= 0)
        close(f->fd);
    f->fd = fd;
    f->broken = false;
    return 0;
}

/* Another process (the supervisor writes here, too) or logrotate has moved the file away already. */
static bool moved(const struct sink_file *f, const char *path)
{
    struct stat mine, named;
    return fstat(f->fd, &mine) < 0 || stat(path, &named) < 0 || mine.st_ino != named.st_ino ||
           mine.st_dev != named.st_dev;
}

static void roll_over(struct sc_log_sink *s, struct sink_file *f)
{
    char from[PATH_MAX + 8], to[PATH_MAX + 64];
    snprintf(from, sizeof from, "%s.log", f->path);
    bool mine = !moved(f, from);
    int rc = mine ? sc_log_roll(f->path, f->mday, f->mon, to) : 0;
    if (rc == SC_ESYS) {
        snprintf(s->why, sizeof s->why, "roll-over of %.60s: %s", f->path, strerror(errno));
        return;
    }
    f->size = 0;
    if (open_file(f) < 0)
        snprintf(s->why, sizeof s->why, "roll-over of %.60s: %s", f->path, strerror(errno));
    else if (mine && rc == 0)
        sc_log_compress(to);
}

static void flush_file(struct sc_log_sink *s, struct sink_file *f)
{
    if (f->n == 0 || f->fd < 0) {
        f->n = 0;
        return;
    }
    struct stat st;
    if (fstat(f->fd, &st) == 0)
        f->size = (uint64_t)st.st_size; /* others may write here, too */
    bool new_day = f->yday != s->time.tm.tm_yday || f->year != s->time.tm.tm_year;
    if (f->size >= SC_LOG_FILE_BYTES || (new_day && f->size > 0))
        roll_over(s, f);
    if (new_day) {
        f->year = s->time.tm.tm_year;
        f->yday = s->time.tm.tm_yday;
        f->mday = s->time.tm.tm_mday;
        f->mon = s->time.tm.tm_mon;
    }
    if (f->broken && write_all(f->fd, "\n", 1) == 1)
        f->broken = false;
    size_t done = f->broken ? 0 : write_all(f->fd, f->pending, f->n);
    if (done < f->n) {
        int error = errno;
        const char *name = strrchr(f->path, '/');
        f->broken = f->broken || (done > 0 && f->pending[done - 1] != '\n');
        lose(s, f->pending + done, f->n - done, name ? name + 1 : f->path, error);
    }
    f->n = 0;
}

static void flush_stdout(struct sc_log_sink *s)
{
    struct sink_file *f = &s->files[FILE_TS];
    if (!s->to_stdout || f->n == 0)
        return;
    if (s->stdout_broken && write_stdout(s, "\n", 1) == 1)
        s->stdout_broken = false;
    size_t done = s->stdout_broken ? 0 : write_stdout(s, f->pending, f->n);
    if (done < f->n) {
        int error = errno;
        s->stdout_broken = s->stdout_broken || (done > 0 && f->pending[done - 1] != '\n');
        lose(s, f->pending + done, f->n - done, "stdout", error);
    }
}

void sc_log_sink_flush(struct sc_log_sink *s)
{
    flush_stdout(s);
    for (unsigned i = 0; i < NFILES; i++)
        flush_file(s, &s->files[i]);
}

void sc_log_sink_add(struct sc_log_sink *s, const struct sc_log_record *r)
{
    struct sink_file *all = &s->files[FILE_TS];
    struct sink_file *own = r->logger == SC_LOGGER_WORKER ? all : &s->files[r->logger];
    if (all->n + SC_LOG_FORMATTED_MAX > PENDING_BYTES || own->n + SC_LOG_FORMATTED_MAX > PENDING_BYTES)
        sc_log_sink_flush(s);
    size_t n = sc_log_format(all->pending + all->n, r, true, s->json, &s->time);
    if (r->logger == SC_LOGGER_MODEL || (s->json && own != all)) {
        memcpy(own->pending + own->n, all->pending + all->n, n);
        own->n += n;
    } else if (own != all) {
        own->n += sc_log_shorten(own->pending + own->n, all->pending + all->n, n, r);
    }
    all->n += n;
}

/* mkdir -p */
static int make_dir(const char *dir)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s", dir) >= (int)sizeof path) {
        errno = ENAMETOOLONG;
        return SC_ESYS;
    }
    for (char *p = path + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            return SC_ESYS;
        *p = '/';
    }
    return mkdir(path, 0755) < 0 && errno != EEXIST ? SC_ESYS : 0;
}

int sc_log_sink_open(struct sc_log_sink **out, const struct sc_log_config *c, struct sc_msg *msg)
{
    struct sc_log_sink *s = calloc(1, sizeof *s);
    if (!s)
        return sc_fail(msg, SC_ENOMEM, "Out of memory for the log's buffers");
    s->to_stdout = c->to_stdout;
    s->json = c->json;
    struct stat st;
    if (s->to_stdout && fstat(STDOUT_FILENO, &st) == 0) {
        s->stdout_file = S_ISREG(st.st_mode);
        s->stdout_socket = S_ISSOCK(st.st_mode);
    }
    sc_log_time_init(&s->time);
    for (unsigned i = 0; i < NFILES; i++)
        s->files[i].fd = -1;
    for (unsigned i = 0; c->dir && i < NFILES; i++) {
        struct sink_file *f = &s->files[i];
        const char *dir = in_metrics_dir[i] && c->metrics_dir ? c->metrics_dir : c->dir;
        const char *setting = in_metrics_dir[i] && c->metrics_dir ? "METRICS_LOCATION" : "LOG_LOCATION";
        if (snprintf(f->path, sizeof f->path - 32, "%s/%s", dir, file_names[i]) >= (int)sizeof f->path - 32)
            errno = ENAMETOOLONG;
        else if (make_dir(dir) == 0 && open_file(f) == 0)
            continue;
        int error = errno;
        sc_log_sink_del(s);
        return sc_fail(
            msg, SC_ESYS,
            "Cannot write the log file %s/%s.log: %s. Make the folder writable or set %s to another.", dir,
            file_names[i], strerror(error), setting);
    }
    *out = s;
    return 0;
}

void sc_log_sink_reopen(struct sc_log_sink *s)
{
    sc_log_sink_flush(s);
    for (unsigned i = 0; i < NFILES; i++)
        if (s->files[i].fd >= 0 && open_file(&s->files[i]) < 0)
            snprintf(s->why, sizeof s->why, "reopening %.60s: %s", s->files[i].path, strerror(errno));
}

uint64_t sc_log_sink_lost(struct sc_log_sink *s, char why[SC_LOG_WHY_BYTES])
{
    uint64_t lost = s->lost;
    if (s->why[0])
        memcpy(why, s->why, sizeof s->why);
    s->lost = 0;
    s->why[0] = '\0';
    return lost;
}

void sc_log_sink_del(struct sc_log_sink *s)
{
    if (!s)
        return;
    sc_log_sink_flush(s);
    sc_log_compress_end();
    for (unsigned i = 0; i < NFILES; i++)
        if (s->files[i].fd >= 0)
            close(s->files[i].fd);
    free(s);
}
