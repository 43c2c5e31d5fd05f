/* Per-loop state: the catalog, the hooks around the loop's sleep, the tick; and finding a model. */
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "model/engine_private.h"
#include "model/workflow.h"

#define TICK_MS 50
#define BLOCK_ROUNDS 2 /* looks at the workers before the loop looks at its sockets again */

struct call {
    struct sc_task task;
    void (*fn)(void *a, void *b);
    void *a, *b;
};

static void run_call(struct sc_task *t)
{
    struct call c = *SC_CONTAINER(t, struct call, task);
    free(SC_CONTAINER(t, struct call, task));
    c.fn(c.a, c.b);
}

void sc_engine_call(struct sc_loop *l, void (*fn)(void *a, void *b), void *a, void *b)
{
    struct call *c = sc_alloc(sizeof *c);
    *c = (struct call){.task.run = run_call, .fn = fn, .a = a, .b = b};
    sc_loop_post(l, &c->task);
}

static void flush(struct sc_plane *p)
{
    for (struct sc_link *k = p->links; k; k = k->next)
        sc_link_flush(k);
}

/*
 * The loop is about to sleep: wake who was sent to, take what has come, announce the sleep. All workers are
 * woken before any is polled, and a worker that answers as fast as it is polled does not keep the loop from
 * its sockets.
 */
static void before_block(struct sc_loop_hook *h)
{
    struct sc_plane *p = SC_CONTAINER(h, struct sc_plane, hook);
    bool more = true;
    flush(p);
    for (int round = 0; more && round < BLOCK_ROUNDS; round++) {
        struct sc_link *next;
        more = false;
        for (struct sc_link *k = p->links; k; k = next) {
            next = k->next;
            if (k->nsent == 0 || k->broken || sc_chan_sleep(k->chan))
                continue;
            more = true;
            sc_link_poll(k);
            sc_shard_dispatch(k->shard);
        }
        flush(p);
    }
    if (more)
        sc_loop_poke(p->loop);
}

static void tick(uv_timer_t *t)
{
    struct sc_plane *p = t->data;
    sc_plane_jobs_expire(p, sc_clock_ns());
    sc_replay_tick(p);
    sc_flows_tick(p, sc_clock_ns());
    if (p->loop->index == 0) {
        sc_workers_tick(p->engine);
        sc_registry_tick(p->engine);
    }
}

void sc_plane_init(struct sc_engine *e, unsigned i)
{
    struct sc_plane *p = &e->planes[i];
    p->engine = e;
    p->loop = sc_engine_loop(e, i);
    sc_list_init(&p->flows);
    sc_list_init(&p->timed);
    p->hook.before_block = before_block;
    sc_loop_add_hook(p->loop, &p->hook);
    uv_timer_init(&p->loop->uv, &p->tick);
    p->tick.data = p;
    uv_timer_start(&p->tick, tick, TICK_MS, TICK_MS);
}

void sc_catalog_put(struct sc_catalog *c)
{
    if (!c || atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    for (unsigned i = 0; i < c->nworkflows; i++)
        sc_workflow_put(c->workflows[i]);
    free(c->workflows);
    free(c);
}

void sc_plane_close(struct sc_plane *p)
{
    if (p->closed)
        return;
    p->closed = true;
    sc_loop_remove_hook(p->loop, &p->hook);
    uv_close((uv_handle_t *)&p->tick, NULL);
    while (p->links) {
        struct sc_link *k = p->links;
        sc_link_detach(k);
    }
    sc_plane_catalog_free(p);
}

void sc_plane_catalog_free(struct sc_plane *p)
{
    sc_catalog_put(p->catalog);
    p->catalog = NULL;
}

static int compare_names(struct sc_span a, const char *b)
{
    size_t n = strlen(b);
    int c = memcmp(a.p, b, SC_MIN(a.n, n));
    return c ? c : a.n < n ? -1 : a.n > n;
}

int sc_engine_find(struct sc_engine *e, struct sc_loop *l, struct sc_span name, struct sc_span version,
                   struct sc_shard **out)
{
    const struct sc_catalog *c = e->planes[l->index].catalog;
    unsigned low = 0, high = c ? c->n : 0;
    while (low < high) {
        unsigned mid = (low + high) / 2;
        if (compare_names(name, c->entries[mid].version->spec.name) > 0)
            low = mid + 1;
        else
            high = mid;
    }
    bool known = false;
    for (; c && low < c->n && compare_names(name, c->entries[low].version->spec.name) == 0; low++) {
        struct sc_version *v = c->entries[low].version;
        known = true;
        if (version.p ? sc_span_eq(version, sc_span_str(v->spec.version)) : c->entries[low].is_default) {
            *out = v->shards[l->index];
            return 0;
        }
    }
    return known ? SC_EINVAL : SC_ENOTFOUND;
}

unsigned sc_shard_interfaces(const struct sc_shard *s)
{
    return atomic_load_explicit(&s->version->interfaces, memory_order_relaxed);
}

unsigned sc_engine_having(struct sc_engine *e, struct sc_loop *l, unsigned bits, struct sc_shard **out,
                          unsigned max)
{
    const struct sc_catalog *c = e->planes[l->index].catalog;
    unsigned n = 0;
    for (unsigned i = 0; c && i < c->n; i++) {
        struct sc_shard *s = c->entries[i].version->shards[l->index];
        if (!c->entries[i].is_default || !(sc_shard_interfaces(s) & bits))
            continue;
        if (n < max)
            out[n] = s;
        n++;
    }
    return n;
}

unsigned sc_engine_started_with(struct sc_engine *e, struct sc_loop *l, struct sc_span *name)
{
    const struct sc_catalog *c = e->planes[l->index].catalog;
    unsigned n = 0;
    for (unsigned i = 0; c && i < c->n; i++) {
        const struct sc_model_spec *s = &c->entries[i].version->spec;
        if (!s->at_startup || (n && sc_span_eq(*name, sc_span_str(s->name)))) /* sorted by name */
            continue;
        *name = sc_span_str(s->name);
        n++;
    }
    return n;
}

const struct sc_model_spec *sc_shard_spec(const struct sc_shard *s)
{
    return &s->version->spec;
}

struct sc_metrics_model *sc_shard_metrics(const struct sc_shard *s)
{
    return s->version->metrics;
}

bool sc_shard_has_worker(const struct sc_shard *s)
{
    return atomic_load_explicit(&s->version->workers_wanted, memory_order_acquire) > 0;
}

bool sc_shard_ready(const struct sc_shard *s)
{
    return s->nlinks > 0;
}

bool sc_engine_healthy(const struct sc_engine *e)
{
    return atomic_load_explicit(&e->healthy, memory_order_relaxed);
}
