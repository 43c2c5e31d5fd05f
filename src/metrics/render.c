#include "metrics/render.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "base/log.h"

#define NICE 10

struct job {
    struct job *next;
    enum sc_prom_format format;
    struct sc_span *names; /* and behind them their text */
    unsigned nnames;
    struct sc_scrape *scrape;
    struct sc_rendered *out;
    struct sc_render_ask *asks, **asks_end;
};

struct sc_renderer {
    struct sc_metrics *m;
    struct sc_loop *zero;
    void (*before)(void *ctx);
    void *ctx;
    struct job *waiting, *writing; /* [0] */
    size_t last_bytes;             /* [0] */
    struct sc_task task;
    pthread_t thread;
    bool threaded; /* [0] */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct job *given; /* under the lock, as the next */
    bool stop;
};

void sc_rendered_put(struct sc_rendered *t)
{
    if (atomic_fetch_sub(&t->refs, 1) != 1)
        return;
    sc_buf_free(&t->text);
    free(t);
}

static void job_free(struct job *j)
{
    if (j->scrape)
        sc_scrape_del(j->scrape);
    if (j->out)
        sc_rendered_put(j->out);
    free(j->names);
    free(j);
}

/* ---- the thread --------------------------------------------------------------------------------------- */

static void *run(void *arg)
{
    struct sc_renderer *r = arg;
    sc_log_thread_name("metrics");
    if (setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE) < 0)
        sc_log(SC_LOG_DEBUG, "metrics are written at the priority of requests");
    pthread_mutex_lock(&r->lock);
    for (;;) {
        struct job *j = r->given;
        if (!j && r->stop)
            break;
        if (!j) {
            pthread_cond_wait(&r->wake, &r->lock);
            continue;
        }
        r->given = NULL;
        pthread_mutex_unlock(&r->lock);
        sc_scrape_write(j->scrape, j->format, j->names, j->nnames, &j->out->text);
        sc_loop_post(r->zero, &r->task);
        pthread_mutex_lock(&r->lock);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

static bool start_thread(struct sc_renderer *r)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    r->threaded = pthread_create(&r->thread, NULL, run, r) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return r->threaded;
}

/* ---- loop 0 ------------------------------------------------------------------------------------------- */

static void next(struct sc_renderer *r)
{
    struct job *j = r->waiting;
    if (!j || r->writing || r->stop)
        return;
    r->waiting = j->next;
    r->writing = j;
    r->before(r->ctx);
    j->scrape = sc_scrape_new(r->m);
    j->out = sc_alloc(sizeof *j->out);
    atomic_init(&j->out->refs, 1);
    sc_buf_init(&j->out->text, SC_METRICS_TEXT_BYTES);
    /* Grown from nothing it would move some twenty times. */
    if (sc_buf_reserve(&j->out->text, r->last_bytes + r->last_bytes / 8 + 4096) < 0)
        sc_buf_clear(&j->out->text);
    if (!r->threaded && !start_thread(r)) {
        sc_scrape_write(j->scrape, j->format, j->names, j->nnames, &j->out->text);
        sc_loop_post(r->zero, &r->task);
        return;
    }
    pthread_mutex_lock(&r->lock);
    r->given = j;
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
}

static void written(struct sc_task *t)
{
    struct sc_renderer *r = SC_CONTAINER(t, struct sc_renderer, task);
    struct job *j = r->writing;
    r->writing = NULL;
    if (j->nnames == 0)
        r->last_bytes = j->out->text.n;
    next(r); /* before those who asked are told: they may ask again */
    for (struct sc_render_ask *a = j->asks, *after; a; a = after) {
        after = a->next;
        a->done(a, j->out);
    }
    job_free(j);
}

static bool same(const struct job *j, enum sc_prom_format format, const struct sc_span *names,
                 unsigned nnames)
{
    if (j->format != format || j->nnames != nnames)
        return false;
    for (unsigned i = 0; i < nnames; i++)
        if (!sc_span_eq(j->names[i], names[i]))
            return false;
    return true;
}

static struct job *job_new(enum sc_prom_format format, const struct sc_span *names, unsigned nnames)
{
    struct job *j = sc_alloc(sizeof *j);
    size_t bytes = 0;
    j->format = format;
    j->nnames = nnames;
    j->asks_end = &j->asks;
    for (unsigned i = 0; i < nnames; i++)
        bytes += names[i].n;
    j->names = sc_alloc(nnames * sizeof *names + bytes + 1);
    char *text = (char *)(j->names + nnames);
    for (unsigned i = 0; i < nnames; i++) {
        if (names[i].n)
            memcpy(text, names[i].p, names[i].n);
        j->names[i] = sc_span(text, names[i].n);
        text += names[i].n;
    }
    return j;
}

void sc_renderer_ask(struct sc_renderer *r, enum sc_prom_format format, const struct sc_span *names,
                     unsigned nnames, struct sc_render_ask *a)
{
    struct job **at = &r->waiting;
    while (*at && !same(*at, format, names, nnames))
        at = &(*at)->next;
    if (!*at)
        *at = job_new(format, names, nnames);
    a->next = NULL;
    *(*at)->asks_end = a;
    (*at)->asks_end = &a->next;
    next(r);
}

/* ---- life --------------------------------------------------------------------------------------------- */

struct sc_renderer *sc_renderer_new(struct sc_metrics *m, struct sc_loop *zero, void (*before)(void *ctx),
                                    void *ctx)
{
    struct sc_renderer *r = sc_alloc(sizeof *r);
    r->m = m;
    r->zero = zero;
    r->before = before;
    r->ctx = ctx;
    r->task.run = written;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->wake, NULL);
    return r;
}

void sc_renderer_stop(struct sc_renderer *r)
{
    if (!r->threaded)
        return;
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    r->threaded = false;
}

void sc_renderer_del(struct sc_renderer *r)
{
    if (r->writing)
        job_free(r->writing);
    while (r->waiting) {
        struct job *j = r->waiting;
        r->waiting = j->next;
        job_free(j);
    }
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
    free(r);
}
