#include "loadgen/client.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/array.h"
#include "base/clock.h"
#include "loadgen/answer.h"
#include "loadgen/schedule.h"

#define READ_BYTES (256u << 10)
#define TICK_NS (20 * 1000000) /* time-outs and new attempts to connect are looked at so often */
#define SPIN_NS 20000          /* a request due so soon is waited for without sleeping */
#define EVENTS 256

enum state { CLOSED, CONNECTING, IDLE, BUSY };

struct conn {
    int fd;
    enum state state;
    bool counted; /* the request being answered */
    int64_t due, sent_at;
    const char *out;
    size_t out_n, body_n;
    size_t sent;
    char *own; /* random requests: head, length, body */
    struct sc_answer answer;
};

/* First in, first out, so that connections take turns and requests keep their order. */
struct fifo {
    int64_t *items;
    size_t cap, from, n;
};

struct run {
    struct sc_load_client *client;
    const struct sc_load_plan *plan;
    const struct sc_load_config *config;
    int epoll;
    struct conn *conns;
    unsigned nconns;
    struct fifo idle;    /* indices of connections */
    struct fifo backlog; /* open loop: due times of what waits for a connection */
    unsigned busy;
    bool open;
    bool sending;            /* more requests are to come */
    uint64_t counted, share; /* requests counted so far; how many of config's count are this thread's */
    size_t next_message;
    struct sc_schedule schedule;
    struct sc_rng rng;
    int64_t timeout;
    char *in;
};

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

static void compose(struct run *r, struct conn *c)
{
    const struct sc_load_config *config = r->config;
    if (r->plan->nmessages) {
        const struct sc_load_message *m = &r->plan->messages[r->next_message];
        r->next_message = r->next_message + 1 == r->plan->nmessages ? 0 : r->next_message + 1;
        c->out = m->bytes;
        c->out_n = m->n;
        c->body_n = m->body_n;
        return;
    }
    size_t head = r->plan->head.n;
    if (!c->own) {
        c->own = sc_alloc(head + 32 + config->random_max);
        memcpy(c->own, r->plan->head.p, head);
    }
    c->body_n =
        config->random_min + (size_t)(sc_rng_next(&r->rng) % (config->random_max - config->random_min + 1));
    int digits = snprintf(c->own + head, 32, "%zu\r\n\r\n", c->body_n);
    random_bytes(&r->rng, c->own + head + digits, c->body_n);
    c->out = c->own;
    c->out_n = head + (size_t)digits + c->body_n;
}

static bool in_window(const struct run *r, int64_t t)
{
    return t >= r->plan->begin && t < r->plan->end;
}

static void fail_one(struct run *r, enum sc_load_error e, bool counted)
{
    if (counted)
        r->client->result.errors[e]++;
}

static void start_connect(struct run *r, struct conn *c);

static void disconnect(struct run *r, struct conn *c)
{
    if (c->state == BUSY)
        r->busy--;
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->state = CLOSED; /* one in the idle list is recognised by its state when it comes up */
}

/* The request on c has failed; the connection is of no use any more. It is opened again at the next tick. */
static void broken(struct run *r, struct conn *c, enum sc_load_error e)
{
    if (c->state == BUSY)
        fail_one(r, e, c->counted);
    disconnect(r, c);
}

static void flush(struct run *r, struct conn *c)
{
    while (c->sent < c->out_n) {
        ssize_t n = send(c->fd, c->out + c->sent, c->out_n - c->sent, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            /* A server that answers before it has read all may close: the answer is still to be read. */
            if (errno != EAGAIN && errno != EPIPE && errno != ECONNRESET)
                broken(r, c, SC_LOAD_RESET);
            return;
        }
        c->sent += (size_t)n;
        r->client->result.bytes_out += (uint64_t)n;
    }
}

static void launch(struct run *r, struct conn *c, int64_t due, int64_t now)
{
    const struct sc_load_config *config = r->config;
    compose(r, c);
    c->sent = 0;
    c->due = due;
    c->sent_at = now;
    c->state = BUSY;
    c->counted = in_window(r, due);
    r->busy++;
    struct sc_span expected =
        config->check == SC_LOAD_ECHO ? sc_span(c->out + c->out_n - c->body_n, c->body_n) : config->answer;
    sc_answer_begin(&c->answer, config->check != SC_LOAD_STATUS, expected);
    flush(r, c);
}

/* A closed loop's next request on a free connection, if there is to be one. */
static void next_closed(struct run *r, struct conn *c, int64_t now)
{
    if (now >= r->plan->end || (r->share && now >= r->plan->begin && r->counted >= r->share))
        r->sending = false;
    if (!r->sending)
        return;
    if (in_window(r, now))
        r->counted++;
    launch(r, c, now, now);
}

static void became_free(struct run *r, struct conn *c, int64_t now)
{
    c->state = IDLE;
    if (!r->open)
        next_closed(r, c, now);
    else if (r->backlog.n)
        launch(r, c, fifo_pop(&r->backlog), now);
    else
        fifo_push(&r->idle, c - r->conns);
}

/* ---- answers ---- */

static void judge(struct run *r, struct conn *c, int64_t now)
{
    struct sc_load_result *result = &r->client->result;
    unsigned status = c->answer.status;
    if (r->config->status ? status != r->config->status : status >= 400) {
        fail_one(r, SC_LOAD_BAD_STATUS, c->counted);
        if (!result->bad_status)
            result->bad_status = status;
        return;
    }
    if (c->answer.differs) {
        fail_one(r, SC_LOAD_BAD_BODY, c->counted);
        return;
    }
    if (in_window(r, now))
        result->within++;
    if (!c->counted)
        return;
    result->good++;
    sc_hist_record(&result->latency, now - c->due);
    if (r->open)
        sc_hist_record(&result->service, now - c->sent_at);
    if (now > r->client->finished)
        r->client->finished = now;
}

static void answered(struct run *r, struct conn *c)
{
    int64_t now = sc_clock_ns();
    judge(r, c, now);
    /* A request that is not sent to its end cannot be followed by another. */
    if (c->answer.close || c->sent < c->out_n) {
        disconnect(r, c);
        if (r->sending || r->backlog.n)
            start_connect(r, c);
        return;
    }
    r->busy--;
    became_free(r, c, now);
}

static void ended(struct run *r, struct conn *c, bool reset)
{
    if (c->state != BUSY) {
        disconnect(r, c); /* an idle connection may be closed by the server */
        return;
    }
    if (!reset && sc_answer_eof(&c->answer) == 1)
        answered(r, c);
    else
        broken(r, c, sc_answer_begun(&c->answer) ? SC_LOAD_SHORT : SC_LOAD_RESET);
}

static void readable(struct run *r, struct conn *c, bool hung_up)
{
    for (;;) {
        ssize_t n = recv(c->fd, r->in, READ_BYTES, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            ended(r, c, n < 0);
            return;
        }
        r->client->result.bytes_in += (uint64_t)n;
        int rc = c->state == BUSY ? sc_answer_feed(&c->answer, r->in, (size_t)n) : SC_EPROTO;
        if (rc < 0) {
            broken(r, c, SC_LOAD_PROTOCOL);
            return;
        }
        int fd = c->fd;
        if (rc == 1)
            answered(r, c);
        /* Edge-triggered: what a short read has not seen will be told; the end of the stream has been told.
         */
        if (c->fd != fd || c->fd < 0 || (!hung_up && (size_t)n < READ_BYTES))
            return;
    }
}

/* ---- connections ---- */

static void start_connect(struct run *r, struct conn *c)
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
    c->state = CONNECTING;
    r->client->result.connects++;
    int rc = connect(c->fd, (const struct sockaddr *)&config->address, config->address_size);
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    if ((rc < 0 && errno != EINPROGRESS) || epoll_ctl(r->epoll, EPOLL_CTL_ADD, c->fd, &e) < 0) {
        fail_one(r, SC_LOAD_CONNECT, in_window(r, sc_clock_ns()));
        disconnect(r, c);
    }
}

static void event(struct run *r, struct conn *c, uint32_t events)
{
    if (c->state == CONNECTING) {
        int error = 0;
        socklen_t n = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n);
        if (error || (events & EPOLLERR)) {
            fail_one(r, SC_LOAD_CONNECT, in_window(r, sc_clock_ns()));
            disconnect(r, c);
            return;
        }
        if (!(events & EPOLLOUT))
            return;
        became_free(r, c, sc_clock_ns());
    } else if ((events & EPOLLOUT) && c->state == BUSY && c->sent < c->out_n) {
        flush(r, c);
    }
    if (c->fd >= 0 && c->state != CONNECTING && (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
        readable(r, c, events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
}

static void tick(struct run *r, int64_t now)
{
    for (unsigned i = 0; i < r->nconns; i++) {
        struct conn *c = &r->conns[i];
        if (c->state == BUSY && now - c->sent_at > r->timeout)
            broken(r, c, SC_LOAD_TIMEOUT);
        if (c->state == CLOSED && (r->sending || r->backlog.n))
            start_connect(r, c);
    }
}

/* ---- the loop ---- */

/* Puts what is due into the backlog and the backlog onto free connections. */
static void dispatch(struct run *r, int64_t now)
{
    while (r->sending) {
        int64_t due = sc_schedule_due(&r->schedule);
        if (due >= r->plan->end || (r->share && r->counted >= r->share)) {
            r->sending = false;
            break;
        }
        if (due > now)
            break;
        if (in_window(r, due))
            r->counted++;
        fifo_push(&r->backlog, due);
        sc_schedule_advance(&r->schedule);
    }
    while (r->backlog.n && r->idle.n) {
        struct conn *c = &r->conns[fifo_pop(&r->idle)];
        if (c->state == IDLE)
            launch(r, c, fifo_pop(&r->backlog), now);
    }
}

static int wait(struct run *r, struct epoll_event *events, int64_t ns)
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

static void loop(struct run *r)
{
    struct epoll_event events[EVENTS];
    int64_t next_tick = 0, give_up = INT64_MAX;
    while (!r->client->error) {
        int64_t now = sc_clock_ns();
        if (r->plan->stop && atomic_load_explicit(r->plan->stop, memory_order_relaxed)) {
            r->client->finished = now;
            return;
        }
        if (r->open)
            dispatch(r, now);
        else if (now >= r->plan->end)
            r->sending = false;
        if (now >= next_tick) {
            tick(r, now);
            next_tick = now + TICK_NS;
        }
        if (!r->sending) {
            if (give_up == INT64_MAX)
                give_up = now + r->timeout;
            if ((r->busy == 0 && r->backlog.n == 0) || now >= give_up)
                break;
        }
        int64_t until = next_tick;
        if (r->open && r->sending)
            until = SC_MIN(until, sc_schedule_due(&r->schedule));
        int n = wait(r, events, until > now ? until - now : 0);
        for (int i = 0; i < n; i++)
            event(r, events[i].data.ptr, events[i].events);
    }
    for (unsigned i = 0; i < r->nconns; i++)
        if (r->conns[i].state == BUSY)
            fail_one(r, SC_LOAD_TIMEOUT, r->conns[i].counted);
    while (r->backlog.n)
        fail_one(r, SC_LOAD_UNSENT, in_window(r, fifo_pop(&r->backlog)));
}

/* Share number `index` of `whole` divided among `of`, without remainder. */
static uint64_t share(uint64_t whole, unsigned index, unsigned of)
{
    return whole / of + (index < whole % of);
}

void *sc_load_client_run(void *arg)
{
    struct sc_load_client *client = arg;
    const struct sc_load_config *config = client->plan->config;
    struct run r = {
        .client = client,
        .plan = client->plan,
        .config = config,
        .open = config->rate > 0,
        .sending = true,
        .nconns = (unsigned)share(config->connections, client->index, config->threads),
        .share = share(config->count, client->index, config->threads),
        .timeout = (int64_t)(config->timeout * 1e9),
    };
    sc_hist_init(&client->result.latency);
    sc_hist_init(&client->result.service);
    r.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (r.epoll < 0) {
        client->error = errno;
        return NULL;
    }
    prctl(PR_SET_TIMERSLACK, 1); /* the default rounds waits up by 50 us */
    sc_rng_init(&r.rng, config->seed + 1000 + client->index);
    if (r.plan->nmessages)
        r.next_message = client->index * r.plan->nmessages / config->threads;
    r.in = sc_alloc(READ_BYTES);
    r.conns = sc_alloc_array(r.nconns, sizeof *r.conns);
    for (unsigned i = 0; i < r.nconns; i++)
        r.conns[i].fd = -1;
    if (r.open)
        sc_schedule_init(&r.schedule, config->rate, config->poisson, client->index, config->threads,
                         config->seed, client->plan->begin - (int64_t)(config->warmup * 1e9));
    /* Fewer requests than threads: some have none. */
    if (config->count == 0 || r.share)
        loop(&r);
    for (unsigned i = 0; i < r.nconns; i++) {
        if (r.conns[i].fd >= 0)
            close(r.conns[i].fd);
        free(r.conns[i].own);
        sc_answer_free(&r.conns[i].answer);
    }
    free(r.conns);
    free(r.in);
    free(r.idle.items);
    free(r.backlog.items);
    close(r.epoll);
    return NULL;
}
