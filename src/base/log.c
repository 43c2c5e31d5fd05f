/*
 * The ring: producers reserve bytes by moving `tail`, write their record behind its header and then store the
 * header's `size`, which until then is zero; the writer takes records in order, zeroes what it took, and
 * moves `head`. All positions count bytes since the start; records are 8-byte aligned and never wrap (a
 * filler takes what is left at the end).
 *
 * Sleeping: the writer stores `state` and then looks at `tail`; a producer moves `tail` and then looks at
 * `state`; both sequentially consistent, so one of them sees the other. A producer makes a system call only
 * when the writer was asleep, which under load it never is: it naps, and lines of NAP_MS go out in one write.
 */
#include "base/log.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log_sink.h"

#define NAP_MS 2
#define DRAIN_LINES 4096u    /* between two flushes at most */
#define REPORT_MS 1000       /* between two reports of dropped lines */
#define REPORT_LOST_MS 10000 /* between two reports of a destination that takes nothing */

struct record_head {
    _Atomic uint32_t size; /* of the record with this header, a multiple of 8; 0: not written yet */
    uint16_t text_n;
    uint8_t logger, level; /* logger FILLER: nothing but space */
    int64_t wall_ms;
    uint8_t thread_n;
    uint8_t unused[7];
};
#define FILLER 255
_Static_assert(sizeof(struct record_head) == 24, "records are 8-byte aligned");
_Static_assert(SC_LOG_LINE_MAX <= UINT16_MAX, "text_n is 16 bits");
_Static_assert((SC_LOG_RING_BYTES & (SC_LOG_RING_BYTES - 1)) == 0, "positions are masked");

enum { AWAKE, NAPPING, SLEEPING };

static _Alignas(64) _Atomic uint64_t tail;
static _Alignas(64) _Atomic uint64_t head;
static _Alignas(64) _Atomic uint32_t state;
static _Alignas(64) _Atomic uint64_t dropped_full, dropped_lost;
static _Alignas(64) char ring[SC_LOG_RING_BYTES];

static _Atomic bool running; /* lines go to the ring; else to stderr */
static _Atomic bool stopping, reopening;
static _Atomic uint32_t urgent;  /* callers of sync */
static _Atomic uint64_t flushed; /* all before this position is in the files */
static _Atomic uint8_t least[SC_LOGGERS];
static struct sc_log_sink *sink;
static pthread_t writer;

static _Thread_local char thread_name[SC_LOG_THREAD_MAX];
static _Thread_local uint8_t thread_name_n;

static struct record_head *record_at(uint64_t pos)
{
    return (struct record_head *)(void *)(ring + (pos & (SC_LOG_RING_BYTES - 1)));
}

static void futex_wait(uint32_t value, const struct timespec *timeout)
{
    syscall(SYS_futex, &state, FUTEX_WAIT_PRIVATE, value, timeout, NULL, 0);
}

static void wake_writer(void)
{
    if (atomic_exchange(&state, AWAKE) != AWAKE)
        syscall(SYS_futex, &state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* --- the writer's side --- */

/* Hands every record that is complete to the sink; returns how many. */
static unsigned drain(void)
{
    unsigned lines = 0;
    uint64_t pos = atomic_load_explicit(&head, memory_order_relaxed);
    for (;;) {
        struct record_head *h = record_at(pos);
        uint32_t size = atomic_load_explicit(&h->size, memory_order_acquire);
        if (size == 0)
            break;
        if (h->logger != FILLER) {
            const char *p = (const char *)(h + 1);
            struct sc_log_record r = {.wall_ms = h->wall_ms,
                                      .logger = (enum sc_logger)h->logger,
                                      .level = (enum sc_log_level)h->level,
                                      .thread = sc_span(p, h->thread_n),
                                      .text = sc_span(p + h->thread_n, h->text_n)};
            sc_log_sink_add(sink, &r);
            lines++;
        }
        /* The next lap must find zeros wherever a header may come to lie. */
        memset((void *)h, 0, size);
        pos += size;
        atomic_store_explicit(&head, pos, memory_order_release);
        if (lines == DRAIN_LINES)
            break;
    }
    return lines;
}

static void say(const char *text)
{
    struct sc_log_record r = {sc_wall_ms(), SC_LOGGER_SERVER, SC_LOG_WARN, SC_SPAN("log"), sc_span_str(text)};
    sc_log_sink_add(sink, &r);
}

/* What the writer has to tell about itself. */
struct trouble {
    uint64_t full, full_told; /* lines that found the ring full */
    uint64_t lost;            /* lines that a destination did not take, not told yet */
    char why[SC_LOG_WHY_BYTES];
    int64_t full_ms, lost_ms; /* of the latest report */
};

static void report(struct trouble *t)
{
    int64_t now = sc_clock_ms();
    char text[256];
    t->full = atomic_load(&dropped_full);
    if (t->full != t->full_told && now - t->full_ms >= REPORT_MS) {
        snprintf(text, sizeof text, "%llu log lines were dropped: the log could not keep up",
                 (unsigned long long)(t->full - t->full_told));
        say(text);
        t->full_told = t->full;
        t->full_ms = now;
    }
    if ((t->lost || t->why[0]) && now - t->lost_ms >= REPORT_LOST_MS) {
        snprintf(text, sizeof text, "Trouble with the log, %llu lines lost: %s", (unsigned long long)t->lost,
                 t->why);
        say(text);
        t->lost = 0;
        t->why[0] = '\0';
        t->lost_ms = now;
    }
}

/* Returns when there may be work: a line, a reopen, the end. */
static void rest(bool idle)
{
    static const struct timespec nap = {.tv_nsec = NAP_MS * 1000000};
    if (idle) {
        atomic_store(&state, SLEEPING);
        if (atomic_load(&tail) == atomic_load(&head) && !atomic_load(&stopping) && !atomic_load(&reopening) &&
            !atomic_load(&urgent))
            futex_wait(SLEEPING, NULL);
    }
    atomic_store(&state, NAPPING);
    if (!atomic_load(&stopping) && !atomic_load(&urgent) &&
        atomic_load(&tail) - atomic_load(&head) < SC_LOG_RING_BYTES / 2)
        futex_wait(NAPPING, &nap);
    atomic_store(&state, AWAKE);
}

static void *write_lines(void *arg)
{
    (void)arg;
    prctl(PR_SET_NAME, "log");
    struct trouble trouble = {
        .full_told = atomic_load(&dropped_full), .full_ms = -REPORT_MS, .lost_ms = -REPORT_LOST_MS};
    for (;;) {
        bool last = atomic_load(&stopping);
        if (atomic_exchange(&reopening, false))
            sc_log_sink_reopen(sink);
        unsigned lines = drain();
        report(&trouble);
        sc_log_sink_flush(sink);
        uint64_t lost = sc_log_sink_lost(sink, trouble.why);
        trouble.lost += lost;
        atomic_fetch_add(&dropped_lost, lost);
        atomic_store_explicit(&flushed, atomic_load_explicit(&head, memory_order_relaxed),
                              memory_order_release);
        bool empty = atomic_load(&tail) == atomic_load(&head);
        if (last && empty)
            break;
        if (lines < DRAIN_LINES && (lines == 0 || !atomic_load(&urgent)))
            rest(lines == 0 && empty);
    }
    return NULL;
}

/* --- the callers' side --- */

/* A child that did not exec has the ring but no writer. */
static void forked(void)
{
    atomic_store(&running, false);
}

static void write_stderr(const struct sc_log_record *r)
{
    char line[SC_LOG_FORMATTED_MAX];
    struct sc_log_time t;
    sc_log_time_init(&t);
    size_t n = sc_log_format(line, r, true, false, &t);
    ssize_t w;
    do
        w = write(STDERR_FILENO, line, n);
    while (w < 0 && errno == EINTR);
}

/* Reserves `need` bytes; returns their position, or UINT64_MAX if the ring is full. */
static uint64_t reserve(uint32_t need)
{
    uint64_t t = atomic_load_explicit(&tail, memory_order_relaxed);
    for (;;) {
        uint64_t left = SC_LOG_RING_BYTES - (t & (SC_LOG_RING_BYTES - 1));
        uint64_t fill = left < need ? left : 0;
        if (t + fill + need - atomic_load_explicit(&head, memory_order_acquire) > SC_LOG_RING_BYTES)
            return UINT64_MAX;
        if (!atomic_compare_exchange_weak(&tail, &t, t + fill + need))
            continue;
        if (fill) {
            /* left is a multiple of 8 and may be less than a whole header: size and logger lie in its first 8
             * bytes. */
            struct record_head *h = record_at(t);
            h->logger = FILLER;
            atomic_store_explicit(&h->size, (uint32_t)fill, memory_order_release);
        }
        return t + fill;
    }
}

bool sc_log_enabled(enum sc_logger logger, enum sc_log_level level)
{
    return level >= atomic_load_explicit(&least[logger], memory_order_relaxed);
}

static struct sc_span own_name(void)
{
    if (thread_name_n == 0) {
        char name[16] = "main";
        prctl(PR_GET_NAME, name);
        sc_log_thread_name(name);
    }
    return sc_span(thread_name, thread_name_n);
}

void sc_log_line(enum sc_logger logger, enum sc_log_level level, const char *thread, struct sc_span line)
{
    if (!sc_log_enabled(logger, level))
        return;
    struct sc_span name = thread ? sc_span_sub(sc_span_str(thread), 0, SC_LOG_THREAD_MAX) : own_name();
    line = sc_span_sub(line, 0, SC_LOG_LINE_MAX);
    if (SC_UNLIKELY(!atomic_load_explicit(&running, memory_order_acquire))) {
        write_stderr(&(struct sc_log_record){sc_wall_ms(), logger, level, name, line});
        return;
    }
    uint32_t need = (uint32_t)(sizeof(struct record_head) + name.n + line.n + 7) & ~7u;
    uint64_t pos = reserve(need);
    if (SC_UNLIKELY(pos == UINT64_MAX)) {
        atomic_fetch_add_explicit(&dropped_full, 1, memory_order_relaxed);
        return;
    }
    struct record_head *h = record_at(pos);
    char *p = (char *)(h + 1);
    h->wall_ms = sc_wall_ms();
    h->logger = (uint8_t)logger;
    h->level = (uint8_t)level;
    h->thread_n = (uint8_t)name.n;
    h->text_n = (uint16_t)line.n;
    memcpy(p, name.p, name.n);
    if (line.n)
        memcpy(p + name.n, line.p, line.n);
    atomic_store_explicit(&h->size, need, memory_order_release);

    uint32_t s = atomic_load(&state);
    if (s == SLEEPING ||
        (s == NAPPING && pos - atomic_load_explicit(&head, memory_order_relaxed) > SC_LOG_RING_BYTES / 2))
        wake_writer();
}

void sc_log(enum sc_log_level level, const char *fmt, ...)
{
    if (!sc_log_enabled(SC_LOGGER_SERVER, level))
        return;
    char line[SC_LOG_LINE_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (n >= 0)
        sc_log_line(SC_LOGGER_SERVER, level, NULL, sc_span(line, SC_MIN((size_t)n, sizeof line - 1)));
}

void sc_log_thread_name(const char *name)
{
    size_t n = strlen(name);
    thread_name_n = (uint8_t)SC_MIN(n, sizeof thread_name);
    memcpy(thread_name, name, thread_name_n);
    char title[16];
    snprintf(title, sizeof title, "%.15s", name);
    /* The main thread's name is the process's: that belongs to whoever titles the process. */
    if (getpid() != gettid())
        prctl(PR_SET_NAME, title);
}

bool sc_log_crowded(void)
{
    return atomic_load_explicit(&tail, memory_order_relaxed) -
               atomic_load_explicit(&head, memory_order_relaxed) >
           SC_LOG_RING_BYTES / 2;
}

uint64_t sc_log_dropped(void)
{
    return atomic_load(&dropped_full) + atomic_load(&dropped_lost);
}

int sc_log_open(const struct sc_log_config *c, struct sc_msg *msg)
{
    static bool forks_watched;
    if (atomic_load(&running))
        return sc_fail(msg, SC_EEXIST, "The log is open already");
    /* What a forked child inherited of its parent's lines is the parent's to write. Pages that no line has
     * come to are zero, and stay untouched. */
    memset(ring, 0, (size_t)SC_MIN(atomic_load(&tail), (uint64_t)sizeof ring));
    atomic_store(&tail, 0);
    atomic_store(&head, 0);
    atomic_store(&flushed, 0);
    atomic_store(&stopping, false);
    atomic_store(&reopening, false);
    atomic_store(&urgent, 0);
    atomic_store(&state, AWAKE);
    int rc = sc_log_sink_open(&sink, c, msg);
    if (rc < 0)
        return rc;
    if (!forks_watched && pthread_atfork(NULL, NULL, forked) == 0)
        forks_watched = true;
    /* Signals are the program's; a stdout whose reader went away must give EPIPE, not SIGPIPE. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&writer, NULL, write_lines, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        sc_log_sink_del(sink);
        sink = NULL;
        return sc_fail(msg, SC_ESYS, "Cannot start the log's writer thread: %s", strerror(rc));
    }
    for (unsigned i = 0; i < SC_LOGGERS; i++)
        atomic_store(&least[i], c->levels ? c->levels->of[i] : (uint8_t)c->level);
    if (!c->access)
        atomic_store(&least[SC_LOGGER_ACCESS], SC_LOG_OFF);
    atomic_store(&running, true);
    return 0;
}

void sc_log_reopen(void)
{
    if (!atomic_load(&running))
        return;
    atomic_store(&reopening, true);
    wake_writer();
}

void sc_log_close(void)
{
    if (!atomic_exchange(&running, false))
        return;
    atomic_store(&stopping, true);
    wake_writer();
    pthread_join(writer, NULL);
    sc_log_sink_del(sink);
    sink = NULL;
}

void sc_log_sync(void)
{
    if (!atomic_load(&running))
        return;
    static const struct timespec some = {.tv_nsec = 100000};
    uint64_t upto = atomic_load(&tail);
    atomic_fetch_add(&urgent, 1);
    wake_writer();
    while (atomic_load_explicit(&flushed, memory_order_acquire) < upto)
        nanosleep(&some, NULL);
    atomic_fetch_sub(&urgent, 1);
}
