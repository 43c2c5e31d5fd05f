/* The one program: subcommands for people, roles for the processes that it starts itself. */
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "cli/roles.h"
#include "worker/executor.h"

static void usage(FILE *to)
{
    fputs("Sconce serves models.\n"
          "\n"
          "usage: sconce COMMAND [OPTION...]\n"
          "\n"
          "  serve     start a server (sconce serve --help tells the options)\n"
          "  version   print the version\n"
          "  help      print this\n",
          to);
}

/* What top and perf show: the program was started as /proc/self/exe. At most 15 characters. */
static void name_process(const char *name)
{
    prctl(PR_SET_NAME, name);
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    if (strcmp(command, "--role=frontend") == 0) {
        name_process("sconce-frontend");
        return sc_cli_frontend();
    }
    if (strcmp(command, "--role=executor") == 0) {
        name_process("sconce-executor");
        return sc_executor_main();
    }
    name_process("sconce");
    if (strcmp(command, "serve") == 0 || strcmp(command, "--role=supervisor") == 0)
        return sc_cli_serve(argc, argv);
    if (strcmp(command, "version") == 0 || strcmp(command, "--version") == 0) {
        puts("sconce " SCONCE_VERSION);
        return 0;
    }
    if (strcmp(command, "help") == 0 || strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0) {
        usage(stdout);
        return 0;
    }
    if (*command)
        fprintf(stderr, "sconce: there is no command \"%s\"\n\n", command);
    usage(stderr);
    return 2;
}
