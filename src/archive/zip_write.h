/*
 * Writes a zip that can be read from front to back: every local header tells its entry's sizes (readers of
 * that kind, TorchServe's among them, cannot find the end of a stored entry otherwise). ZIP64 where needed.
 *
 * Names are UTF-8. Blocks; not thread-safe. After an error only free is of use.
 */
#ifndef SC_ARCHIVE_ZIP_WRITE_H
#define SC_ARCHIVE_ZIP_WRITE_H

#include <stdbool.h>
#include <time.h>

#include "archive/source.h"
#include "base/array.h"
#include "base/buf.h"
#include "base/error.h"

struct sc_zip {
    int fd;
    bool store;  /* do not deflate */
    uint64_t at; /* bytes written */
    uint64_t entries;
    uint64_t wide_from; /* size from which an entry gets 64-bit sizes */
    struct sc_buf central;
    char *in, *out; /* a block each */
};

/* fd: an empty file open for writing, the caller's. */
void sc_zip_init(struct sc_zip *z, int fd, bool store);
/* SC_ESYS when reading or writing fails, SC_ELIMIT for a name or a directory that is too large. */
int sc_zip_add(struct sc_zip *z, const char *name, const struct sc_source *s, struct sc_msg *msg) SC_MUST_USE;
int sc_zip_finish(struct sc_zip *z, struct sc_msg *msg) SC_MUST_USE;
void sc_zip_free(struct sc_zip *z);

#endif
