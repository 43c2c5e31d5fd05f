/*
 * Requests that are prepared, and the batches that are made of them: fair between requests, whatever number
 * of items each has. Plain data, no threads: the executor's lock is around it.
 *
 * Requests take turns. A batch gives each of them the same share, and what a share leaves over goes to those
 * that have more, the first first; who has got something and has more left goes behind all others. So a
 * request waits for one batch of those before it, not for the end of the longest. One of high priority has
 * its turn as if it had come SC_PRIORITY_NS earlier, one of low priority as if that much later: nobody waits
 * for ever.
 */
#ifndef SC_WORKER_READY_H
#define SC_WORKER_READY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sconce_request;
struct sconce_slice;

/* Requests that wait for something, a list for each priority in order of their turns. */
struct sc_request_list {
    struct sc_request_class {
        struct sconce_request *head, **tail;
    } of[3];
    size_t n;
};

void sc_requests_init(struct sc_request_list *l);
/* Behind all of its priority. A new request has r->turn 0, and gets it here. */
void sc_requests_push(struct sc_request_list *l, struct sconce_request *r);
/* Whose turn it is; NULL if there is none. */
struct sconce_request *sc_requests_first(const struct sc_request_list *l);
struct sconce_request *sc_requests_pop(struct sc_request_list *l);

struct sc_ready {
    struct sc_request_list waiting;
    uint64_t cost; /* of all items that nobody has got */
    uint64_t next; /* of the next item of each: what a batch must have room for to serve them all */
};

void sc_ready_init(struct sc_ready *q);
/* r's items are set, and none is given. */
void sc_ready_push(struct sc_ready *q, struct sconce_request *r);
struct sconce_request *sc_ready_pop(struct sc_ready *q);

/*
 * Makes a batch of items whose cost is at most `limit` (one item may be dearer, and is alone then) and of at
 * most `most` requests; out has room for as many. Returns the number of slices, 0 if there is no request. A
 * request without items gets an empty slice, once. A suspect (SC_SUBMIT_ALONE) is alone. What does not fit
 * keeps its turn.
 */
size_t sc_ready_take(struct sc_ready *q, uint64_t limit, size_t most, struct sconce_slice *out);

/* Sets r's items from costs (NULL: one, of r->cost), the dearest first; an item costs 1 at least. False: no
 * memory. The items are freed with sc_items_free. */
bool sc_items_set(struct sconce_request *r, uint32_t n, const uint32_t *costs);
void sc_items_free(struct sconce_request *r);

#endif
