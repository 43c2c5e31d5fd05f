#include <stdlib.h>

#include "base/alloc.h"
#include "base/array.h"
#include "model/sequence_parts.h"

static void enter(struct sc_sequences *t)
{
    pthread_mutex_lock(&t->lock);
}

/* Releases the mutex and wakes whom the change concerns, but for the caller's own loop. */
static void leave(struct sc_sequences *t, unsigned self)
{
    uint32_t news = t->news;
    t->news = 0;
    pthread_mutex_unlock(&t->lock);
    for (unsigned i = 0; news; i++, news >>= 1)
        if ((news & 1) && i != self)
            t->spec.wake(t->spec.ctx, i);
}

static void tell(struct sc_sequences *t, unsigned loop)
{
    atomic_store_explicit(&t->due[loop], true, memory_order_release);
    t->news |= 1u << loop;
}

static struct sc_sequence *make(struct sc_sequences *t, struct sc_span id, int64_t now)
{
    struct sc_sequence *s = sc_alloc(sizeof *s + id.n);
    s->born = now;
    s->id_n = id.n;
    if (id.n)
        memcpy(s->id, id.p, id.n);
    sc_list_init(&s->of_home);
    sc_list_init(&s->idle);
    sc_list_init(&s->life);
    sc_list_init(&s->waiting);
    sc_list_push_back(&t->all, &s->all);
    if (t->spec.lifetime_ns)
        sc_list_push_back(&t->lives, &s->life);
    sc_sequence_index_add(t, s);
    t->nopen++;
    return s;
}

/* ---- one sequence ------------------------------------------------------------------------------------ */

static void unbind(struct sc_sequence *s)
{
    sc_list_remove(&s->of_home);
    if (s->home)
        s->home->open--;
    s->home = NULL;
}

static void forget_turn(struct sc_turn *turn)
{
    turn->sequence = NULL;
    turn->state = SC_TURN_NONE;
    turn->streams = false;
}

static void refuse(struct sc_sequences *t, struct sc_turn *turn)
{
    turn->sequence = NULL;
    turn->state = SC_TURN_REFUSED;
    sc_list_push_back(&t->refused[turn->loop], &turn->node);
    tell(t, turn->loop);
}

static void take_out(struct sc_sequence *s, struct sc_turn *turn)
{
    unsigned i = 0;
    while (s->out[i] != turn)
        i++;
    for (s->nout--; i < s->nout; i++)
        s->out[i] = s->out[i + 1];
}

/* Those that no loop has taken. */
static void refuse_given(struct sc_sequences *t, struct sc_sequence *s)
{
    for (unsigned i = s->nout; i-- > 0;) {
        struct sc_turn *turn = s->out[i];
        if (turn->state != SC_TURN_GIVEN)
            continue;
        sc_list_remove(&turn->node);
        take_out(s, turn);
        refuse(t, turn);
    }
}

static void refuse_waiting(struct sc_sequences *t, struct sc_sequence *s)
{
    struct sc_node *n;
    while ((n = sc_list_pop(&s->waiting))) {
        refuse(t, SC_CONTAINER(n, struct sc_turn, node));
        s->told = true;
    }
    s->nwaiting = 0;
}

/* Off the table: its id is free. What is out finishes. */
static void close_sequence(struct sc_sequences *t, struct sc_sequence *s)
{
    sc_sequence_index_remove(t, s);
    if (s->lost)
        t->nlost--;
    else
        t->nopen--;
    s->closed = true;
    refuse_given(t, s);
    refuse_waiting(t, s);
    unbind(s);
    sc_list_remove(&s->idle);
    sc_list_remove(&s->life);
    if (s->nout == 0) {
        sc_list_remove(&s->all);
        free(s);
    }
}

/* Its state is gone. Who has asked was told, so it is closed; else the next one is to be. */
static void lose(struct sc_sequences *t, struct sc_sequence *s, int64_t now)
{
    refuse_waiting(t, s);
    if (s->told) {
        close_sequence(t, s);
        return;
    }
    unbind(s);
    sc_list_remove(&s->life);
    sc_list_remove(&s->idle);
    s->lost = true;
    s->since = now;
    t->nopen--;
    sc_list_push_back(&t->lost, &s->idle);
    if (++t->nlost > t->spec.sequences)
        close_sequence(t, SC_CONTAINER(t->lost.next, struct sc_sequence, idle));
}

static struct sc_sequence_home *fewest(struct sc_sequences *t)
{
    struct sc_sequence_home *best = NULL;
    for (struct sc_node *n = t->homes.next; n != &t->homes; n = n->next) {
        struct sc_sequence_home *h = SC_CONTAINER(n, struct sc_sequence_home, node);
        if (!best || h->open < best->open)
            best = h;
    }
    return best;
}

/* False: there is no home; it is noted among those that want one. */
static bool bind(struct sc_sequences *t, struct sc_sequence *s)
{
    struct sc_sequence_home *h = fewest(t);
    sc_list_remove(&s->of_home);
    if (!h) {
        sc_list_push_back(&t->homeless, &s->of_home);
        return false;
    }
    s->home = h;
    h->open++;
    sc_list_push_back(&h->sequences, &s->of_home);
    return true;
}

static bool next_may_come(const struct sc_sequences *t, const struct sc_sequence *s)
{
    unsigned streaming = 0;
    for (unsigned i = 0; i < s->nout; i++)
        streaming += s->out[i]->streams;
    return s->nout == streaming && s->nout < t->spec.ahead;
}

/* After every change: gives what may be given, closes what is over, starts or stops the idle clock. May free
 * s. */
static void settle(struct sc_sequences *t, struct sc_sequence *s, int64_t now)
{
    if (s->closed) {
        if (s->nout == 0) {
            sc_list_remove(&s->all);
            free(s);
        }
        return;
    }
    if (s->nout == 0 && s->ended) {
        close_sequence(t, s);
        return;
    }
    if (s->begun && (!s->home || s->home->gone)) {
        if (s->nout == 0)
            lose(t, s, now);
        return;
    }
    if (s->home && s->home->gone && s->nout == 0)
        unbind(s);
    while (!s->ended && !sc_list_empty(&s->waiting) && next_may_come(t, s)) {
        if (!s->home && !bind(t, s))
            return;
        struct sc_turn *turn = SC_CONTAINER(sc_list_pop(&s->waiting), struct sc_turn, node);
        s->nwaiting--;
        s->out[s->nout++] = turn;
        turn->state = SC_TURN_GIVEN;
        sc_list_push_back(&t->given[turn->loop], &turn->node);
        tell(t, turn->loop);
    }
    bool idle = s->nout == 0 && s->nwaiting == 0;
    if (!idle) {
        sc_list_remove(&s->idle);
    } else if (sc_list_empty(&s->idle)) {
        s->since = now;
        sc_list_push_back(&t->idle, &s->idle);
    }
}

/* ---- turns ------------------------------------------------------------------------------------------- */

/* What is there under that id and still good, or NULL with *rc. */
static struct sc_sequence *look_up(struct sc_sequences *t, struct sc_span id, bool fresh, int64_t now,
                                   int *rc)
{
    struct sc_sequence *s = sc_sequence_index_find(t, id);
    *rc = 0;
    if (!s)
        return NULL;
    bool idle = !s->lost && !sc_list_empty(&s->idle);
    if (s->lost) {
        *rc = fresh || now - s->since >= t->spec.idle_ns ? 0 : SC_ECLOSED;
        close_sequence(t, s);
        return NULL;
    }
    if (t->spec.lifetime_ns && now - s->born >= t->spec.lifetime_ns)
        s->ended = true;
    if (idle && (s->ended || now - s->since >= t->spec.idle_ns)) {
        close_sequence(t, s);
        return NULL;
    }
    if (s->ended)
        *rc = SC_ELIMIT;
    return s;
}

int sc_sequences_add(struct sc_sequences *t, struct sc_span id, bool fresh, struct sc_turn *turn, int64_t now)
{
    int rc;
    enter(t);
    struct sc_sequence *s = look_up(t, id, fresh, now, &rc);
    if (rc == 0 && (s ? s->nwaiting >= t->spec.queue : t->nopen >= t->spec.sequences))
        rc = SC_ELIMIT;
    if (rc == 0) {
        if (!s)
            s = make(t, id, now);
        turn->sequence = s;
        turn->state = SC_TURN_WAITING;
        turn->streams = false;
        sc_list_push_back(&s->waiting, &turn->node);
        s->nwaiting++;
        settle(t, s, now);
    }
    leave(t, turn->loop);
    return rc;
}

bool sc_sequences_due(const struct sc_sequences *t, unsigned loop)
{
    return atomic_load_explicit(&t->due[loop], memory_order_acquire);
}

struct sc_turn *sc_sequences_take(struct sc_sequences *t, unsigned loop, struct sc_sequence_home **home)
{
    struct sc_turn *turn = NULL;
    struct sc_node *n;
    *home = NULL;
    enter(t);
    if ((n = sc_list_pop(&t->refused[loop]))) {
        turn = SC_CONTAINER(n, struct sc_turn, node);
        forget_turn(turn);
    } else if ((n = sc_list_pop(&t->given[loop]))) {
        turn = SC_CONTAINER(n, struct sc_turn, node);
        turn->state = SC_TURN_HELD;
        *home = turn->sequence->home;
    } else {
        atomic_store_explicit(&t->due[loop], false, memory_order_relaxed);
    }
    leave(t, loop);
    return turn;
}

void sc_sequences_leave(struct sc_sequences *t, struct sc_turn *turn, bool computed, int64_t now)
{
    enter(t);
    struct sc_sequence *s = turn->sequence;
    switch (turn->state) {
    case SC_TURN_NONE: break;
    case SC_TURN_REFUSED: sc_list_remove(&turn->node); break;
    case SC_TURN_WAITING:
        sc_list_remove(&turn->node);
        s->nwaiting--;
        break;
    case SC_TURN_GIVEN:
        sc_list_remove(&turn->node);
        take_out(s, turn);
        break;
    case SC_TURN_HELD:
        take_out(s, turn);
        s->begun |= computed;
        break;
    }
    forget_turn(turn);
    if (s)
        settle(t, s, now);
    leave(t, turn->loop);
}

void sc_sequences_streams(struct sc_sequences *t, struct sc_turn *turn, int64_t now)
{
    enter(t);
    if (turn->state == SC_TURN_HELD && !turn->streams) {
        turn->streams = true;
        turn->sequence->begun = true;
        settle(t, turn->sequence, now);
    }
    leave(t, turn->loop);
}

/* Before all others: it came first. */
static void wait_again(struct sc_sequence *s, struct sc_turn *turn)
{
    take_out(s, turn);
    turn->state = SC_TURN_WAITING;
    sc_list_insert_before(s->waiting.next, &turn->node);
    s->nwaiting++;
}

bool sc_sequences_back(struct sc_sequences *t, struct sc_turn *turn, bool keep, int64_t now)
{
    enter(t);
    struct sc_sequence *s = turn->sequence;
    bool first = turn->state == SC_TURN_HELD && !s->closed && !s->begun;
    if (first) {
        unbind(s);
        if (!keep)
            wait_again(s, turn);
    } else if (turn->state == SC_TURN_HELD) {
        s->told = true;
        take_out(s, turn);
        forget_turn(turn);
    }
    if (s)
        settle(t, s, now);
    leave(t, turn->loop);
    return first;
}

void sc_sequences_again(struct sc_sequences *t, struct sc_turn *turn, int64_t now)
{
    enter(t);
    struct sc_sequence *s = turn->sequence;
    if (turn->state == SC_TURN_HELD && s->closed) {
        take_out(s, turn);
        refuse(t, turn);
        settle(t, s, now);
    } else if (turn->state == SC_TURN_HELD) {
        wait_again(s, turn);
        settle(t, s, now);
    }
    leave(t, turn->loop);
}

void sc_sequences_end(struct sc_sequences *t, struct sc_span ids, unsigned loop, int64_t now)
{
    (void)now;
    enter(t);
    while (ids.n) {
        size_t n = sc_span_find(ids, ';');
        struct sc_sequence *s = sc_sequence_index_find(t, sc_span_trim(sc_span_sub(ids, 0, n)));
        ids = sc_span_sub(ids, n + 1, ids.n);
        if (s)
            close_sequence(t, s);
    }
    leave(t, loop);
}

/* ---- homes and time ---------------------------------------------------------------------------------- */

void sc_sequences_up(struct sc_sequences *t, struct sc_sequence_home *h, int64_t now)
{
    enter(t);
    if (!h->gone && !h->up) {
        h->up = true;
        sc_list_init(&h->sequences);
        sc_list_push_back(&t->homes, &h->node);
        while (!sc_list_empty(&t->homeless)) {
            struct sc_sequence *s = SC_CONTAINER(sc_list_pop(&t->homeless), struct sc_sequence, of_home);
            settle(t, s, now);
        }
    }
    leave(t, SC_LOOPS_MAX);
}

unsigned sc_sequences_drain(struct sc_sequences *t, struct sc_sequence_home *h)
{
    enter(t);
    if (h->up)
        sc_list_remove(&h->node);
    unsigned open = h->open;
    leave(t, SC_LOOPS_MAX);
    return open;
}

void sc_sequences_gone(struct sc_sequences *t, struct sc_sequence_home *h, int64_t now)
{
    enter(t);
    h->gone = true;
    if (h->up)
        sc_list_remove(&h->node);
    for (struct sc_node *n = h->up ? h->sequences.next : NULL, *next; n && n != &h->sequences; n = next) {
        struct sc_sequence *s = SC_CONTAINER(n, struct sc_sequence, of_home);
        next = n->next;
        /* What no loop has taken yet; what is held comes back by itself. */
        for (unsigned i = s->nout; i-- > 0;) {
            struct sc_turn *turn = s->out[i];
            if (turn->state != SC_TURN_GIVEN)
                continue;
            sc_list_remove(&turn->node);
            wait_again(s, turn);
        }
        settle(t, s, now);
    }
    leave(t, SC_LOOPS_MAX);
}

void sc_sequences_tick(struct sc_sequences *t, int64_t now)
{
    struct sc_node *n;
    enter(t);
    while ((n = t->lives.next) != &t->lives) {
        struct sc_sequence *s = SC_CONTAINER(n, struct sc_sequence, life);
        if (now - s->born < t->spec.lifetime_ns)
            break;
        sc_list_remove(&s->life);
        s->ended = true;
        refuse_waiting(t, s);
        settle(t, s, now);
    }
    while ((n = t->idle.next) != &t->idle) {
        struct sc_sequence *s = SC_CONTAINER(n, struct sc_sequence, idle);
        if (now - s->since < t->spec.idle_ns)
            break;
        close_sequence(t, s);
    }
    while ((n = t->lost.next) != &t->lost) {
        struct sc_sequence *s = SC_CONTAINER(n, struct sc_sequence, idle);
        if (now - s->since < t->spec.idle_ns)
            break;
        close_sequence(t, s);
    }
    leave(t, SC_LOOPS_MAX);
}

/* ---- life -------------------------------------------------------------------------------------------- */

struct sc_sequences *sc_sequences_new(const struct sc_sequences_spec *spec)
{
    struct sc_sequences *t = sc_alloc(sizeof *t);
    t->spec = *spec;
    pthread_mutex_init(&t->lock, NULL);
    sc_sequence_index_init(t);
    sc_list_init(&t->all);
    sc_list_init(&t->homes);
    sc_list_init(&t->homeless);
    sc_list_init(&t->idle);
    sc_list_init(&t->lives);
    sc_list_init(&t->lost);
    for (unsigned i = 0; i < SC_LOOPS_MAX; i++) {
        sc_list_init(&t->given[i]);
        sc_list_init(&t->refused[i]);
    }
    return t;
}

void sc_sequences_del(struct sc_sequences *t)
{
    struct sc_node *n;
    if (!t)
        return;
    while ((n = sc_list_pop(&t->all)))
        free(SC_CONTAINER(n, struct sc_sequence, all));
    sc_sequence_index_free(t);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

void sc_sequences_count(struct sc_sequences *t, unsigned *open, unsigned *lost)
{
    enter(t);
    *open = t->nopen;
    *lost = t->nlost;
    leave(t, SC_LOOPS_MAX);
}
