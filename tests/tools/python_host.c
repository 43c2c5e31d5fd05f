/*
 * A frontend and supervisor for one Python worker, driven from standard input: for tests and measurements.
 *
 *   python_host ADDRESS      listens on the connect-back address ("@name")
 *
 * Commands, one a line; every answer is one line. Bytes are written in hexadecimal, "-" for none.
 *
 *   accept                                  hello PID
 *   attach CHANNELS                         attached  (a new epoch; the channels before it are closed)
 *   detach                                  detached  (as a frontend that died)
 *   hangup                                  gone      (as a supervisor that died)
 *   status MS                               status STATE TEXT | none | end
 *   submit CHANNEL ID FLAGS META BODY       submitted (not before flush is the worker woken)
 *   cancel CHANNEL ID                       cancelled
 *   flush                                   flushed
 *   answer MS                               answer ID STATUS META BODY | part ... | none | broken REASON
 *   running                                 running [ID...]
 *   since                                   since NANOSECONDS (when the running page was written)
 *   load SECONDS WINDOW META BODY           load ANSWERS NANOSECONDS BATCHES ERRORS
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "worker/channel.h"
#include "worker/control.h"
#include "worker/shm.h"

#define CHANNELS_MAX 4
#define OPEN_MAX 4096

struct block {
    uint64_t id, off;
    int fd;
    bool open;
};

struct lane {
    struct sc_chan *chan;
    struct sc_arena arena;
    void *request;
    int request_fd;
    struct block open[OPEN_MAX];
};

static struct {
    int listener, ctl;
    uint64_t epoch;
    struct sc_board *board;
    struct lane lanes[CHANNELS_MAX];
    unsigned channels;
} host = {.listener = -1, .ctl = -1};

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(2);
}

static int digit(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* The bytes of a hexadecimal word; the caller frees them. */
static char *unhex(const char *word, size_t *n)
{
    *n = strcmp(word, "-") == 0 ? 0 : strlen(word) / 2;
    char *p = sc_alloc(*n + 1);
    for (size_t i = 0; i < *n; i++)
        p[i] = (char)(digit(word[2 * i]) << 4 | digit(word[2 * i + 1]));
    return p;
}

static void print_hex(struct sc_span s)
{
    static const char digits[] = "0123456789abcdef";
    putchar(' ');
    if (s.n == 0)
        putchar('-');
    for (size_t i = 0; i < s.n; i++) {
        putchar(digits[(unsigned char)s.p[i] >> 4]);
        putchar(digits[s.p[i] & 15]);
    }
}

/* ---- attachments --------------------------------------------------------------------------- */

static void detach(void)
{
    for (unsigned i = 0; i < host.channels; i++) {
        struct lane *l = &host.lanes[i];
        sc_chan_del(l->chan);
        sc_arena_free(&l->arena);
        munmap(l->request, SC_ARENA_BYTES);
        close(l->request_fd);
    }
    host.channels = 0;
    if (host.board)
        sc_board_del(host.board);
    host.board = NULL;
}

static void attach(unsigned channels)
{
    detach();
    host.epoch++;
    if (sc_board_new(&host.board, 1, host.epoch) < 0)
        die("board");
    struct sc_ctl_attach a = {.channels = channels, .epoch = host.epoch, .life = 1};
    int fds[SC_BOARD_FDS + CHANNELS_MAX * SC_CHAN_FDS];
    sc_board_fds(host.board, fds);
    for (unsigned i = 0; i < channels; i++) {
        struct lane *l = &host.lanes[i];
        memset(l, 0, sizeof *l);
        l->request_fd = sc_shm_create("requests", SC_ARENA_BYTES, true, &l->request);
        struct sc_chan_spec spec = {.board = host.board,
                                    .request_fd = l->request_fd,
                                    .request_bytes = SC_ARENA_BYTES,
                                    .response_bytes = SC_ARENA_BYTES,
                                    .max_response = SC_RESPONSE_BYTES,
                                    .epoch = host.epoch};
        if (sc_arena_init(&l->arena, l->request, SC_ARENA_BYTES) < 0 || sc_chan_new(&l->chan, &spec) < 0)
            die("channel");
        sc_chan_fds(l->chan, fds + SC_BOARD_FDS + i * SC_CHAN_FDS);
    }
    host.channels = channels;
    /* A worker that could not load may have ended already: what it said waits to be read. */
    int rc = sc_ctl_send(host.ctl, SC_CTL_ATTACH, sc_span(&a, sizeof a), sc_span(NULL, 0), fds,
                         SC_BOARD_FDS + channels * SC_CHAN_FDS);
    if (rc < 0 && rc != SC_ECLOSED)
        die("attach");
}

static void hello(void)
{
    static struct sc_ctl_message m;
    struct sc_ctl_hello h;
    struct pollfd f = {.fd = host.listener, .events = POLLIN};
    if (host.ctl >= 0)
        close(host.ctl);
    if (poll(&f, 1, 20000) != 1 || (host.ctl = accept(host.listener, NULL, NULL)) < 0)
        die("accept");
    f = (struct pollfd){.fd = host.ctl, .events = POLLIN};
    if (poll(&f, 1, 5000) != 1 || sc_ctl_receive(host.ctl, &m) != 1 || m.type != SC_CTL_HELLO ||
        sc_ctl_read_fixed(m.payload, &h, sizeof h) < 0)
        die("hello");
    printf("hello %d\n", (int)h.pid);
}

static void status(int ms)
{
    static struct sc_ctl_message m;
    struct sc_ctl_status s;
    struct sc_span text;
    struct pollfd f = {.fd = host.ctl, .events = POLLIN};
    if (poll(&f, 1, ms) != 1) {
        printf("none\n");
        return;
    }
    if (sc_ctl_receive(host.ctl, &m) != 1 || sc_ctl_read_status(m.payload, &s, &text) < 0) {
        printf("end\n");
        return;
    }
    printf("status %u", s.state);
    print_hex(text);
    putchar('\n');
}

/* ---- requests --------------------------------------------------------------------------------- */

static struct block *free_block(struct lane *l)
{
    for (unsigned i = 0; i < OPEN_MAX; i++)
        if (!l->open[i].open)
            return &l->open[i];
    return NULL;
}

static int submit(struct lane *l, uint64_t id, uint32_t flags, struct sc_span meta, struct sc_span body)
{
    struct block *b = free_block(l);
    if (!b)
        return SC_AGAIN;
    bool large = meta.n + body.n > SC_ARENA_BLOCK_MAX;
    char *p = sc_arena_alloc(&l->arena, SC_MAX(meta.n + (large ? 0 : body.n), 1u), &b->off, NULL);
    if (!p)
        return SC_AGAIN;
    memcpy(p, meta.p, meta.n);
    b->fd = -1;
    if (large) {
        b->fd = sc_shm_file("body");
        if (b->fd < 0 || write(b->fd, body.p, body.n) != (ssize_t)body.n || sc_large_seal(b->fd, body.n) < 0)
            die("large body");
    } else if (body.n) {
        memcpy(p + meta.n, body.p, body.n);
    }
    struct sc_submission s = {.id = id,
                              .off = b->off,
                              .meta_len = (uint32_t)meta.n,
                              .flags = flags,
                              .body_len = body.n,
                              .body_fd = b->fd,
                              .arrival_ns = sc_clock_ns()};
    int rc = sc_chan_submit(l->chan, &s);
    if (rc < 0) {
        sc_arena_release(&l->arena, b->off);
        if (b->fd >= 0)
            close(b->fd);
        return rc;
    }
    b->id = id;
    b->open = true;
    return 0;
}

/* The block of an answered request is free again, unless the answer goes on. False if nobody asked. */
static bool settle(struct lane *l, uint64_t id, bool more)
{
    for (unsigned i = 0; i < OPEN_MAX; i++) {
        struct block *b = &l->open[i];
        if (!b->open || b->id != id)
            continue;
        if (more)
            return true;
        b->open = false;
        sc_arena_release(&l->arena, b->off);
        if (b->fd >= 0)
            close(b->fd);
        return true;
    }
    return false;
}

/* The next completion of any channel within ms: 1, 0, or an error. */
static int next_answer(int ms, struct lane **from, struct sc_completion *c, struct sc_msg *msg)
{
    int64_t end = sc_clock_ms() + ms;
    for (;;) {
        for (unsigned i = 0; i < host.channels; i++) {
            *from = &host.lanes[i];
            int rc = sc_chan_poll((*from)->chan, c, msg);
            if (rc != 0)
                return rc;
        }
        int64_t left = end - sc_clock_ms();
        if (left <= 0)
            return 0;
        bool sleep = true;
        struct pollfd fds[CHANNELS_MAX];
        for (unsigned i = 0; i < host.channels; i++) {
            fds[i] = (struct pollfd){.fd = sc_chan_wake_fd(host.lanes[i].chan), .events = POLLIN};
            sleep = sc_chan_sleep(host.lanes[i].chan) && sleep;
        }
        if (sleep)
            poll(fds, host.channels, (int)left);
        for (unsigned i = 0; i < host.channels; i++)
            sc_chan_awake(host.lanes[i].chan);
    }
}

static void answer(int ms)
{
    struct lane *l;
    struct sc_completion c;
    struct sc_msg msg = {"no such request"};
    int rc = next_answer(ms, &l, &c, &msg);
    if (rc == 0) {
        printf("none\n");
    } else if (rc < 0 || !settle(l, c.id, c.flags & SC_COMPLETE_MORE)) {
        printf("broken %s\n", msg.text);
    } else {
        printf("%s %" PRIu64 " %u", c.flags & SC_COMPLETE_MORE ? "part" : "answer", c.id, c.status);
        print_hex(c.meta);
        print_hex(c.body);
        putchar('\n');
        sc_chan_release(l->chan, c.token);
    }
}

static void running(void)
{
    static struct sc_running r;
    sc_board_running(host.board, 0, &r);
    printf("running");
    for (uint32_t i = 0; r.since_ns && i < r.n; i++)
        printf(" %" PRIu64, r.ids[i]);
    putchar('\n');
}

static void since(void)
{
    static struct sc_running r;
    sc_board_running(host.board, 0, &r);
    printf("since %" PRId64 "\n", r.since_ns);
}

/* `window` requests are kept waiting for `seconds`. */
static void load(double seconds, unsigned window, struct sc_span meta, struct sc_span body)
{
    struct lane *l = &host.lanes[0];
    struct sc_completion c;
    struct sc_msg msg = {""};
    uint64_t answers = 0, errors = 0, id = 1;
    struct sc_board_work before_it, after_it;
    int64_t start = sc_clock_ns(), end = start + (int64_t)(seconds * 1e9), now = start;
    unsigned open = 0;
    sc_board_work(host.board, &before_it);
    while (now < end || open) {
        unsigned before = open;
        while (now < end && open < window && submit(l, id, 0, meta, body) == 0) {
            id++;
            open++;
        }
        if (open != before)
            sc_chan_flush(l->chan);
        struct lane *from;
        int rc = next_answer(5000, &from, &c, &msg);
        for (; rc == 1; rc = sc_chan_poll(l->chan, &c, &msg)) {
            settle(l, c.id, false);
            sc_chan_release(l->chan, c.token);
            errors += c.status != 200;
            answers++;
            open--;
        }
        if (rc < 0 ||
            (now >= end && open == before && open > 0 && rc == 0 && sc_clock_ns() - now > 4000000000)) {
            errors += open;
            break;
        }
        now = sc_clock_ns();
    }
    sc_board_work(host.board, &after_it);
    printf("load %" PRIu64 " %" PRId64 " %" PRIu64 " %" PRIu64 "\n", answers, now - start,
           after_it.batches - before_it.batches, errors);
}

/* ---- commands ----------------------------------------------------------------------------------- */

static void obey(char **w)
{
    size_t meta_n, body_n;
    if (strcmp(w[0], "accept") == 0) {
        hello();
    } else if (strcmp(w[0], "attach") == 0) {
        attach((unsigned)strtoul(w[1], NULL, 10));
        printf("attached\n");
    } else if (strcmp(w[0], "detach") == 0) {
        detach();
        printf("detached\n");
    } else if (strcmp(w[0], "hangup") == 0) {
        close(host.ctl);
        host.ctl = -1;
        printf("gone\n");
    } else if (strcmp(w[0], "status") == 0) {
        status((int)strtol(w[1], NULL, 10));
    } else if (strcmp(w[0], "flush") == 0) {
        for (unsigned i = 0; i < host.channels; i++)
            sc_chan_flush(host.lanes[i].chan);
        printf("flushed\n");
    } else if (strcmp(w[0], "cancel") == 0) {
        int rc = sc_chan_cancel(host.lanes[strtoul(w[1], NULL, 10)].chan, strtoull(w[2], NULL, 10));
        printf("%s\n", rc == 0 ? "cancelled" : sc_strerror(rc));
    } else if (strcmp(w[0], "answer") == 0) {
        answer((int)strtol(w[1], NULL, 10));
    } else if (strcmp(w[0], "running") == 0) {
        running();
    } else if (strcmp(w[0], "since") == 0) {
        since();
    } else if (strcmp(w[0], "submit") == 0) {
        char *meta = unhex(w[4], &meta_n), *body = unhex(w[5], &body_n);
        int rc = submit(&host.lanes[strtoul(w[1], NULL, 10)], strtoull(w[2], NULL, 10),
                        (uint32_t)strtoul(w[3], NULL, 10), sc_span(meta, meta_n), sc_span(body, body_n));
        printf("%s\n", rc == 0 ? "submitted" : sc_strerror(rc));
        free(meta);
        free(body);
    } else if (strcmp(w[0], "load") == 0) {
        char *meta = unhex(w[3], &meta_n), *body = unhex(w[4], &body_n);
        load(strtod(w[1], NULL), (unsigned)strtoul(w[2], NULL, 10), sc_span(meta, meta_n),
             sc_span(body, body_n));
        free(meta);
        free(body);
    } else {
        printf("unknown\n");
    }
}

static void listen_at(const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t n = strlen(name);
    if (n < 2 || n >= sizeof a.sun_path || name[0] != '@')
        die(name);
    memcpy(a.sun_path + 1, name + 1, n - 1);
    host.listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (host.listener < 0 ||
        bind(host.listener, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) <
            0 ||
        listen(host.listener, 8) < 0)
        die("listen");
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: python_host @ADDRESS\n");
        return 2;
    }
    listen_at(argv[1]);
    printf("listening\n");
    fflush(stdout);
    char *line = NULL;
    size_t cap = 0;
    while (getline(&line, &cap, stdin) > 0) {
        char *words[8] = {NULL}, *at = line;
        unsigned n = 0;
        for (char *word; n < 7 && (word = strsep(&at, " \n"));)
            if (*word)
                words[n++] = word;
        if (n)
            obey(words);
        fflush(stdout);
    }
    free(line);
    detach();
    return 0;
}
