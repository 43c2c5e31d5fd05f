/*
 * Control messages: supervisor and frontend, supervisor and workers (docs/design.md §2).
 *
 * SOCK_SEQPACKET, one message a packet, descriptors by SCM_RIGHTS. Fixed header, then a
 * payload of the type's structure, then (for some) text. All within one host and one build, yet versioned:
 * a worker may be an older build. Receivers check version, length and descriptor count; a
 * malformed message from a worker closes that worker's connection, never the supervisor.
 */
#ifndef SC_WORKER_CONTROL_H
#define SC_WORKER_CONTROL_H

#include <stdint.h>

#include "base/array.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/span.h"

#define SC_CTL_VERSION 1

enum sc_ctl_type {
    /* supervisor → frontend */
    SC_CTL_WELCOME = 1, /* struct sc_ctl_welcome; fds: journal, listeners in the order of the spec */
    SC_CTL_SLOT_STATE,  /* struct sc_ctl_slot + status text: once per living slot after WELCOME, then at each
                           change */
    SC_CTL_DRAIN,       /* finish what is in flight, accept nothing new, then exit 0 */
    SC_CTL_REOPEN_LOGS,
    /* to workers too */ /* HUP */

    /* frontend → supervisor */
    SC_CTL_READY = 32, /* serving: resets the frontend's own back-off */
    SC_CTL_SLOT_START, /* struct sc_ctl_start + strings: keep a worker running in this slot */
    SC_CTL_SLOT_STOP,  /* struct sc_ctl_slot: TERM, after the grace KILL, no restart; ends with state GONE */
    SC_CTL_SLOT_KILL, /* struct sc_ctl_slot: KILL this life now (hung, hostile); restarted by the slot's rules
                       */
    SC_CTL_ATTACH,    /* struct sc_ctl_attach; fds: board, channels; passed on to the worker of that slot and
                         life */
    SC_CTL_LANES, /* struct sc_ctl_lanes; passed on to the worker of that slot and life, once it is LOADED:
                     it answers with a STATUS LOADED of what it has then */

    /* worker → supervisor */
    SC_CTL_HELLO = 64, /* struct sc_ctl_hello: first message after connecting */
    SC_CTL_STATUS,     /* struct sc_ctl_status + text: passed on to the frontend as SLOT_STATE */
    /* supervisor → worker: SC_CTL_ATTACH as it came, to rank 0; SC_CTL_RANKS; end of connection = the
     * supervisor is gone: exit at once */
    SC_CTL_RANKS, /* struct sc_ctl_ranks, when all ranks have connected; fds: of rank 0, stream sockets to
                     ranks 1, 2, ...; of the others, the one to rank 0 */

    /* worker → supervisor */
    SC_CTL_KEEP,  /* struct sc_ctl_kept; fd: keep it for whoever of us asks for that name */
    SC_CTL_FETCH, /* struct sc_ctl_kept, of which the name counts */
    /* supervisor → worker */
    SC_CTL_KEPT, /* struct sc_ctl_kept; fd: the answer to FETCH; no descriptor: there is none of that name */

    /* supervisor → process of several workers, at SC_FD_CONTROL (SC_START_GUEST) */
    SC_CTL_GUEST, /* "K=V" strings: the environment of one more worker, which connects back like any other */
    /* supervisor → guest */
    SC_CTL_END, /* in the place of TERM */
    /* guest → supervisor */
    SC_CTL_LEFT, /* struct sc_ctl_left: it has ended, closes its connection, and its process goes on */

    /* supervisor → keeper of an MPS daemon (SC_START_KEEPER) */
    SC_CTL_END_CLIENT, /* struct sc_ctl_client: a worker is about to be signalled: take it off the GPU first
                        */
    /* keeper → supervisor */
    SC_CTL_CLIENT_ENDED, /* the same: it is off, or never was on it */
};

struct sc_ctl_header {
    uint16_t version;
    uint16_t type;
    uint32_t length; /* of what follows */
};

/* A slot's condition. */
enum sc_slot_state {
    SC_SLOT_STARTING = 1, /* spawned, not yet connected back */
    SC_SLOT_CONNECTED,    /* connected back: attach it */
    SC_SLOT_LOADED,       /* its model is loaded (worker's STATUS; text = JSON object of facts) */
    SC_SLOT_FAILED,       /* the worker says loading failed (text = why); it will exit */
    SC_SLOT_EXITED, /* process ended: wait_status; a new life begins after delay_ms, or never (delay_ms < 0:
                       given up) */
    SC_SLOT_GONE,   /* stopped on request and forgotten; the number may be used again */
};

struct sc_ctl_welcome {
    uint64_t epoch; /* grows with every frontend */
    uint32_t listeners;
    uint32_t slots;     /* SLOT_STATE messages that follow at once, one per living slot */
    uint32_t restarted; /* 1: an earlier frontend died; the journal has what it knew */
};

struct sc_ctl_slot {
    uint32_t slot;
    uint32_t state;
    uint64_t life; /* counts the processes of this slot, from 1 */
    int32_t pid;
    int32_t wait_status;
    int64_t delay_ms;
    uint32_t attached; /* 1: has channels of this epoch; an ATTACH alone is not announced as a change */
    uint32_t tag_len;  /* the tag of SLOT_START follows the structure, then the text: of LOADED and FAILED the
                          worker's, of EXITED why (the text of FAILED; "cannot run ..."), if that is known */
};
/* The frontend sends the same structure with SLOT_STOP and SLOT_KILL, without tag and text: only slot and,
 * for SLOT_KILL, life count. A KILL for a life that is over does nothing. */

struct sc_ctl_start {
    uint32_t slot;
    uint32_t flags;          /* SC_START_... */
    int64_t retry_window_ms; /* < 0: never give up */
    uint32_t tag_len;        /* frontend's own name for the slot, given back in SLOT_STATE */
    uint32_t argc;           /* then: tag, argc strings each NUL-terminated, then envc "K=V" strings */
    uint32_t envc;           /* added to the supervisor's environment, in place of the same names there; a
                                name alone is taken out of it. Then, with SC_START_DIR, one string more */
    uint32_t ranks;          /* processes that connect back; 0 and 1: one */
    uint32_t keeper;         /* 1 + the slot of the keeper whose MPS client the worker is; 0: it is none */
};
/*
 * The first of the argc strings is the program to run (a name without a slash is looked up in PATH), the
 * second its argv[0], which is its title in ps, the others its arguments: argc is at least 2.
 *
 * A slot stays occupied until its state GONE, given up or not: SLOT_START for an occupied slot is a mistake
 * that is logged and otherwise ignored. The worker runs in a process group of its own, with /dev/null as
 * standard input and no other descriptor than the standard ones, and dies with the supervisor.
 */
enum {
    SC_START_ONCE = 1, /* no restart when it ends */
    SC_START_DIR = 2,  /* the working folder follows the environment */
    /* Standard output and error are pipes: their reading ends (non-blocking) come with the slot's first state
     * STARTING, and with its state after WELCOME. The supervisor holds both ends as long as the slot is
     * occupied, so that a pipe outlives its reader. */
    SC_START_OUTPUT = 4,
    SC_START_STUBBORN = 8, /* SC_EXIT_FATAL is an exit code like others: the program is not ours */
    /* The program is no worker but starts one, or several (ranks): processes that have the token from the
     * environment, connect back each with its own rank, and end with the launcher. The slot is CONNECTED and
     * LOADED when all of them are, FAILED when one is; the end of one is the end of this life. */
    SC_START_LAUNCHER = 16,
    /* Keeps an MPS daemon (gpu/mps_keeper.h). It outlives the workers when everything ends, and is asked
     * before one of its clients is signalled: a signal to a process whose kernels run takes all clients of
     * that GPU down (docs/design.md §3.1). It has SC_MPS_END_MS to answer. */
    SC_START_KEEPER = 32,
    /* Starts nothing: tag, program, arguments and environment of the occupied slot, for the next life on. */
    SC_START_CHANGE = 64,
    /* The worker lives in one process with all other guests whose program, arguments and environment, but for
     * names that begin with SCONCE_, are the same. Guests load one after the other; the end of the process is
     * the end of each. KILL is the process's, TERM is SC_CTL_END. No launcher, no ranks, no output of its
     * own. */
    SC_START_GUEST = 128,
};
#define SC_START_FLAGS 255u
#define SC_OUTPUT_FDS 2 /* stdout, stderr */

struct sc_ctl_attach {
    uint32_t slot;
    uint32_t channels;
    uint64_t life;
    uint64_t epoch;
};

/* A native executor is to have so many lanes; how many its next life begins with SC_START_CHANGE says. */
struct sc_ctl_lanes {
    uint32_t slot;
    uint32_t lanes; /* 1..SC_LANES_MAX */
    uint64_t life;
    uint32_t order; /* the frontend's number for it; the facts of the answer have it */
    uint32_t unused;
};

struct sc_ctl_ranks {
    uint32_t ranks, rank; /* how many; the receiver's */
};

/*
 * A descriptor that outlives the worker that made it, for example of memory on a GPU. It is kept as long as a
 * slot lives whose worker has kept or fetched it; a later life of the slot that is LOADED and has done
 * neither gives it up. Who comes first with a name wins; what is too much (SC_KEPT_MAX) is not kept, which
 * costs time or memory and nothing else.
 */
struct sc_ctl_kept {
    char name[SC_KEPT_NAME_MAX]; /* ended by a NUL, not empty */
    uint64_t size;               /* of what is behind it; the keeper's word */
};

struct sc_ctl_left {
    int32_t code; /* as a process's exit code */
    uint32_t unused;
};

struct sc_ctl_client {
    uint32_t slot;
    int32_t pid;
    uint64_t life;
};

struct sc_ctl_hello {
    uint8_t token[16]; /* SCONCE_TOKEN, from hex */
    uint32_t rank;
    int32_t pid;
};

/* Text follows, SC_STATUS_TEXT bytes at most; it is told again to a new frontend. A longer text, or more than
 * SC_STATUS_MAX statuses in one life, are malformed. */
struct sc_ctl_status {
    uint32_t state; /* SC_SLOT_LOADED or SC_SLOT_FAILED */
    uint32_t text_len;
};

/* One received message; payload and fds are valid until the next receive. */
struct sc_ctl_message {
    uint16_t type;
    struct sc_span payload;
    int fds[SC_CTL_FDS]; /* close-on-exec; the receiver owns them */
    unsigned nfds;
    char bytes[SC_CTL_BYTES];
};

/*
 * Sends header + a + b (either may be empty) with descriptors. Never blocks: SC_AGAIN if the socket is full,
 * SC_ELIMIT if the message is too large, SC_ECLOSED, SC_ESYS.
 */
int sc_ctl_send(int sock, uint16_t type, struct sc_span a, struct sc_span b, const int *fds,
                unsigned nfds) SC_MUST_USE;
/* Receives one message without blocking: 1, 0 if none is there, SC_ECLOSED at the end, SC_EPROTO (malformed,
 * truncated; its descriptors are closed), SC_EVERSION, SC_ESYS. */
int sc_ctl_receive(int sock, struct sc_ctl_message *m) SC_MUST_USE;
/* Closes the message's descriptors that the receiver did not take (it sets taken ones to -1). */
void sc_ctl_close_fds(struct sc_ctl_message *m);

/* ---- payloads -------------------------------------------------------------------------- */

/* Readers trust nothing; every one returns 0 or SC_EPROTO. Views point into the payload. */

/* The next of the NUL-terminated strings in *area, which shrinks; NULL at the end. */
const char *sc_ctl_next_string(struct sc_span *area);

/* Copies a structure that is the whole payload. */
int sc_ctl_read_fixed(struct sc_span payload, void *out, size_t size) SC_MUST_USE;
int sc_ctl_read_slot(struct sc_span payload, struct sc_ctl_slot *out, struct sc_span *tag,
                     struct sc_span *text) SC_MUST_USE;
/* On success *argv holds exactly out->argc strings and *env out->envc, for sc_ctl_next_string; *dir is the
 * working folder (in the payload, NUL-terminated), NULL if none was named. */
int sc_ctl_read_start(struct sc_span payload, struct sc_ctl_start *out, struct sc_span *tag,
                      struct sc_span *argv, struct sc_span *env, const char **dir) SC_MUST_USE;
int sc_ctl_read_status(struct sc_span payload, struct sc_ctl_status *out, struct sc_span *text) SC_MUST_USE;

/* Appends the payload of SLOT_START to b: head's lengths, counts and SC_START_DIR are filled in from tag, the
 * two NULL-terminated lists (env may be NULL) and dir (may be NULL). Failures are b's. */
void sc_ctl_write_start(struct sc_buf *b, struct sc_ctl_start head, struct sc_span tag,
                        const char *const *argv, const char *const *env, const char *dir);

/* ---- the worker's way in --------------------------------------------------------------- */

/* Environment that a spawned worker finds. */
#define SC_ENV_SOCKET "SCONCE_SOCKET" /* connect-back address: "@name" is abstract, else a path */
#define SC_ENV_TOKEN "SCONCE_TOKEN"   /* 32 hex digits */
#define SC_ENV_RANK "SCONCE_RANK"

/* Worker's side: connects back and says hello. Blocking, with SC_CONNECT_BACK_MS as limit. Returns the socket
 * (non-blocking, close-on-exec) or an error with *msg. Reads the three variables above. */
int sc_ctl_connect_back(struct sc_msg *msg) SC_MUST_USE;
/* The same with the variables' values; rank may be NULL: 0. */
int sc_ctl_connect_back_as(const char *where, const char *token, const char *rank,
                           struct sc_msg *msg) SC_MUST_USE;

/* Worker's side: how it went. A text that is too long is cut, never within a character. Errors as
 * sc_ctl_send's. */
int sc_ctl_send_status(int sock, enum sc_slot_state state, struct sc_span text) SC_MUST_USE;

/* Worker's side: TERM and INT no longer end the caller's thread (and those it starts) but make the returned
 * descriptor (non-blocking, close-on-exec) readable; negative, with errno, if there is none. */
int sc_ctl_open_signals(void) SC_MUST_USE;

#endif
