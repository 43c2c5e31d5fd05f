/* Reading whole small files. */
#ifndef SC_BASE_FILE_H
#define SC_BASE_FILE_H

#include "base/array.h"
#include "base/buf.h"
#include "base/error.h"

/* Appends the file's content to b (bounded by b's maximum). SC_ENOTFOUND or SC_ESYS with a *msg that names
 * file and cause, SC_ELIMIT when it is too large. Regular files only. */
int sc_file_read(const char *path, struct sc_buf *b, struct sc_msg *msg) SC_MUST_USE;

#endif
