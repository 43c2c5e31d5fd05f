/*
 * Files below a folder that is held open: made and removed by name from its descriptor, one component at a
 * time, so that neither ".." nor a link leads out of it. Blocks; any thread.
 */
#ifndef SC_ARCHIVE_TREE_H
#define SC_ARCHIVE_TREE_H

#include <stdbool.h>

#include "base/array.h"
#include "base/error.h"
#include "base/span.h"

/* What may become a file: relative, no "..", no backslash, no NUL, UTF-8, within SC_ARCHIVE_NAME_MAX bytes,
 * SC_ARCHIVE_DEPTH_MAX folders and 255 bytes a component. 0, or SC_EINVAL with *msg. */
int sc_tree_check(struct sc_span path, struct sc_msg *msg) SC_MUST_USE;
/* Makes the folder `path` and those above it. Paths have passed sc_tree_check; "." and empty components count
 * nothing. 0 or SC_ESYS. */
int sc_tree_mkdir(int root, struct sc_span path, struct sc_msg *msg) SC_MUST_USE;
/* A new empty file (mode 0644 less the umask) open for writing; an older file of that name is replaced, a
 * folder is not. The descriptor, or SC_ESYS. SC_EINVAL: the path names no file. */
int sc_tree_create(int root, struct sc_span path, struct sc_msg *msg) SC_MUST_USE;
/* Removes parent/name, whatever it is and however deep, but nothing that is mounted in it. 0 also if it was
 * not there; SC_ESYS if something remains. */
int sc_tree_remove(int parent, const char *name);

#endif
