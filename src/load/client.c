#include "load/client.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "load/verdict.h"

#define TICK_NS (20 * 1000000) /* time-outs and new attempts to connect are looked at so often */
#define SPIN_NS 20000          /* a request due so soon is waited for without sleeping */
#define EVENTS 256

/* First in, first out, so that slots take turns and requests keep their order. */
struct fifo {
    int64_t *items;
    size_t cap, from, n;
};

struct sc_load_run {
    struct sc_load_client *client;
    struct sc_load_plan *plan;
    const struct sc_load_config *config;
    const struct sc_load_transport *transport;
    struct sc_verdict verdict;
    int epoll;
    struct sc_load_conn *conns;
    unsigned nconns;
    struct sc_load_slot *slots;
    struct fifo idle;    /* indices of slots */
    struct fifo backlog; /* open loop: due times of what waits for a slot */
    struct sc_load_conn *dirty;
    unsigned busy;
    bool open;
    bool sending;            /* more requests are to come */
    uint64_t counted, share; /* requests counted so far; how many of config's count are this thread's */
    uint64_t answers, refused;
    size_t next_message;
    struct sc_schedule schedule;
    struct sc_rng rng;
    int64_t timeout;
    char *in;
};

struct sc_load_client *sc_load_client(struct sc_load_run *r)
{
    return r->client;
}

const struct sc_load_plan *sc_load_plan(struct sc_load_run *r)
{
    return r->plan;
}

char *sc_load_in(struct sc_load_run *r)
{
    return r->in;
}

static void fifo_push(struct fifo *f, int64_t item)
{
    if (f->n == f->cap) {
        size_t cap = f->cap ? 2 * f->cap : 64;
        int64_t *items = sc_alloc_array(cap, sizeof *items);
        for (size_t i = 0; i < f->n; i++)
            items[i] = f->items[(f->from + i) & (f->cap - 1)];
        free(f->items);
        *f = (struct fifo){.items = items, .cap = cap, .n = f->n};
    }
    f->items[(f->from + f->n++) & (f->cap - 1)] = item;
}

static int64_t fifo_pop(struct fifo *f)
{
    int64_t item = f->items[f->from];
    f->from = (f->from + 1) & (f->cap - 1);
    f->n--;
    return item;
}

/* ---- requests ---- */

static void random_bytes(struct sc_rng *rng, char *to, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        uint64_t word = sc_rng_next(rng);
        memcpy(to + i, &word, n - i < 8 ? n - i : 8);
    }
}

static void compose(struct sc_load_run *r, struct sc_load_slot *s)
{
    const struct sc_load_config *config = r->config;
    if (r->plan->nmessages) {
        struct sc_load_message *m = &r->plan->messages[r->next_message];
        r->next_message = r->next_message + 1 == r->plan->nmessages ? 0 : r->next_message + 1;
        s->message = m;
        s->out = sc_span(m->bytes, m->n);
        s->sent_body = m->body;
        return;
    }
    size_t head = r->plan->head.n;
    if (!s->own) {
        s->own = sc_alloc(head + 32 + config->random_max);
        memcpy(s->own, r->plan->head.p, head);
    }
    size_t n =
        config->random_min + (size_t)(sc_rng_next(&r->rng) % (config->random_max - config->random_min + 1));
    int digits = snprintf(s->own + head, 32, "%zu\r\n\r\n", n);
    random_bytes(&r->rng, s->own + head + digits, n);
    s->out = sc_span(s->own, head + (size_t)digits + n);
    s->sent_body = sc_span(s->own + head + digits, n);
}

static bool in_window(const struct sc_load_run *r, int64_t t)
{
    return t >= r->plan->begin && t < r->plan->end;
}

static void fail_one(struct sc_load_run *r, enum sc_load_error e, bool counted, int64_t now)
{
    if (e == SC_LOAD_CONNECT || e == SC_LOAD_RESET)
        r->refused++;
    if (!counted)
        return;
    r->client->result.errors[e]++;
    sc_series_failed(&r->client->result.series, now - r->plan->begin);
}

static void start_connect(struct sc_load_run *r, struct sc_load_conn *c);

static void disconnect(struct sc_load_run *r, struct sc_load_conn *c, bool last)
{
    r->transport->closed(c, last);
    sc_load_tls_end(c);
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->state = SC_CONN_CLOSED; /* slots in the idle list are recognised by this when they come up */
}

void sc_load_broken(struct sc_load_run *r, struct sc_load_conn *c, enum sc_load_error e)
{
    int64_t now = sc_clock_ns();
    for (unsigned i = 0; i < c->nslots; i++)
        if (c->slots[i].busy) {
            fail_one(r, e, c->slots[i].counted, now);
            c->slots[i].busy = false;
            r->busy--;
        }
    disconnect(r, c, false);
}

void sc_load_reconnect(struct sc_load_run *r, struct sc_load_conn *c)
{
    bool waiting = r->sending || r->backlog.n;
    for (unsigned i = 0; i < c->nslots; i++)
        waiting |= c->slots[i].busy;
    disconnect(r, c, false);
    if (waiting)
        start_connect(r, c);
}

void sc_load_dirty(struct sc_load_run *r, struct sc_load_conn *c)
{
    if (c->dirty)
        return;
    c->dirty = true;
    c->next_dirty = r->dirty;
    r->dirty = c;
}

static void launch(struct sc_load_run *r, struct sc_load_slot *s, int64_t due, int64_t now)
{
    compose(r, s);
    s->due = due;
    s->sent_at = now;
    s->busy = true;
    s->counted = in_window(r, due);
    s->status = 0;
    r->busy++;
    sc_verdict_begin(&r->verdict, s);
    r->transport->launch(r, s);
}

/* A closed loop's next request on a free slot, if there is to be one. */
static void next_closed(struct sc_load_run *r, struct sc_load_slot *s, int64_t now)
{
    if (now >= r->plan->end || (r->share && now >= r->plan->begin && r->counted >= r->share))
        r->sending = false;
    if (!r->sending)
        return;
    if (in_window(r, now))
        r->counted++;
    launch(r, s, now, now);
}

static void became_free(struct sc_load_run *r, struct sc_load_slot *s, int64_t now)
{
    if (!r->open)
        next_closed(r, s, now);
    else if (r->backlog.n)
        launch(r, s, fifo_pop(&r->backlog), now);
    else
        fifo_push(&r->idle, s - r->slots);
}

/* ---- answers ---- */

static void judge(struct sc_load_run *r, struct sc_load_slot *s, int64_t now)
{
    struct sc_load_result *result = &r->client->result;
    int wrong = sc_verdict(&r->verdict, s, result);
    r->answers++;
    if (wrong >= 0) {
        fail_one(r, (enum sc_load_error)wrong, s->counted, now);
        return;
    }
    if (in_window(r, now))
        result->within++;
    if (!s->counted)
        return;
    result->good++;
    sc_hist_record(&result->latency, now - s->due);
    if (r->open)
        sc_hist_record(&result->service, now - s->sent_at);
    sc_series_good(&result->series, now - r->plan->begin, now - s->due);
    if (now > r->client->finished)
        r->client->finished = now;
}

void sc_load_answered(struct sc_load_run *r, struct sc_load_slot *s, bool reusable)
{
    int64_t now = sc_clock_ns();
    judge(r, s, now);
    s->busy = false;
    r->busy--;
    if (reusable)
        became_free(r, s, now);
}

void sc_load_failed(struct sc_load_run *r, struct sc_load_slot *s, enum sc_load_error e)
{
    int64_t now = sc_clock_ns();
    fail_one(r, e, s->counted, now);
    s->busy = false;
    r->busy--;
    became_free(r, s, now);
}

/* ---- connections ---- */

/* No connection: a failure of its own, or of what waits for it. */
static void not_connected(struct sc_load_run *r, struct sc_load_conn *c)
{
    int64_t now = sc_clock_ns();
    bool waiting = false;
    for (unsigned i = 0; i < c->nslots; i++)
        waiting |= c->slots[i].busy;
    if (!waiting)
        fail_one(r, SC_LOAD_CONNECT, in_window(r, now), now);
    sc_load_broken(r, c, SC_LOAD_CONNECT);
}

static void start_connect(struct sc_load_run *r, struct sc_load_conn *c)
{
    const struct sc_load_config *config = r->config;
    int family = config->address.ss_family, one = 1;
    c->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) {
        r->client->error = errno;
        return;
    }
    if (family != AF_UNIX)
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->state = SC_CONN_CONNECTING;
    r->client->result.connects++;
    int rc = connect(c->fd, (const struct sockaddr *)&config->address, config->address_size);
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    if ((rc < 0 && errno != EINPROGRESS) || epoll_ctl(r->epoll, EPOLL_CTL_ADD, c->fd, &e) < 0)
        not_connected(r, c);
}

static void opened(struct sc_load_run *r, struct sc_load_conn *c)
{
    c->state = SC_CONN_OPEN;
    r->transport->opened(r, c);
    for (unsigned i = 0; i < c->nslots && c->state == SC_CONN_OPEN; i++)
        if (c->slots[i].busy)
            r->transport->launch(r, &c->slots[i]);
        else
            became_free(r, &c->slots[i], sc_clock_ns());
}

/* The server is there, and there is no speaking to it. */
static void useless(struct sc_load_run *r, struct sc_load_conn *c, const char *why)
{
    struct sc_load_result *result = &r->client->result;
    if (!result->wrong[0])
        snprintf(result->wrong, sizeof result->wrong, "%.399s", why);
    not_connected(r, c);
}

static void shake_hands(struct sc_load_run *r, struct sc_load_conn *c)
{
    struct sc_msg why = {"no memory for TLS"};
    int rc = c->tls || sc_load_tls_begin(r->plan, c) ? sc_load_tls_handshake(r->plan, c, &why) : SC_ENOMEM;
    if (rc > 0)
        opened(r, c);
    if (rc < 0)
        useless(r, c, why.text);
}

/* True once the connection is there. */
static bool connected(struct sc_load_run *r, struct sc_load_conn *c, uint32_t events)
{
    int error = 0;
    socklen_t n = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n);
    if (error || (events & EPOLLERR)) {
        not_connected(r, c);
        return false;
    }
    if (!(events & EPOLLOUT))
        return false;
    if (r->plan->tls) {
        c->state = SC_CONN_HANDSHAKE;
        c->since = sc_clock_ns();
        shake_hands(r, c);
    } else {
        opened(r, c);
    }
    return c->state == SC_CONN_OPEN;
}

static void event(struct sc_load_run *r, struct sc_load_conn *c, uint32_t events)
{
    if (c->state == SC_CONN_CONNECTING) {
        if (!connected(r, c, events))
            return;
    } else if (c->state == SC_CONN_HANDSHAKE) {
        /* Its last bytes may have brought the server's first ones, which no event will tell again. */
        shake_hands(r, c);
        events |= EPOLLIN;
    } else if (c->state == SC_CONN_OPEN && (events & (EPOLLOUT | (c->tls ? EPOLLIN : 0U)))) {
        r->transport->writable(r, c);
    }
    if (c->state == SC_CONN_OPEN && (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
        r->transport->readable(r, c, events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
}

static void tick_conn(struct sc_load_run *r, struct sc_load_conn *c, int64_t now)
{
    for (unsigned i = 0; i < c->nslots && c->state == SC_CONN_OPEN; i++) {
        struct sc_load_slot *s = &c->slots[i];
        if (!s->busy || now - s->sent_at <= r->timeout)
            continue;
        if (r->transport->forget(r, s))
            sc_load_failed(r, s, SC_LOAD_TIMEOUT);
        else
            sc_load_broken(r, c, SC_LOAD_TIMEOUT);
    }
    if (c->state == SC_CONN_HANDSHAKE && now - c->since > r->timeout) {
        if (r->sending)
            useless(r, c, "no connection: the TLS handshake took too long");
        else
            sc_load_broken(r, c, SC_LOAD_CONNECT);
        /* It counts as a request: else a number of them would never be reached. */
        if (!r->open && r->share && in_window(r, now) && ++r->counted >= r->share)
            r->sending = false;
    }
    if (c->state == SC_CONN_CLOSED && (r->sending || r->backlog.n))
        start_connect(r, c);
}

static void publish(struct sc_load_run *r)
{
    struct sc_load_client *client = r->client;
    uint64_t failed = 0;
    for (unsigned e = 0; e < SC_LOAD_ERRORS; e++)
        failed += client->result.errors[e];
    atomic_store_explicit(&client->good, client->result.good, memory_order_relaxed);
    atomic_store_explicit(&client->failed, failed, memory_order_relaxed);
    atomic_store_explicit(&client->answers, r->answers, memory_order_relaxed);
    atomic_store_explicit(&client->refused, r->refused, memory_order_relaxed);
}

/* ---- the loop ---- */

/* Puts what is due into the backlog and the backlog onto free slots. */
static void dispatch(struct sc_load_run *r, int64_t now)
{
    while (r->sending) {
        int64_t due = sc_schedule_due(&r->schedule);
        if (due >= r->plan->end || (r->share && r->counted >= r->share)) {
            r->sending = false;
            break;
        }
        if (due > now)
            break;
        if (in_window(r, due)) {
            r->counted++;
            sc_hist_record(&r->client->result.lag, now - due);
        }
        fifo_push(&r->backlog, due);
        sc_schedule_advance(&r->schedule);
    }
    while (r->backlog.n && r->idle.n) {
        struct sc_load_slot *s = &r->slots[fifo_pop(&r->idle)];
        if (s->conn->state == SC_CONN_OPEN && !s->busy)
            launch(r, s, fifo_pop(&r->backlog), now);
    }
}

static void flush(struct sc_load_run *r)
{
    while (r->dirty) {
        struct sc_load_conn *c = r->dirty;
        r->dirty = c->next_dirty;
        c->dirty = false;
        if (c->state == SC_CONN_OPEN)
            r->transport->writable(r, c);
    }
}

static int wait(struct sc_load_run *r, struct epoll_event *events, int64_t ns)
{
    if (ns <= SPIN_NS && r->open)
        return epoll_wait(r->epoll, events, EVENTS, 0);
#ifdef SYS_epoll_pwait2
    struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    int n = (int)syscall(SYS_epoll_pwait2, r->epoll, events, EVENTS, &t, NULL, (size_t)8);
    if (n >= 0 || errno != ENOSYS)
        return n;
#endif
    return epoll_wait(r->epoll, events, EVENTS, (int)(ns / 1000000)); /* an old kernel: spins the rest */
}

/* What keeps a closed loop from its connections is its own work on the others. */
static void turn(struct sc_load_run *r, struct epoll_event *events, int n)
{
    int64_t began = n > 1 && !r->open ? sc_clock_ns() : 0;
    for (int i = 0; i < n; i++)
        event(r, events[i].data.ptr, events[i].events);
    flush(r);
    if (began && in_window(r, began))
        sc_hist_record(&r->client->result.lag, sc_clock_ns() - began);
}

static void loop(struct sc_load_run *r)
{
    struct epoll_event events[EVENTS];
    int64_t next_tick = 0, give_up = INT64_MAX, now = 0;
    while (!r->client->error) {
        now = sc_clock_ns();
        if (atomic_load_explicit(&r->plan->stop, memory_order_relaxed)) {
            r->client->finished = now;
            return;
        }
        if (r->open)
            dispatch(r, now);
        else if (now >= r->plan->end)
            r->sending = false;
        if (now >= next_tick) {
            for (unsigned i = 0; i < r->nconns && !r->client->error; i++)
                tick_conn(r, &r->conns[i], now);
            publish(r);
            next_tick = now + TICK_NS;
        }
        if (!r->sending) {
            if (give_up == INT64_MAX)
                give_up = now + r->timeout;
            if ((r->busy == 0 && r->backlog.n == 0) || now >= give_up)
                break;
        }
        flush(r);
        int64_t until = next_tick;
        if (r->open && r->sending)
            until = SC_MIN(until, sc_schedule_due(&r->schedule));
        turn(r, events, wait(r, events, until > now ? until - now : 0));
    }
    for (size_t i = 0; i < (size_t)r->nconns * r->config->streams; i++)
        if (r->slots[i].busy)
            fail_one(r, SC_LOAD_TIMEOUT, r->slots[i].counted, now);
    while (r->backlog.n)
        fail_one(r, SC_LOAD_UNSENT, in_window(r, fifo_pop(&r->backlog)), now);
}

/* ---- a thread's life ---- */

/* Share number `index` of `whole` divided among `of`, without remainder. */
static uint64_t share(uint64_t whole, unsigned index, unsigned of)
{
    return whole / of + (index < whole % of);
}

static double thread_cpu(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void make_conns(struct sc_load_run *r)
{
    unsigned streams = r->config->streams;
    r->conns = sc_alloc_array(r->nconns, sizeof *r->conns);
    r->slots = sc_alloc_array((size_t)r->nconns * streams, sizeof *r->slots);
    for (unsigned i = 0; i < r->nconns; i++) {
        struct sc_load_conn *c = &r->conns[i];
        *c = (struct sc_load_conn){.fd = -1, .slots = &r->slots[(size_t)i * streams], .nslots = streams};
        for (unsigned k = 0; k < streams; k++)
            c->slots[k].conn = c;
    }
}

static void free_conns(struct sc_load_run *r)
{
    for (unsigned i = 0; i < r->nconns; i++) {
        disconnect(r, &r->conns[i], true);
        for (unsigned k = 0; k < r->conns[i].nslots; k++) {
            free(r->conns[i].slots[k].own);
            sc_body_free(&r->conns[i].slots[k].body);
        }
    }
    free(r->conns);
    free(r->slots);
}

void *sc_load_client_run(void *arg)
{
    struct sc_load_client *client = arg;
    const struct sc_load_config *config = client->plan->config;
    struct sc_load_run r = {
        .client = client,
        .plan = client->plan,
        .config = config,
        .transport = client->plan->transport,
        .open = config->rate > 0,
        .sending = true,
        .nconns = (unsigned)share(config->connections, client->index, config->threads),
        .share = share(config->count, client->index, config->threads),
        .timeout = (int64_t)(config->timeout * 1e9),
    };
    sc_hist_init(&client->result.latency);
    sc_hist_init(&client->result.service);
    sc_hist_init(&client->result.lag);
    sc_series_init(&client->result.series);
    r.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (r.epoll < 0 || sc_verdict_init(&r.verdict, config) < 0) {
        client->error = r.epoll < 0 ? errno : EINVAL;
        return NULL;
    }
    /* OpenSSL writes to sockets whose peer may be gone. */
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, NULL);
    prctl(PR_SET_TIMERSLACK, 1); /* the default rounds waits up by 50 us */
    sc_rng_init(&r.rng, config->seed + 1000 + client->index);
    if (r.plan->nmessages)
        r.next_message = client->index * r.plan->nmessages / config->threads;
    r.in = sc_alloc(SC_LOAD_READ_BYTES);
    make_conns(&r);
    if (r.open)
        sc_schedule_init(&r.schedule, config->rate, config->poisson, client->index, config->threads,
                         config->seed, client->plan->begin - (int64_t)(config->warmup * 1e9));
    int64_t began = sc_clock_ns();
    double cpu = thread_cpu();
    /* Fewer requests than threads: some have none. */
    if (config->count == 0 || r.share)
        loop(&r);
    client->result.cpu = thread_cpu() - cpu;
    client->result.cpu_busiest = client->result.cpu * 1e9 / (double)SC_MAX(sc_clock_ns() - began, 1);
    publish(&r);
    free_conns(&r);
    sc_verdict_free(&r.verdict);
    free(r.in);
    free(r.idle.items);
    free(r.backlog.items);
    close(r.epoll);
    return NULL;
}
