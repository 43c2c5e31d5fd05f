#include "cli/options.h"

#include <getopt.h>

#include "base/span.h"
#include "cli/find_server.h"

#define HELP 'h'
#define FIRST 256 /* what getopt_long returns for options[0] */

static void name_them(struct option *longs, const struct sc_option *options, unsigned n)
{
    static const int takes[] = {[SC_OPTION_FLAG] = no_argument,
                                [SC_OPTION_NUMBER] = required_argument,
                                [SC_OPTION_NUMBER_OR_LEAST] = optional_argument,
                                [SC_OPTION_TEXT] = required_argument};
    for (unsigned i = 0; i < n; i++)
        longs[i] = (struct option){
            .name = options[i].name, .has_arg = takes[options[i].kind], .val = (int)i + FIRST};
    longs[n] = (struct option){.name = "help", .val = HELP};
}

static bool take(const struct sc_option *o, const char *arg)
{
    int32_t *number = o->to;
    switch (o->kind) {
    case SC_OPTION_FLAG: *(bool *)o->to = true; return true;
    case SC_OPTION_TEXT: *(const char **)o->to = arg; return true;
    default: break;
    }
    *number = o->least;
    return !arg ||
           (sc_span_i32(sc_span_str(arg), number) && *number >= o->least && (!o->most || *number <= o->most));
}

int sc_options_read(const char *command, void (*usage)(FILE *), const struct sc_option *options, unsigned n,
                    int argc, char **argv)
{
    struct option longs[SC_OPTIONS_MAX + 2] = {{0}};
    static char name[64];
    int opt;
    name_them(longs, options, SC_MIN(n, SC_OPTIONS_MAX));
    snprintf(name, sizeof name, "%s", command);
    argv[0] = name; /* getopt's own messages begin with it */
    while ((opt = getopt_long(argc, argv, "+h", longs, NULL)) != -1) {
        if (opt == HELP) {
            usage(stdout);
            return 0;
        }
        if (opt < FIRST) {
            fprintf(stderr, "Try `%s --help`.\n", command);
            return SC_EXIT_USAGE;
        }
        if (!take(&options[opt - FIRST], optarg)) {
            fprintf(stderr, "%s: \"%s\" is no number that can be meant here\n", command, optarg);
            return SC_EXIT_USAGE;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "%s: \"%s\" is no option. Try `%s --help`.\n", command, argv[optind], command);
        return SC_EXIT_USAGE;
    }
    return -1;
}
