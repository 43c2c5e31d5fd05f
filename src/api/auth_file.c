#include "api/auth_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/auth_keys.h"

#define TEMPORARY ".key_file.json.new"

static int write_all(int fd, struct sc_span text)
{
    while (text.n) {
        ssize_t n = write(fd, text.p, text.n);
        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0)
            text = sc_span_sub(text, (size_t)n, text.n);
    }
    return 0;
}

/* 0, or -1 with errno. */
static int replace(int dir, struct sc_span text)
{
    /* What a dead process left; nobody else writes this name. */
    unlinkat(dir, TEMPORARY, 0);
    int fd = openat(dir, TEMPORARY, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    int rc = fchmod(fd, 0600);
    if (rc == 0)
        rc = write_all(fd, text);
    int failed = errno;
    if (close(fd) < 0 && rc == 0) {
        rc = -1;
        failed = errno;
    }
    if (rc == 0 && renameat(dir, TEMPORARY, dir, SC_AUTH_FILE) < 0) {
        rc = -1;
        failed = errno;
    }
    if (rc < 0)
        unlinkat(dir, TEMPORARY, 0);
    errno = failed;
    return rc;
}

static int write_over(int dir, struct sc_span text)
{
    struct stat st;
    int fd = openat(dir, SC_AUTH_FILE, O_WRONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -1;
    int rc = fstat(fd, &st);
    if (rc == 0 && !S_ISREG(st.st_mode)) {
        errno = EINVAL;
        rc = -1;
    }
    if (rc == 0 && (rc = fchmod(fd, 0600)) == 0 && (rc = ftruncate(fd, 0)) == 0)
        rc = write_all(fd, text);
    int failed = errno;
    close(fd);
    errno = failed;
    return rc;
}

int sc_auth_file_write(const char *folder, struct sc_span text, struct sc_msg *msg)
{
    int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = dir < 0 ? -1 : replace(dir, text);
    int why = errno;
    if (rc < 0 && dir >= 0 && (why == EACCES || why == EPERM || why == EROFS || why == EBUSY))
        rc = write_over(dir, text);
    if (dir >= 0)
        close(dir);
    if (rc == 0)
        return 0;
    return sc_fail(msg, SC_ESYS, "%s/%s cannot be written: %s", folder, SC_AUTH_FILE, strerror(why));
}
