/*
 * What goes into an archive, and the archive made of it: torch-model-archiver's formats (docs/contract.md
 * §12.4). Blocks; not thread-safe.
 */
#ifndef SC_ARCHIVE_PACK_H
#define SC_ARCHIVE_PACK_H

#include <stdbool.h>

#include "base/array.h"
#include "base/error.h"
#include "base/span.h"

/* A file and its name in the archive; strings are the list's. */
struct sc_pack_file {
    char *name, *path;
    unsigned turn; /* the order in which they came */
};

struct sc_pack_list {
    struct sc_pack_file *files;
    unsigned n, room;
};

void sc_pack_free(struct sc_pack_list *l);
/* The file itself, under its last component. SC_ENOTFOUND or SC_ESYS if it is none. */
int sc_pack_add_file(struct sc_pack_list *l, const char *path, struct sc_msg *msg) SC_MUST_USE;
/* What a folder contains, folders within it as trees, links followed; not the folders that archivers leave
 * out:
 * __MACOSX, __pycache__ and those that begin with a dot. SC_ELIMIT: deeper or more than a server unpacks. */
int sc_pack_add_folder(struct sc_pack_list *l, const char *path, struct sc_msg *msg) SC_MUST_USE;

enum sc_pack_format { SC_PACK_ZIP, SC_PACK_ZIP_STORED, SC_PACK_TGZ, SC_PACK_FOLDER };

struct sc_pack_want {
    enum sc_pack_format format;
    const char *path;          /* the archive or folder to make */
    const char *root;          /* SC_PACK_TGZ: first component of all names */
    const char *manifest_name; /* "MAR-INF/MANIFEST.json" */
    struct sc_span manifest;
    bool force; /* replace what is there */
};

/*
 * Writes the archive: the files in the order of their names, of equal names the last, the manifest at the
 * end. It appears under its name when it is whole (a folder is filled where it is). SC_EEXIST: it is there
 * and must not be replaced; SC_EINVAL: one name is a file and a folder; SC_ESYS: reading or writing failed.
 */
int sc_pack_write(struct sc_pack_list *l, const struct sc_pack_want *want, struct sc_msg *msg) SC_MUST_USE;

#endif
