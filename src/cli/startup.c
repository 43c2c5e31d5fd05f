#include "cli/startup.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/log.h"
#include "model/snapshot.h"

struct item {
    char *text; /* as named: for messages */
    char *name; /* NULL: the model's own */
    char *url;
};

struct startup {
    struct sc_engine *engine;
    const struct sc_settings *settings;
    struct sc_snapshot snapshot;
    bool restoring;
    struct item *items;
    unsigned n, at;
    void (*done)(void *arg);
    void *arg;
};

static void finish(struct startup *u)
{
    void (*done)(void *) = u->done;
    void *arg = u->arg;
    for (unsigned i = 0; i < u->n; i++) {
        free(u->items[i].text);
        free(u->items[i].name);
        free(u->items[i].url);
    }
    free(u->items);
    sc_snapshot_free(&u->snapshot);
    free(u);
    done(arg);
}

static void next(struct startup *u);

/* Registers it; the spec is gone in any case. */
static int take(struct startup *u, struct sc_model_spec *spec, bool is_default)
{
    int rc = sc_engine_register(u->engine, spec, NULL, NULL);
    if (rc == 0 && is_default)
        (void)sc_engine_set_default(u->engine, sc_span_str(spec->name), sc_span_str(spec->version));
    sc_engine_release(u->engine, spec, rc < 0);
    return rc;
}

/* ---- models by name ---------------------------------------------------------------------------------- */

static void add(struct startup *u, struct sc_span text)
{
    struct sc_span item = sc_span_trim(text); /* TorchServe does not trim, and does not find " b.mar" */
    size_t eq = sc_span_find(item, '=');
    if (!item.n)
        return;
    u->items = sc_realloc_array(u->items, u->n + 1, sizeof *u->items);
    struct item *i = &u->items[u->n++];
    *i = (struct item){.text = sc_span_dup(item)};
    if (eq < item.n) {
        i->name = sc_span_dup(sc_span_sub(item, 0, eq));
        i->url = sc_span_dup(sc_span_sub(item, eq + 1, item.n));
    } else {
        i->url = sc_span_dup(item);
    }
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

/* Everything in the store that may be a model: folders, and files by their names. */
static void add_all(struct startup *u)
{
    const char *store = u->settings->model_store;
    struct dirent **list = NULL;
    int n = store ? scandir(store, &list, NULL, by_name) : -1;
    if (n < 0) {
        sc_log(SC_LOG_ERROR, "all models are to be loaded, but the model store %s cannot be read: %s",
               store ? store : "(none)", store ? strerror(errno) : "name it with --model-store");
        return;
    }
    for (int i = 0; i < n; i++) {
        char path[4096];
        struct stat st;
        const char *name = list[i]->d_name;
        if (name[0] != '.' && snprintf(path, sizeof path, "%s/%s", store, name) < (int)sizeof path &&
            stat(path, &st) == 0 &&
            (S_ISDIR(st.st_mode) || ends_with(name, ".mar") || ends_with(name, ".model") ||
             ends_with(name, ".tar.gz"))) {
            sc_log(SC_LOG_DEBUG, "Loading models from model store: %s", name);
            add(u, sc_span_str(name));
            /* A name may hold '=': it is no "name=" here. */
            struct item *it = &u->items[u->n - 1];
            free(it->name);
            free(it->url);
            it->name = NULL;
            it->url = sc_strdup(name);
        }
        free(list[i]);
    }
    free(list);
}

static void add_named(struct startup *u)
{
    struct sc_span list = sc_span_str(u->settings->load_models);
    if (sc_span_eq_nocase(sc_span_trim(list), SC_SPAN("all"))) {
        add_all(u);
        return;
    }
    while (list.n) {
        size_t n = sc_span_find(list, ',');
        add(u, sc_span_sub(list, 0, n));
        list = sc_span_sub(list, n + 1, list.n);
    }
}

static void prepared(void *arg, int rc, struct sc_model_spec *spec, const struct sc_archive_error *err)
{
    struct startup *u = arg;
    const char *why = rc < 0 ? err->msg.text : NULL;
    if (rc == 0 && (rc = take(u, spec, false)) < 0)
        why = rc == SC_EEXIST ? "a model of that name is loaded already" : sc_strerror(rc);
    if (why)
        sc_log(SC_LOG_WARN, "Failed to load model: %s: %s", u->items[u->at].text, why);
    u->at++;
    next(u);
}

static void next_named(struct startup *u)
{
    struct item *i = &u->items[u->at];
    struct sc_spec_want want;
    sc_spec_want_init(&want, SC_SPEC_STARTUP, i->url);
    want.name = i->name;
    sc_log(SC_LOG_INFO, "Loading initial models: %s", i->text);
    sc_engine_prepare(u->engine, &want, prepared, u);
}

/* ---- a snapshot -----------------------------------------------------------------------------------------
 */

static void restored(void *arg, int rc, struct sc_model_spec *spec, const struct sc_archive_error *err)
{
    struct startup *u = arg;
    const struct sc_snapshot_model *m = &u->snapshot.models[u->at];
    const char *why = rc < 0 ? err->msg.text : NULL;
    if (rc == 0 && (rc = take(u, spec, m->is_default)) < 0)
        why = sc_strerror(rc);
    if (why)
        sc_log(SC_LOG_ERROR, "Error while registering model. Details: %s: %s", m->want.name, why);
    u->at++;
    next(u);
}

static bool read_snapshot(struct startup *u)
{
    struct sc_msg msg = {""};
    const char *json = u->settings->model_snapshot;
    if (!json)
        return false;
    sc_log(SC_LOG_INFO, "Started restoring models from snapshot %s", json);
    if (sc_snapshot_read(&u->snapshot, sc_span_str(json), &msg) < 0) {
        sc_log(SC_LOG_ERROR, "Error while registering model. Details: %s", msg.text);
        return true;
    }
    /* The supervisor has validated it: else there would be no server. */
    sc_log(SC_LOG_INFO, "Validating snapshot %s", u->snapshot.name);
    sc_log(SC_LOG_INFO, "Snapshot %s validated successfully", u->snapshot.name);
    if (u->snapshot.count <= 0)
        sc_log(SC_LOG_WARN, "Model snapshot is empty. Starting TorchServe without initial models.");
    return true;
}

static void next(struct startup *u)
{
    if (u->restoring && u->at < u->snapshot.n)
        sc_engine_prepare(u->engine, &u->snapshot.models[u->at].want, restored, u);
    else if (!u->restoring && u->at < u->n)
        next_named(u);
    else
        finish(u);
}

void sc_startup_load(struct sc_engine *e, const struct sc_settings *s, void (*done)(void *arg), void *arg)
{
    struct startup *u = sc_alloc(sizeof *u);
    *u = (struct startup){.engine = e, .settings = s, .done = done, .arg = arg};
    u->restoring = read_snapshot(u);
    if (!u->restoring && s->load_models)
        add_named(u);
    next(u);
}
