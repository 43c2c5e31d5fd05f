/* One request: its block of shared memory, its number, its end. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "model/engine_private.h"
#include "worker/meta.h"

/* An id: generation, loop and index, so that a stale or invented id finds nothing. */
#define INDEX_BITS 20
#define LOOP_BITS 4
#define INDEX_MASK ((1u << INDEX_BITS) - 1)

/* Room for a body whose length is not announced. */
#define UNKNOWN_BODY 4096

static bool give_number(struct sc_plane *p, struct sc_job *j)
{
    if (p->nfree == 0) {
        uint32_t size = p->table_size ? p->table_size * 2 : 256;
        if (size > INDEX_MASK + 1)
            return false;
        p->table = sc_realloc_array(p->table, size, sizeof *p->table);
        p->free_index = sc_realloc_array(p->free_index, size, sizeof *p->free_index);
        for (uint32_t i = size; i-- > p->table_size;) {
            p->table[i] = NULL;
            p->free_index[p->nfree++] = i;
        }
        p->table_size = size;
    }
    uint32_t index = p->free_index[--p->nfree];
    p->table[index] = j;
    if (++p->generation == 0)
        p->generation = 1;
    j->id =
        (uint64_t)p->generation << (INDEX_BITS + LOOP_BITS) | (uint64_t)p->loop->index << INDEX_BITS | index;
    return true;
}

struct sc_job *sc_job_find(struct sc_plane *p, uint64_t id)
{
    uint32_t index = id & INDEX_MASK;
    struct sc_job *j = index < p->table_size ? p->table[index] : NULL;
    return j && j->id == id ? j : NULL;
}

/* The counters of a state are moved here and nowhere else. */
static void count_state(struct sc_job *j, int n)
{
    struct sc_shard *s = j->shard;
    switch (j->state) {
    case SC_JOB_FILLING: return;
    case SC_JOB_QUEUED:
        atomic_fetch_add_explicit(&s->queued, (size_t)n, memory_order_relaxed);
        sc_shard_count(s, SC_MM_QUEUED, n);
        return;
    case SC_JOB_SENT:
        j->link->nsent += (size_t)n;
        sc_shard_count(s, SC_MM_RUNNING, n);
        return;
    case SC_JOB_SUSPECT: atomic_fetch_add_explicit(&s->nsuspects, (size_t)n, memory_order_relaxed); return;
    }
}

void sc_job_enter(struct sc_job *j, enum sc_job_state state)
{
    j->state = state;
    count_state(j, 1);
}

void sc_job_leave(struct sc_job *j)
{
    count_state(j, -1);
    sc_list_remove(&j->node);
    j->state = SC_JOB_FILLING;
    j->link = NULL;
}

bool sc_job_id_known(const struct sc_plane *p, uint64_t id)
{
    unsigned loop = id >> INDEX_BITS & ((1u << LOOP_BITS) - 1);
    if (loop != p->loop->index)
        return loop < p->engine->nloops;
    return (id & INDEX_MASK) < p->table_size && id >> (INDEX_BITS + LOOP_BITS) <= p->generation;
}

/* ---- the body's memory ------------------------------------------------------------------ */

static int body_to_file(struct sc_job *j, struct sc_body *b, size_t need)
{
    size_t size = SC_MAX(need, b->cap * 2);
    size = (size + 4095) & ~(size_t)4095;
    int fd = j->fd;
    if (fd < 0) {
        fd = memfd_create("sconce-body", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
            return SC_ENOMEM;
    }
    if (ftruncate(fd, (off_t)size) < 0)
        goto fail;
    char *map = j->map ? mremap(j->map, j->map_size, size, MREMAP_MAYMOVE)
                       : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        goto fail;
    if (j->fd < 0 && b->len)
        memcpy(map, b->p, b->len);
    j->fd = fd;
    j->map = map;
    j->map_size = size;
    b->p = map;
    b->cap = size;
    return 0;
fail:
    if (j->fd < 0)
        close(fd);
    return SC_ENOMEM;
}

static int body_grow(struct sc_body *b, size_t need)
{
    struct sc_job *j = b->owner;
    struct sc_arena *arena = &j->shard->arena;
    if (j->fd < 0 && need <= SC_ARENA_BLOCK_MAX - j->meta_len) {
        uint64_t off;
        size_t got;
        size_t want = SC_MIN(SC_MAX(need, 2 * b->cap), (size_t)SC_ARENA_BLOCK_MAX - j->meta_len);
        char *block = sc_arena_alloc(arena, j->meta_len + want, &off, &got);
        if (block) {
            memcpy(block, j->block, j->meta_len + b->len);
            if (sc_arena_release(arena, j->off) < 0)
                abort();
            j->block = block;
            j->off = off;
            j->block_size = got;
            b->p = block + j->meta_len;
            b->cap = got - j->meta_len;
            return 0;
        }
    }
    /* Too large for a block, or the arena is full: a file of its own. */
    return body_to_file(j, b, need);
}

static void body_free(struct sc_body *b)
{
    sc_job_drop(b->owner, b);
}

static const struct sc_body_ops body_ops = {.grow = body_grow, .free = body_free};

/* ---- life ---------------------------------------------------------------------------------- */

int sc_job_begin(struct sc_shard *s, struct sc_span meta, size_t announced, struct sc_body *body,
                 struct sc_job **out)
{
    struct sc_plane *p = s->plane;
    if (s->closing || meta.n > SC_ARENA_BLOCK_MAX / 2)
        return SC_ENOMEM;
    if (atomic_load_explicit(&s->version->bytes, memory_order_relaxed) > SC_QUEUE_BYTES)
        return SC_AGAIN;
    size_t want = announced ? announced : UNKNOWN_BODY;
    bool large = meta.n + want > SC_ARENA_BLOCK_MAX;
    uint64_t off;
    size_t got;
    char *block = sc_arena_alloc(&s->arena, SC_MAX(meta.n + (large ? 0 : want), 1u), &off, &got);
    if (!block)
        return SC_ENOMEM;

    struct sc_job *j = p->pool;
    if (j)
        p->pool = (struct sc_job *)j->node.next;
    else
        j = sc_alloc(sizeof *j);
    *j = (struct sc_job){.shard = s,
                         .off = off,
                         .block = block,
                         .block_size = got,
                         .meta_len = (uint32_t)meta.n,
                         .fd = -1,
                         .priority = SC_PRIORITY_NORMAL};
    sc_list_init(&j->node);
    sc_list_init(&j->timed);
    if (!give_number(p, j)) {
        (void)sc_arena_release(&s->arena, off);
        j->node.next = (struct sc_node *)p->pool;
        p->pool = j;
        return SC_AGAIN;
    }
    s->jobs++;
    if (meta.n)
        memcpy(block, meta.p, meta.n);
    *body =
        (struct sc_body){.p = block + meta.n, .cap = large ? 0 : got - meta.n, .ops = &body_ops, .owner = j};
    if (large && body_to_file(j, body, want) < 0) {
        sc_job_drop(j, body);
        return SC_ENOMEM;
    }
    *out = j;
    return 0;
}

void sc_job_drop(struct sc_job *j, struct sc_body *body)
{
    *body = (struct sc_body){0};
    sc_job_free(j);
}

void sc_job_free(struct sc_job *j)
{
    struct sc_shard *s = j->shard;
    struct sc_plane *p = s->plane;
    if (j->in_sequence)
        sc_turn_leave(j);
    sc_job_leave(j);
    sc_list_remove(&j->timed);
    if (j->map)
        munmap(j->map, j->map_size);
    if (j->fd >= 0)
        close(j->fd);
    if (sc_arena_release(&s->arena, j->off) < 0)
        abort();
    if (j->counted) {
        atomic_fetch_sub_explicit(&s->version->bytes, j->counted, memory_order_relaxed);
        atomic_fetch_sub_explicit(&s->version->open, 1, memory_order_relaxed);
    }
    uint32_t index = j->id & INDEX_MASK;
    p->table[index] = NULL;
    p->free_index[p->nfree++] = index;
    j->node.next = (struct sc_node *)p->pool;
    p->pool = j;
    s->jobs--;
    if (s->closing)
        sc_shard_drained(s);
}

int sc_job_again(const struct sc_job *j, struct sc_body *body, struct sc_job **out)
{
    bool inside = j->fd < 0;
    int rc = sc_job_begin(j->shard, sc_span(j->block, j->meta_len), inside ? j->body_len : 1, body, out);
    if (rc < 0)
        return rc;
    body->len = j->body_len;
    if (inside) {
        memcpy(body->p, j->block + j->meta_len, j->body_len);
        return 0;
    }
    (*out)->fd = fcntl(j->fd, F_DUPFD_CLOEXEC, 0); /* it is sealed: nobody changes it any more */
    if ((*out)->fd < 0) {
        sc_job_drop(*out, body);
        return SC_ENOMEM;
    }
    return 0;
}

bool sc_job_failed(const struct sc_job_answer *a)
{
    return a->type.p || sc_meta_get(a->meta, SC_SPAN(":type")).p;
}

void sc_plane_jobs_free(struct sc_plane *p)
{
    for (uint32_t i = 0; i < p->table_size; i++)
        free(p->table[i]);
    while (p->pool) {
        struct sc_job *j = p->pool;
        p->pool = (struct sc_job *)j->node.next;
        free(j);
    }
    free(p->table);
    free(p->free_index);
}

int sc_job_set_meta(struct sc_job *j, struct sc_body *body, struct sc_span meta)
{
    struct sc_arena *arena = &j->shard->arena;
    uint64_t off;
    size_t got, inside = j->fd < 0 ? body->len : 0;
    if (meta.n > SC_ARENA_BLOCK_MAX / 2)
        return SC_ENOMEM;
    if (meta.n <= j->meta_len && j->fd >= 0) {
        memcpy(j->block, meta.p, meta.n);
        j->meta_len = (uint32_t)meta.n;
        return 0;
    }
    if (meta.n + inside > SC_ARENA_BLOCK_MAX) {
        /* The body was in the block; it moves to a file of its own. */
        if (body_to_file(j, body, SC_MAX(body->len, 1u)) < 0)
            return SC_ENOMEM;
        inside = 0;
    }
    char *block = sc_arena_alloc(arena, SC_MAX(meta.n + inside, 1u), &off, &got);
    if (!block)
        return SC_ENOMEM;
    if (meta.n)
        memcpy(block, meta.p, meta.n);
    if (inside)
        memcpy(block + meta.n, body->p, inside);
    if (sc_arena_release(arena, j->off) < 0)
        abort();
    j->block = block;
    j->off = off;
    j->block_size = got;
    j->meta_len = (uint32_t)meta.n;
    if (j->fd < 0) {
        body->p = block + meta.n;
        body->cap = got - meta.n;
    }
    return 0;
}

/* Makes the file what the worker accepts: the body's length, unchangeable. */
static int seal_body(struct sc_job *j)
{
    if (j->map)
        munmap(j->map, j->map_size);
    j->map = NULL;
    if (ftruncate(j->fd, (off_t)j->body_len) < 0 ||
        fcntl(j->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        return SC_ESYS;
    return 0;
}

/*
 * Counts a request, or says that there is no place for it. Python models: jobQueueSize requests may wait
 * beside those that the workers have (docs/contract.md §4). With job tickets one is taken for each worker
 * that has nothing to do: those that are open are the tickets that are taken, so that none can be lost or
 * made. (A worker that computes asynchronously always takes more.) Sequences have queues of their own.
 */
static bool admit(struct sc_job *j)
{
    struct sc_version *v = j->shard->version;
    long long open = atomic_fetch_add_explicit(&v->open, 1, memory_order_relaxed);
    if (sc_spec_is_native(&v->spec) || j->sequence.p)
        return true;
    long long room = atomic_load_explicit(&v->capacity, memory_order_relaxed);
    if (v->spec.use_job_ticket && !v->spec.async_communication)
        room /= SC_MAX(v->spec.batch_size, 1);
    else
        room += sc_version_queue_size(v);
    if (open < room)
        return true;
    atomic_fetch_sub_explicit(&v->open, 1, memory_order_relaxed);
    return false;
}

void sc_job_set_sequence(struct sc_job *j, struct sc_span id, bool begins)
{
    if (!j->shard->version->sequences)
        return;
    j->sequence = id;
    j->begins = begins;
}

void sc_job_set_alone(struct sc_job *j)
{
    /* A worker of coroutines makes calls of what it has: it would have to empty itself first. */
    j->alone = !j->shard->version->spec.async_communication;
}

void sc_job_set_priority(struct sc_job *j, enum sc_priority p)
{
    j->priority = (uint8_t)p;
}

int sc_job_submit(struct sc_job *j, struct sc_body *body, sc_job_part part, sc_job_done done, void *arg)
{
    struct sc_shard *s = j->shard;
    if (!admit(j)) {
        sc_job_drop(j, body);
        return SC_AGAIN;
    }
    j->body_len = body->len;
    j->counted = j->body_len + j->meta_len + 64;
    atomic_fetch_add_explicit(&s->version->bytes, j->counted, memory_order_relaxed);
    j->arrival_ns = sc_clock_ns();
    int rc = j->sequence.p ? sc_turns_add(j) : 0;
    if (rc < 0) {
        sc_job_drop(j, body);
        return rc == SC_ELIMIT ? SC_AGAIN : rc;
    }
    j->part = part;
    j->done = done;
    j->arg = arg;
    *body = (struct sc_body){0};
    if (j->fd >= 0 && seal_body(j) < 0) {
        sc_job_fail(j, 500, "InternalServerException", "the request's body could not be handed to a worker");
        return 0;
    }
    if (j->deadline_ns)
        sc_list_push_back(&s->plane->timed, &j->timed);
    sc_job_enter(j, SC_JOB_QUEUED);
    sc_list_push_back(j->in_sequence ? &s->turns : &s->queue[j->priority], &j->node);
    sc_shard_dispatch(s);
    return 0;
}

void sc_job_set_deadline(struct sc_job *j, int64_t ns)
{
    j->deadline_ns = ns;
}

static const struct sc_job_answer too_late = {.status = 408,
                                              .type = {"RequestTimeoutException", 23},
                                              .body = {"The deadline of this request has passed.", 40}};

void sc_plane_jobs_expire(struct sc_plane *p, int64_t now)
{
    struct sc_node due, *n;
    sc_list_init(&due);
    for (struct sc_node *at = p->timed.next, *next; at != &p->timed; at = next) {
        next = at->next;
        if (now >= SC_CONTAINER(at, struct sc_job, timed)->deadline_ns) {
            sc_list_remove(at);
            sc_list_push_back(&due, at);
        }
    }
    while ((n = sc_list_pop(&due))) /* one's end may bring another's */
        sc_job_give_up(SC_CONTAINER(n, struct sc_job, timed), &too_late);
}

bool sc_job_expire(struct sc_job *j, int64_t now)
{
    if (j->deadline_ns && now >= j->deadline_ns) {
        sc_job_answer(j, &too_late);
        return true;
    }
    int64_t limit = (int64_t)j->shard->version->spec.client_timeout * 1000000;
    char text[SC_MODEL_NAME_MAX + 128];
    if (limit <= 0 || now - j->arrival_ns < limit)
        return false;
    snprintf(text, sizeof text,
             "Model \"%s\" did not come to this request within %d ms (clientTimeoutInMills).",
             j->shard->version->spec.name, j->shard->version->spec.client_timeout);
    sc_job_fail(j, 408, "RequestTimeoutException", text);
    return true;
}

void sc_job_give_up(struct sc_job *j, const struct sc_job_answer *a)
{
    sc_job_done done = j->done;
    if (j->gone)
        return;
    if (j->state != SC_JOB_SENT) {
        struct sc_shard *s = j->shard;
        sc_job_answer(j, a);
        if (s->version->sequences)
            sc_shard_kick(s); /* it may be another's turn */
        return;
    }
    /* Its block is read by the worker, and its credit is taken: it stays until the worker has answered. */
    j->gone = true;
    j->done = NULL;
    j->part = NULL;
    sc_link_cancel(j->link, j);
    if (done)
        done(j, j->arg, a);
}

void sc_job_cancel(struct sc_job *j)
{
    sc_job_give_up(j, &(struct sc_job_answer){0});
}

void sc_job_answer(struct sc_job *j, const struct sc_job_answer *a)
{
    if (a->status == 507)
        sc_shard_count(j->shard, SC_MM_MEMORY, 1);
    if (j->done)
        j->done(j, j->arg, a);
    sc_job_free(j);
}

void sc_job_fail(struct sc_job *j, int status, const char *type, const char *text)
{
    struct sc_job_answer a = {.status = status, .type = sc_span_str(type), .body = sc_span_str(text)};
    sc_job_answer(j, &a);
}
