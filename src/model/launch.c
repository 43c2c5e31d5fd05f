#include "model/launch.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/alloc.h"

void sc_start_add(struct sc_buf *b, uint32_t *count, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *text = n < 0 ? NULL : malloc((size_t)n + 1);
    if (text) {
        vsnprintf(text, (size_t)n + 1, fmt, again);
        sc_buf_add(b, text, (size_t)n + 1);
        (*count)++;
    } else {
        b->failed = SC_ENOMEM;
    }
    va_end(again);
    free(text);
}

unsigned sc_launch_level(const struct sc_model_spec *s)
{
    bool python = strcmp(s->backend, "python") == 0;
    return python && s->parallel_type[0] && s->parallel_level > 0
               ? (unsigned)SC_MIN(s->parallel_level, SC_RANKS_MAX)
               : 0;
}

unsigned sc_launch_ranks(const struct sc_model_spec *s)
{
    return strcmp(s->parallel_type, "custom") == 0 ? 0 : sc_launch_level(s);
}

static const char *python_of(const struct sc_settings *set, const struct sc_model_spec *s,
                             char room[PATH_MAX])
{
    if (s->use_venv && strcmp(s->runtime, "python") == 0) {
        snprintf(room, PATH_MAX, "%s/venv/bin/python", s->dir);
        return room;
    }
    if (strcmp(s->runtime, "python3") == 0)
        return "python3";
    return sc_settings_python(set);
}

/* torchrun of the same environment as the interpreter: the one beside it. */
static bool find_torchrun(const char *python, char room[PATH_MAX])
{
    const char *slash = strrchr(python, '/');
    return slash && snprintf(room, PATH_MAX, "%.*s/torchrun", (int)(slash - python), python) < PATH_MAX &&
           access(room, X_OK) == 0;
}

static void torchrun(const struct sc_launch *l, unsigned ranks, struct sc_ctl_start *start, struct sc_buf *b)
{
    const struct sc_model_spec *s = l->spec;
    const char *backend = s->torchrun.rdzv_backend ? s->torchrun.rdzv_backend : "c10d";
    int nnodes = SC_MAX(s->torchrun.nnodes, 1);
    sc_start_add(b, &start->argc, "--nnodes");
    sc_start_add(b, &start->argc, "%d", nnodes);
    sc_start_add(b, &start->argc, "--nproc-per-node");
    sc_start_add(b, &start->argc, "%u", ranks);
    char *logs = l->settings->log_dir ? realpath(l->settings->log_dir, NULL) : NULL;
    if (logs) {
        sc_start_add(b, &start->argc, "--log-dir");
        sc_start_add(b, &start->argc, "%s/torchelastic_ts", logs);
        free(logs);
    }
    sc_start_add(b, &start->argc, "--rdzv-backend");
    sc_start_add(b, &start->argc, "%s", backend);
    /* Without an endpoint all torchruns of a host would share the store of whichever was first, and its end.
     */
    const char *endpoint = s->torchrun.rdzv_endpoint;
    if (!endpoint && nnodes == 1 && strcmp(backend, "c10d") == 0)
        endpoint = "localhost:0";
    if (endpoint) {
        sc_start_add(b, &start->argc, "--rdzv-endpoint");
        sc_start_add(b, &start->argc, "%s", endpoint);
    }
    sc_start_add(b, &start->argc, "--rdzv-id");
    sc_start_add(b, &start->argc, "%s_%u", s->name, l->id);
    sc_start_add(b, &start->argc, "--max-restarts");
    sc_start_add(b, &start->argc, "1");
    start->ranks = ranks;
}

static void cpu_launcher(const struct sc_launch *l, struct sc_ctl_start *start, struct sc_buf *b)
{
    sc_start_add(b, &start->argc, "-m");
    sc_start_add(b, &start->argc, "torch.backends.xeon.run_cpu");
    struct sc_span rest = sc_span_str(l->settings->cpu_launcher_args ? l->settings->cpu_launcher_args : "");
    while (rest.n) {
        size_t n = sc_span_find(rest, ' ');
        if (n)
            sc_start_add(b, &start->argc, "%.*s", (int)n, rest.p);
        rest = sc_span_sub(rest, n + 1, rest.n);
    }
    if (l->instances > 1) {
        sc_start_add(b, &start->argc, "--ninstances");
        sc_start_add(b, &start->argc, "%u", l->instances);
        sc_start_add(b, &start->argc, "--rank");
        sc_start_add(b, &start->argc, "%u", l->instance);
    }
}

void sc_launch_arguments(const struct sc_launch *l, const char *home, struct sc_ctl_start *start,
                         struct sc_buf *b)
{
    char room[PATH_MAX], beside[PATH_MAX];
    const char *python = python_of(l->settings, l->spec, room);
    unsigned ranks = sc_launch_ranks(l->spec);
    bool found = ranks && find_torchrun(python, beside);
    const char *exe = found ? beside : python;
    sc_start_add(b, &start->argc, "%s", exe);
    sc_start_add(b, &start->argc, "%s", exe); /* by it the interpreter finds its own folders */
    if (ranks && !found) {
        sc_start_add(b, &start->argc, "-m");
        sc_start_add(b, &start->argc, "torch.distributed.run");
    }
    if (ranks)
        torchrun(l, ranks, start, b);
    if (l->settings->cpu_launcher_enable)
        cpu_launcher(l, start, b);
    if (ranks || l->settings->cpu_launcher_enable)
        start->flags |= SC_START_LAUNCHER;
    sc_start_add(b, &start->argc, "%s/ts/model_service_worker.py", home);
}

void sc_launch_environment(const struct sc_launch *l, struct sc_ctl_start *start, struct sc_buf *b)
{
    unsigned ranks = sc_launch_ranks(l->spec);
    if (ranks) {
        sc_start_add(b, &start->envc, "LOGLEVEL=INFO");
        sc_start_add(b, &start->envc, "OMP_NUM_THREADS=%d", SC_MAX(l->spec->torchrun.omp_threads, 1));
        sc_start_add(b, &start->envc, SC_ENV_PARALLEL "=%s", l->spec->parallel_type);
    }
    if (start->flags & SC_START_LAUNCHER)
        sc_start_add(b, &start->envc, SC_ENV_RANKS "=%u", SC_MAX(ranks, 1u));
}

bool sc_launch_used(const struct sc_worker *w)
{
    const struct sc_version *v = w->version;
    return !sc_spec_is_native(&v->spec) &&
           (sc_launch_ranks(&v->spec) || v->engine->spec.settings->cpu_launcher_enable);
}

unsigned sc_launch_instances(const struct sc_version *v, unsigned *free_instance)
{
    bool taken[SC_WORKERS_MAX] = {false};
    unsigned want = (unsigned)SC_MIN(SC_MAX(v->spec.min_workers, 0), SC_WORKERS_MAX);
    *free_instance = 0;
    if (sc_spec_is_native(&v->spec) || !v->engine->spec.settings->cpu_launcher_enable || want < 2)
        return 0;
    for (const struct sc_node *n = v->workers.next; n != &v->workers; n = n->next) {
        const struct sc_worker *w = SC_CONTAINER(n, struct sc_worker, node);
        if (w->instances == want && w->instance < want && !w->stopping && !w->draining)
            taken[w->instance] = true;
    }
    while (*free_instance + 1 < want && taken[*free_instance])
        ++*free_instance;
    return want;
}

int sc_launch_pid(struct sc_span text, int fallback)
{
    json_t *j = json_loadb(text.p ? text.p : "", text.n, 0, NULL);
    json_int_t pid = json_integer_value(json_object_get(j, "pid"));
    json_decref(j);
    return pid > 0 && pid <= INT32_MAX ? (int)pid : fallback;
}
