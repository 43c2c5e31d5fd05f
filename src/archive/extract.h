/*
 * Unpacks an archive that nobody vouches for into a folder. Blocks; any thread.
 *
 * What TorchServe sees is what is unpacked: of a zip the entries in the order of their local headers, up to
 * the first thing that is none (the central directory is not looked at); of a tar.gz everything, the first
 * component of each name stripped. A name that comes twice: the last one counts. Names that differ in case
 * are different files. Modes, owners and times are not taken over.
 *
 * Refused: names that lead out of the folder, links, devices and pipes, damaged or encrypted entries, and
 * what exceeds the bounds of limits.h (entries, depth, length of names, size, ratio, free space on the disk).
 */
#ifndef SC_ARCHIVE_EXTRACT_H
#define SC_ARCHIVE_EXTRACT_H

#include "base/array.h"
#include "base/error.h"

enum sc_extract_format { SC_EXTRACT_ZIP, SC_EXTRACT_TGZ };

/*
 * Unpacks `file`, from its first byte, into `dir` (an empty folder; when it fails, what is there is
 * incomplete). A zip that is none has no entries, and is no error. SC_EINVAL: damaged or hostile; SC_ELIMIT:
 * too large; SC_ESYS: it could not be written; each with *msg.
 */
int sc_extract(int file, enum sc_extract_format format, int dir, struct sc_msg *msg) SC_MUST_USE;

#endif
