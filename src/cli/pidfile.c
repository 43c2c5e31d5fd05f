#include "cli/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "cli/live.h"

#define NAME ".model_server.pid"
#define LOCK_TRIES 500 /* of 10 ms: a start takes milliseconds; who holds the lock longer does not count */

static char *usable_folder(const char *path)
{
    struct stat st;
    char *real = path && *path ? realpath(path, NULL) : NULL;
    if (real && stat(real, &st) == 0 && S_ISDIR(st.st_mode) && access(real, W_OK | X_OK) == 0)
        return real;
    free(real);
    return NULL;
}

static char *temporary_folder(void)
{
    const char *candidates[] = {
        getenv("TMPDIR"), getenv("TEMP"), getenv("TMP"), "/tmp", "/var/tmp", "/usr/tmp", ".",
    };
    char *folder = NULL;
    for (size_t i = 0; !folder && i < SC_COUNT(candidates); i++)
        folder = usable_folder(candidates[i]);
    return folder;
}

int sc_pidfile_open(struct sc_pidfile *f, struct sc_msg *msg)
{
    char *folder = temporary_folder();
    *f = (struct sc_pidfile){.lock = -1};
    if (!folder)
        return sc_fail(msg, SC_ESYS, "there is no writable folder for temporary files: set TMPDIR");
    size_t size = strlen(folder) + sizeof "/" NAME;
    f->path = sc_alloc(size);
    snprintf(f->path, size, "%s/" NAME, strcmp(folder, "/") == 0 ? "" : folder);
    f->lock = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* A stranger can lock a folder that everybody may read, and would hold us up for ever. */
    for (int i = 0; f->lock >= 0 && i < LOCK_TRIES && flock(f->lock, LOCK_EX | LOCK_NB) < 0; i++)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    free(folder);
    return 0;
}

void sc_pidfile_close(struct sc_pidfile *f)
{
    if (f->lock >= 0)
        close(f->lock);
    free(f->path);
    *f = (struct sc_pidfile){.lock = -1};
}

enum sc_pidfile_state sc_pidfile_read(const struct sc_pidfile *f, pid_t *pid)
{
    struct sc_buf b;
    struct stat st;
    int32_t n = 0;
    if (stat(f->path, &st) < 0 || !S_ISREG(st.st_mode))
        return SC_PIDFILE_NONE;
    sc_buf_init(&b, 8192);
    int rc = sc_file_read(f->path, &b, NULL);
    struct sc_span line = sc_buf_view(&b);
    line = sc_span_trim(sc_span_sub(line, 0, SC_MIN(sc_span_find(line, '\n'), sc_span_find(line, '\r'))));
    bool number = rc == 0 && sc_span_i32(line, &n) && n > 0;
    sc_buf_free(&b);
    if (!number || !sc_live_alive(n))
        return SC_PIDFILE_DEAD;
    *pid = n;
    return sc_live_is_torchserve(n, f->path) ? SC_PIDFILE_RUNNING : SC_PIDFILE_OTHER;
}

int sc_pidfile_write(const struct sc_pidfile *f, pid_t pid, struct sc_msg *msg)
{
    struct stat st;
    if (lstat(f->path, &st) == 0 && S_ISLNK(st.st_mode))
        unlink(f->path);
    int fd = open(f->path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0 || dprintf(fd, "%d", (int)pid) < 0) {
        int err = errno;
        if (fd >= 0)
            close(fd);
        return sc_fail(msg, SC_ESYS, "the PID file %s cannot be written: %s; remove it or set TMPDIR",
                       f->path, strerror(err));
    }
    close(fd);
    return 0;
}

void sc_pidfile_remove(const struct sc_pidfile *f)
{
    unlink(f->path);
}
