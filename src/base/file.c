#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int sc_file_read(const char *path, struct sc_buf *b, struct sc_msg *msg)
{
    struct stat st;
    int rc = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return sc_fail(msg, errno == ENOENT ? SC_ENOTFOUND : SC_ESYS, "%s: %s", path, strerror(errno));
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        rc = sc_fail(msg, SC_ESYS, "%s is no regular file", path);
        goto done;
    }
    for (;;) {
        if (sc_buf_reserve(b, 4096) < 0 && b->cap == b->n) {
            rc = sc_fail(msg, b->failed, "%s: larger than the limit of %zu bytes", path, b->max);
            goto done;
        }
        b->failed = 0;
        ssize_t n = read(fd, b->p + b->n, b->cap - b->n);
        if (n < 0 && errno != EINTR) {
            rc = sc_fail(msg, SC_ESYS, "%s: %s", path, strerror(errno));
            goto done;
        }
        if (n == 0)
            break;
        if (n > 0)
            b->n += (size_t)n;
    }
done:
    close(fd);
    return rc;
}
