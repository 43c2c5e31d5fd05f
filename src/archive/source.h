/* What goes into an archive as one entry: an open file, or bytes. */
#ifndef SC_ARCHIVE_SOURCE_H
#define SC_ARCHIVE_SOURCE_H

#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/array.h"
#include "base/error.h"
#include "base/span.h"

#define SC_SOURCE_BLOCK ((size_t)128 << 10)

struct sc_source {
    int fd; /* read to its end; -1: bytes */
    struct sc_span bytes;
    uint64_t size; /* of the file when it was opened */
    time_t mtime;
    mode_t mode; /* permissions */
};

/* Opens a regular file (links are followed). SC_ENOTFOUND or SC_ESYS with *msg in the manner of Python. */
int sc_source_open(struct sc_source *s, const char *path, struct sc_msg *msg) SC_MUST_USE;
void sc_source_bytes(struct sc_source *s, struct sc_span bytes, time_t mtime);
void sc_source_close(struct sc_source *s);
/* At most n bytes from position `at` on; 0 at the end; SC_ESYS. */
ssize_t sc_source_read(const struct sc_source *s, uint64_t at, char *p, size_t n, struct sc_msg *msg);

/* Writes all of it at the descriptor's position. SC_ESYS with *msg. */
int sc_write_all(int fd, const void *p, size_t n, struct sc_msg *msg) SC_MUST_USE;

#endif
