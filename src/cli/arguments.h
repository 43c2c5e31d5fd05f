/*
 * Command lines as Python's argparse reads them: any unambiguous prefix of a long option, `--opt value` and
 * `--opt=value`, options that take several words, groups that exclude each other; and its messages.
 *
 * For the faces that take the place of Python programs. No positional arguments. Nothing is allocated but the
 * words of lists; everything points into argv.
 */
#ifndef SC_CLI_ARGUMENTS_H
#define SC_CLI_ARGUMENTS_H

#include <stdbool.h>

#include "base/array.h"
#include "base/error.h"

enum sc_argument_kind {
    SC_ARG_FLAG,
    SC_ARG_HELP,  /* ends the reading where it stands */
    SC_ARG_VALUE, /* one word; the last one counts */
    SC_ARG_LIST   /* one word or more; the last list counts */
};

struct sc_argument {
    const char *names[2]; /* "-v", "--version"; the second may be NULL */
    enum sc_argument_kind kind;
    int group; /* not 0: at most one of the group may be given */

    /* What was read. */
    bool given;
    const char *value;
    const char **words; /* of a list; freed by sc_arguments_free */
    unsigned nwords;
};

/*
 * Reads argv[0..argc) (without the program's name). 0: done; 1: help is wanted; SC_EINVAL: *msg is argparse's
 * message. Free the arguments in every case.
 */
int sc_arguments_read(struct sc_argument *args, unsigned n, int argc, char *const *argv,
                      struct sc_msg *msg) SC_MUST_USE;
void sc_arguments_free(struct sc_argument *args, unsigned n);

#endif
