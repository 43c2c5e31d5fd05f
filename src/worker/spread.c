/*
 * Work that the preparation of one long body spreads over the executor's threads. Who spreads it does its own
 * pieces; lanes and helpers that have nothing better to do take others, the oldest work first. Pieces are
 * handed out under the lock, which is nothing beside what they take.
 */
#include "worker/executor_private.h"

struct sc_spread {
    struct sc_spread *next;
    void (*fn)(void *arg, uint32_t i);
    void *arg;
    uint32_t n, taken, done;
};

/* With the lock held, released meanwhile. */
static void do_piece(struct sc_executor *ex, struct sc_spread *s)
{
    uint32_t i = s->taken++;
    if (s->taken == s->n) {
        struct sc_spread **at = &ex->spreads;
        while (*at != s)
            at = &(*at)->next;
        *at = s->next;
    }
    pthread_mutex_unlock(&ex->lock);
    s->fn(s->arg, i);
    pthread_mutex_lock(&ex->lock);
    if (++s->done == s->n)
        pthread_cond_broadcast(&ex->spread_done);
}

bool sc_spread_help(struct sc_executor *ex)
{
    if (!ex->spreads)
        return false;
    do_piece(ex, ex->spreads);
    return true;
}

void sc_spread(struct sc_executor *ex, uint32_t n, void (*fn)(void *arg, uint32_t i), void *arg)
{
    struct sc_spread s = {.fn = fn, .arg = arg, .n = n};
    if (n == 0)
        return;
    pthread_mutex_lock(&ex->lock);
    struct sc_spread **at = &ex->spreads;
    while (*at)
        at = &(*at)->next;
    *at = &s;
    if (n > 1)
        sc_lanes_kick(ex);
    while (s.taken < s.n)
        do_piece(ex, &s);
    while (s.done < s.n)
        pthread_cond_wait(&ex->spread_done, &ex->lock);
    pthread_mutex_unlock(&ex->lock);
}
