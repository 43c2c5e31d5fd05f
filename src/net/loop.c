#include "net/loop.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"

struct sc_loop_private {
    uv_async_t wake;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle; /* started by poke: makes the next wait return at once */
    uv_thread_t thread;
    uv_sem_t go; /* a thread waits here from new to run */
    struct sc_loop_hook *hooks;
    struct sc_loop_hook *hook_next;  /* what a hook that is running may remove */
    _Atomic(struct sc_task *) tasks; /* newest first */
    atomic_bool stop;
    bool stopped;
    bool has_thread;
};

struct sc_loops {
    unsigned n;
    bool abandoned; /* deleted without having run */
    struct sc_loop at[];
};

static _Thread_local struct sc_loop *current;

/* ---- mailbox ------------------------------------------------------------------------- */

/* Takes all tasks at once and runs them oldest first; those posted meanwhile are left for the next round. */
static bool run_tasks(struct sc_loop *l)
{
    struct sc_loop_private *p = l->private_part;
    if (!atomic_load_explicit(&p->tasks, memory_order_relaxed))
        return false;
    /* Acquire: what a poster wrote before its release below is seen here. */
    struct sc_task *newest = atomic_exchange_explicit(&p->tasks, NULL, memory_order_acquire);
    struct sc_task *oldest = NULL;
    while (newest) {
        struct sc_task *t = newest;
        newest = t->next;
        t->next = oldest;
        oldest = t;
    }
    while (oldest) {
        struct sc_task *t = oldest;
        oldest = t->next;
        t->run(t);
    }
    return true;
}

void sc_loop_post(struct sc_loop *l, struct sc_task *t)
{
    struct sc_loop_private *p = l->private_part;
    struct sc_task *head = atomic_load_explicit(&p->tasks, memory_order_relaxed);
    do {
        t->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&p->tasks, &head, t, memory_order_release,
                                                    memory_order_relaxed));
    /* Only who found the box empty wakes the loop: it empties the box as a whole. */
    if (head)
        return;
    if (current == l)
        sc_loop_poke(l);
    else
        uv_async_send(&p->wake);
}

/* ---- phases of an iteration ---------------------------------------------------------- */

static void on_wake(uv_async_t *a)
{
    struct sc_loop *l = a->data;
    struct sc_loop_private *p = l->private_part;
    run_tasks(l);
    if (atomic_load_explicit(&p->stop, memory_order_acquire) && !p->stopped) {
        p->stopped = true;
        uv_unref((uv_handle_t *)&p->wake);
    }
}

static void on_prepare(uv_prepare_t *h)
{
    struct sc_loop *l = h->data;
    struct sc_loop_private *p = l->private_part;
    run_tasks(l);
    for (struct sc_loop_hook *k = p->hooks; k; k = p->hook_next) {
        p->hook_next = k->next;
        if (k->before_block)
            k->before_block(k);
    }
}

static void on_check(uv_check_t *h)
{
    struct sc_loop *l = h->data;
    struct sc_loop_private *p = l->private_part;
    l->now_ns = sc_clock_ns();
    if (uv_is_active((uv_handle_t *)&p->idle))
        uv_idle_stop(&p->idle);
    for (struct sc_loop_hook *k = p->hooks; k; k = p->hook_next) {
        p->hook_next = k->next;
        if (k->after_block)
            k->after_block(k);
    }
}

static void on_idle(uv_idle_t *h)
{
    (void)h;
}

void sc_loop_poke(struct sc_loop *l)
{
    uv_idle_start(&l->private_part->idle, on_idle);
}

void sc_loop_add_hook(struct sc_loop *l, struct sc_loop_hook *h)
{
    struct sc_loop_hook **at = &l->private_part->hooks;
    while (*at)
        at = &(*at)->next;
    h->next = NULL;
    *at = h;
}

void sc_loop_remove_hook(struct sc_loop *l, struct sc_loop_hook *h)
{
    struct sc_loop_private *p = l->private_part;
    if (p->hook_next == h)
        p->hook_next = h->next;
    for (struct sc_loop_hook **at = &p->hooks; *at; at = &(*at)->next)
        if (*at == h) {
            *at = h->next;
            return;
        }
}

/* ---- life ---------------------------------------------------------------------------- */

static void run_one(struct sc_loop *l)
{
    char name[16];
    snprintf(name, sizeof name, "loop-%u", l->index);
    sc_log_thread_name(name);
    current = l;
    l->now_ns = sc_clock_ns();
    do {
        uv_run(&l->uv, UV_RUN_DEFAULT);
    } while (run_tasks(l) || uv_loop_alive(&l->uv));
    current = NULL;
}

static void thread_main(void *arg)
{
    struct sc_loop *l = arg;
    uv_sem_wait(&l->private_part->go);
    if (!l->all->abandoned)
        run_one(l);
}

static int init_one(struct sc_loop *l, struct sc_loops *all, unsigned index)
{
    struct sc_loop_private *p = calloc(1, sizeof *p);
    if (!p)
        return UV_ENOMEM;
    l->index = index;
    l->all = all;
    int rc = uv_loop_init(&l->uv);
    if (rc) {
        free(p);
        return rc;
    }
    l->private_part = p;
    p->wake.data = p->prepare.data = p->check.data = p->idle.data = l;
    uv_prepare_init(&l->uv, &p->prepare);
    uv_check_init(&l->uv, &p->check);
    uv_idle_init(&l->uv, &p->idle);
    uv_prepare_start(&p->prepare, on_prepare);
    uv_check_start(&p->check, on_check);
    /* Only the mailbox keeps a loop alive by itself. */
    uv_unref((uv_handle_t *)&p->prepare);
    uv_unref((uv_handle_t *)&p->check);
    uv_unref((uv_handle_t *)&p->idle);
    rc = uv_async_init(&l->uv, &p->wake, on_wake);
    if (rc)
        p->wake.data = NULL;
    return rc;
}

/* Only loop 0 is meant to receive signals. */
static int start_thread(struct sc_loop *l)
{
    struct sc_loop_private *p = l->private_part;
    int rc = uv_sem_init(&p->go, 0);
    if (rc)
        return rc;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = uv_thread_create(&p->thread, thread_main, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc)
        uv_sem_destroy(&p->go);
    p->has_thread = rc == 0;
    return rc;
}

int sc_loops_new(struct sc_loops **out, unsigned n, struct sc_msg *msg)
{
    if (n < 1 || n > SC_LOOPS_MAX)
        return sc_fail(msg, SC_EINVAL, "%u event loops asked for; 1 to %d are possible", n, SC_LOOPS_MAX);
    struct sc_loops *l = calloc(1, sizeof *l + n * sizeof l->at[0]);
    if (!l)
        return sc_fail(msg, SC_ENOMEM, "no memory for %u event loops", n);
    int rc = 0;
    while (l->n < n && !rc) {
        rc = init_one(&l->at[l->n], l, l->n);
        if (l->at[l->n].private_part)
            l->n++;
    }
    for (unsigned i = 1; i < n && !rc; i++)
        rc = start_thread(&l->at[i]);
    if (rc) {
        sc_loops_del(l);
        return sc_fail(msg, SC_ESYS, "cannot start %u event loops: %s", n, uv_strerror(rc));
    }
    *out = l;
    return 0;
}

static void join_all(struct sc_loops *l)
{
    for (unsigned i = 1; i < l->n; i++) {
        struct sc_loop_private *p = l->at[i].private_part;
        if (!p->has_thread)
            continue;
        uv_thread_join(&p->thread);
        uv_sem_destroy(&p->go);
        p->has_thread = false;
    }
}

void sc_loops_run(struct sc_loops *l)
{
    for (unsigned i = 1; i < l->n; i++)
        uv_sem_post(&l->at[i].private_part->go);
    run_one(&l->at[0]);
    join_all(l);
}

void sc_loops_stop(struct sc_loops *l)
{
    for (unsigned i = 0; i < l->n; i++) {
        atomic_store_explicit(&l->at[i].private_part->stop, true, memory_order_release);
        uv_async_send(&l->at[i].private_part->wake);
    }
}

void sc_loops_del(struct sc_loops *l)
{
    if (!l)
        return;
    l->abandoned = true;
    for (unsigned i = 1; i < l->n; i++)
        if (l->at[i].private_part->has_thread)
            uv_sem_post(&l->at[i].private_part->go);
    join_all(l);
    /* What was posted to loops that never ran, or came after their end, may own something. */
    for (unsigned i = 0; i < 3 * l->n; i++) {
        current = &l->at[i % l->n];
        run_tasks(current);
        uv_run(&current->uv, UV_RUN_NOWAIT);
    }
    current = NULL;
    for (unsigned i = 0; i < l->n; i++) {
        struct sc_loop_private *p = l->at[i].private_part;
        uv_close((uv_handle_t *)&p->prepare, NULL);
        uv_close((uv_handle_t *)&p->check, NULL);
        uv_close((uv_handle_t *)&p->idle, NULL);
        if (p->wake.data)
            uv_close((uv_handle_t *)&p->wake, NULL);
        uv_run(&l->at[i].uv, UV_RUN_DEFAULT);
        uv_loop_close(&l->at[i].uv);
        free(p);
    }
    free(l);
}

unsigned sc_loops_count(const struct sc_loops *l)
{
    return l->n;
}

struct sc_loop *sc_loops_at(struct sc_loops *l, unsigned index)
{
    return &l->at[index];
}
