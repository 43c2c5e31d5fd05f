/*
 * The processes in which NVML is called: the agent, which tells again and again how the GPUs are, and a child
 * that counts them once. NVML may hang in either; nobody waits for them without a limit.
 */
#ifndef SC_GPU_AGENT_H
#define SC_GPU_AGENT_H

#include "base/array.h"
#include "base/error.h"
#include "gpu/report.h"

/* How often the agent and the keepers of MPS daemons look, in ms, in place of SC_GPU_INTERVAL_MS and
 * SC_MPS_LOOK_MS (tests). */
#define SC_ENV_GPU_INTERVAL "SCONCE_GPU_INTERVAL_MS"
/* What the variable says, else the fallback; from 10 to 3600000. */
int sc_gpu_interval(int fallback);

/* What stands behind the first argument of a process's own that begins so ("--pipe="); NULL: none does. */
const char *sc_gpu_argument(int argc, char **argv, const char *name);

/*
 * --role=gpu-agent [--interval=MS | --once]: a report line (report.h) on standard output at once and then
 * every interval (--once: that one alone). Started by the supervisor it connects back and is LOADED when NVML
 * answers; without NVML it says why on standard error and ends with SC_EXIT_FATAL. It ends with 0 when its
 * parent, its control connection, the reader of its output, or (if that is a pipe or a socket) the writer of
 * its standard input is gone, or at SIGTERM. A reader that is slow gets fewer reports, each of them whole.
 */
int sc_gpu_agent_main(int argc, char **argv);

/* --role=gpu-count: prints the number of GPUs, and on a second line why there are none. */
int sc_gpu_count_main(void);

/*
 * How the GPUs are: asks a child (exe with --role=gpu-agent --once), which is killed after timeout_ms.
 * Blocks. SC_ENOTFOUND: there is no driver, or it does not come up; SC_ETIMEOUT: it does not answer; SC_ESYS;
 * all with *msg for people.
 */
int sc_gpu_look(const char *exe, int timeout_ms, struct sc_gpu_report *out, struct sc_msg *msg) SC_MUST_USE;

/*
 * How many GPUs NVML has: asks a child (exe with --role=gpu-count), which is killed after timeout_ms. Never
 * fails: 0 with the reason in *note, for people, when there is no driver, it does not come up or does not
 * answer; else *note is empty. Blocks; for the start of the server, before threads run.
 */
int sc_gpu_count(const char *exe, int timeout_ms, struct sc_msg *note);

/*
 * How many GPUs there are: what CUDA_VISIBLE_DEVICES says, else sc_gpu_count. *msg: its note. SC_EINVAL, with
 * TorchServe's text behind "Invalid configuration: " in *msg: the variable holds something else than
 * integers.
 */
int sc_gpu_detect(const char *exe, int timeout_ms, struct sc_msg *msg) SC_MUST_USE;

#endif
