/*
 * Many messages through a whole worker in one process: loops, a dispatcher, lanes. Checks that each id is
 * answered once and with the right content, that nobody is left asleep, and, under ThreadSanitizer, that
 * every byte is handed over in order (both sides get the same addresses here).
 *
 * SC_STRESS_MS sets the time (500). SC_STRESS_SEED sets the seed. With the argument "pingpong" it measures
 * instead, against a child process.
 */
#include "test.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>

#include "base/clock.h"
#include "channel_pair.h"
#include "one_address.h"

#define LOOPS 2
#define LANES 3
#define ARENA_SMALL (8 * SC_ARENA_BLOCK_MAX)
#define WINDOW 400         /* requests in flight of one loop */
#define LOST_WAKE_MS 20000 /* nobody waits that long on purpose */

/* ---- content ------------------------------------------------------------------------------ */

static uint32_t next_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return (uint32_t)(*s >> 16);
}

/* The first and last bytes, and a few between, follow from the id: cheap for large bodies. */
static void fill(char *p, size_t n, uint64_t id)
{
    size_t step = n > 4096 ? n / 61 : 1;
    for (size_t i = 0; i < n; i += step)
        p[i] = (char)(id * 31 + i);
    if (n)
        p[n - 1] = (char)id;
}

static bool filled(const char *p, size_t n, uint64_t id)
{
    size_t step = n > 4096 ? n / 61 : 1;
    for (size_t i = 0; i + 1 < n; i += step)
        if (p[i] != (char)(id * 31 + i))
            return false;
    return n == 0 || p[n - 1] == (char)id;
}

static size_t pick_size(uint64_t *seed, bool heavy)
{
    uint32_t r = next_random(seed) % 1000;
    if (heavy && r < 2)
        return SC_ARENA_BLOCK_MAX + 40000 + next_random(seed) % 100000; /* a memory file */
    if (heavy && r < 20)
        return next_random(seed) % SC_ARENA_BLOCK_MAX;
    return r < 100 ? 0 : next_random(seed) % 600;
}

static void nap(uint64_t *seed)
{
    if (next_random(seed) % 64 == 0) {
        struct timespec t = {0, next_random(seed) % 200000};
        nanosleep(&t, NULL);
    }
}

/* ---- the worker ---------------------------------------------------------------------------- */

static struct pair pair;
static atomic_bool stop_worker;
static atomic_uint failures;
static uint64_t seed_base = 1;

#define FAIL(...) (atomic_fetch_add(&failures, 1), fprintf(stderr, __VA_ARGS__))

static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t queue_more = PTHREAD_COND_INITIALIZER;
static struct sc_work queue[4 * LOOPS * WINDOW];
static unsigned queue_head, queue_tail;

static void *dispatcher_main(void *arg)
{
    (void)arg;
    uint64_t seed = seed_base * 77;
    while (!atomic_load(&stop_worker)) {
        struct sc_work w;
        int rc = sc_port_next(pair.port, &w);
        if (rc < 0) {
            FAIL("sc_port_next: %s\n", sc_strerror(rc));
            return NULL;
        }
        if (rc == 1) {
            pthread_mutex_lock(&queue_lock);
            queue[queue_tail++ % SC_COUNT(queue)] = w;
            pthread_cond_signal(&queue_more);
            pthread_mutex_unlock(&queue_lock);
            continue;
        }
        nap(&seed);
        if (sc_port_sleep(pair.port)) {
            nap(&seed);
            struct pollfd f = {.fd = sc_port_wake_fd(pair.port), .events = POLLIN};
            poll(&f, 1, LOST_WAKE_MS);
        }
        sc_port_awake(pair.port);
    }
    return NULL;
}

static void answer(struct sc_work *w, uint64_t *seed)
{
    char meta[40];
    int meta_n = next_random(seed) % 8 ? snprintf(meta, sizeof meta, "meta of %" PRIu64, w->id) : 0;
    struct sc_span m = sc_span(meta, (size_t)meta_n);
    size_t n = pick_size(seed, true);
    uint64_t id = w->id;

    if (!filled(w->body.p, w->body.n, id) || w->meta.n != 8 || memcmp(w->meta.p, &id, 8) != 0)
        FAIL("request %" PRIu64 " arrived damaged\n", id);
    sc_port_done(pair.port, w);

    int rc;
    if (next_random(seed) % 2) {
        struct sc_answer a;
        size_t more = next_random(seed) % 1000;
        char *p = sc_port_reserve(pair.port, w, n + more, &a);
        if (p && next_random(seed) % 16 == 0) {
            sc_port_cancel(pair.port, &a);
            p = sc_port_reserve(pair.port, w, n + more, &a);
        }
        if (!p) {
            FAIL("no room to reserve %zu bytes\n", n);
            return;
        }
        fill(p, n, id);
        rc = sc_port_send(pair.port, w, 200, m, &a, sc_span(p, n));
    } else {
        char *p = malloc(n ? n : 1);
        fill(p, n, id);
        rc = sc_port_send(pair.port, w, 200, m, NULL, sc_span(p, n));
        free(p);
    }
    if (rc < 0)
        FAIL("sc_port_send: %s\n", sc_strerror(rc));
}

static void *lane_main(void *arg)
{
    uint32_t lane = (uint32_t)(uintptr_t)arg;
    uint64_t seed = seed_base * 1000 + lane + 1;
    for (;;) {
        struct sc_work batch[8];
        uint64_t ids[8];
        uint32_t n = 0;
        pthread_mutex_lock(&queue_lock);
        while (queue_head == queue_tail && !atomic_load(&stop_worker))
            pthread_cond_wait(&queue_more, &queue_lock);
        for (; n < 8 && queue_head != queue_tail; n++)
            batch[n] = queue[queue_head++ % SC_COUNT(queue)];
        pthread_mutex_unlock(&queue_lock);
        if (n == 0)
            return NULL;
        for (uint32_t i = 0; i < n; i++)
            ids[i] = batch[i].id;
        sc_port_begin(pair.port, lane, ids, n);
        nap(&seed);
        for (uint32_t i = 0; i < n; i++)
            answer(&batch[i], &seed);
        sc_port_end(pair.port, lane);
        sc_port_flush(pair.port);
    }
}

/* ---- the loops ------------------------------------------------------------------------------- */

struct flight {
    uint64_t id;
    uint64_t off;
    int fd;
    bool open;
};

struct loop {
    unsigned index;
    uint64_t until_ms;
    struct sc_arena arena;
    struct flight flights[WINDOW];
    unsigned open;
    uint64_t sent, answered, sleeps;
    uint64_t held[64]; /* answers kept for a while, as a slow client's would be */
    unsigned nheld;
};

static bool submit_one(struct loop *l, struct sc_chan *c, uint64_t *seed)
{
    unsigned slot = 0;
    while (slot < WINDOW && l->flights[slot].open)
        slot++;
    struct flight *f = &l->flights[slot];
    uint64_t id = (l->sent << 16 | slot) * LOOPS + l->index;
    size_t n = pick_size(seed, true);
    bool large = n + 8 > SC_ARENA_BLOCK_MAX;
    char *p = sc_arena_alloc(&l->arena, 8 + (large ? 0 : n), &f->off, NULL);
    if (!p)
        return false;
    memcpy(p, &id, 8);
    f->fd = -1;
    if (large) {
        f->fd = pair_large(n, 0, 0);
        char *q = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
        fill(q, n, id);
        munmap(q, n);
        fcntl(f->fd, F_ADD_SEALS, PAIR_SEALS);
    } else {
        fill(p + 8, n, id);
    }
    struct sc_submission s = {.id = id, .off = f->off, .meta_len = 8, .body_len = n, .body_fd = f->fd};
    int rc = sc_chan_submit(c, &s);
    if (rc < 0) {
        if (rc != SC_AGAIN)
            FAIL("sc_chan_submit: %s\n", sc_strerror(rc));
        sc_arena_release(&l->arena, f->off);
        if (f->fd >= 0)
            close(f->fd);
        return false;
    }
    f->id = id;
    f->open = true;
    l->open++;
    l->sent++;
    return true;
}

static void take_answer(struct loop *l, struct sc_chan *c, const struct sc_completion *k, uint64_t *seed)
{
    unsigned slot = (unsigned)(k->id / LOOPS & 0xffff);
    if (slot >= WINDOW || !l->flights[slot].open || l->flights[slot].id != k->id) {
        FAIL("an answer for %" PRIu64 ", which is not in flight\n", k->id);
        return;
    }
    char meta[40];
    snprintf(meta, sizeof meta, "meta of %" PRIu64, k->id);
    if (k->meta.n != 0 && !sc_span_eq(k->meta, sc_span_str(meta)))
        FAIL("answer %" PRIu64 " has other metadata\n", k->id);
    if (!filled(k->body.p, k->body.n, k->id) || k->status != 200)
        FAIL("answer %" PRIu64 " arrived damaged\n", k->id);
    struct flight *f = &l->flights[slot];
    f->open = false;
    sc_arena_release(&l->arena, f->off);
    if (f->fd >= 0)
        close(f->fd);
    l->open--;
    l->answered++;
    if (next_random(seed) % 32 == 0 && k->token) {
        unsigned i = l->nheld < SC_COUNT(l->held) ? l->nheld++ : next_random(seed) % SC_COUNT(l->held);
        sc_chan_release(c, l->held[i]);
        l->held[i] = k->token;
    } else {
        sc_chan_release(c, k->token);
    }
}

static void *loop_main(void *arg)
{
    struct loop *l = arg;
    struct sc_chan *c = pair.chan[l->index];
    uint64_t seed = seed_base * 31 + l->index + 1;
    sc_arena_init(&l->arena, pair.request[l->index], pair.request_bytes);

    for (;;) {
        struct sc_completion k;
        struct sc_msg msg;
        int rc;
        unsigned took = 0;
        while ((rc = sc_chan_poll(c, &k, &msg)) == 1) {
            take_answer(l, c, &k, &seed);
            took++;
        }
        if (rc < 0) {
            FAIL("%s\n", msg.text);
            break;
        }
        bool more = (uint64_t)sc_clock_ms() < l->until_ms;
        if (!more && l->open == 0)
            break;
        /* Sometimes the window drains to nothing, so that everybody falls asleep. */
        unsigned window = next_random(&seed) % 4 ? WINDOW : 1;
        while (more && l->open < window && submit_one(l, c, &seed))
            ;
        sc_chan_flush(c);
        if (took)
            continue;
        nap(&seed);
        if (sc_chan_sleep(c)) {
            nap(&seed);
            l->sleeps++;
            struct pollfd f = {.fd = sc_chan_wake_fd(c), .events = POLLIN};
            /* With nothing in flight (the request arena was full of held blocks) nobody is to wake us. */
            if (poll(&f, 1, l->open ? LOST_WAKE_MS : 1) == 0 && l->open) {
                FAIL("loop %u was left asleep with %u requests in flight\n", l->index, l->open);
                break;
            }
        }
        sc_chan_awake(c);
    }
    for (unsigned i = 0; i < l->nheld; i++)
        sc_chan_release(c, l->held[i]);
    sc_arena_free(&l->arena);
    return NULL;
}

static void every_request_is_answered_once(void **state)
{
    (void)state;
    const char *ms = getenv("SC_STRESS_MS"), *seed = getenv("SC_STRESS_SEED");
    uint64_t run_ms = ms ? strtoull(ms, NULL, 10) : 500;
    seed_base = seed ? strtoull(seed, NULL, 10) : 12345;
    share_maps = true;
    pair_make(&pair, LOOPS, ARENA_SMALL); /* a small arena, so that it gets full */

    static struct loop loops[LOOPS];
    pthread_t hosts[LOOPS], lanes[LANES], dispatcher;
    uint64_t start = (uint64_t)sc_clock_ms();
    assert_int_equal(pthread_create(&dispatcher, NULL, dispatcher_main, NULL), 0);
    for (unsigned i = 0; i < LANES; i++)
        assert_int_equal(pthread_create(&lanes[i], NULL, lane_main, (void *)(uintptr_t)i), 0);
    for (unsigned i = 0; i < LOOPS; i++) {
        loops[i] = (struct loop){.index = i, .until_ms = start + run_ms};
        assert_int_equal(pthread_create(&hosts[i], NULL, loop_main, &loops[i]), 0);
    }
    for (unsigned i = 0; i < LOOPS; i++)
        pthread_join(hosts[i], NULL);

    pthread_mutex_lock(&queue_lock);
    atomic_store(&stop_worker, true);
    pthread_cond_broadcast(&queue_more);
    pthread_mutex_unlock(&queue_lock);
    for (unsigned i = 0; i < LANES; i++)
        pthread_join(lanes[i], NULL);
    /* The dispatcher sleeps; one more request would be the honest way to wake it, closing is ours. */
    struct sc_submission last = {.body_fd = -1};
    assert_int_equal(sc_chan_submit(pair.chan[0], &last), 0);
    sc_chan_flush(pair.chan[0]);
    pthread_join(dispatcher, NULL);

    uint64_t total = 0, sleeps = 0;
    for (unsigned i = 0; i < LOOPS; i++) {
        assert_int_equal(loops[i].open, 0);
        assert_int_equal(loops[i].sent, loops[i].answered);
        assert_true(loops[i].answered > 0);
        total += loops[i].answered;
        sleeps += loops[i].sleeps;
    }
    print_message("%" PRIu64 " messages, %" PRIu64 " sleeps of the loops\n", total, sleeps);
    assert_int_equal(atomic_load(&failures), 0);
    pair_free(&pair);
    share_maps = false;
}

/* ---- going to sleep and being woken, as close together as can be -------------------------- */

static void dawdle(uint64_t *seed)
{
    for (volatile uint32_t i = next_random(seed) % 512; i > 0; i--)
        ;
}

static void *sleepy_worker_main(void *arg)
{
    (void)arg;
    uint64_t seed = 815;
    while (!atomic_load(&stop_worker)) {
        struct sc_work w;
        if (sc_port_next(pair.port, &w) == 1) {
            if (sc_port_send(pair.port, &w, 200, SC_SPAN(""), NULL, SC_SPAN("")) < 0)
                FAIL("sc_port_send\n");
            sc_port_flush(pair.port);
        }
        dawdle(&seed);
        if (sc_port_sleep(pair.port)) {
            struct pollfd f = {.fd = sc_port_wake_fd(pair.port), .events = POLLIN};
            poll(&f, 1, LOST_WAKE_MS * 2);
        }
        sc_port_awake(pair.port);
    }
    return NULL;
}

/* One request at a time, sent a random few nanoseconds after the last answer: just when the worker is about
 * to sleep. */
static void nobody_sleeps_through_a_message(void **state)
{
    (void)state;
    const char *ms = getenv("SC_STRESS_MS");
    int64_t until = sc_clock_ms() + (ms ? strtoll(ms, NULL, 10) : 500);
    uint64_t seed = 4711, rounds = 0;
    atomic_store(&stop_worker, false);
    atomic_store(&failures, 0);
    pair_make(&pair, 1, ARENA_SMALL);
    struct sc_chan *c = pair.chan[0];
    pthread_t worker;
    assert_int_equal(pthread_create(&worker, NULL, sleepy_worker_main, NULL), 0);

    while (sc_clock_ms() < until && atomic_load(&failures) == 0) {
        struct sc_submission s = {.id = ++rounds, .body_fd = -1};
        struct sc_completion k;
        dawdle(&seed);
        assert_int_equal(sc_chan_submit(c, &s), 0);
        sc_chan_flush(c);
        bool nap_too = rounds % 2;
        int64_t lost = sc_clock_ms() + LOST_WAKE_MS;
        while (sc_chan_poll(c, &k, NULL) == 0) {
            bool timed_out = sc_clock_ms() > lost;
            if (nap_too)
                dawdle(&seed);
            if (nap_too && sc_chan_sleep(c)) {
                struct pollfd f = {.fd = sc_chan_wake_fd(c), .events = POLLIN};
                timed_out = poll(&f, 1, LOST_WAKE_MS) == 0;
            }
            sc_chan_awake(c);
            if (timed_out) {
                FAIL("round %" PRIu64 ": somebody was left asleep\n", rounds);
                break;
            }
        }
        if (k.id != rounds)
            FAIL("round %" PRIu64 ": no answer\n", rounds);
    }
    atomic_store(&stop_worker, true);
    struct sc_submission last = {.body_fd = -1};
    assert_int_equal(sc_chan_submit(c, &last), 0);
    sc_chan_flush(c);
    pthread_join(worker, NULL);
    print_message("%" PRIu64 " rounds\n", rounds);
    assert_int_equal(atomic_load(&failures), 0);
    pair_free(&pair);
}

/* ---- figures ------------------------------------------------------------------------------------ */

static void echo_worker(bool spin)
{
    pair_make_port(&pair);
    for (;;) {
        struct sc_work w;
        unsigned n = 0;
        while (n < 64 && sc_port_next(pair.port, &w) == 1) {
            (void)!sc_port_send(pair.port, &w, 200, w.meta, NULL, w.body);
            n++;
        }
        if (n) {
            sc_port_flush(pair.port);
        } else if (!spin) {
            if (sc_port_sleep(pair.port)) {
                struct pollfd f = {.fd = sc_port_wake_fd(pair.port), .events = POLLIN};
                poll(&f, 1, -1);
            }
            sc_port_awake(pair.port);
        }
    }
}

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof set, &set); /* a machine with one CPU measures what it can */
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Slices of a millisecond: their median, and the tenth percentile for machines where others work, too. */
static void measure(const char *what, unsigned window, bool spin, size_t body, int64_t ms)
{
    enum { SLICES = 4096 };
    static double slices[SLICES];
    unsigned nslices = 0;
    pair_make_host(&pair, 1, 1, SC_ARENA_BYTES);
    pid_t child = fork();
    if (child == 0) {
        pin(1);
        echo_worker(spin);
        _exit(0);
    }
    pin(0);
    struct sc_chan *c = pair.chan[0];
    struct sc_arena arena;
    sc_arena_init(&arena, pair.request[0], pair.request_bytes);
    uint64_t sent = 0, done = 0, slice_done = 0;
    int64_t start = sc_clock_ns(), now = start, slice = start;
    while (now < start + ms * 1000000) {
        for (; sent - done < window; sent++) {
            uint64_t off;
            char *p = sc_arena_alloc(&arena, 64 + body, &off, NULL);
            if (!p)
                break;
            memset(p, 1, 64 + body);
            struct sc_submission s = {.id = off, .off = off, .meta_len = 64, .body_len = body, .body_fd = -1};
            if (sc_chan_submit(c, &s) < 0) {
                sc_arena_release(&arena, off);
                break;
            }
        }
        sc_chan_flush(c);
        struct sc_completion k;
        unsigned took = 0;
        while (took < 64 && sc_chan_poll(c, &k, NULL) == 1) {
            sc_arena_release(&arena, k.id);
            sc_chan_release(c, k.token);
            took++;
        }
        done += took;
        if (!spin && !took) {
            if (sc_chan_sleep(c)) {
                struct pollfd f = {.fd = sc_chan_wake_fd(c), .events = POLLIN};
                poll(&f, 1, 1000);
            }
            sc_chan_awake(c);
        }
        now = sc_clock_ns();
        if (now - slice > 1000000 && nslices < SLICES) {
            if (done > slice_done)
                slices[nslices++] = (double)(now - slice) / (double)(done - slice_done);
            slice = now;
            slice_done = done;
        }
    }
    qsort(slices, nslices, sizeof *slices, by_value);
    if (nslices)
        printf("%-24s window %3u, body %6zu: ns a message: median %7.0f, 10%% %7.0f\n", what, window, body,
               slices[nslices / 2], slices[nslices / 10]);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    sc_arena_free(&arena);
    pair_free(&pair);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "pingpong") == 0) {
        measure("round trip, both spin", 1, true, 64, 2000);
        measure("round trip, both sleep", 1, false, 64, 2000);
        measure("throughput, both spin", 64, true, 64, 2000);
        measure("throughput, both sleep", 64, false, 64, 2000);
        measure("throughput, both spin", 512, true, 64, 2000);
        measure("throughput, both spin", 32, true, 100000, 2000);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_request_is_answered_once),
        cmocka_unit_test(nobody_sleeps_through_a_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
