/*
 * A request on its way through a workflow: when a node runs, what it gets, when it is tried again
 * (docs/contract.md §13). On the loop of the request; each try of a node is a job of its own.
 *
 * A node's answer goes from its worker's memory into the requests of those behind it. It is kept only for a
 * node that has to wait for others, and where several leaves answer the client.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "model/engine_private.h"
#include "model/workflow.h"
#include "worker/meta.h"

/* A node in this run. */
struct step {
    struct sc_flow *flow;
    struct sc_job *job;   /* being computed; NULL: it is not */
    struct sc_job *again; /* the next try, to be submitted with `body` */
    struct sc_body body;
    struct sc_buf out; /* its answer, where it must be kept; parts of it */
    unsigned missing;  /* predecessors that have not answered */
    int tries;
    int64_t deadline_ns;
};

struct sc_flow {
    struct sc_node node; /* of the plane's */
    struct sc_workflow *w;
    struct sc_plane *plane;
    const struct sc_flow_ops *ops;
    void *arg;
    unsigned running; /* steps with a job, or with one to be submitted */
    bool busy;        /* a call of ours goes on, which will settle */
    bool over;
    char failure[SC_MODEL_NAME_MAX + 64]; /* "": none */
    unsigned nended;
    unsigned char ended[SC_WORKFLOW_NODES_MAX]; /* nodes, in the order in which they answered */
    struct sc_span last;                        /* what the only leaf has answered */
    struct step steps[];
};

static bool is_leaf(const struct sc_workflow_spec *s, unsigned i)
{
    return s->leaves >> i & 1;
}

static bool is_single(uint64_t nodes)
{
    return (nodes & (nodes - 1)) == 0;
}

static const struct sc_workflow_node *node_of(const struct step *s)
{
    return &s->flow->w->spec.nodes[s - s->flow->steps];
}

/* TorchServe tells its clients what stands behind the last colon of what it logs. */
static void SC_PRINTF(3, 4) fail(struct step *s, struct sc_span why, const char *fmt, ...)
{
    struct sc_flow *f = s->flow;
    va_list ap;
    if (f->failure[0])
        return;
    va_start(ap, fmt);
    vsnprintf(f->failure, sizeof f->failure, fmt, ap);
    va_end(ap);
    sc_log(SC_LOG_ERROR, "Failed to execute workflow Node after %d attempts : %s (workflow %s: %.*s)",
           s->tries, f->failure, f->w->name, (int)SC_MIN(why.n, 512u), why.n ? why.p : "");
}

/* ---- a try -------------------------------------------------------------------------------------------- */

static void part(struct sc_job *j, void *arg, const struct sc_job_answer *a)
{
    struct step *s = arg;
    (void)j;
    sc_buf_span(&s->out, a->body);
}

static void done(struct sc_job *j, void *arg, const struct sc_job_answer *a);

static void submit(struct step *s, struct sc_job *job, struct sc_body *body)
{
    struct sc_flow *f = s->flow;
    s->tries++;
    s->job = job;
    s->deadline_ns = sc_clock_ns() + (int64_t)node_of(s)->numbers.timeout_ms * 1000000;
    sc_buf_clear(&s->out);
    f->running++;
    int rc = sc_job_submit(job, body, part, done, s);
    if (rc < 0) {
        s->job = NULL;
        f->running--;
        fail(s, sc_span_str(sc_strerror(rc)), "Error executing %s", node_of(s)->name);
    }
}

/* The same request once more, if there is a try left. */
static void try_again(struct step *s, const struct sc_job *j, struct sc_span why)
{
    const struct sc_workflow_node *n = node_of(s);
    if (s->tries <= n->numbers.retry_attempts && sc_job_again(j, &s->body, &s->again) == 0)
        s->flow->running++;
    else
        fail(s, why, "Error executing %s", n->name);
}

/* ---- from node to node -------------------------------------------------------------------------------- */

/* What a node gets that has several before it: their answers one behind the other. */
static unsigned gather(const struct step *s, struct sc_flow_part *parts, size_t *total)
{
    const struct sc_flow *f = s->flow;
    unsigned n = 0;
    *total = 0;
    for (unsigned i = 0; i < f->nended; i++) {
        const struct step *from = &f->steps[f->ended[i]];
        if (!(node_of(s)->before >> f->ended[i] & 1))
            continue;
        parts[n++] = (struct sc_flow_part){sc_span_str(node_of(from)->name), *total, from->out.n};
        *total += from->out.n;
    }
    return n;
}

static void fill(const struct step *s, struct sc_span whole, struct sc_body *body)
{
    const struct sc_flow *f = s->flow;
    bool joins = !is_single(node_of(s)->before);
    for (unsigned i = 0; joins && i < f->nended; i++) {
        const struct sc_buf *out = &f->steps[f->ended[i]].out;
        if (!(node_of(s)->before >> f->ended[i] & 1) || out->n == 0)
            continue;
        memcpy(body->p + body->len, out->p, out->n);
        body->len += out->n;
    }
    if (!joins && whole.n) {
        memcpy(body->p, whole.p, whole.n);
        body->len = whole.n;
    }
}

static int find_shard(struct sc_engine *e, struct sc_loop *l, const struct sc_workflow *w, unsigned node,
                      struct sc_shard **out)
{
    char name[SC_MODEL_NAME_MAX + 1];
    struct sc_msg unused;
    int rc = sc_workflow_model_name(name, w->name, w->spec.nodes[node].name, &unused);
    return rc < 0 ? rc : sc_engine_find(e, l, sc_span_str(name), sc_span(NULL, 0), out);
}

/* All before it have answered. */
static void begin(struct step *s, struct sc_span type, struct sc_span whole)
{
    struct sc_flow *f = s->flow;
    struct sc_flow_part parts[SC_WORKFLOW_NODES_MAX];
    struct sc_shard *shard;
    struct sc_body body = {0};
    struct sc_job *job;
    struct sc_buf meta;
    size_t total = whole.n;
    unsigned n = is_single(node_of(s)->before) ? 0 : gather(s, parts, &total);
    int rc = find_shard(f->plane->engine, f->plane->loop, f->w, (unsigned)(s - f->steps), &shard);
    sc_buf_init(&meta, SC_ARENA_BLOCK_MAX);
    if (rc == 0) {
        f->ops->meta(f->arg, sc_shard_spec(shard), type, total, parts, n, &meta);
        rc = meta.failed;
    }
    if (rc == 0 && !sc_shard_has_worker(shard))
        rc = SC_AGAIN;
    if (rc == 0)
        rc = sc_job_begin(shard, sc_buf_view(&meta), total, &body, &job);
    if (rc == 0 && body.cap < total && (rc = body.ops->grow(&body, total)) < 0)
        sc_job_drop(job, &body);
    sc_buf_free(&meta);
    if (rc != 0) {
        if (rc == SC_ENOTFOUND) /* as TorchServe: behind "Model not found:" */
            fail(s, SC_SPAN("its model is not registered"), "%s__%s", f->w->name, node_of(s)->name);
        else
            fail(s, sc_span_str(sc_strerror(rc)), "Error executing %s", node_of(s)->name);
        return;
    }
    fill(s, whole, &body);
    submit(s, job, &body);
}

/* `kept`: the answer must outlive this call. */
static void answered(struct step *s, const struct sc_job_answer *a, bool kept)
{
    struct sc_flow *f = s->flow;
    const struct sc_workflow_spec *spec = &f->w->spec;
    const struct sc_workflow_node *n = node_of(s);
    unsigned i = (unsigned)(s - f->steps);
    kept |= s->out.n > 0 || (is_leaf(spec, i) && !is_single(spec->leaves));
    for (unsigned k = 0; k < spec->n; k++)
        kept |= (n->next >> k & 1) && !is_single(spec->nodes[k].before);
    if (kept)
        sc_buf_span(&s->out, a->body);
    if (s->out.failed) {
        fail(s, SC_SPAN("its answer exceeds max_response_size"), "Error executing %s", n->name);
        return;
    }
    struct sc_span whole = kept ? sc_buf_view(&s->out) : a->body;
    f->ended[f->nended++] = (unsigned char)i;
    f->last = whole;
    for (unsigned k = 0; k < spec->n && !f->failure[0]; k++)
        if ((n->next >> k & 1) && --f->steps[k].missing == 0)
            begin(&f->steps[k], sc_meta_get(a->meta, SC_SPAN(":content-type")), whole);
}

/* ---- the end ------------------------------------------------------------------------------------------ */

static void end(struct sc_flow *f, const struct sc_flow_answer *a)
{
    f->over = true;
    for (unsigned i = 0; i < f->w->spec.n; i++) {
        struct step *s = &f->steps[i];
        if (s->job)
            sc_job_cancel(s->job); /* done, which sees that it is over */
        if (s->again)
            sc_job_drop(s->again, &s->body);
    }
    f->ops->done(f->arg, a);
    for (unsigned i = 0; i < f->w->spec.n; i++)
        sc_buf_free(&f->steps[i].out);
    sc_list_remove(&f->node);
    sc_workflow_put(f->w);
    free(f);
}

static void end_well(struct sc_flow *f)
{
    struct sc_flow_leaf leaves[SC_WORKFLOW_NODES_MAX];
    struct sc_flow_answer a = {.status = 200, .leaves = leaves};
    bool single = is_single(f->w->spec.leaves);
    for (unsigned i = 0; i < f->nended; i++) {
        const struct step *s = &f->steps[f->ended[i]];
        if (is_leaf(&f->w->spec, f->ended[i]))
            leaves[a.n++] =
                (struct sc_flow_leaf){sc_span_str(node_of(s)->name), single ? f->last : sc_buf_view(&s->out)};
    }
    end(f, &a);
}

/* Submits what is to be tried again, and ends the run if it is to be ended: f may be gone. */
static void settle(struct sc_flow *f)
{
    for (bool more = true; more && !f->failure[0];) {
        more = false;
        for (unsigned i = 0; i < f->w->spec.n && !f->failure[0]; i++) {
            struct step *s = &f->steps[i];
            struct sc_job *job = s->again;
            if (!job)
                continue;
            s->again = NULL;
            f->running--;
            struct sc_body body = s->body; /* another try may take its place */
            submit(s, job, &body);
            more = true;
        }
    }
    f->busy = false;
    if (f->failure[0])
        end(f, &(struct sc_flow_answer){
                   .status = 500, .type = "InternalServerException", .message = f->failure});
    else if (f->running == 0)
        end_well(f);
}

static void done(struct sc_job *j, void *arg, const struct sc_job_answer *a)
{
    struct step *s = arg;
    struct sc_flow *f = s->flow;
    bool inner = f->busy;
    s->job = NULL;
    f->running--;
    if (f->over || a->status == 0) /* cancelled by us, who will settle */
        return;
    f->busy = true;
    if (sc_job_failed(a))
        try_again(s, j, a->body);
    else
        answered(s, a, inner);
    if (!inner)
        settle(f);
}

/* ---- from outside ------------------------------------------------------------------------------------- */

int sc_flow_start_shard(struct sc_engine *e, struct sc_loop *l, const struct sc_workflow *w,
                        struct sc_shard **out)
{
    return find_shard(e, l, w, w->spec.start, out);
}

int sc_workflow_find(struct sc_engine *e, struct sc_loop *l, struct sc_span name, struct sc_workflow **out)
{
    const struct sc_catalog *c = e->planes[l->index].catalog;
    for (unsigned i = 0; c && i < c->nworkflows; i++)
        if (sc_span_eq(name, sc_span_str(c->workflows[i]->name))) {
            *out = c->workflows[i];
            atomic_fetch_add(&(*out)->refs, 1);
            return 0;
        }
    return SC_ENOTFOUND;
}

void sc_flow_run(struct sc_workflow *w, struct sc_job *first, struct sc_body *body,
                 const struct sc_flow_ops *ops, void *arg, struct sc_flow **out)
{
    struct sc_flow *f = sc_alloc(sizeof *f + w->spec.n * sizeof f->steps[0]);
    atomic_fetch_add(&w->refs, 1);
    f->w = w;
    f->plane = first->shard->plane;
    f->ops = ops;
    f->arg = arg;
    for (unsigned i = 0; i < w->spec.n; i++) {
        f->steps[i].flow = f;
        f->steps[i].missing = (unsigned)__builtin_popcountll(w->spec.nodes[i].before);
        sc_buf_init(&f->steps[i].out, (size_t)f->plane->engine->spec.settings->max_response_size);
    }
    sc_list_push_back(&f->plane->flows, &f->node);
    *out = f;
    f->busy = true;
    submit(&f->steps[w->spec.start], first, body);
    settle(f);
}

void sc_flow_cancel(struct sc_flow *f)
{
    end(f, &(struct sc_flow_answer){.status = 0});
}

void sc_flows_tick(struct sc_plane *p, int64_t now)
{
    struct sc_node *next;
    for (struct sc_node *n = p->flows.next; n != &p->flows; n = next) {
        struct sc_flow *f = SC_CONTAINER(n, struct sc_flow, node);
        bool late = false;
        next = n->next;
        f->busy = true;
        for (unsigned i = 0; i < f->w->spec.n; i++) {
            struct step *s = &f->steps[i];
            if (!s->job || now < s->deadline_ns)
                continue;
            late = true;
            try_again(s, s->job, SC_SPAN("its time is over (timeout-ms)"));
            sc_job_cancel(s->job);
        }
        f->busy = false;
        if (late)
            settle(f);
    }
}
