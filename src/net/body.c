#include "net/body.h"

#include <stdlib.h>

#include "base/error.h"

static int heap_grow(struct sc_body *b, size_t need)
{
    /* The first room is asked for by the announced length and taken exactly; a chunked body comes
     * piece by piece. */
    size_t cap = b->cap ? SC_MAX(need, b->cap * 2) : need;
    char *p = realloc(b->p, cap);
    if (!p)
        return SC_ENOMEM;
    b->p = p;
    b->cap = cap;
    return 0;
}

static void heap_free(struct sc_body *b)
{
    free(b->p);
    b->p = NULL;
    b->len = b->cap = 0;
}

static const struct sc_body_ops heap_ops = {.grow = heap_grow, .free = heap_free};

void sc_body_init_heap(struct sc_body *b)
{
    *b = (struct sc_body){.ops = &heap_ops};
}
