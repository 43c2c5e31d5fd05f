/*
 * Log files that are full or of yesterday: their new names, and their compression.
 *
 * Names are TorchServe's, <name>.<dd-MMM>.log.gz, with a number from the second of a day on where TorchServe
 * overwrites: <name>.<dd-MMM>.2.log.gz. The last number, SC_LOG_ROLLED_MAX, is overwritten.
 */
#ifndef SC_BASE_LOG_ROLL_H
#define SC_BASE_LOG_ROLL_H

#include <limits.h>
#include <stdbool.h>

#include "base/array.h"

/* Renames <path>.log, which was begun on that day (day of month, month from 0), to the first free name of the
 * day, and writes that to `to`. SC_ENOTFOUND: it is not there; SC_ESYS with errno. */
int sc_log_roll(const char *path, int mday, int mon, char to[PATH_MAX + 64]) SC_MUST_USE;

/* Compresses a file to <file>.gz in the background and removes it; at once returned from. With too many
 * waiting already, or without memory, the file stays as it is. One thread at a time calls these two. */
void sc_log_compress(const char *file);
/* Ends the background work; what is not done stays uncompressed. */
void sc_log_compress_end(void);

#endif
