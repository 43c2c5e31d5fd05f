/*
 * What the files of the model room share. Who may touch what: members marked [loop] only on
 * their plane's loop, [0] only on loop 0, [atomic] from anywhere.
 *
 *   job.c       one request: its block in the arena, its number
 *   shard.c     queue of one version on one loop, dispatch to channels, completions
 *   turns.c     requests that belong to sequences (sequence.c: the table of those)
 *   replay.c    what happens to requests when their worker dies or hangs; quarantine
 *   plane.c     per-loop state: catalog, hooks, tick
 *   worker.c    worker slots of a version: start, stop, states
 *   lanes.c     more or fewer lanes in an executor that runs
 *   standby.c   a second executor that is ready to take over
 *   group.c     executors that share a process
 *   gpus.c      which GPU a worker gets; the gpu agent
 *   placement.c which GPU has room for a worker; GPUs that are not to be used any more
 *   sharing.c   which workers are MPS clients (keepers.c: the daemons)
 *   save.c      when snapshots are written
 *   prepare.c   archives found and removed, off the loops
 *   install.c   what a model's requirements ask for
 *   weights.c   workers whose weights are shared, and what becomes of those whose handler writes to them
 *   start.c     what a worker process is started with
 *   launch.c    what stands before a worker's script: interpreter, torchrun, the CPU launcher
 *   attachment.c  the shared memory of one life of a worker
 *   watch.c     time limits of batches, loads and quarantine
 *   registry.c  models and versions: register, scale, default, unregister
 *   record.c    the journal
 *   workflow*.c workflows: their archives and graphs, which there are, requests that run on them
 *   view.c      what is told of models and workers
 *   line.c      messages to and from the supervisor
 */
#ifndef SC_MODEL_ENGINE_PRIVATE_H
#define SC_MODEL_ENGINE_PRIVATE_H

#include <limits.h>
#include <stdatomic.h>

#include "base/dlist.h"
#include "metrics/registry.h"
#include "model/engine.h"
#include "model/sequence.h"
#include "model/snapshot.h"
#include "worker/arena.h"
#include "worker/channel.h"
#include "worker/control.h"
#include "worker/journal.h"

enum sc_job_state { SC_JOB_FILLING, SC_JOB_QUEUED, SC_JOB_SENT, SC_JOB_SUSPECT };

/* [loop] */
struct sc_job {
    struct sc_node node; /* in the shard's queue, its suspects, or a link's sent list */
    struct sc_shard *shard;
    struct sc_link *link; /* while SENT */
    enum sc_job_state state;
    bool gone;            /* nobody waits (done was called): its answer is dropped */
    bool streamed;        /* a part of its answer was passed on: never run again */
    bool alone;           /* must be in a batch of its own */
    uint8_t priority;     /* enum sc_priority */
    bool untold;          /* gone, and the worker that has it could not be told yet */
    uint8_t deaths_alone; /* workers that died while they computed nothing but this */
    uint8_t hangs;
    uint64_t id;
    uint64_t off; /* block in the arena: meta, then body unless fd >= 0 */
    char *block;
    size_t block_size;
    uint32_t meta_len;
    uint64_t body_len;
    int fd;    /* memfd of a large body; -1 */
    char *map; /* its mapping while it is being filled */
    size_t map_size;
    uint64_t counted; /* bytes counted against the model's queue */
    uint64_t cost;
    int64_t arrival_ns, sent_ns, heard_ns; /* heard: of its last part; 0: none */
    int64_t deadline_ns;                   /* 0: none */
    struct sc_node timed;    /* in the plane's list, from its submission on if it has a deadline */
    struct sc_span sequence; /* its id, until it is submitted; NULL pointer: none */
    bool begins;             /* the client says that its sequence begins */
    bool in_sequence;        /* the turn is in the version's table */
    bool is_long;            /* it has taken long credit */
    struct sc_turn turn;
    sc_job_part part;
    sc_job_done done;
    void *arg;
};

/* One worker process's life, attached to every loop. Created and freed on loop 0. */
struct sc_attachment {
    struct sc_version *version;
    bool quarantine;
    unsigned worker_id;        /* its first lane's */
    struct sc_board_work work; /* [0] already counted in the metrics */
    struct sc_board *board;
    unsigned nloops;
    struct sc_chan *chans[SC_LOOPS_MAX];
    struct sc_link *links[SC_LOOPS_MAX];
    atomic_llong credit;    /* [atomic] cost that may still be sent; negative after lanes have ended */
    long long lane_credit;  /* [0] what of it each lane adds; 0: nothing */
    atomic_uint waiting;    /* [atomic] bit per loop that found no credit */
    atomic_bool kill_asked; /* [atomic] a loop found it hostile or hung */
    atomic_bool
        distrusted; /* [atomic] it broke a rule or its running pages are not credible: they clear nobody */
    uint32_t bytes_per_cost;
    /* Requests of at least this cost have a credit of their own, in requests: one long list does not keep
     * what comes behind it waiting. 0: there are none. */
    uint64_t long_cost;
    atomic_llong long_credit; /* [atomic] */
    /* Set on loop 0 before the loops are told of the death; read by them. */
    bool excused;      /* what it died of is no request's fault */
    uint64_t *running; /* ids on its running pages when it died */
    size_t nrunning;
    unsigned acks; /* [0] loops that have let go */
    /* Processes that serve requests one batch at a time. Credit granted in all; follows the worker's speed.
     */
    atomic_llong depth; /* [atomic] 0: credit does not follow */
    struct sc_sequence_home home;
    atomic_uint linked; /* [atomic] loops that have a link */
};

/* [loop] */
struct sc_link {
    struct sc_link *next; /* of the plane */
    struct sc_attachment *att;
    struct sc_shard *shard;
    struct sc_plane *plane;
    struct sc_chan *chan;
    uv_poll_t poll;
    struct sc_node sent; /* jobs, oldest first */
    size_t nsent;
    struct sc_node ready; /* jobs of sequences whose turn it is: queued, for this worker alone */
    int64_t heard_ns;     /* last completion, or first submission after idleness */
    int64_t dirty_ns;     /* when `dirty` was set */
    bool dirty;           /* submitted to, and not woken since */
    bool untold;          /* jobs of it are */
    bool draining, broken, drain_told;
};

/* [loop] One model version on one loop. */
struct sc_shard {
    struct sc_shard *next; /* of the plane */
    struct sc_plane *plane;
    struct sc_version *version;
    struct sc_arena arena;
    int arena_fd;                        /* -1: no worker was ever wanted (sc_version_open) */
    struct sc_node queue[SC_PRIORITIES]; /* jobs waiting, head first */
    struct sc_node longs;                /* long ones that wait for credit of theirs, head first */
    struct sc_node turns;                /* jobs of sequences that wait for their turn, by arrival */
    struct sc_node suspects;
    struct sc_link **links; /* normal workers; more than one while one replaces another */
    unsigned nlinks, links_cap;
    struct sc_link *quarantine;
    size_t jobs;             /* all that are not done */
    atomic_size_t queued;    /* [atomic] for reports */
    atomic_size_t nsuspects; /* [atomic] */
    bool closing;            /* no new jobs; report when jobs is 0 */
    struct sc_task kick;     /* posted by a loop that gave credit back */
    atomic_llong kicked_ns;  /* [atomic] when, and not run since; 0: it is not posted */
    /* For other loops to read, on a line of its own: mostly nobody waits, and nothing is written. */
    char apart[64];
    atomic_llong first_ns; /* [atomic] when the first that waits came; SC_NOBODY_WAITS */
    atomic_uint passes;    /* [atomic] dispatches that left something waiting */
    char apart_too[64];
    struct sc_way { /* made for another loop last */
        struct sc_shard *to;
        long long since; /* its first_ns then */
        unsigned passes; /* its own then */
    } way;
};
#define SC_NOBODY_WAITS LLONG_MAX

/* [0] unless said otherwise */
struct sc_worker {
    struct sc_node node; /* of the version */
    struct sc_version *version;
    uint32_t slot;
    unsigned lanes;             /* that it has; while it loads, is to have */
    unsigned lanes_wanted;      /* ordered (lanes.c) */
    uint32_t lanes_order;       /* the latest order's number; 0: none was given */
    unsigned ids[SC_LANES_MAX]; /* of the lanes, as reported; the first is first_id */
    bool quarantine;
    bool standby;  /* no loop knows it (standby.c) */
    bool stopping; /* SLOT_STOP was sent, or will be when drained */
    bool draining;
    int64_t sequences_until_ns; /* draining: its sequences may go on until then; 0: none, or no more */
    bool loaded;
    bool given_up;
    bool failed_for_memory; /* its last load */
    int pid;
    uint64_t life;
    int64_t made_ms;              /* wall clock */
    int64_t loading_ns;           /* since when it loads; 0: it does not */
    unsigned first_id;            /* of its first lane, or its own: the newest worker has the highest */
    unsigned drained;             /* loops */
    unsigned instance, instances; /* of the CPU launcher's division of the cores; 0: not divided */
    int gpu_id;                   /* -1: none */
    uint8_t way;                  /* enum sc_mps_way: how it shares its GPU */
    bool held, looked_at;         /* no process is started yet (sharing.h) */
    bool placed;                  /* its GPU is settled (placement.h) */
    int64_t waits_ns;             /* since when it waits to be placed; 0: it has not begun to */
    uint64_t verified_life;       /* the life that was seen as an MPS client; 0: none */
    uint64_t lost_life;           /* the latest that was lost together with all clients; 0: none */
    unsigned missed, strikes;     /* looks at which it was no client; replacements for that */
    int64_t recovering_ms;        /* wall clock of the first death that no load has followed; 0: none */
    bool shares;                  /* its processes are told to share their weights */
    int64_t shared_bytes;         /* what its present life does share */
    char unshared[208];           /* why not all, or none; "": it said nothing */
    int64_t gpu_weights;          /* bytes of a GPU, as it said when it had loaded; 0: it did not */
    int64_t gpu_lane;             /* the same, of each lane */
    int64_t told_rss;             /* by system_metrics_cmd; 0: nothing */
    char failure[256];            /* what it said when it failed to load */
    char last_end[512];           /* how its last life ended; "" if well, or never */
    struct sc_output
        *output[SC_OUTPUT_FDS]; /* readers of its standard output and error; NULL: not captured */
    struct sc_attachment *att;
};

struct sc_waiter {
    struct sc_waiter *next;
    sc_engine_done done;
    void *arg;
    bool registering;
};

/* [0] but for spec (read-only) and the atomics */
struct sc_version {
    struct sc_engine *engine;
    struct sc_model_spec spec;
    struct sc_node workers;
    unsigned attachments; /* not yet freed */
    struct sc_shard *shards[SC_LOOPS_MAX];
    struct sc_waiter *waiters;
    char failure[256]; /* what those who wait are told once a failed registration is undone */
    int failure_rc;
    bool unregistering;
    unsigned acks;
    sc_engine_done gone_done;
    void *gone_arg;
    int64_t gone_deadline_ns;
    atomic_int workers_wanted;   /* [atomic] */
    atomic_ullong bytes;         /* [atomic] of bodies not yet answered */
    atomic_llong open;           /* [atomic] requests accepted and not yet answered */
    atomic_llong capacity;       /* [atomic] of them, those that the loaded workers have at once */
    unsigned gpu_next;           /* [0] of a model with deviceIds or parallelLevel */
    atomic_int quarantine_owner; /* [atomic] loop that uses the quarantine worker, or -1 */
    int64_t quarantine_idle_ns;
    int64_t suspects_ns;        /* since when there are some and no quarantine worker; 0: there are not */
    atomic_uint group_faults;   /* [atomic] of it, as a member of an executorGroup */
    unsigned group_load_deaths; /* [0] of its process, one behind the other, while it was loading */
    bool ungrouped;             /* [0] it has left the group for them */
    struct sc_metrics_model *metrics;
    atomic_uint interfaces;         /* [atomic] bits of model/interfaces.h */
    struct sc_sequences *sequences; /* any thread; NULL: requests are independent of each other */
};

struct sc_model {
    char *name;
    struct sc_version **versions; /* in order of registration */
    unsigned nversions;
    struct sc_version *def;
};

/* What a loop looks names up in; immutable, replaced as a whole. */
struct sc_catalog {
    atomic_uint refs;
    unsigned n, nworkflows;
    struct sc_workflow **workflows; /* each counted */
    struct sc_catalog_entry {
        struct sc_version *version;
        bool is_default;
    } entries[]; /* sorted by name */
};

/* [loop] */
struct sc_plane {
    struct sc_engine *engine;
    struct sc_loop *loop;
    struct sc_catalog *catalog;
    struct sc_link *links;
    struct sc_shard *shards;
    struct sc_node flows;  /* requests on their way through workflows */
    struct sc_job **table; /* by index; the rest of an id is its generation */
    uint32_t *free_index;
    uint32_t nfree, table_size;
    uint32_t generation;
    struct sc_job *pool;
    struct sc_node timed; /* jobs with deadlines */
    struct sc_loop_hook hook;
    uv_timer_t tick;
    bool closed;
};

struct sc_line_out;
struct sc_gpus;
struct sc_sharing;
struct sc_placement;
struct sc_kept;
struct sc_workflow;

struct sc_engine {
    struct sc_engine_spec spec;
    unsigned nloops;
    struct sc_plane planes[SC_LOOPS_MAX];
    atomic_bool healthy;
    atomic_llong stall_from,
        stall_to; /* [atomic] ns of the driver's last stall (gpus.c); 0: none, not over */
    /* [0] */
    struct sc_model **models; /* sorted by name */
    unsigned nmodels;
    struct sc_workflow **workflows; /* sorted by name */
    unsigned nworkflows;
    struct sc_journal *journal;
    bool unrecorded; /* it could not be rewritten: what is appended would not count */
    int journal_fd;
    uint64_t epoch;
    bool slots[SC_SLOTS_MAX]; /* numbers in use: from SLOT_START until the supervisor says GONE */
    uint32_t next_slot;       /* where to look for a free one */
    unsigned next_worker_id, next_block_id; /* of workers with parallelLevel */
    unsigned gpu_next;                      /* of models without deviceIds */
    struct sc_gpus *gpus;                   /* the agent and what it tells; NULL: none */
    struct sc_sharing *sharing;             /* NULL: no worker has had a GPU */
    struct sc_placement *placement;         /* what workers have cost; NULL: nothing is known */
    uv_poll_t line;
    struct sc_line_out *out, **out_tail;
    size_t out_n;
    uint32_t states_due; /* SLOT_STATE messages of the welcome not yet seen */
    bool welcomed, restored, closed;
    bool started;            /* the journal says so */
    bool saving, save_again; /* a snapshot is being written; another is wanted after it */
    struct sc_kept *kept;    /* record.c */
};

/* Its workers have many requests open, each with an end of its own. */
static inline bool sc_version_is_open_ended(const struct sc_version *v)
{
    return v->spec.continuous_batching || v->spec.async_communication;
}

/* How many requests may wait beside those that the workers have: the model's own number, or the setting. */
static inline long long sc_version_queue_size(const struct sc_version *v)
{
    return v->spec.job_queue_size > 0 ? v->spec.job_queue_size : v->engine->spec.settings->job_queue_size;
}

static inline struct sc_loop *sc_engine_loop(struct sc_engine *e, unsigned i)
{
    return sc_loops_at(e->spec.loops, i);
}

/* Counts on the shard's loop. */
static inline void sc_shard_count(struct sc_shard *s, unsigned metric, int64_t n)
{
    sc_metrics_add(s->version->metrics, s->plane->loop->index, metric, n);
}

/* job.c */
struct sc_job *sc_job_find(struct sc_plane *p, uint64_t id);
/* True if this plane gave that number, now or once, or another loop may have. */
bool sc_job_id_known(const struct sc_plane *p, uint64_t id);
/* Into a state (the caller puts it into the list; link is set before SENT); out of it and its list. */
void sc_job_enter(struct sc_job *j, enum sc_job_state state);
void sc_job_leave(struct sc_job *j);
/* Frees it: out of its list, off the table. */
void sc_job_free(struct sc_job *j);
/* Calls done (status 0 after cancel) and frees. */
void sc_job_answer(struct sc_job *j, const struct sc_job_answer *a);
void sc_job_fail(struct sc_job *j, int status, const char *type, const char *text);
void sc_plane_jobs_free(struct sc_plane *p);
/* Begins a job with another one's metadata and body, on the same shard, as sc_job_begin does. */
int sc_job_again(const struct sc_job *j, struct sc_body *body, struct sc_job **out) SC_MUST_USE;
/* Answers what has passed its deadline. */
void sc_plane_jobs_expire(struct sc_plane *p, int64_t now);

/* shard.c */
/* The job whose turn it is in the queue; NULL: none waits. */
struct sc_job *sc_shard_first(struct sc_shard *s);
void sc_shard_dispatch(struct sc_shard *s);
void sc_shard_requeue(struct sc_job *j); /* at the place of its arrival */
void sc_link_up(struct sc_plane *p, struct sc_attachment *att);
/* Wakes the worker for what was sent since the last time. */
void sc_link_flush(struct sc_link *k);
void sc_link_poll(struct sc_link *k);
void sc_link_detach(struct sc_link *k); /* closes the handle; frees the link later */
int sc_link_send(struct sc_link *k, struct sc_job *j, unsigned flags);
/* Tells the worker that nobody waits for j any more; if there is no room, the tick does it again. */
void sc_link_cancel(struct sc_link *k, struct sc_job *j);
void sc_link_break(struct sc_link *k, const char *why);
void sc_shard_drained(struct sc_shard *s); /* reports when closing and empty */
/* Answers all that waits with 503: nobody will come for it. */
void sc_shard_no_worker(struct sc_shard *s);
/* True if the worker has credit for another request; else this loop is told when it has. */
bool sc_link_has_credit(struct sc_link *k);
/* Takes credit and sends a waiting job. False: it still waits; the link may be broken now. */
bool sc_link_offer(struct sc_link *k, struct sc_job *j);
/* Dispatches on that shard's loop soon. Any thread. */
void sc_shard_kick(struct sc_shard *s);
/* It was to dispatch SC_LOOPS_WAIT_NS ago, and has not: its loop is busy with something else. Any thread. */
bool sc_shard_is_late(const struct sc_shard *s);
/* Answers the job if its client's time is over (clientTimeoutInMills). It waits. */
bool sc_job_expire(struct sc_job *j, int64_t now);

/* turns.c */
/* The version's table, if it batches sequences; fills v->sequences. */
void sc_turns_open(struct sc_version *v);
/* Enters the job into its sequence. 0; SC_ELIMIT, SC_ECLOSED as sc_sequences_add. The caller then queues it.
 */
int sc_turns_add(struct sc_job *j) SC_MUST_USE;
/* Sends the jobs whose turn it is. */
void sc_turns_dispatch(struct sc_shard *s);
/* The job is over; before it leaves its state. */
void sc_turn_leave(struct sc_job *j);
/* Its worker is gone; the job is in no list. True: the caller may put it where it is run again (`keep`:
 * alone, on the quarantine worker). False: it was answered. */
bool sc_turn_back(struct sc_job *j, bool keep);
/* The quarantine worker has lived through it: it is run again, where the sequence is to live. */
void sc_turn_survived(struct sc_job *j);
/* A part of its answer has come: it is not run again, and the next of its sequence may come. */
void sc_turn_streams(struct sc_job *j, struct sc_span meta);
/* What an answer's headers say of sequences. */
void sc_turn_answered(struct sc_job *j, struct sc_span meta);
/* The link takes no more: what is ready for it goes back. */
void sc_turns_link_gone(struct sc_link *k);
/* Late ones are answered. */
void sc_turns_expire(struct sc_shard *s, int64_t now);
/* Loop 0: time limits of sequences. */
void sc_turns_tick(struct sc_version *v, int64_t now);

/* replay.c */
void sc_replay_worker_gone(struct sc_plane *p, struct sc_attachment *att);
void sc_replay_suspects(struct sc_shard *s);
void sc_replay_hung(struct sc_plane *p, struct sc_attachment *att, const uint64_t *ids, size_t n);
void sc_replay_tick(struct sc_plane *p);
/* The quarantine worker cannot be had. */
void sc_replay_no_quarantine(struct sc_shard *s);

/* plane.c */
void sc_plane_init(struct sc_engine *e, unsigned i);
void sc_plane_close(struct sc_plane *p);
void sc_plane_catalog_free(struct sc_plane *p);
/* One loop lets go of it. */
void sc_catalog_put(struct sc_catalog *c);
/* Runs fn(a, b) on a loop soon. */
void sc_engine_call(struct sc_loop *l, void (*fn)(void *a, void *b), void *a, void *b);

/* install.c: virtual environment and packages of a model, if it wants them. 0, or *err and the spec is freed.
 * Blocks. */
int sc_spec_install(struct sc_model_spec *s, const struct sc_settings *settings, const char *home,
                    struct sc_archive_error *err) SC_MUST_USE;

/* save.c. Does nothing before the start, or if snapshots are off. */
void sc_engine_snapshot(struct sc_engine *e, enum sc_snapshot_kind kind);

/* start.c */
void sc_worker_send_start(const struct sc_worker *w);
/* What its lives begin with from the next one on. */
void sc_worker_send_change(const struct sc_worker *w);

/* lanes.c */
/* Gives numbers to lanes that are new, up to lanes_wanted of them. */
void sc_lanes_number(struct sc_worker *w, unsigned from);
/* The executor is to have so many lanes, 1..SC_LANES_MAX: at once if it runs, else when it does. */
void sc_lanes_scale(struct sc_worker *w, unsigned lanes);
/* w gets the lanes of `dead`, as many and with their ids, and `dead` begins its next life with one. */
void sc_lanes_inherit(struct sc_worker *w, struct sc_worker *dead);
/* It says what it has (the facts of LOADED): for the first time in this life, or as an answer to an order. */
void sc_lanes_told(struct sc_worker *w, struct sc_span facts);

/* workflow_run.c: tries of nodes that took too long. */
void sc_flows_tick(struct sc_plane *p, int64_t now);

/* worker.c */
/* NULL: SC_SLOTS_MAX workers run already. */
struct sc_worker *sc_worker_start(struct sc_version *v, unsigned lanes, bool quarantine);
/* A number that no slot has. False: SC_SLOTS_MAX run. */
bool sc_worker_take_slot(struct sc_engine *e, uint32_t *slot);
void sc_worker_stop(struct sc_worker *w, bool drain);
/* Frees it (off its list) when the frontend ends. */
void sc_worker_del(struct sc_worker *w);
void sc_worker_close_output(struct sc_worker *w);
/* fds: reading ends of its output, if they came (nfds SC_OUTPUT_FDS); taken ones are set to -1. */
void sc_worker_state(struct sc_engine *e, const struct sc_ctl_slot *s, struct sc_span tag,
                     struct sc_span text, int *fds, unsigned nfds);
/* The sequences of a draining worker have ended, or their time is over. */
void sc_worker_drain_links(struct sc_worker *w);
/* SLOT_STOP or SLOT_KILL. */
void sc_worker_order(struct sc_engine *e, uint16_t type, uint32_t slot, uint64_t life);
void sc_workers_reconcile(struct sc_version *v);
/* Calls fn for every worker of every version until it says true: returns that one, or NULL. fn takes none
 * away. */
struct sc_worker *sc_workers_each(struct sc_engine *e, bool (*fn)(void *arg, struct sc_worker *w), void *arg);
/* The engine ends: nobody reads what workers print any more. */
void sc_workers_close_output(struct sc_engine *e);

/* One lane, on that GPU; it serves nobody. NULL as above. */
struct sc_worker *sc_worker_start_standby(struct sc_version *v, int gpu_id);

/* standby.c */
/* Starts one, or ends it, as the model has it. */
void sc_standby_keep(struct sc_version *v);
/* The executor that served has died: one that stands by serves from now on, and its next life stands by. */
bool sc_standby_takes_over(struct sc_worker *dead);
/* A standby has loaded: true, it is needed at once and serves. */
bool sc_standby_loaded(struct sc_worker *w);

/* group.c */
/* True if its present life, or the next, is in a process with others. */
bool sc_group_has(const struct sc_worker *w);
/* The title of that process: its members have the same group and GPU. */
void sc_group_title(const struct sc_worker *w, char *out, size_t size);
/* False if another worker that comes before it in sc_workers_each has the same process. */
bool sc_group_leads(struct sc_worker *w);
/* Any thread. Something in the version's hands, not in another member's, has ended its process. */
void sc_group_fault(struct sc_version *v);
/* A member's life is over, with what it said of a failed load in w->failure: true, its next life is in a
 * process of its own. */
bool sc_group_exited(struct sc_worker *w, bool was_loaded, int wait_status);

/* attachment.c */
/* Shared memory for the worker's present life, sent to it. */
int sc_attachment_open(struct sc_worker *w);
/* What a worker that has said its facts (the text of LOADED) may be sent ahead. */
void sc_attachment_grant(struct sc_worker *w, struct sc_span facts);
/* Credit for so many lanes more (negative: fewer); who waits for some gets it. */
void sc_attachment_credit(struct sc_attachment *att, long long lanes);
/* Any loop. Takes the bits of those that wait for credit, and has them dispatch, but for the bits `except`.
 */
void sc_attachment_kick(struct sc_attachment *att, unsigned except);
/* Any loop. Has the loop dispatch whose first request waits longest of those that wait for credit, but for
 * the bits `except`; what that one leaves it passes on. */
void sc_attachment_kick_first(struct sc_attachment *att, unsigned except);
/* The worker is loaded: every loop may use it. */
void sc_attachment_use(struct sc_attachment *att);
/* The worker is dead: its running pages are read, its requests go back. */
void sc_attachment_let_go(struct sc_worker *w);
/* True if the dead worker's pages had that request. Any loop. */
bool sc_attachment_was_running(const struct sc_attachment *att, uint64_t id);
/* A page as a worker that keeps the rules would write it. */
bool sc_running_credible(const struct sc_running *page, int64_t now_ns);
/* Adds what its lanes have done since to the metrics. */
void sc_attachment_count(struct sc_attachment *att);
/* Called through sc_engine_call. A loop has let go of a dead worker's attachment (link NULL), or its link is
 * drained (link not NULL). */
void sc_attachment_acked(void *attachment, void *link);
void sc_attachment_kill(void *attachment, void *unused);

/* weights.c */
/* The facts of a worker that has loaded. */
void sc_weights_told(struct sc_worker *w, struct sc_span text);
/* Its process has ended, and its requests were not looked at yet: if it was for writing to shared weights,
 * the version's are private from then on, and no request is to blame. */
void sc_weights_exited(struct sc_worker *w, int wait_status);
/* One that shares though its version's weights are private now is replaced: at once if it does not serve,
 * else by the tick. */
void sc_weights_replace(struct sc_worker *w);
void sc_weights_tick(struct sc_engine *e);
/* "shared" or "private", *why if there is more to say; NULL: the model does not ask for it, or has not
 * loaded. */
const char *sc_weights_state(const struct sc_worker *w, const char **why);

/* watch.c */
void sc_workers_tick(struct sc_engine *e);

/* registry.c */
struct sc_version *sc_registry_find(struct sc_engine *e, struct sc_span name, struct sc_span version);
struct sc_model *sc_registry_model(struct sc_engine *e, struct sc_span name, unsigned *at);
struct sc_version *sc_model_version(struct sc_model *m, struct sc_span version);
/* Makes the memory through which its requests go, where it is not yet made: before a worker is wanted, so
 * that a model without any costs neither descriptors nor mappings. 0, SC_ESYS or SC_ENOMEM. */
int sc_version_open(struct sc_version *v) SC_MUST_USE;
/* Adds the version without starting anything. */
int sc_registry_add(struct sc_engine *e, const struct sc_model_spec *spec, struct sc_version **out);
void sc_registry_publish(struct sc_engine *e);
void sc_registry_health(struct sc_engine *e);
/* Tells those who wait for this version's workers. rc 0 only when enough are loaded. */
void sc_registry_workers_changed(struct sc_version *v, int rc, const char *text);
void sc_registry_worker_gone(struct sc_version *v);
void sc_registry_shard_closed(void *version, void *unused); /* through sc_engine_call */
void sc_registry_tick(struct sc_engine *e);
void sc_registry_free(struct sc_engine *e);

/* record.c */
void sc_record_all(struct sc_engine *e);
/* A version that was added, which alone is written: what it costs does not grow with the models. */
void sc_record_added(struct sc_engine *e, const struct sc_version *v);
void sc_record_restore(struct sc_engine *e);
void sc_record_free(struct sc_engine *e);

/* line.c */
void sc_line_send(struct sc_engine *e, uint16_t type, struct sc_span a, struct sc_span b, const int *fds,
                  unsigned nfds);

#endif
