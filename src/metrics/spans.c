#include "metrics/spans.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "archive/curl.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"

#define PAUSE_FIRST_MS 500
#define PAUSE_MAX_MS 30000
#define UNREACHABLE 0 /* in place of a status */

struct sc_spans {
    struct sc_spans_config config;
    const struct sc_curl *curl;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct sc_span_record *first, **end; /* under the lock, as the next three */
    unsigned waiting;                    /* spans */
    bool stop;
    int64_t stop_ns;
    atomic_bool stopping;
    atomic_ullong sent, dropped;
    /* the thread's */
    void *easy, *headers;
    bool failing; /* told in the log */
    struct sc_buf body;
    int64_t retry_after_ms; /* -1: not said */
    char error[SC_CURL_ERROR_SIZE];
};

/* A record is a request, and what it went through. */
static unsigned spans_of(const struct sc_span_record *r)
{
    return r->taken_ns ? 4 : 1;
}

void sc_spans_add(struct sc_spans *s, struct sc_span_record *r)
{
    unsigned n = spans_of(r);
    r->next = NULL;
    pthread_mutex_lock(&s->lock);
    bool room = s->waiting + n <= s->config.queue_max;
    if (room) {
        unsigned before = s->waiting;
        *s->end = r;
        s->end = &r->next;
        s->waiting += n;
        /* The first begins the delay, a full batch ends it. */
        if (before == 0 || (before < s->config.batch_max && s->waiting >= s->config.batch_max))
            pthread_cond_signal(&s->wake);
    }
    pthread_mutex_unlock(&s->lock);
    if (room)
        return;
    atomic_fetch_add_explicit(&s->dropped, n, memory_order_relaxed);
    sc_span_record_free(r);
}

void sc_spans_counts(void *ctx, uint64_t *sent, uint64_t *dropped)
{
    struct sc_spans *s = ctx;
    *sent = atomic_load_explicit(&s->sent, memory_order_relaxed);
    *dropped = atomic_load_explicit(&s->dropped, memory_order_relaxed);
}

/* ---- a request to the collector ------------------------------------------------------------------------ */

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
    struct sc_spans *s = arg;
    struct sc_span line = sc_span(p, size * n);
    size_t colon = sc_span_find(line, ':');
    uint64_t v;
    /* A date, which it may be too, counts as not said. */
    if (sc_span_eq_nocase(sc_span_sub(line, 0, colon), SC_SPAN("retry-after")) &&
        sc_span_u64(sc_span_trim(sc_span_sub(line, colon + 1, line.n)), 3600, &v))
        s->retry_after_ms = (int64_t)v * 1000;
    return size * n;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    (void)p;
    (void)arg;
    return size * n;
}

/* Not 0: it is given up. */
static int on_progress(void *arg, int64_t a, int64_t b, int64_t c, int64_t d)
{
    struct sc_spans *s = arg;
    (void)a;
    (void)b;
    (void)c;
    (void)d;
    if (!atomic_load(&s->stopping))
        return 0;
    pthread_mutex_lock(&s->lock);
    bool late = sc_clock_ns() > s->stop_ns + (int64_t)SC_SPANS_END_MS * 1000000;
    pthread_mutex_unlock(&s->lock);
    return late;
}

static void set_up(struct sc_spans *s)
{
    const struct sc_curl *k = s->curl;
    void *h = s->easy;
    k->setopt(h, SC_CURLOPT_URL, s->config.url);
    k->setopt(h, SC_CURLOPT_PROTOCOLS, SC_CURLPROTO_HTTP | SC_CURLPROTO_HTTPS);
    k->setopt(h, SC_CURLOPT_NOSIGNAL, 1L);
    k->setopt(h, SC_CURLOPT_HTTPHEADER, s->headers);
    k->setopt(h, SC_CURLOPT_USERAGENT, "OTel-OTLP-Exporter-Sconce/" SCONCE_VERSION);
    k->setopt(h, SC_CURLOPT_TIMEOUT_MS, (long)s->config.timeout_ms);
    k->setopt(h, SC_CURLOPT_ERRORBUFFER, s->error);
    k->setopt(h, SC_CURLOPT_HEADERFUNCTION, on_header);
    k->setopt(h, SC_CURLOPT_HEADERDATA, s);
    k->setopt(h, SC_CURLOPT_WRITEFUNCTION, on_body);
    k->setopt(h, SC_CURLOPT_WRITEDATA, s);
    k->setopt(h, SC_CURLOPT_XFERINFOFUNCTION, on_progress);
    k->setopt(h, SC_CURLOPT_XFERINFODATA, s);
    k->setopt(h, SC_CURLOPT_NOPROGRESS, 0L);
}

/* The collector's status, or UNREACHABLE with s->error. */
static long post(struct sc_spans *s)
{
    long status = UNREACHABLE;
    s->retry_after_ms = -1;
    s->error[0] = '\0';
    s->curl->setopt(s->easy, SC_CURLOPT_POSTFIELDSIZE, (long)s->body.n);
    s->curl->setopt(s->easy, SC_CURLOPT_POSTFIELDS, s->body.p);
    int rc = s->curl->perform(s->easy);
    if (rc == 0 && s->curl->getinfo(s->easy, SC_CURLINFO_RESPONSE_CODE, &status) == 0 && status)
        return status;
    if (!s->error[0])
        snprintf(s->error, sizeof s->error, "%s", s->curl->strerror(rc));
    return UNREACHABLE;
}

static bool may_retry(long status)
{
    return status == UNREACHABLE || status == 429 || status == 502 || status == 503 || status == 504;
}

/* An outage is told once. */
static void tell(struct sc_spans *s, long status)
{
    if (status == UNREACHABLE && !s->failing)
        sc_log(SC_LOG_WARN, "spans cannot be sent to %.200s: %s", s->config.url, s->error);
    else if (status / 100 != 2 && !s->failing)
        sc_log(SC_LOG_WARN, "spans are refused by %.200s: status %ld", s->config.url, status);
    else if (status / 100 == 2 && s->failing)
        sc_log(SC_LOG_INFO, "spans are taken by %.200s again", s->config.url);
    s->failing = status / 100 != 2;
}

/* ---- the thread ---------------------------------------------------------------------------------------- */

static struct timespec at(int64_t ns)
{
    return (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
}

/* False: the server ends. */
static bool pause_for(struct sc_spans *s, int64_t ms)
{
    struct timespec until = at(sc_clock_ns() + ms * 1000000);
    pthread_mutex_lock(&s->lock);
    while (!s->stop && pthread_cond_timedwait(&s->wake, &s->lock, &until) == 0) {
    }
    bool on = !s->stop;
    pthread_mutex_unlock(&s->lock);
    return on;
}

/* Sends the body, again and again if need be. */
static bool deliver(struct sc_spans *s)
{
    int64_t give_up_ns = sc_clock_ns() + (int64_t)SC_SPANS_RETRY_MS * 1000000, pause = PAUSE_FIRST_MS;
    for (;;) {
        bool ending = atomic_load(&s->stopping);
        long status = post(s);
        tell(s, status);
        if (status / 100 == 2)
            return true;
        if (!may_retry(status) || ending)
            return false;
        /* Not all servers at the same moment. */
        int64_t ms = s->retry_after_ms >= 0 ? s->retry_after_ms
                                            : pause / 2 + (int64_t)(sc_trace_new_id() % (uint64_t)pause);
        pause = pause * 2 < PAUSE_MAX_MS ? pause * 2 : PAUSE_MAX_MS;
        if (sc_clock_ns() + ms * 1000000 > give_up_ns)
            return false;
        (void)pause_for(s, ms); /* at the end it is tried once more, at once */
    }
}

/* The next batch, when it is time; NULL: the server ends. */
static struct sc_span_record *take(struct sc_spans *s, unsigned *n)
{
    pthread_mutex_lock(&s->lock);
    while (!s->stop && !s->first)
        pthread_cond_wait(&s->wake, &s->lock);
    struct timespec until = at(sc_clock_ns() + (int64_t)s->config.delay_ms * 1000000);
    while (!s->stop && s->waiting < s->config.batch_max &&
           pthread_cond_timedwait(&s->wake, &s->lock, &until) == 0) {
    }
    struct sc_span_record *batch = s->first, **last = &s->first;
    *n = 0;
    while (*last && (*n == 0 || *n + spans_of(*last) <= s->config.batch_max)) {
        *n += spans_of(*last);
        last = &(*last)->next;
    }
    s->waiting -= *n;
    s->first = *last;
    *last = NULL;
    if (!s->first)
        s->end = &s->first;
    pthread_mutex_unlock(&s->lock);
    return batch;
}

static void *run(void *arg)
{
    struct sc_spans *s = arg;
    struct sc_span_record *batch;
    unsigned n;
    sc_log_thread_name("spans");
    while ((batch = take(s, &n))) {
        sc_buf_clear(&s->body);
        sc_spans_write(&s->config, batch, &s->body);
        bool late = atomic_load(&s->stopping) && on_progress(s, 0, 0, 0, 0);
        bool taken = !late && !s->body.failed && deliver(s);
        atomic_fetch_add_explicit(taken ? &s->sent : &s->dropped, n, memory_order_relaxed);
        for (struct sc_span_record *r = batch, *next; r; r = next) {
            next = r->next;
            sc_span_record_free(r);
        }
    }
    return NULL;
}

/* ---- life ---------------------------------------------------------------------------------------------- */

static void del(struct sc_spans *s)
{
    if (s->easy)
        s->curl->cleanup(s->easy);
    if (s->headers)
        s->curl->slist_free(s->headers);
    sc_buf_free(&s->body);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    sc_spans_config_free(&s->config);
    free(s);
}

static bool append_header(struct sc_spans *s, const char *line)
{
    void *longer = s->curl->slist_append(s->headers, line);
    if (longer)
        s->headers = longer;
    return longer != NULL;
}

int sc_spans_start(struct sc_spans **out, struct sc_spans_config *c, struct sc_msg *msg)
{
    struct sc_spans *s = sc_alloc(sizeof *s);
    pthread_condattr_t monotonic;
    sigset_t all, before;
    s->config = *c;
    *c = (struct sc_spans_config){0};
    s->end = &s->first;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    sc_buf_init(&s->body, SC_SPANS_BODY_BYTES);
    int rc = sc_curl_get(&s->curl, msg);
    bool ok = rc == 0 && (s->easy = s->curl->init()) != NULL &&
              append_header(s, "Content-Type: application/json") && append_header(s, "Expect:");
    for (unsigned i = 0; ok && i < s->config.nheaders; i++)
        ok = append_header(s, s->config.headers[i]);
    if (!ok) {
        del(s);
        return rc < 0 ? rc : sc_fail(msg, SC_ENOMEM, "libcurl has no memory");
    }
    set_up(s);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&s->thread, NULL, run, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        del(s);
        return sc_fail(msg, SC_ESYS, "no thread for it: %s", strerror(rc));
    }
    *out = s;
    return 0;
}

void sc_spans_stop(struct sc_spans *s)
{
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    s->stop_ns = sc_clock_ns();
    atomic_store(&s->stopping, true);
    pthread_cond_broadcast(&s->wake);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    del(s);
}
