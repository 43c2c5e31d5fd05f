/*
 * What a worker process is started with: program, arguments, environment (docs/internals/python.md for Python
 * workers, worker/executor.h for native executors). Loop 0.
 */
#include <limits.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "model/gpus.h"
#include "model/launch.h"
#include "model/sharing.h"
#include "worker/executor.h"

static const char *kind_of(const struct sc_worker *w)
{
    return w->quarantine ? "quarantine" : w->standby ? "standby" : "lanes";
}

static void make_tag(const struct sc_worker *w, struct sc_buf *b)
{
    sc_buf_printf(b, "%s\t%s\t%s\t%u\t%u\t%lld\t%d\t%u\t%u\t%u\t%d", w->version->spec.name,
                  w->version->spec.version, kind_of(w), w->lanes_wanted, w->first_id, (long long)w->made_ms,
                  w->gpu_id, w->instance, w->instances, w->way, w->shares);
    for (unsigned i = 1; i < w->lanes_wanted; i++)
        sc_buf_printf(b, "\t%u", w->ids[i]);
}

/* ---- native executors ---------------------------------------------------------------------------- */

static void native_strings(const struct sc_worker *w, struct sc_ctl_start *start, struct sc_buf *b)
{
    const struct sc_engine *e = w->version->engine;
    const struct sc_settings *set = e->spec.settings;
    const struct sc_model_spec *s = &w->version->spec;
    sc_start_add(b, &start->argc, "%s", e->spec.exe);
    if (sc_group_has(w)) {
        char title[SC_GROUP_NAME_MAX + 64];
        sc_group_title(w, title, sizeof title);
        start->flags |= SC_START_GUEST;
        sc_start_add(b, &start->argc, "%s", title);
        sc_start_add(b, &start->argc, "--role=executor-group");
    } else {
        sc_start_add(b, &start->argc, "sconce: %s %s %s", w->quarantine ? "quarantine" : "executor", s->name,
                     s->version);
        sc_start_add(b, &start->argc, "--role=executor");
    }
    sc_start_add(b, &start->envc, SC_ENV_MODEL "=%s", s->name);
    sc_start_add(b, &start->envc, SC_ENV_VERSION "=%s", s->version);
    sc_start_add(b, &start->envc, SC_ENV_DIR "=%s", s->dir);
    sc_start_add(b, &start->envc, SC_ENV_BACKEND "=%s", s->backend);
    sc_start_add(b, &start->envc, SC_ENV_BACKEND_DIR "=%s", e->spec.backend_dir);
    sc_start_add(b, &start->envc, SC_ENV_LANES "=%u", w->lanes_wanted);
    sc_start_add(b, &start->envc, SC_ENV_GPU_ID "=%d", sc_sharing_gpu(w));
    if (s->batch_size > 0)
        sc_start_add(b, &start->envc, SC_ENV_BATCH_SIZE "=%d", s->batch_size);
    sc_start_add(b, &start->envc, SC_ENV_BATCH_DELAY "=%d", s->max_batch_delay);
    sc_start_add(b, &start->envc, SC_ENV_BATCH_POLICY "=%s", s->fill ? "fill" : "eager");
    sc_start_add(b, &start->envc, SC_ENV_MAX_RESPONSE "=%llu", (unsigned long long)set->max_response_size);
    if (set->log_dir)
        sc_start_add(b, &start->envc, SC_ENV_LOG_DIR "=%s", set->log_dir);
    sc_start_add(b, &start->envc, SC_ENV_LOG_FORM "=%s%s%s", set->log_json ? "json " : "",
                 sc_log_enabled(SC_LOGGER_SERVER, SC_LOG_DEBUG) ? "debug " : "",
                 set->log_to_stdout ? "stdout" : "");
    for (unsigned i = 0; i < s->nextras; i++)
        sc_start_add(b, &start->envc, SC_ENV_SETTING "%s=%s", s->extras[i].key, s->extras[i].value);
    sc_sharing_environment(w, start, b);
}

/* ---- Python workers ------------------------------------------------------------------------------- */

static bool withheld(const regex_t *re, const char *entry, size_t name)
{
    regmatch_t m;
    char *copy = strndup(entry, name);
    bool whole = copy && regexec(re, copy, 1, &m, 0) == 0 && m.rm_so == 0 && (size_t)m.rm_eo == name;
    free(copy);
    return whole;
}

/* Names that blacklist_env_vars matches as a whole are taken out of the worker's environment. */
static void withhold_environment(const struct sc_settings *set, struct sc_ctl_start *start, struct sc_buf *b)
{
    regex_t re;
    if (!set->blacklist_env_vars || !*set->blacklist_env_vars ||
        regcomp(&re, set->blacklist_env_vars, REG_EXTENDED) != 0)
        return;
    for (char **e = environ; e && *e; e++) {
        size_t n = strcspn(*e, "=");
        if (n && withheld(&re, *e, n))
            sc_start_add(b, &start->envc, "%.*s", (int)n, *e);
    }
    regfree(&re);
}

static void add_path(struct sc_buf *b, const char *path, size_t n)
{
    if (n == 0)
        return;
    if (b->n)
        sc_buf_char(b, ':');
    sc_buf_add(b, path, n);
}

/* Ours first, then what TorchServe has, in its order. */
static void python_path(const struct sc_engine *e, const struct sc_model_spec *s, struct sc_buf *b)
{
    char real[PATH_MAX];
    struct stat st;
    const char *handler = s->handler ? s->handler : "", *inherited = getenv("PYTHONPATH");
    const char *colon = strchr(handler, ':'), *slash = strrchr(handler, '/');
    add_path(b, e->spec.home, strlen(e->spec.home));
    if (colon && slash && slash < colon)
        add_path(b, handler, (size_t)(slash - handler));
    if (inherited)
        add_path(b, inherited, strlen(inherited));
    if (realpath(s->dir, real))
        add_path(b, real, strlen(real));
    if (lstat(s->dir, &st) == 0 && S_ISLNK(st.st_mode)) {
        const char *end = strrchr(s->dir, '/');
        add_path(b, s->dir, end ? (size_t)(end - s->dir) : 0);
    }
}

static const char *bool_text(bool b)
{
    return b ? "true" : "false";
}

static void python_strings(const struct sc_worker *w, struct sc_ctl_start *start, struct sc_buf *b)
{
    const struct sc_engine *e = w->version->engine;
    const struct sc_settings *set = e->spec.settings;
    const struct sc_model_spec *s = &w->version->spec;
    const struct sc_launch launch = {
        .settings = set, .spec = s, .id = w->first_id, .instance = w->instance, .instances = w->instances};
    start->flags |= SC_START_OUTPUT | SC_START_DIR | SC_START_STUBBORN;
    sc_launch_arguments(&launch, e->spec.home, start, b);
    sc_start_add(b, &start->argc, "--model");
    sc_start_add(b, &start->argc, "%s", s->name);
    sc_start_add(b, &start->argc, "--model-version");
    sc_start_add(b, &start->argc, "%s", s->version);
    if (w->quarantine)
        sc_start_add(b, &start->argc, "--quarantine");
    sc_start_add(b, &start->argc, "--metrics-config");
    if (set->metrics_config && *set->metrics_config)
        sc_start_add(b, &start->argc, "%s", set->metrics_config);
    else
        sc_start_add(b, &start->argc, "%s/ts/configs/metrics.yaml", e->spec.home);

    struct sc_buf path;
    sc_buf_init(&path, SC_CTL_BYTES);
    python_path(e, s, &path);
    sc_start_add(b, &start->envc, "PYTHONPATH=%.*s", (int)path.n, path.n ? path.p : "");
    sc_buf_free(&path);
    sc_start_add(b, &start->envc, "TS_DECODE_INPUT_REQUEST=%s", bool_text(set->decode_input_request));
    sc_start_add(b, &start->envc, "TS_IPEX_ENABLE=%s", bool_text(set->ipex_enable));
    sc_start_add(b, &start->envc, "TS_IPEX_GPU_ENABLE=%s", bool_text(set->ipex_gpu_enable));
    sc_start_add(b, &start->envc, "TS_REQUEST_SEQUENCE_ID=%s", set->sequence_id_header);
    sc_start_add(b, &start->envc, "TS_REQUEST_SEQUENCE_START=%s", set->sequence_start_header);
    sc_start_add(b, &start->envc, "TS_REQUEST_SEQUENCE_END=%s", set->sequence_end_header);
    sc_start_add(b, &start->envc, SC_ENV_MODEL "=%s", s->name);
    sc_start_add(b, &start->envc, SC_ENV_VERSION "=%s", s->version);
    sc_start_add(b, &start->envc, SC_ENV_DIR "=%s", s->dir);
    sc_start_add(b, &start->envc, SC_ENV_HANDLER "=%s", s->handler ? s->handler : "");
    sc_start_add(b, &start->envc, SC_ENV_ENVELOPE "=%s", set->service_envelope ? set->service_envelope : "");
    sc_start_add(b, &start->envc, SC_ENV_GPU_ID "=%d", sc_sharing_gpu(w));
    sc_start_add(b, &start->envc, SC_ENV_BATCH_SIZE "=%d", SC_MAX(s->batch_size, 1));
    sc_start_add(b, &start->envc, SC_ENV_BATCH_DELAY "=%d", s->max_batch_delay);
    sc_start_add(b, &start->envc, SC_ENV_BATCH_POLICY "=%s", s->fill ? "fill" : "eager");
    if (s->async_communication) {
        sc_start_add(b, &start->envc, SC_ENV_MODE "=async");
        sc_start_add(b, &start->envc, SC_ENV_IN_FLIGHT "=%d", SC_ASYNC_REQUESTS_MAX);
    } else if (s->continuous_batching) {
        sc_start_add(b, &start->envc, SC_ENV_MODE "=continuous");
        /* A sequence may send a second request while its first streams. */
        sc_start_add(b, &start->envc, SC_ENV_IN_FLIGHT "=%d",
                     SC_MAX(s->batch_size, 1) * (s->sequence_batching ? 2 : 1));
    }
    sc_start_add(b, &start->envc, SC_ENV_MAX_RESPONSE "=%llu", (unsigned long long)set->max_response_size);
    if (w->shares)
        sc_start_add(b, &start->envc, SC_ENV_SHARED_WEIGHTS "=1");
    sc_start_add(b, &start->envc, SC_ENV_LIMIT_PIXELS "=%s", bool_text(set->limit_max_image_pixels));
    if (s->config_json)
        sc_start_add(b, &start->envc, SC_ENV_MODEL_CONFIG "=%s", s->config_json);
    sc_launch_environment(&launch, start, b);
    char devices[SC_DEVICES_MAX * 48]; /* UUIDs, perhaps */
    if (sc_gpus_block(w->version, w->gpu_id, devices, sizeof devices))
        sc_start_add(b, &start->envc, "CUDA_VISIBLE_DEVICES=%s", devices);
    sc_sharing_environment(w, start, b);
    if (!set->metrics_config || !*set->metrics_config)
        sc_start_add(b, &start->envc, "SCONCE_METRICS_JSON=%s/ts/configs/metrics.json", e->spec.home);
    withhold_environment(set, start, b);
    sc_buf_add(b, s->dir, strlen(s->dir) + 1);
}

static void send_start(const struct sc_worker *w, uint32_t flags)
{
    struct sc_engine *e = w->version->engine;
    const struct sc_model_spec *s = &w->version->spec;
    struct sc_ctl_start start = {
        .slot = w->slot, .flags = flags, .retry_window_ms = (int64_t)s->max_retry * 1000};
    struct sc_buf tag, strings;
    sc_buf_init(&tag, 1024);
    sc_buf_init(&strings, SC_CTL_BYTES);
    make_tag(w, &tag);
    start.tag_len = (uint32_t)tag.n;
    sc_buf_span(&strings, sc_buf_view(&tag));
    if (sc_spec_is_native(&w->version->spec))
        native_strings(w, &start, &strings);
    else
        python_strings(w, &start, &strings);
    if (strings.failed)
        sc_log(SC_LOG_ERROR, "model %s: its settings exceed %d bytes; shorten them", s->name, SC_CTL_BYTES);
    else
        sc_line_send(e, SC_CTL_SLOT_START, sc_span(&start, sizeof start), sc_buf_view(&strings), NULL, 0);
    sc_buf_free(&tag);
    sc_buf_free(&strings);
}

void sc_worker_send_start(const struct sc_worker *w)
{
    send_start(w, 0);
}

void sc_worker_send_change(const struct sc_worker *w)
{
    send_start(w, SC_START_CHANGE);
}
