/* The program's roles and subcommands, one file each. All return the process's exit code. */
#ifndef SC_CLI_ROLES_H
#define SC_CLI_ROLES_H

#include "api/app.h"

/* `sconce serve ...`: reads settings, opens listeners, becomes the supervisor. */
int sc_cli_serve(int argc, char **argv);
/* `torchserve ...`: argv[0] is the command's name. */
int sc_cli_torchserve(int argc, char **argv);
/* `sconce stop ...`, `sconce status ...` */
int sc_cli_stop(int argc, char **argv);
int sc_cli_status(int argc, char **argv);
/* `sconce gpu ...` */
int sc_cli_gpu(int argc, char **argv);
/* `sconce bench ...` */
int sc_cli_bench(int argc, char **argv);
/* `sconce tune ...` */
int sc_cli_tune(int argc, char **argv);
/* `sconce check-config ...` */
int sc_cli_check_config(int argc, char **argv);
/* `sconce archive ...`; the commands of that name: argv[0] is the command's name. */
int sc_cli_archive(int argc, char **argv);
int sc_cli_model_archiver(int argc, char **argv);
int sc_cli_workflow_archiver(int argc, char **argv);
/* --role=frontend, started by the supervisor. */
int sc_cli_frontend(void);

/* Which addresses are listened on, in order, and what each serves (bits of api/app.h). Equal addresses share
 * a listener, but for gRPC's, which is by itself. */
struct sc_listen_plan {
    unsigned n;
    const char *address[5];
    unsigned short default_port[5];
    unsigned serves[5];
    char grpc[2][300]; /* text of addresses */
};
void sc_listen_plan(const struct sc_settings *s, struct sc_listen_plan *plan);

#endif
