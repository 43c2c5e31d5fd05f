/*
 * A process of several executors: one for each model of an executorGroup on one device. They share the
 * process's address space and what a backend has once in a process, a GPU's context above all, and nothing
 * else: each has its own connection, attachment, lanes and model. A fault of one is the end of all.
 */
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "worker/executor.h"
#include "worker/executor_private.h"
#include "worker/supervisor.h"

struct guest {
    struct sc_executor ex;
    struct sc_span text; /* the strings of env */
    char **env;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t fewer = PTHREAD_COND_INITIALIZER;
static unsigned guests; /* threads that run */

static void count(int more)
{
    pthread_mutex_lock(&lock);
    guests += (unsigned)more;
    pthread_cond_signal(&fewer);
    pthread_mutex_unlock(&lock);
}

static void guest_free(struct guest *g)
{
    if (!g)
        return;
    free((char *)(uintptr_t)g->text.p);
    free(g->env);
    free(g);
}

static struct guest *guest_new(struct sc_span payload)
{
    size_t n = 0;
    for (size_t i = 0; i < payload.n; i++)
        n += payload.p[i] == '\0';
    struct guest *g = calloc(1, sizeof *g);
    char *text = malloc(payload.n + 1);
    if (g) {
        g->text = sc_span(text, payload.n);
        g->env = calloc(n + 1, sizeof *g->env);
    }
    if (!g || !text || !g->env) {
        if (!g)
            free(text);
        guest_free(g);
        return NULL;
    }
    if (payload.n)
        memcpy(text, payload.p, payload.n);
    struct sc_span rest = g->text;
    const char *entry;
    for (size_t i = 0; i < n && (entry = sc_ctl_next_string(&rest)); i++)
        g->env[i] = (char *)(uintptr_t)entry;
    g->ex.host.env = g->env;
    return g;
}

static void *live(void *guest)
{
    struct guest *g = guest;
    (void)sc_executor_run(&g->ex);
    guest_free(g);
    malloc_trim(0); /* the others stay, and it may have been the largest */
    count(-1);
    return NULL;
}

/* Who cannot be taken in does not connect back: the supervisor ends this process for that. */
static void take_in(struct sc_span payload)
{
    struct guest *g = guest_new(payload);
    static bool open;
    pthread_t thread;
    if (g && !open)
        sc_executor_open_log(&g->ex.host);
    open |= g != NULL;
    count(1);
    if (!g || pthread_create(&thread, NULL, live, g) != 0) {
        sc_log(SC_LOG_ERROR, "no memory, or no thread, for a further model");
        guest_free(g);
        count(-1);
        return;
    }
    pthread_detach(thread);
}

int sc_executor_group_main(void)
{
    static struct sc_ctl_message m;
    struct pollfd control = {.fd = SC_FD_CONTROL, .events = POLLIN};
    int rc = 0;
    while (rc >= 0) {
        (void)poll(&control, 1, -1);
        rc = sc_ctl_receive(control.fd, &m);
        if (rc == 1 && m.type == SC_CTL_GUEST)
            take_in(m.payload);
        if (rc == 1)
            sc_ctl_close_fds(&m);
    }
    pthread_mutex_lock(&lock);
    while (guests)
        pthread_cond_wait(&fewer, &lock);
    pthread_mutex_unlock(&lock);
    sc_log_close();
    return 0;
}
