#include "cli/tune_model.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive/archive.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "cli/bench_load.h"
#include "gpu/mps_control.h"
#include "gpu/mps_find.h"
#include "load/http_client.h"
#include "tune/apply.h"

#define BESIDE ".sconce.yaml" /* model/spec_parts.h */
#define ASK_MS 20000

static _Atomic pid_t loading; /* the group of a server that is waited for */

void sc_tune_model_interrupt(void)
{
    pid_t group = loading;
    if (group > 0)
        kill(-group, SIGTERM);
}

/* ---- the model ---- */

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* What the server will call the content: an archive has to be unpacked for it. */
static int name_content(struct sc_tune_model *m, struct sc_msg *msg)
{
    struct sc_archive a;
    struct sc_archive_error err;
    const char *tmp = m->o->tmp_dir ? m->o->tmp_dir : getenv("TMPDIR");
    if (is_folder(m->path))
        return sc_tune_content(m->path, m->content, msg);
    char store[PATH_MAX];
    snprintf(store, sizeof store, "%s", m->path);
    *strrchr(store, '/') = '\0';
    const struct sc_archive_want want = {
        .url = strrchr(m->path, '/') + 1, .store = *store ? store : "/", .temp = tmp && *tmp ? tmp : "/tmp"};
    int rc = sc_archive_fetch(&a, &want, &err);
    if (rc < 0)
        return sc_fail(msg, rc, "the model %.200s: %.300s", m->path, err.msg.text);
    rc = sc_tune_content(a.dir, m->content, msg);
    sc_archive_remove(a.remove, a.downloaded);
    sc_archive_free(&a);
    return rc;
}

int sc_tune_model_open(struct sc_tune_model *m, const struct sc_bench_options *o, const atomic_bool *stop,
                       struct sc_msg *msg)
{
    char beside[PATH_MAX + 300];
    struct sc_msg why;
    cpu_set_t set;
    *m = (struct sc_tune_model){.o = o, .stop = stop};
    sc_buf_init(&m->own, SC_SETTINGS_FILE_BYTES);
    m->facts.cores = sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
    if (strstr(o->url, "://"))
        return sc_fail(msg, SC_EINVAL, "%.200s: give the model's file or folder", o->url);
    if (!realpath(o->url, m->path) || !m->path[1])
        return sc_fail(msg, SC_ENOTFOUND, "the model %.200s: %s", o->url, strerror(errno));
    snprintf(m->store, sizeof m->store, "%s", o->url);
    size_t n = strlen(m->store);
    while (n > 1 && m->store[n - 1] == '/')
        m->store[--n] = '\0';
    char *slash = strrchr(m->store, '/');
    snprintf(m->given, sizeof m->given, "%.250s", slash ? slash + 1 : m->store);
    if (slash)
        *(slash == m->store ? slash + 1 : slash) = '\0';
    else
        snprintf(m->store, sizeof m->store, ".");
    /* "." and ".." are called like nothing. */
    if (strcmp(m->given, ".") == 0 || strcmp(m->given, "..") == 0) {
        snprintf(m->given, sizeof m->given, "%.250s", strrchr(m->path, '/') + 1);
        snprintf(m->store, sizeof m->store, "%.4000s/..", m->path);
    }
    snprintf(m->name, sizeof m->name, "%.250s", strrchr(m->path, '/') + 1);
    snprintf(beside, sizeof beside, "%.4000s/%s" BESIDE, m->store, m->given);
    int rc = sc_file_read(beside, &m->own, &why);
    if (rc < 0 && rc != SC_ENOTFOUND)
        return sc_fail(msg, rc, "%s", why.text);
    return name_content(m, msg);
}

void sc_tune_model_free(struct sc_tune_model *m)
{
    sc_buf_free(&m->own);
}

/* ---- the server ---- */

void sc_tune_model_stop(struct sc_tune_model *m)
{
    sc_bench_server_stop(&m->server);
    sc_bench_server_forget(&m->server, NULL);
}

static int serve(struct sc_tune_model *m, bool mps, struct sc_msg *msg)
{
    char settings[300];
    if (m->mps == mps && sc_bench_server_alive(&m->server))
        return 0;
    sc_tune_model_stop(m);
    m->mps = mps;
    snprintf(settings, sizeof settings, "job_queue_size=%llu\nmps=%s\n%s",
             (unsigned long long)SC_MAX(2 * m->o->most, 1000u), mps ? "managed" : "off",
             m->o->config_properties ? "" : "access_log=false\nmetrics_mode=prometheus\n");
    return sc_bench_server_start(&m->server, m->o, settings, m->stop, msg);
}

/* The file beside the model, in the store of our server. */
static int write_beside(const struct sc_tune_model *m, const struct sc_tune_config *c, struct sc_msg *msg)
{
    struct sc_tune_key keys[SC_TUNE_KEYS_MAX];
    struct sc_buf text;
    char folder[300], name[300];
    unsigned n = sc_tune_keys(c, m->facts.native, keys);
    sc_buf_init(&text, SC_SETTINGS_FILE_BYTES);
    sc_buf_span(&text, sc_buf_view(&m->own));
    snprintf(folder, sizeof folder, "%s/model_store", m->server.folder);
    snprintf(name, sizeof name, "%s" BESIDE, m->name);
    int rc = sc_tune_edit(&text, keys, n, name, msg);
    if (rc == 0)
        rc = sc_bench_write(folder, name, &text, msg);
    sc_buf_free(&text);
    return rc;
}

/* A worker's process may have many lanes, and stands in the list with each. */
static bool seen(const json_t *workers, size_t before, json_int_t pid)
{
    for (size_t i = 0; i < before; i++)
        if (json_integer_value(json_object_get(json_array_get(workers, i), "pid")) == pid)
            return true;
    return false;
}

/* Fills facts and memory; the number of workers that are ready, or an error. */
static int describe(struct sc_tune_model *m, struct sc_msg *msg)
{
    struct sc_fetched a;
    int ready = 0;
    int64_t host = 0, gpu = 0;
    size_t i;
    int rc = sc_http_get(&a, m->server.management, 8081, "/models/benchmark", NULL, ASK_MS, msg);
    json_t *all = rc == 0 && a.status == 200 && a.body.n ? json_loadb(a.body.p, a.body.n, 0, NULL) : NULL;
    const json_t *v = json_array_get(all, 0), *workers = json_object_get(v, "workers"), *w;
    const char *runtime = json_string_value(json_object_get(v, "runtime"));
    sc_fetched_free(&a);
    if (!runtime) {
        json_decref(all);
        return rc < 0 ? rc : sc_fail(msg, SC_EPROTO, "the server does not describe the model");
    }
    m->facts.native = strncmp(runtime, "python", 6) != 0;
    json_array_foreach(workers, i, w)
    {
        const char *status = json_string_value(json_object_get(w, "status"));
        json_int_t pid = json_integer_value(json_object_get(w, "pid"));
        ready += status && strcmp(status, "READY") == 0;
        m->facts.gpu |= json_is_true(json_object_get(w, "gpu"));
        if (seen(workers, i, pid))
            continue;
        host += (int64_t)json_integer_value(json_object_get(w, "memoryUsage"));
        gpu += (int64_t)json_integer_value(json_object_get(w, "gpuMemory"));
    }
    m->memory = m->facts.gpu ? gpu : host;
    json_decref(all);
    return ready;
}

int64_t sc_tune_model_memory(struct sc_tune_model *m)
{
    struct sc_msg ignored;
    return describe(m, &ignored) < 0 ? 0 : m->memory;
}

int sc_tune_model_load(struct sc_tune_model *m, const struct sc_tune_config *c, struct sc_msg *msg)
{
    char program[512];
    int64_t start = sc_clock_ms();
    int rc = serve(m, c->way == SC_TUNE_MPS, msg);
    if (rc == 0) {
        sc_bench_server_unregister(&m->server);
        rc = write_beside(m, c, msg);
    }
    if (rc == 0) {
        loading = m->server.pid;
        rc = atomic_load(m->stop) ? SC_ECANCELED : sc_bench_server_register(&m->server, m->o, false, msg);
        loading = 0;
    }
    if (rc == 0)
        rc = describe(m, msg);
    if (atomic_load(m->stop))
        return sc_fail(msg, SC_ECANCELED, "interrupted");
    if (rc >= 0 && rc < (int)c->workers)
        rc = sc_fail(msg, SC_EINVAL, "only %d of %u workers are ready", rc, c->workers);
    m->facts.mps = m->facts.gpu && sc_mps_program(program, sizeof program);
    m->loaded_s = (double)(sc_clock_ms() - start) / 1e3;
    return SC_MIN(rc, 0);
}

/* ---- where it is kept ---- */

/* True for a folder whose model-config.yaml the server reads. */
static bool reads_config(const struct sc_tune_model *m)
{
    char path[PATH_MAX + 32];
    if (!is_folder(m->path))
        return false;
    snprintf(path, sizeof path, "%s/MAR-INF/MANIFEST.json", m->path);
    json_t *manifest = json_load_file(path, 0, NULL);
    const char *named = json_string_value(json_object_get(json_object_get(manifest, "model"), "configFile"));
    bool reads = !manifest || (named && strcmp(named, "model-config.yaml") == 0);
    json_decref(manifest);
    return reads;
}

int sc_tune_model_apply(const struct sc_tune_model *m, const struct sc_tune_config *c, char *where,
                        size_t size, struct sc_msg *msg)
{
    struct sc_tune_key keys[SC_TUNE_KEYS_MAX];
    struct sc_buf text;
    char name[300];
    struct sc_msg why;
    const bool own = reads_config(m);
    const char *folder = own ? m->path : m->store;
    unsigned n = sc_tune_keys(c, m->facts.native, keys);
    snprintf(name, sizeof name, "%s%s", own ? "model-config.yaml" : m->given, own ? "" : BESIDE);
    snprintf(where, size, "%s/%s", folder, name);
    sc_buf_init(&text, SC_SETTINGS_FILE_BYTES);
    int rc = sc_file_read(where, &text, &why);
    rc = rc == 0 || rc == SC_ENOTFOUND ? sc_tune_edit(&text, keys, n, where, msg)
                                       : sc_fail(msg, rc, "%s", why.text);
    if (rc == 0)
        rc = sc_bench_write(folder, name, &text, msg);
    sc_buf_free(&text);
    return rc;
}
