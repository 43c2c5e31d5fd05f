#include "base/log_roll.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <zlib.h>

#include "base/error.h"
#include "base/limits.h"

#define WAITING_MAX 8
#define CHUNK 65536
#define GZIP_WINDOW (15 + 16) /* zlib's way to ask for gzip's frame */

/* --- names ------------------------------------------------------------------------------------------- */

static bool is_there(const char *path, const char *end)
{
    char name[PATH_MAX + 72];
    snprintf(name, sizeof name, "%s%s", path, end);
    return access(name, F_OK) == 0;
}

int sc_log_roll(const char *path, int mday, int mon, char to[PATH_MAX + 64])
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    const char *month = months + (mon >= 0 && mon < 12 ? 3 * mon : 0);
    char from[PATH_MAX + 8];
    snprintf(from, sizeof from, "%s.log", path);
    for (unsigned n = 1; n <= SC_LOG_ROLLED_MAX; n++) {
        if (n == 1)
            snprintf(to, PATH_MAX + 64, "%s.%02d-%.3s.log", path, mday % 100, month);
        else
            snprintf(to, PATH_MAX + 64, "%s.%02d-%.3s.%u.log", path, mday % 100, month, n);
        bool last = n == SC_LOG_ROLLED_MAX;
        if (!last && is_there(to, ".gz"))
            continue;
        /* Another process may be doing the same: only one of them gets a name. */
        if (renameat2(AT_FDCWD, from, AT_FDCWD, to, last ? 0 : RENAME_NOREPLACE) == 0)
            return 0;
        int error = errno;
        if (error == EINVAL) { /* a file system without that flag */
            error = EEXIST;
            if (!is_there(to, "")) {
                if (rename(from, to) == 0)
                    return 0;
                error = errno;
            }
        }
        if (error == ENOENT)
            return SC_ENOTFOUND;
        if (error != EEXIST) {
            errno = error;
            return SC_ESYS;
        }
    }
    return SC_ESYS;
}

/* --- compression ------------------------------------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more = PTHREAD_COND_INITIALIZER;
static char *waiting[WAITING_MAX];
static unsigned nwaiting;
static bool has_thread;
static atomic_bool ending;
static pthread_t thread;

static bool write_all(int fd, const unsigned char *p, size_t n)
{
    while (n) {
        ssize_t w = write(fd, p, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            return false;
        p += w;
        n -= (size_t)w;
    }
    return true;
}

static bool deflate_file(int in, int out, unsigned char *room)
{
    z_stream z = {0};
    bool ok = true;
    int rc = Z_OK;
    if (deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    while (ok && rc != Z_STREAM_END) {
        ssize_t r = read(in, room, CHUNK);
        if (r < 0 && errno == EINTR)
            continue;
        ok = r >= 0 && !atomic_load(&ending);
        z.next_in = room;
        z.avail_in = r > 0 ? (unsigned)r : 0;
        do {
            z.next_out = room + CHUNK;
            z.avail_out = CHUNK;
            rc = deflate(&z, r > 0 ? Z_NO_FLUSH : Z_FINISH);
            ok = ok && rc != Z_STREAM_ERROR && write_all(out, room + CHUNK, CHUNK - z.avail_out);
        } while (ok && z.avail_out == 0);
    }
    deflateEnd(&z);
    return ok;
}

static void compress_file(const char *file)
{
    char part[PATH_MAX + 80], whole[PATH_MAX + 72];
    snprintf(part, sizeof part, "%s.gz.part", file);
    snprintf(whole, sizeof whole, "%s.gz", file);
    unsigned char *room = malloc(2 * CHUNK);
    int in = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int out = in < 0 ? -1 : open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    bool ok = room && out >= 0 && deflate_file(in, out, room);
    if (out >= 0 && close(out) < 0)
        ok = false;
    if (in >= 0)
        close(in);
    if (ok && rename(part, whole) == 0)
        unlink(file);
    else if (out >= 0)
        unlink(part);
    free(room);
}

static void *work(void *arg)
{
    static const struct sched_param none = {0};
    (void)arg;
    prctl(PR_SET_NAME, "log-gzip");
    pthread_setschedparam(pthread_self(), SCHED_IDLE, &none);
    pthread_mutex_lock(&lock);
    while (!atomic_load(&ending)) {
        if (nwaiting == 0) {
            pthread_cond_wait(&more, &lock);
            continue;
        }
        char *file = waiting[0];
        memmove(&waiting[0], &waiting[1], --nwaiting * sizeof waiting[0]);
        pthread_mutex_unlock(&lock);
        compress_file(file);
        free(file);
        pthread_mutex_lock(&lock);
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

void sc_log_compress(const char *file)
{
    pthread_mutex_lock(&lock);
    if (!has_thread) {
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        atomic_store(&ending, false);
        has_thread = pthread_create(&thread, NULL, work, NULL) == 0;
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    if (has_thread && nwaiting < WAITING_MAX && (waiting[nwaiting] = strdup(file)) != NULL) {
        nwaiting++;
        pthread_cond_signal(&more);
    }
    pthread_mutex_unlock(&lock);
}

void sc_log_compress_end(void)
{
    pthread_mutex_lock(&lock);
    bool had = has_thread;
    has_thread = false;
    atomic_store(&ending, true);
    pthread_cond_signal(&more);
    pthread_mutex_unlock(&lock);
    if (had)
        pthread_join(thread, NULL);
    while (nwaiting > 0)
        free(waiting[--nwaiting]);
}
