/* What the archivers say of themselves. */
#ifndef SC_CLI_ARCHIVE_USAGE_H
#define SC_CLI_ARCHIVE_USAGE_H

#include <stdbool.h>
#include <stdio.h>

void sc_archive_usage(FILE *to, const char *prog, bool workflow);

#endif
