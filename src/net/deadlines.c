#include "net/deadlines.h"

static void on_timer(uv_timer_t *t);

void sc_deadlines_init(struct sc_deadlines *s, uv_loop_t *loop, const uint32_t *ms,
                       void (*expired)(struct sc_deadline *d, unsigned kind))
{
    *s = (struct sc_deadlines){.expired = expired};
    for (unsigned k = 0; k < SC_DEADLINE_KINDS; k++)
        s->kind[k].ms = ms[k];
    uv_timer_init(loop, &s->timer);
    s->timer.data = s;
}

void sc_deadlines_close(struct sc_deadlines *s, uv_close_cb closed)
{
    uv_close((uv_handle_t *)&s->timer, closed);
}

/* The timer may be too early for what is in the lists now: it then looks and is set again. */
static void arm(struct sc_deadlines *s, uint64_t due)
{
    if ((s->armed && s->armed <= due) || uv_is_closing((uv_handle_t *)&s->timer))
        return;
    uint64_t now = uv_now(s->timer.loop);
    s->armed = due;
    uv_timer_start(&s->timer, on_timer, due > now ? due - now : 1, 0);
}

void sc_deadline_clear(struct sc_deadlines *s, struct sc_deadline *d)
{
    if (!d->kind1)
        return;
    unsigned k = d->kind1 - 1u;
    if (d->prev)
        d->prev->next = d->next;
    else
        s->kind[k].first = d->next;
    if (d->next)
        d->next->prev = d->prev;
    else
        s->kind[k].last = d->prev;
    d->prev = d->next = NULL;
    d->kind1 = 0;
}

void sc_deadline_set(struct sc_deadlines *s, struct sc_deadline *d, unsigned kind)
{
    sc_deadline_clear(s, d);
    if (!s->kind[kind].ms)
        return;
    d->due = uv_now(s->timer.loop) + s->kind[kind].ms;
    d->kind1 = (uint8_t)(kind + 1);
    d->prev = s->kind[kind].last;
    d->next = NULL;
    if (d->prev)
        d->prev->next = d;
    else
        s->kind[kind].first = d;
    s->kind[kind].last = d;
    arm(s, d->due);
}

static void on_timer(uv_timer_t *t)
{
    struct sc_deadlines *s = t->data;
    uint64_t now = uv_now(t->loop), next = 0;
    s->armed = 0;
    for (unsigned k = 0; k < SC_DEADLINE_KINDS; k++) {
        while (s->kind[k].first && s->kind[k].first->due <= now) {
            struct sc_deadline *d = s->kind[k].first;
            sc_deadline_clear(s, d);
            s->expired(d, k);
        }
        if (s->kind[k].first && (!next || s->kind[k].first->due < next))
            next = s->kind[k].first->due;
    }
    if (next)
        arm(s, next);
}
