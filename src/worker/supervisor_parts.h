/*
 * What the parts of the supervisor share; private to supervisor*.c.
 *
 *   supervisor.c           life from start to end: loop, phases, sweeping
 *   supervisor_signals.c   signals, reaping
 *   supervisor_spawn.c     fork to exec
 *   supervisor_peer.c      a control connection with a bounded queue
 *   supervisor_frontend.c  the frontend's lives and its orders
 *   supervisor_slots.c     the workers' lives
 *   supervisor_order.c     what they run
 *   supervisor_ranks.c     the processes of a worker and their connections
 *   supervisor_env.c       a worker's environment
 *   supervisor_signal.c    signals to workers, and who is asked before one is sent
 *   supervisor_guests.c    processes that have several workers in them
 *   supervisor_kept.c      descriptors that outlive the workers that made them
 *   supervisor_strangers.c connections that have not yet said who they are
 *
 * One thread. Everything that happens is an event of the epoll set or a deadline; one event is
 * taken at a time, so that no handler meets the stale event of something that another one closed. A deadline
 * is milliseconds of sc_clock_ms, SC_NEVER if there is none. Children are reaped in one place
 * (sc_super_reap), so a pid that is known here is never another process's.
 */
#ifndef SC_WORKER_SUPERVISOR_PARTS_H
#define SC_WORKER_SUPERVISOR_PARTS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/log.h"
#include "worker/backoff.h"
#include "worker/control.h"
#include "worker/supervisor.h"

#define SC_NEVER INT64_MAX
#define SC_PEER_TURN 16 /* messages taken from one peer before the others have their turn */

struct sc_super;

/* ---- control connections --------------------------------------------------------------- */

struct sc_out;

struct sc_peer {
    int fd; /* -1: not connected */
    uint64_t event;
    struct sc_out *first, **last; /* waiting because the peer does not read */
    size_t bytes;
    unsigned fds;
};

/* Which source an epoll event is of; the low half of the event's 64 bits is an index. */
enum sc_source { SC_ON_SIGNAL, SC_ON_LISTENER, SC_ON_FRONTEND, SC_ON_STRANGER, SC_ON_SLOT };
static inline uint64_t sc_event(enum sc_source source, uint32_t index)
{
    return (uint64_t)source << 32 | index;
}

/* Not connected. */
void sc_peer_init(struct sc_peer *p);
/* Takes fd (non-blocking) and watches it. SC_ESYS: fd is closed. */
int sc_peer_open(struct sc_super *s, struct sc_peer *p, int fd, uint64_t event) SC_MUST_USE;
/* Forgets what is queued. Harmless if it is not connected. */
void sc_peer_close(struct sc_super *s, struct sc_peer *p);
/*
 * Sends, or queues a copy (descriptors are duplicated, the caller keeps its own). Any error ends the peer,
 * which is the caller's to do: SC_ELIMIT when the queue is full, SC_ECLOSED, SC_ENOMEM, SC_ESYS.
 */
int sc_peer_send(struct sc_super *s, struct sc_peer *p, uint16_t type, struct sc_span a, struct sc_span b,
                 const int *fds, unsigned nfds) SC_MUST_USE;
/* Sends what is queued, as far as it goes. */
int sc_peer_flush(struct sc_super *s, struct sc_peer *p) SC_MUST_USE;

/* ---- spawning -------------------------------------------------------------------------- */

struct sc_child {
    const char *exe;
    char *const *argv;
    char *const *env;
    int control_fd;  /* becomes SC_FD_CONTROL; -1: none */
    int settings_fd; /* becomes SC_FD_SETTINGS; -1: none */
    int output[2];   /* become standard output and error; -1: ours */
    const char *dir; /* working folder; NULL: ours */
};
/* A child in its own process group that dies with this process. Its pid, or SC_ESYS. What goes wrong
 * after the fork is said on standard error, and the child ends with SC_EXIT_NOEXEC. */
pid_t sc_super_spawn(struct sc_super *s, const struct sc_child *c) SC_MUST_USE;
#define SC_EXIT_NOEXEC 127
/* Signals a process group that has a leader not yet reaped. */
void sc_super_kill(pid_t pid, int signal);

/* ---- ranks ----------------------------------------------------------------------------- */

/* A process that has connected back: the worker, or one of those that its launcher started. */
struct sc_rank {
    struct sc_peer peer;
    pid_t pid;  /* 0: none has connected in this life */
    int pidfd;  /* -1: our own child, or pidfds are not to be had */
    bool leads; /* a process group of its own */
    bool ended; /* its connection did */
    bool loaded;
};

/* ---- slots ----------------------------------------------------------------------------- */

#define SC_RANK_NONE (-1)
#define SC_RANK_KILLED (-2) /* none: we ended them */

struct sc_slot {
    uint32_t number;
    uint32_t state; /* enum sc_slot_state */
    uint64_t life;
    pid_t pid; /* 0 while no process lives */
    int wait_status;
    int64_t delay_ms;
    bool once, stubborn, launcher;
    bool guest;             /* its next life is one of several in a process */
    bool waits;             /* a guest: until another of its process has loaded */
    bool left;              /* it has said LEFT, in this life */
    struct sc_house *house; /* the process it lives in with others; NULL: `pid` is its own */
    bool keeps;             /* an MPS daemon */
    uint32_t keeper;        /* as sc_ctl_start has it */
    int signal;             /* waits for the keeper's answer; 0: none does */
    unsigned answers;       /* of the keeper that are awaited */
    int64_t answer_by;      /* then the signal is sent anyway */
    bool off_gpu;           /* the keeper has answered, in this life */
    bool stopping;          /* ends with GONE */
    bool attached;
    bool captures; /* has the pipes below: both ends of standard output and of standard error */
    int output[SC_OUTPUT_FDS][2]; /* -1: none */
    const char *dir;              /* working folder; NULL: ours */
    unsigned statuses;            /* received in this life */
    uint8_t token[16];            /* of this life */
    struct sc_rank *ranks;        /* nranks of them, at least one; with rank 0 the frontend talks */
    uint32_t nranks, nconnected, nloaded;
    int first_ended; /* rank, or one of the two below */
    struct sc_backoff backoff;
    int64_t connect_by, kill_at, restart_at;
    char *order; /* SLOT_START's payload; the strings below lie in it */
    struct sc_span tag;
    const char *exe;
    char **argv;
    const char **env; /* additions of SLOT_START, NULL-terminated */
    char *text;       /* of the last status of this life; SC_STATUS_TEXT bytes */
    size_t text_len;
};

/* A slot as SLOT_START has it, whose payload was read well; NULL if there is no memory. */
struct sc_slot *sc_slot_new(struct sc_super *s, struct sc_span payload);
void sc_slot_free(struct sc_super *s, struct sc_slot *slot);
/* Tag and what is run, for the next life on; nothing of the present one. SC_ENOMEM: it stays as it is. */
int sc_slot_change(struct sc_slot *slot, struct sc_span payload) SC_MUST_USE;

/* The frontend's orders; SC_EPROTO if the payload is malformed. */
int sc_slots_start(struct sc_super *s, struct sc_span payload) SC_MUST_USE;
int sc_slots_stop(struct sc_super *s, struct sc_span payload) SC_MUST_USE;
int sc_slots_kill(struct sc_super *s, struct sc_span payload) SC_MUST_USE;
int sc_slots_attach(struct sc_super *s, const struct sc_ctl_message *m) SC_MUST_USE;
int sc_slots_lanes(struct sc_super *s, struct sc_span payload) SC_MUST_USE;
/* Passes a message without content to every connected worker. */
void sc_slots_tell_all(struct sc_super *s, uint16_t type);
/* A new frontend: nothing is attached any more, and it is told every slot. */
void sc_slots_introduce(struct sc_super *s);
/* The slot whose present life has this token, NULL if there is none that waits for its connection. */
struct sc_slot *sc_slots_by_token(struct sc_super *s, const uint8_t token[16]);
/* Takes the connection of a worker that has said hello; its rank is awaited (sc_ranks_awaits). */
void sc_slots_connected(struct sc_super *s, struct sc_slot *slot, int fd, const struct sc_ctl_hello *hello);
/* `index` is sc_ranks_index's. */
void sc_slots_event(struct sc_super *s, uint32_t index, uint32_t events);
bool sc_slots_owns(const struct sc_super *s, pid_t pid);
/* The process with this pid has been reaped; false if it is no slot's. */
bool sc_slots_reaped(struct sc_super *s, pid_t pid, int wait_status);
/* Does what is due and returns the next deadline. */
int64_t sc_slots_tick(struct sc_super *s, int64_t now);
/* Stops every slot: with a signal to living processes, and KILL at kill_at. */
void sc_slots_stop_all(struct sc_super *s, int signal, int64_t kill_at);
/* Processes that live. */
unsigned sc_slots_alive(const struct sc_super *s);
void sc_slots_free(struct sc_super *s);

/* The low half of a connection's event. */
static inline uint32_t sc_ranks_index(const struct sc_slot *slot, uint32_t rank)
{
    return rank << 16 | slot->number;
}
/* Room for the ranks of a slot, none connected. SC_ENOMEM. */
int sc_ranks_init(struct sc_slot *slot, uint32_t n) SC_MUST_USE;
/* True if this life's process of that rank has yet to come. */
bool sc_ranks_awaits(const struct sc_slot *slot, uint32_t rank);
/* Takes the connection. SC_ESYS: it is closed. */
int sc_ranks_connect(struct sc_super *s, struct sc_slot *slot, uint32_t rank, int fd) SC_MUST_USE;
/* Gives every two of rank 0 and another the ends of a socket. SC_ESYS, or an error of sc_peer_send. */
int sc_ranks_introduce(struct sc_super *s, struct sc_slot *slot) SC_MUST_USE;
/* Signals the ranks that are connected and not our children: process, or group where it leads one. */
void sc_ranks_kill(const struct sc_slot *slot, int signal);
/* A connection has ended: closes it, and kills what the process left of its group. */
void sc_ranks_ended(struct sc_super *s, struct sc_slot *slot, uint32_t rank);
/* What of the ranks explains the end of this life; empty if nothing does. */
void sc_ranks_explain(const struct sc_slot *slot, char *out, size_t size);
/* The life is over: kills what is left, closes and forgets everything. */
void sc_ranks_over(struct sc_super *s, struct sc_slot *slot);
void sc_ranks_free(struct sc_super *s, struct sc_slot *slot);

/* The supervisor's environment, in it the slot's additions, in them `ours`. The caller frees the list alone;
 * NULL: no memory. */
char **sc_slot_environment(const struct sc_slot *slot, const char *const *ours);

/* ---- guests: workers that share a process ---------------------------------------------- */

struct sc_house {
    struct sc_house *next;
    pid_t pid;
    int fd;          /* its SC_FD_CONTROL; -1: it was told to end */
    unsigned guests; /* slots that have it as their house */
    bool broken;     /* it is dying: nobody moves in */
    int64_t kill_at;
};

/* True if a guest has to wait: another one of its process is loading, or the process is dying. */
bool sc_guests_wait(const struct sc_super *s, const struct sc_slot *slot);
/* Begins a life: in the process that others of its kind have, or in a new one. Sets slot->house; its pid, or
 * an error as of spawning. `ours` is added to the environment. */
pid_t sc_guests_move_in(struct sc_super *s, struct sc_slot *slot, const char *const *ours) SC_MUST_USE;
/* The life is over: the process is told to end if it was the last one. Harmless for others. */
void sc_guests_move_out(struct sc_super *s, struct sc_slot *slot);
/* The process is lost for all guests. Harmless for others. */
void sc_guests_broken(const struct sc_slot *slot);
/* Tells the guest to end, as soon as it is connected. */
void sc_guests_end(struct sc_super *s, struct sc_slot *slot);
bool sc_guests_owns(const struct sc_super *s, pid_t pid);
/* The process has been reaped, after its guests' slots were; false if there is no such. */
bool sc_guests_reaped(struct sc_super *s, pid_t pid);
unsigned sc_guests_houses(const struct sc_super *s);
int64_t sc_guests_tick(struct sc_super *s, int64_t now);
void sc_guests_free(struct sc_super *s);

/* ---- signals to workers ---------------------------------------------------------------- */

/* Signals the worker's processes: at once, or, a client of MPS, when its keeper has taken it off the GPU. A
 * KILL overtakes a signal that waits. */
void sc_slot_signal(struct sc_super *s, struct sc_slot *slot, int signal);
/* A keeper's CLIENT_ENDED. SC_EPROTO if it is malformed. */
int sc_slot_client_ended(struct sc_super *s, const struct sc_slot *keeper,
                         struct sc_span payload) SC_MUST_USE;
/* The keeper is gone: what waits for it is sent. */
void sc_slot_keeper_gone(struct sc_super *s, const struct sc_slot *keeper);
/* For people: the first two fields of its tag. */
struct sc_span sc_slot_name(const struct sc_slot *slot);
/* Sends what has waited too long. */
void sc_slot_signal_tick(struct sc_super *s, struct sc_slot *slot, int64_t now);

/* ---- kept descriptors ------------------------------------------------------------------ */

struct sc_kept {
    char name[SC_KEPT_NAME_MAX];
    uint64_t size;
    int fd;
    uint64_t owners[SC_SLOTS_MAX / 64]; /* a bit a slot */
    uint64_t claims[SC_SLOTS_MAX / 64]; /* of them, those whose present life has kept or fetched it */
};
/* A worker's KEEP or FETCH. SC_EPROTO if it is malformed, else what sending the answer gives. */
int sc_kept_take(struct sc_super *s, struct sc_slot *slot, uint32_t rank,
                 struct sc_ctl_message *m) SC_MUST_USE;
/* The slot is gone: what only it had is closed. */
void sc_kept_forget(struct sc_super *s, uint32_t number);
/* A life of the slot begins, or is loaded: what it has neither kept nor fetched by then was of lives before
 * it. */
void sc_kept_new_life(struct sc_super *s, uint32_t number);
void sc_kept_loaded(struct sc_super *s, uint32_t number);

/* ---- strangers ------------------------------------------------------------------------- */

struct sc_stranger {
    struct sc_peer peer;
    int64_t hello_by;
};
/* Makes the connect-back socket and its name. SC_ESYS. */
int sc_strangers_listen(struct sc_super *s) SC_MUST_USE;
void sc_strangers_accept(struct sc_super *s);
/* Hears whoever waits outside or has spoken meanwhile: before a worker is buried that may be among them. */
void sc_strangers_hear(struct sc_super *s);
void sc_strangers_event(struct sc_super *s, uint32_t index);
int64_t sc_strangers_tick(struct sc_super *s, int64_t now);
void sc_strangers_free(struct sc_super *s);

/* ---- the frontend ---------------------------------------------------------------------- */

struct sc_frontend {
    pid_t pid; /* 0 while none lives */
    uint64_t epoch;
    struct sc_peer peer;
    int64_t ready_at; /* SC_NEVER: not ready */
    int64_t restart_at;
    unsigned failures; /* since the last one that settled */
};
void sc_frontend_start(struct sc_super *s);
void sc_frontend_event(struct sc_super *s, uint32_t events);
bool sc_frontend_reaped(struct sc_super *s, pid_t pid, int wait_status);
int64_t sc_frontend_tick(struct sc_super *s, int64_t now);
/* Tells the frontend something; without a frontend nothing happens, one that does not read is killed. */
void sc_frontend_tell(struct sc_super *s, uint16_t type, struct sc_span a, struct sc_span b, const int *fds,
                      unsigned nfds);

/* ---- the whole ------------------------------------------------------------------------- */

enum sc_phase {
    SC_RUNNING,
    SC_DRAINING, /* the frontend finishes what it has; workers are kept running */
    SC_STOPPING, /* no frontend will be started any more; everything ends */
};

struct sc_super {
    const struct sc_supervisor_spec *spec;
    int64_t connect_back_ms, launch_back_ms, stop_grace_ms, hello_ms;
    uint32_t queue_bytes;
    int epoll, signals, listener, null, journal;
    sigset_t old_mask;
    struct rlimit files; /* as it was found; children get it back */
    char address[32];    /* connect-back, as SC_ENV_SOCKET has it */

    enum sc_phase phase;
    int exit_code;
    int64_t drain_by; /* the frontend is killed */
    int64_t asked_at; /* to stop, by asked_by */
    int asked_by;
    int64_t leave_by;       /* what still lives then is left to the system */
    int64_t listener_pause; /* no descriptor was free to accept with */
    int64_t refusal_said;   /* when a refused connection was last logged: anybody on the host can try */
    bool children_wait;     /* more to reap than one turn took */

    struct sc_frontend frontend;
    struct sc_stranger strangers[SC_CTL_STRANGERS_MAX];
    struct sc_slot *slots[SC_SLOTS_MAX];
    uint32_t slots_top; /* every used slot is below */
    struct sc_house *houses;
    struct sc_kept kept[SC_KEPT_MAX];
    uint32_t nkept;
    struct sc_ctl_message message; /* the one being handled */
};

void sc_super_log(struct sc_super *s, int level, const char *fmt, ...) SC_PRINTF(3, 4);
/* INT or TERM: the first drains, the second kills. */
void sc_super_interrupted(struct sc_super *s, int signal);
/* The frontend has ended and none will follow: ends the workers, then the program with this code. */
void sc_super_stop(struct sc_super *s, int exit_code);

/* Blocks the signals that are ours and makes the descriptor that delivers them. SC_ESYS. */
int sc_signals_open(struct sc_super *s) SC_MUST_USE;
void sc_signals_event(struct sc_super *s);
/* Reaps children that have ended, a bounded number of them. */
void sc_super_reap(struct sc_super *s);
/* Kills every child that is left, ours or adopted, until there is none or limit_ms is over. */
void sc_super_sweep(struct sc_super *s, int64_t limit_ms);

#endif
