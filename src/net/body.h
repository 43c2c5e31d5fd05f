/*
 * Where a request's body is collected: memory with an owner, filled in place by the socket.
 *
 * The router chooses the operations per request (heap, or a block of a model's request
 * arena), so that bytes go from the socket to where the worker reads them.
 */
#ifndef SC_NET_BODY_H
#define SC_NET_BODY_H

#include <stddef.h>
#include <stdint.h>

#include "base/array.h"
#include "base/span.h"

struct sc_body;

struct sc_body_ops {
    /*
     * Makes room so that cap >= need (need > cap); may move p and copies the len bytes in use. 0, SC_ENOMEM
     * or SC_AGAIN... any negative code: the request is answered with 503 (no room).
     */
    int (*grow)(struct sc_body *b, size_t need);
    /* Releases the memory; b is empty afterwards. */
    void (*free)(struct sc_body *b);
};

struct sc_body {
    char *p;
    size_t len, cap;
    const struct sc_body_ops *ops;
    void *owner;    /* the operations' own */
    uint64_t token; /* the operations' own */
};

/* A body on the heap. */
void sc_body_init_heap(struct sc_body *b);
static inline void sc_body_free(struct sc_body *b)
{
    if (b->ops)
        b->ops->free(b);
}
static inline struct sc_span sc_body_span(const struct sc_body *b)
{
    return sc_span(b->p, b->len);
}

#endif
