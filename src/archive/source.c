#include "archive/source.h"

#include <errno.h>
#include <fcntl.h>

int sc_source_open(struct sc_source *s, const char *path, struct sc_msg *msg)
{
    struct stat st;
    *s = (struct sc_source){.fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)};
    if (s->fd < 0)
        return sc_fail(msg, errno == ENOENT ? SC_ENOTFOUND : SC_ESYS, "[Errno %d] %s: '%.300s'", errno,
                       strerror(errno), path);
    if (fstat(s->fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        sc_source_close(s);
        if (S_ISDIR(st.st_mode))
            return sc_fail(msg, SC_ESYS, "[Errno %d] %s: '%.300s'", EISDIR, strerror(EISDIR), path);
        return sc_fail(msg, SC_ESYS, "`%.300s` is no regular file", path);
    }
    s->size = (uint64_t)st.st_size;
    s->mtime = st.st_mtime;
    s->mode = st.st_mode & 0777;
    return 0;
}

void sc_source_bytes(struct sc_source *s, struct sc_span bytes, time_t mtime)
{
    *s = (struct sc_source){.fd = -1, .bytes = bytes, .size = bytes.n, .mtime = mtime, .mode = 0600};
}

void sc_source_close(struct sc_source *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

ssize_t sc_source_read(const struct sc_source *s, uint64_t at, char *p, size_t n, struct sc_msg *msg)
{
    ssize_t got;
    if (s->fd < 0) {
        struct sc_span part = sc_span_sub(s->bytes, (size_t)SC_MIN(at, (uint64_t)s->bytes.n), n);
        if (part.n)
            memcpy(p, part.p, part.n);
        return (ssize_t)part.n;
    }
    do
        got = pread(s->fd, p, n, (off_t)at);
    while (got < 0 && errno == EINTR);
    return got < 0 ? sc_fail(msg, SC_ESYS, "reading failed: %s", strerror(errno)) : got;
}

int sc_write_all(int fd, const void *p, size_t n, struct sc_msg *msg)
{
    for (size_t done = 0; done < n;) {
        ssize_t w = write(fd, (const char *)p + done, n - done);
        if (w < 0 && errno != EINTR)
            return sc_fail(msg, SC_ESYS, "writing failed: %s", strerror(errno));
        done += w > 0 ? (size_t)w : 0;
    }
    return 0;
}
