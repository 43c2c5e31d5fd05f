/*
 * MPS daemons of this machine, found by what /proc shows of them. Nothing is asked of a daemon, so nothing
 * can hang. A daemon whose environment belongs to another user is listed with what can be seen of it.
 */
#ifndef SC_GPU_MPS_FIND_H
#define SC_GPU_MPS_FIND_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "gpu/report.h"

#define SC_MPS_CONTROL "nvidia-cuda-mps-control"  /* the program; looked up in PATH */
#define SC_MPS_PIPE "/tmp/nvidia-mps"             /* where it and its clients meet unless told otherwise */
#define SC_MPS_ENV_PIPE "CUDA_MPS_PIPE_DIRECTORY" /* which is told by this */
#define SC_MPS_PID_FILE "nvidia-cuda-mps-control.pid" /* in that folder; digits without a newline */
#define SC_MPS_KEEPER_TITLE "sconce: mps "            /* our process that runs one, then whose GPU it is */
#define SC_MPS_FOLDER "sconce-mps-" /* the folder of a daemon of ours; then the server's pid, -, the GPU */
#define SC_MPS_FOUND_MAX 64

struct sc_mps_daemon {
    pid_t pid;
    uid_t uid;
    bool managed;      /* a server of ours runs it */
    bool known;        /* its environment could be read: the two below are right */
    char pipe[256];    /* its folder */
    char devices[512]; /* its CUDA_VISIBLE_DEVICES; "": all GPUs */
};

/* Those that live, at most max of them; their number. */
unsigned sc_mps_find(struct sc_mps_daemon *out, unsigned max);

/* The folder in which CUDA looks for a daemon in a process with our environment. */
const char *sc_mps_pipe(void);

/* A living daemon that serves that folder: by its pid file, so another user's is found, too. */
bool sc_mps_find_at(const char *pipe, struct sc_mps_daemon *out);

/* Files of a daemon that is dead lie in that folder: CUDA then runs without MPS and says nothing. */
bool sc_mps_is_stale(const char *pipe);

/*
 * For a worker before its first call into CUDA: where it is to be the client of a daemon of ours, waits until
 * that has its socket, SC_MPS_AWAIT_MS at most. A daemon that has died is started again, and who makes a
 * context before gets one outside of MPS, without a word from CUDA.
 */
void sc_mps_await(void);

/*
 * The daemon that processes with our environment would be clients of, if we may use it. SC_ENOTFOUND: none
 * lives there; SC_EUNSUPPORTED: what is there cannot be used (another user's: a daemon serves its own user,
 * or as root anybody; no permission; no program to ask it with); both with *msg for people.
 */
int sc_mps_find_external(struct sc_mps_daemon *out, struct sc_msg *msg) SC_MUST_USE;

/* True if the daemon serves that GPU. */
bool sc_mps_serves(const struct sc_mps_daemon *d, const struct sc_gpu_info *g);

/* Where the program lies, by PATH. False: nowhere. */
bool sc_mps_program(char *path, size_t size);

#endif
