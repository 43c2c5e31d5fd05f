/*
 * Where a url's model is (docs/contract.md §12): in the order of TorchServe the download, the store's
 * file, the folder. Blocks; any thread.
 */
#ifndef SC_ARCHIVE_LOCATE_H
#define SC_ARCHIVE_LOCATE_H

#include "archive/archive.h"

/* Either file or folder is set. Strings are the structure's. */
struct sc_located {
    char *name;       /* marName */
    char *file;       /* an archive in the store */
    char *folder;     /* absolute, without links: a model that is not packed */
    char *link;       /* the folder's last component as asked for */
    char *downloaded; /* == file, if this call fetched it: the caller's to delete */
};

int sc_locate(struct sc_located *l, const struct sc_archive_want *want,
              struct sc_archive_error *err) SC_MUST_USE;
void sc_located_free(struct sc_located *l);

/* Fills err: status, type, message. Returns code. */
int sc_archive_refuse(struct sc_archive_error *err, int code, int status, const char *type, const char *fmt,
                      ...) SC_PRINTF(5, 6);

#endif
