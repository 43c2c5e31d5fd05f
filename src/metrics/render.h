/*
 * Scrapes beside the loops: one thread writes them, one after the other, at a lower priority than requests
 * have (nice 10), so that a thousand models cost those nothing.
 *
 * Whoever asks for the same while one of these waits for the thread shares its text: many scrapers cost as
 * much as two. What is being written already is not shared: a scrape never tells less than was counted before
 * it was asked for.
 */
#ifndef SC_METRICS_RENDER_H
#define SC_METRICS_RENDER_H

#include "metrics/registry.h"
#include "net/loop.h"

struct sc_renderer;

/* A text that several may hold. */
struct sc_rendered {
    atomic_uint refs;
    struct sc_buf text;
};
static inline struct sc_rendered *sc_rendered_hold(struct sc_rendered *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}
/* Any thread. */
void sc_rendered_put(struct sc_rendered *t);

/* Embedded by who asks; stays until done was called. */
struct sc_render_ask {
    struct sc_render_ask *next;
    /* On loop 0, later; the text is valid during the call, unless it is held. */
    void (*done)(struct sc_render_ask *a, struct sc_rendered *t);
};

/* before is called on loop 0 when a scrape is about to be taken. Never NULL. All but where it says otherwise:
 * loop 0. */
struct sc_renderer *sc_renderer_new(struct sc_metrics *m, struct sc_loop *zero, void (*before)(void *ctx),
                                    void *ctx);
/* names are copied. */
void sc_renderer_ask(struct sc_renderer *r, enum sc_prom_format format, const struct sc_span *names,
                     unsigned nnames, struct sc_render_ask *a);
/* Ends the thread, once what it writes is written. Before the loops are deleted, which may still tell of it.
 */
void sc_renderer_stop(struct sc_renderer *r);
/* After that. What waits is forgotten. */
void sc_renderer_del(struct sc_renderer *r);

#endif
