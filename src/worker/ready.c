#include "worker/ready.h"

#include <stdlib.h>

#include "worker/executor_private.h"

/* Of the requests whose next item does not fit into what is left of a batch, so many are passed over. */
#define MISFITS_MAX 32

/* ---- lists ---------------------------------------------------------------------------------- */

void sc_requests_init(struct sc_request_list *l)
{
    *l = (struct sc_request_list){0};
    for (size_t i = 0; i < SC_COUNT(l->of); i++)
        l->of[i].tail = &l->of[i].head;
}

static size_t class_of(const struct sconce_request *r)
{
    return r->work.flags & SC_SUBMIT_HIGH ? 0 : r->work.flags & SC_SUBMIT_LOW ? 2 : 1;
}

void sc_requests_push(struct sc_request_list *l, struct sconce_request *r)
{
    struct sc_request_class *c = &l->of[class_of(r)];
    if (r->turn == 0)
        r->turn = sc_submission_turn(r->work.flags, r->work.arrival_ns);
    if (c->head) /* in order, whatever thread was first */
        r->turn = SC_MAX(r->turn, SC_CONTAINER(c->tail, struct sconce_request, next)->turn);
    r->next = NULL;
    *c->tail = r;
    c->tail = &r->next;
    l->n++;
}

static const struct sc_request_class *first_class(const struct sc_request_list *l)
{
    const struct sc_request_class *best = NULL;
    for (size_t i = 0; i < SC_COUNT(l->of); i++)
        if (l->of[i].head && (!best || l->of[i].head->turn < best->head->turn))
            best = &l->of[i];
    return best;
}

struct sconce_request *sc_requests_first(const struct sc_request_list *l)
{
    const struct sc_request_class *c = first_class(l);
    return c ? c->head : NULL;
}

struct sconce_request *sc_requests_pop(struct sc_request_list *l)
{
    struct sconce_request *r = sc_requests_first(l);
    if (!r)
        return NULL;
    struct sc_request_class *c = &l->of[class_of(r)];
    c->head = r->next;
    if (!c->head)
        c->tail = &c->head;
    l->n--;
    return r;
}

/* Those of `l` go before all others of `to`. */
static void prepend(struct sc_request_list *to, struct sc_request_list *l)
{
    for (size_t i = 0; i < SC_COUNT(l->of); i++) {
        if (!l->of[i].head)
            continue;
        *l->of[i].tail = to->of[i].head;
        if (!to->of[i].head)
            to->of[i].tail = l->of[i].tail;
        to->of[i].head = l->of[i].head;
    }
    to->n += l->n;
}

/* ---- batches ---------------------------------------------------------------------------------- */

void sc_ready_init(struct sc_ready *q)
{
    *q = (struct sc_ready){0};
    sc_requests_init(&q->waiting);
}

static uint64_t next_cost(const struct sconce_request *r)
{
    return r->given < r->nitems ? r->items[r->given].cost : 0;
}

static uint64_t open_cost(const struct sconce_request *r)
{
    uint64_t sum = 0;
    for (uint32_t i = r->given; i < r->nitems; i++)
        sum += r->items[i].cost;
    return sum;
}

void sc_ready_push(struct sc_ready *q, struct sconce_request *r)
{
    sc_requests_push(&q->waiting, r);
    q->cost += open_cost(r);
    q->next += next_cost(r);
}

struct sconce_request *sc_ready_pop(struct sc_ready *q)
{
    struct sconce_request *r = sc_requests_pop(&q->waiting);
    if (r) {
        q->cost -= open_cost(r);
        q->next -= next_cost(r);
    }
    return r;
}

/* Gives more of r's items to its slice, while they fit into `room`; returns what they cost. */
static uint64_t give(struct sconce_slice *s, uint64_t room)
{
    struct sconce_request *r = s->request;
    uint64_t cost = 0;
    while (r->given < r->nitems && r->items[r->given].cost <= room - cost) {
        cost += r->items[r->given++].cost;
        s->n++;
    }
    return cost;
}

/* The first items of r: of its share, or one if that is dearer. */
static uint64_t begin(struct sconce_slice *s, struct sconce_request *r, uint64_t share, uint64_t room)
{
    *s = (struct sconce_slice){.request = r, .items = r->items + r->given};
    uint64_t cost = give(s, SC_MIN(share, room));
    return s->n ? cost : give(s, SC_MIN(next_cost(r), room));
}

size_t sc_ready_take(struct sc_ready *q, uint64_t limit, size_t most, struct sconce_slice *out)
{
    struct sc_request_list passed;
    uint64_t room = limit, before = q->next, taken = 0;
    uint64_t share = SC_MAX(limit / SC_MAX(SC_MIN(q->waiting.n, most), 1u), 1u);
    size_t n = 0, misfits = 0;
    struct sconce_request *r;
    sc_requests_init(&passed);
    while (n < most && room && misfits < MISFITS_MAX && (r = sc_requests_first(&q->waiting))) {
        bool alone = r->work.flags & SC_SUBMIT_ALONE;
        if (alone && n)
            break;
        (void)sc_requests_pop(&q->waiting);
        uint64_t next = next_cost(r);
        if (n == 0) /* whatever its cost: it would never fit */
            room = SC_MAX(room, next);
        uint64_t cost = begin(&out[n], r, alone ? room : share, room);
        if (out[n].n == 0 && r->nitems) {
            sc_requests_push(&passed, r);
            misfits++;
            continue;
        }
        before -= next;
        taken += cost;
        room -= cost;
        n++;
        if (alone)
            break;
    }
    for (size_t i = 0; i < n && room; i++) {
        uint64_t cost = give(&out[i], room);
        taken += cost;
        room -= cost;
    }
    /* Who was passed over is next; who has more comes last. */
    prepend(&q->waiting, &passed);
    for (size_t i = 0; i < n; i++) {
        r = out[i].request;
        if (r->given == r->nitems)
            continue;
        sc_requests_push(&q->waiting, r);
        before += next_cost(r);
    }
    q->cost -= taken;
    q->next = before;
    return n;
}

static int dearest_first(const void *a, const void *b)
{
    const struct sconce_item *x = a, *y = b;
    if (x->cost != y->cost)
        return x->cost > y->cost ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

bool sc_items_set(struct sconce_request *r, uint32_t n, const uint32_t *costs)
{
    struct sconce_item *items = &r->one;
    if (!costs) {
        n = 1;
        r->one = (struct sconce_item){.cost = (uint32_t)SC_MIN(SC_MAX(r->cost, 1u), (uint64_t)UINT32_MAX)};
    } else if (n > 1) {
        items = calloc(n, sizeof *items);
        if (!items)
            return false;
    }
    for (uint32_t i = 0; costs && i < n; i++)
        items[i] = (struct sconce_item){.index = i, .cost = SC_MAX(costs[i], 1u)};
    if (n > 1)
        qsort(items, n, sizeof *items, dearest_first);
    sc_items_free(r);
    r->items = items;
    r->nitems = n;
    r->given = 0;
    atomic_store_explicit(&r->left, n, memory_order_relaxed);
    return true;
}

void sc_items_free(struct sconce_request *r)
{
    if (r->items != &r->one)
        free(r->items);
    r->items = NULL;
    r->nitems = r->given = 0;
}
