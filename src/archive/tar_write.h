/*
 * Writes a .tar.gz: ustar members, with a pax header before those whose name or size does not fit.
 *
 * Blocks; not thread-safe. After an error only free is of use.
 */
#ifndef SC_ARCHIVE_TAR_WRITE_H
#define SC_ARCHIVE_TAR_WRITE_H

#include "archive/source.h"

struct sc_targz {
    int fd;
    void *deflate; /* z_stream */
    char *in, *out;
};

/* fd: an empty file open for writing, the caller's. */
void sc_targz_init(struct sc_targz *t, int fd);
/* SC_ESYS when reading or writing fails, or the file changes its size meanwhile. */
int sc_targz_add(struct sc_targz *t, const char *name, const struct sc_source *s,
                 struct sc_msg *msg) SC_MUST_USE;
int sc_targz_finish(struct sc_targz *t, struct sc_msg *msg) SC_MUST_USE;
void sc_targz_free(struct sc_targz *t);

#endif
