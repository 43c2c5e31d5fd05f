/* What the executor's files share. */
#ifndef SC_WORKER_EXECUTOR_PRIVATE_H
#define SC_WORKER_EXECUTOR_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/error.h"
#include "sconce/backend.h"
#include "worker/channel.h"
#include "worker/control.h"
#include "worker/ready.h"

/* A port with the count of those who use it: the attachment and every request that came by it. */
struct sc_port_ref {
    struct sc_port *port;
    atomic_uint refs;
};

struct sconce_request {
    struct sconce_request *next;
    int64_t turn; /* when it came, as its priority has it; later once it has had one */
    struct sc_port_ref *ref;
    struct sc_work work;
    struct sc_answer answer;
    bool reserved, answered;
    bool dropped; /* nobody waits for it: it is discarded after the slices that are being computed */
    void *data;
    uint64_t cost;
    struct sconce_item one, *items; /* items: `one`, or nitems of the heap; the dearest first */
    uint32_t nitems, given;         /* given: of them, those that a lane has got */
    atomic_uint left;               /* items that are not computed */
    _Atomic int64_t taken_ns;       /* when the first of them was begun; 0: none yet */
    char content_type[96];
    char interface[32];
};

struct sconce_host {
    const char *model, *version, *dir, *backend_dir;
    unsigned lanes;
    uint64_t max_response;
    struct sc_executor *ex;
    int ctl;                        /* the supervisor; -1: none */
    struct sc_ctl_message *waiting; /* an ATTACH that came while the model was loading, or NULL */
    bool end;                       /* a guest: END came, then */
    char *const *env;               /* a guest's own, NULL-terminated; NULL: the process's */
};

struct sc_spread; /* spread.c */

struct sc_executor {
    struct sconce_host host;
    const struct sconce_backend_ops *ops;
    bool slices; /* it has lane_compute and lane_answer */
    struct sconce_model *model;
    struct sconce_model_info info;
    uint32_t batch_size;
    int64_t batch_delay_ns;
    bool fill;
    int64_t spin_ns; /* how long a lane looks at the rings before it sleeps; 0 where there is one CPU */

    pthread_mutex_t lock;
    pthread_cond_t wake;         /* lanes wait here while another thread polls */
    pthread_cond_t help;         /* helpers wait here while a lane is free */
    pthread_cond_t spread_done;  /* who spread work waits here for the last of it */
    struct sc_port_ref *port;    /* the present attachment; NULL before the first */
    struct sc_request_list raw;  /* taken from the rings */
    struct sc_request_list bulk; /* of them, the long bodies: helpers prepare them */
    struct sc_ready ready;       /* prepared, and not all of it given to a lane */
    struct sc_spread *spreads;
    struct sconce_request *pool;
    unsigned lanes;     /* whose threads run: those that end are among them until they have */
    unsigned computing; /* lanes that compute a batch */
    uint64_t computing_cost;
    unsigned waiting;  /* lanes at `wake` */
    unsigned resting;  /* helpers at `help` */
    bool polling;      /* a thread sleeps on the port's descriptor */
    bool helper_polls; /* it is a helper */
    bool filling;      /* a lane waits for its batch to fill */
    bool stopping;
    int kick_fd; /* eventfd: makes the polling thread look at what has changed */
    unsigned helpers;
    /* Main thread. */
    int ended_fd; /* eventfd: readable when a lane has ended */
    unsigned made, helpers_made;
    struct sc_lane_thread *lane[SC_LANES_MAX], *helper[SC_LANES_MAX]; /* made, helpers_made of them */
};

/* A lane's thread, or a helper's (lane is NULL). */
struct sc_lane_thread {
    struct sc_executor *ex;
    unsigned index;
    pthread_t thread;
    bool ending, ended; /* with the lock: there are to be fewer lanes; it takes no more */
    uint64_t cost;      /* of its batch */
    struct sconce_lane *lane;
    struct sconce_slice batch[SC_BATCH_SIZE_MAX];
    struct sconce_request *done[SC_BATCH_SIZE_MAX];
    uint64_t ids[SC_BATCH_SIZE_MAX];
};

/* ---- executor.c ---- */

/* Opens the log as the environment has it. */
void sc_executor_open_log(const struct sconce_host *h);
/*
 * Reads the settings of *ex, which is zeroed but for host.env, loads the model, serves until it is told to
 * end, and lets go of everything but *ex; a guest (host.env) says LEFT then. Returns the exit code.
 */
int sc_executor_run(struct sc_executor *ex);

/* ---- lane_threads.c: main thread ---- */

/* Makes host.lanes lanes and the helpers, and starts their threads. An error names the lane. */
int sc_lanes_start(struct sc_executor *ex, struct sc_msg *msg);
/*
 * Goes on towards n lanes (at least 1): 1 when there are as many; 0 while some that are too many finish their
 * batches, and then ended_fd becomes readable: call again; an error with *msg if one could not be made: it
 * stays at ex->made.
 */
int sc_lanes_settle(struct sc_executor *ex, unsigned n, struct sc_msg *msg);
/* Stops the threads after the batch they are in and destroys the lanes. */
void sc_lanes_stop(struct sc_executor *ex);
/* Replaces the attachment (NULL: none). Takes over the port. SC_ENOMEM: the port is deleted. */
int sc_lanes_attach(struct sc_executor *ex, struct sc_port *port);

/* ---- intake.c: from the rings to requests that are ready. With the lock held. ---- */

void sc_intake_init(struct sc_executor *ex);
/* Moves what is in the rings to the raw list (long bodies to `bulk`, if there are helpers). */
void sc_intake(struct sc_executor *ex);
/* Prepares one of these and puts it where lanes look; the lock is released meanwhile. */
void sc_intake_prepare(struct sc_executor *ex, struct sc_request_list *from);
/* Gives a request back to the pool. */
void sc_intake_recycle(struct sc_executor *ex, struct sconce_request *r);
/* Lets go of all that nobody has begun, and marks what lanes compute now. */
void sc_intake_drop(struct sc_executor *ex);
void sc_port_ref_put(struct sc_port_ref *ref);

/* ---- lanes.c ---- */

/* What a thread does (struct sc_lane_thread). */
void *sc_lane_main(void *thread);

/* With the lock held. */

/* A lane that is free looks again; all threads do. */
void sc_lanes_wake(struct sc_executor *ex);
void sc_lanes_kick(struct sc_executor *ex);

/* ---- spread.c ---- */

/* Does a piece of somebody's work, if there is any: true. With the lock held, released meanwhile. */
bool sc_spread_help(struct sc_executor *ex);
/* sconce_host_spread. Without the lock. */
void sc_spread(struct sc_executor *ex, uint32_t n, void (*fn)(void *arg, uint32_t i), void *arg);

/* ---- host.c ---- */

/* A variable of the executor's environment, NULL if it is not set. */
const char *sc_host_variable(const struct sconce_host *h, const char *name);

/* Answers with an error text unless answered already. */
void sc_request_fail(struct sconce_request *r, unsigned status, const char *type, const char *text);

#endif
