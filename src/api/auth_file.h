/* The key file: written whole or not at all, readable by its owner alone. Blocks. */
#ifndef SC_API_AUTH_FILE_H
#define SC_API_AUTH_FILE_H

#include "base/array.h"
#include "base/error.h"
#include "base/span.h"

/*
 * Puts `text` into folder/SC_AUTH_FILE with mode 0600. A new file takes the old one's place, so that a reader
 * sees one or the other; a link there is replaced, not followed. Where no file can be made or renamed in the
 * folder (read-only, or the key file is a mount of its own), an existing regular file is written over in
 * place. SC_ESYS with the file and the cause in *msg.
 */
int sc_auth_file_write(const char *folder, struct sc_span text, struct sc_msg *msg) SC_MUST_USE;

#endif
