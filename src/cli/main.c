/* The one program: subcommands for people, roles for the processes that it starts itself. */
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "cli/roles.h"
#include "gpu/agent.h"
#include "gpu/mps_find.h"
#include "gpu/mps_keeper.h"
#include "worker/executor.h"

static void usage(FILE *to)
{
    fputs("Sconce serves models.\n"
          "\n"
          "usage: sconce COMMAND [OPTION...]\n"
          "\n"
          "  serve        start a server\n"
          "  stop         stop it\n"
          "  status       what runs: models, workers, queues\n"
          "  archive      make an archive of a model (.mar) or workflow (.war)\n"
          "  torchserve   the command of TorchServe; also under that name\n"
          "  gpu          the GPUs: memory, use, MPS, and whose processes are on them\n"
          "  bench        measure a server, or a model\n"
          "  tune         find the best batch size and number of workers for a model\n"
          "  check-config what the settings of a config.properties do here\n"
          "  version      print the version\n"
          "  help         print this\n"
          "\n"
          "sconce COMMAND --help tells a command's options and exit codes.\n",
          to);
}

/* What top and perf show: the program was started as /proc/self/exe. At most 15 characters. */
static void name_process(const char *name)
{
    prctl(PR_SET_NAME, name);
}

/* The program has other names, as links: what stands behind the last slash. */
static bool is_called(const char *path, const char *name)
{
    const char *slash = path ? strrchr(path, '/') : NULL;
    return path && strcmp(slash ? slash + 1 : path, name) == 0;
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
        sc_mps_await();
        return sc_executor_main();
    }
    if (strcmp(command, "--role=executor-group") == 0) {
        name_process("sconce-executor");
        sc_mps_await();
        return sc_executor_group_main();
    }
    if (strcmp(command, "--role=gpu-agent") == 0) {
        name_process("sconce-gpu");
        return sc_gpu_agent_main(argc, argv);
    }
    if (strcmp(command, "--role=mps-keeper") == 0) {
        name_process("sconce-mps");
        return sc_mps_keeper_main(argc, argv);
    }
    if (strcmp(command, "--role=gpu-count") == 0)
        return sc_gpu_count_main();
    if (is_called(argv[0], "torchserve"))
        return sc_cli_torchserve(argc, argv);
    if (is_called(argv[0], "torch-model-archiver"))
        return sc_cli_model_archiver(argc, argv);
    if (is_called(argv[0], "torch-workflow-archiver"))
        return sc_cli_workflow_archiver(argc, argv);
    name_process("sconce");
    if (strcmp(command, "archive") == 0)
        return sc_cli_archive(argc - 1, argv + 1);
    if (strcmp(command, "torchserve") == 0)
        return sc_cli_torchserve(argc - 1, argv + 1);
    if (strcmp(command, "stop") == 0)
        return sc_cli_stop(argc - 1, argv + 1);
    if (strcmp(command, "status") == 0)
        return sc_cli_status(argc - 1, argv + 1);
    if (strcmp(command, "gpu") == 0)
        return sc_cli_gpu(argc - 1, argv + 1);
    if (strcmp(command, "bench") == 0)
        return sc_cli_bench(argc - 1, argv + 1);
    if (strcmp(command, "tune") == 0)
        return sc_cli_tune(argc - 1, argv + 1);
    if (strcmp(command, "check-config") == 0)
        return sc_cli_check_config(argc - 1, argv + 1);
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
