/*
 * Command lines of our own commands: long options of getopt_long, each with a place that its value goes to,
 * and no positional arguments. (The faces that take the place of Python programs: arguments.h.)
 */
#ifndef SC_CLI_OPTIONS_H
#define SC_CLI_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/array.h"

#define SC_OPTIONS_MAX 16

enum sc_option_kind {
    SC_OPTION_FLAG,            /* bool: true */
    SC_OPTION_NUMBER,          /* int32_t, within least and most */
    SC_OPTION_NUMBER_OR_LEAST, /* the same; `least` if no number is given */
    SC_OPTION_TEXT             /* const char *: in argv */
};

struct sc_option {
    const char *name; /* without its dashes */
    enum sc_option_kind kind;
    void *to;
    int32_t least, most; /* most 0: no limit */
};

/*
 * Reads argv[1..argc); `command` ("sconce stop") is what messages begin with. --help and -h print usage.
 * Returns -1, or the exit code with which the process is to end: 0 after help, SC_EXIT_USAGE after a message.
 */
int sc_options_read(const char *command, void (*usage)(FILE *), const struct sc_option *options, unsigned n,
                    int argc, char **argv) SC_MUST_USE;

#endif
