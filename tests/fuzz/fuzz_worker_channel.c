/*
 * A hostile worker. The input is a script: each byte chooses a step, the next ones are its arguments.
 * Steps of the worker write into rings, board, arena and socket, whatever they like, or
 * behave, so that deep states are reached; steps of the host call the channel. Nothing may crash, block or
 * hand out bytes that do not lie in the response arena or in a mapping of the answer's own.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "worker/channel.h"
#include "worker/channel_layout.h"
#include "worker/shm.h"

#define EPOCH 3
#define ARENA (2 * SC_ARENA_BLOCK_MAX)
#define MAX_RESPONSE (1u << 20)
#define HELD 128

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct script {
    const uint8_t *p;
    size_t n;
};

static uint64_t take(struct script *s, unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes && s->n; i++, s->p++, s->n--)
        v |= (uint64_t)*s->p << (8 * i);
    return v;
}

/* Numbers near the borders that matter are likelier than chance has them. */
static uint64_t number(struct script *s)
{
    static const uint64_t border[] = {0,     1,     255,   256,          512,        SC_ARENA_BLOCK_MAX,
                                      ARENA, EPOCH, 16384, MAX_RESPONSE, UINT32_MAX, UINT64_MAX};
    uint8_t how = (uint8_t)take(s, 1);
    if (how < 128)
        return border[how % SC_COUNT(border)] + (how >= 96) - (how < 32);
    return how < 192 ? take(s, 1) * SC_ARENA_BLOCK_MIN : how < 240 ? take(s, 2) : take(s, 8);
}

struct world {
    struct sc_board *board;
    struct sc_chan *chan;
    struct sc_port *port;
    struct sc_board_shared *board_memory;
    struct sc_chan_shared *rings;
    char *arena;      /* as the worker sees it */
    const char *seen; /* as the host does */
    int sock;
    int request_fd;
    uint64_t tokens[HELD];
    struct sc_span bodies[HELD];
    volatile unsigned sum;
};

static void send_descriptor(struct world *w, struct script *s)
{
    struct sc_large_tag tag = {number(s), take(s, 1) % 4 ? EPOCH : number(s)};
    uint8_t kind = (uint8_t)take(s, 1);
    size_t n = (size_t)(number(s) % (MAX_RESPONSE + 2));
    int fd = kind == 255 ? dup(w->sock) : sc_shm_file("fuzz");
    if (fd < 0 || (kind != 255 && ftruncate(fd, (off_t)n) < 0))
        abort();
    if (kind != 255)
        fcntl(fd, F_ADD_SEALS, kind < 160 ? F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE : kind & 31);
    if (kind >= 150 && kind < 160)
        (void)!send(w->sock, &tag, kind % 17, MSG_DONTWAIT | MSG_NOSIGNAL);
    else
        (void)!sc_large_send(w->sock, tag, fd);
    close(fd);
}

static void post(struct world *w, struct script *s)
{
    struct sc_comp_desc d = {.id = number(s), .epoch = EPOCH, .status = 200};
    uint8_t how = (uint8_t)take(s, 1);
    d.off = how & 1 ? number(s) : take(s, 1) * SC_ARENA_BLOCK_MIN;
    d.body_len = number(s);
    d.meta_len = how & 2 ? (uint32_t)number(s) : (uint32_t)take(s, 1);
    if (how & 4) {
        d.flags = (uint32_t)take(s, 4);
        if (d.flags & 0xc0) /* mostly those that exist */
            d.flags &= SC_DESC_LARGE | SC_COMPLETE_MORE;
    }
    if (how >= 250)
        d.epoch = number(s);
    if (how >= 240)
        d.status = (uint32_t)number(s);
    uint32_t tail = atomic_load(&w->rings->comp.tail);
    sc_slot_write(&w->rings->comps[tail % SC_RING_ENTRIES], &d);
    atomic_store(&w->rings->comp.tail, tail + 1);
}

static void behave(struct world *w, struct script *s)
{
    static char body[MAX_RESPONSE];
    struct sc_work work = {.id = number(s)};
    size_t n = (size_t)(number(s) % (MAX_RESPONSE + 1));
    /* The honest sender waits for room, which a script may never give: only while there is some. */
    uint32_t used = atomic_load(&w->rings->comp.tail) - atomic_load(&w->rings->comp.head);
    struct pollfd room = {.fd = w->sock, .events = POLLOUT};
    if (used > 5 || poll(&room, 1, 0) != 1)
        return;
    struct sc_span meta = sc_span(body, take(s, 2) % 600);
    if (meta.n % 4)
        (void)!sc_port_send(w->port, &work, 200, meta, NULL, sc_span(body, n));
    else
        (void)!sc_port_part(w->port, &work, 200, meta, NULL, sc_span(body, n));
    sc_port_flush(w->port);
}

static void check_body(struct world *w, const struct sc_completion *k)
{
    if (k->meta.n > SC_ANSWER_META_BYTES || k->body.n > MAX_RESPONSE || k->status > 999 ||
        k->flags & ~SC_COMPLETE_MORE)
        abort();
    for (size_t i = 0; i < k->meta.n; i++)
        w->sum += (unsigned char)k->meta.p[i];
    if (!k->body.n)
        return;
    bool in_arena = k->body.p >= w->seen && k->body.p < w->seen + ARENA;
    if (in_arena && k->body.n > (size_t)(w->seen + ARENA - k->body.p))
        abort();
    for (unsigned i = 0; i < HELD; i++)
        if (w->tokens[i] && k->body.p < w->bodies[i].p + w->bodies[i].n &&
            w->bodies[i].p < k->body.p + k->body.n)
            abort(); /* two answers in the same memory */
    for (size_t i = 0; i < k->body.n; i += 64)
        w->sum += (unsigned char)k->body.p[i];
}

static void host_poll(struct world *w, unsigned keep)
{
    struct sc_completion k;
    struct sc_msg msg;
    int rc = sc_chan_poll(w->chan, &k, &msg);
    if (rc != 1) {
        if (rc != 0 && rc != SC_EPEER && rc != SC_ESYS)
            abort();
        return;
    }
    check_body(w, &k);
    if (!k.token)
        return;
    unsigned i = keep % HELD;
    sc_chan_release(w->chan, w->tokens[i]);
    w->tokens[i] = k.token;
    w->bodies[i] = k.body;
}

static void submit(struct world *w, struct script *s)
{
    struct sc_submission sub = {.id = number(s),
                                .off = number(s),
                                .meta_len = (uint32_t)take(s, 2),
                                .body_len = number(s),
                                .body_fd = -1};
    if (sub.meta_len == 1) {
        int cancelled = sc_chan_cancel(w->chan, sub.id);
        if (cancelled != 0 && cancelled != SC_AGAIN && cancelled != SC_EPEER)
            abort();
    }
    int rc = sc_chan_submit(w->chan, &sub);
    if (rc != 0 && rc != SC_AGAIN && rc != SC_EINVAL && rc != SC_EPEER)
        abort();
    if (rc == 0 && (sub.off > ARENA || sub.body_len + sub.meta_len > ARENA - sub.off))
        abort();
}

static void step(struct world *w, struct script *s)
{
    struct sc_running r;
    struct sc_work work;
    uint8_t op = (uint8_t)take(s, 1);
    switch (op % 18) {
    case 0:
    case 1:
    case 2: post(w, s); break;
    case 3: behave(w, s); break;
    case 4: send_descriptor(w, s); break;
    case 5: atomic_store(&w->rings->comp.tail, (uint32_t)number(s)); break;
    case 6: atomic_store(&w->rings->sub.head, (uint32_t)number(s)); break;
    case 7: atomic_store(&w->rings->rel.head, (uint32_t)number(s)); break;
    case 8: /* any word of the rings' memory, the header included */
        ((uint64_t *)w->rings)[take(s, 4) % (SC_CHAN_BYTES / 8)] = number(s);
        break;
    case 9: ((uint64_t *)w->board_memory)[take(s, 2) % (sc_board_bytes(2) / 8)] = number(s); break;
    case 10: w->arena[number(s) % ARENA] = (char)take(s, 1); break;
    case 11:
    case 12:
    case 13: host_poll(w, (unsigned)take(s, 1)); break;
    case 14: {
        unsigned i = (unsigned)take(s, 1);
        sc_chan_release(w->chan, i < HELD ? w->tokens[i] : number(s) & ~UINT64_C(0xff));
        if (i < HELD)
            w->tokens[i] = 0;
        break;
    }
    case 15:
        submit(w, s);
        sc_chan_flush(w->chan);
        break;
    case 16:
        (void)!sc_chan_sleep(w->chan);
        sc_chan_awake(w->chan);
        break;
    case 17:
        sc_board_running(w->board, (uint32_t)take(s, 1) % 3, &r);
        if (r.n > SC_LANE_RUNNING_MAX)
            abort();
        if (sc_port_next(w->port, &work) == 1)
            sc_port_done(w->port, &work);
        break;
    default: break;
    }
}

static void world_make(struct world *w)
{
    void *base;
    int fds[SC_BOARD_FDS + SC_CHAN_FDS];
    *w = (struct world){.request_fd = sc_shm_create("fuzz", ARENA, true, &base)};
    if (w->request_fd < 0 || sc_board_new(&w->board, 2, EPOCH) < 0)
        abort();
    munmap(base, ARENA);
    struct sc_chan_spec spec = {.board = w->board,
                                .request_fd = w->request_fd,
                                .request_bytes = ARENA,
                                .response_bytes = ARENA,
                                .max_response = MAX_RESPONSE,
                                .epoch = EPOCH};
    if (sc_chan_new(&w->chan, &spec) < 0)
        abort();
    sc_board_fds(w->board, fds);
    sc_chan_fds(w->chan, fds + SC_BOARD_FDS);
    w->sock = fds[SC_BOARD_FDS + 4];
    w->board_memory = sc_shm_map(fds[0], sc_board_bytes(2), true);
    w->rings = sc_shm_map(fds[SC_BOARD_FDS], SC_CHAN_BYTES, true);
    w->arena = sc_shm_map(fds[SC_BOARD_FDS + 1], ARENA, true);
    for (unsigned i = 0; i < SC_COUNT(fds); i++)
        fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
    struct sc_msg msg;
    if (!w->board_memory || !w->rings || !w->arena || sc_port_new(&w->port, fds, 1, EPOCH, &msg) < 0)
        abort();
    /* One honest answer shows where the host has the arena. */
    struct sc_work work = {.id = 1};
    struct sc_completion k;
    if (sc_port_send(w->port, &work, 200, SC_SPAN(""), NULL, SC_SPAN("x")) < 0 ||
        sc_chan_poll(w->chan, &k, NULL) != 1)
        abort();
    w->seen = k.body.p; /* the lowest block is taken first */
    sc_chan_release(w->chan, k.token);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world w;
    struct script s = {data, size};
    world_make(&w);
    for (unsigned i = 0; i < 400 && s.n; i++)
        step(&w, &s);
    for (unsigned i = 0; i < 2 * SC_RING_ENTRIES; i++)
        host_poll(&w, i);

    sc_port_del(w.port);
    sc_shm_unmap(w.board_memory, sc_board_bytes(2));
    sc_shm_unmap(w.rings, SC_CHAN_BYTES);
    sc_shm_unmap(w.arena, ARENA);
    sc_chan_del(w.chan);
    sc_board_del(w.board);
    close(w.request_fd);
    return 0;
}
