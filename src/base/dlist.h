/* Intrusive doubly linked list with a sentinel. A node is in one list at a time. */
#ifndef SC_BASE_DLIST_H
#define SC_BASE_DLIST_H

#include <stdbool.h>
#include <stddef.h>

struct sc_node {
    struct sc_node *next, *prev;
};

static inline void sc_list_init(struct sc_node *l)
{
    l->next = l->prev = l;
}
static inline bool sc_list_empty(const struct sc_node *l)
{
    return l->next == l;
}

static inline void sc_list_insert_before(struct sc_node *at, struct sc_node *n)
{
    n->prev = at->prev;
    n->next = at;
    at->prev->next = n;
    at->prev = n;
}

static inline void sc_list_push_back(struct sc_node *l, struct sc_node *n)
{
    sc_list_insert_before(l, n);
}
static inline void sc_list_remove(struct sc_node *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    n->next = n->prev = n;
}

static inline struct sc_node *sc_list_pop(struct sc_node *l)
{
    struct sc_node *n = l->next;
    if (n == l)
        return NULL;
    sc_list_remove(n);
    return n;
}

#endif
