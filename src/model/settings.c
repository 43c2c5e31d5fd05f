#include "model/settings.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "proto/properties.h"

enum kind { TEXT, BOOL, INT, BYTES };

/* One row per key: where it goes and what it may be. */
struct key {
    const char *name;
    enum kind kind;
    size_t offset;
    int64_t min, max;
    const char *text; /* default; NULL: none */
    int64_t number;
};

#define FIELD(f) offsetof(struct sc_settings, f)

static const struct key keys[] = {
    {"inference_address", TEXT, FIELD(inference_address), 0, 0, "http://127.0.0.1:8080", 0},
    {"management_address", TEXT, FIELD(management_address), 0, 0, "http://127.0.0.1:8081", 0},
    {"metrics_address", TEXT, FIELD(metrics_address), 0, 0, "http://127.0.0.1:8082", 0},
    {"enable_metrics_api", BOOL, FIELD(enable_metrics_api), 0, 0, NULL, 1},
    {"model_store", TEXT, FIELD(model_store), 0, 0, NULL, 0},
    {"load_models", TEXT, FIELD(load_models), 0, 0, NULL, 0},
    {"max_request_size", BYTES, FIELD(max_request_size), 1, INT64_C(1) << 40, NULL, SC_REQUEST_BYTES},
    {"max_response_size", BYTES, FIELD(max_response_size), 1, INT64_C(1) << 40, NULL, SC_RESPONSE_BYTES},
    {"job_queue_size", INT, FIELD(job_queue_size), 1, INT_MAX, NULL, SC_JOB_QUEUE_SIZE},
    {"default_workers_per_model", INT, FIELD(default_workers), 0, SC_WORKERS_MAX, NULL, 0},
    {"default_response_timeout", INT, FIELD(default_response_timeout), 1, INT_MAX, NULL, 120},
    {"default_startup_timeout", INT, FIELD(default_startup_timeout), 1, INT_MAX, NULL, 120},
    {"unregister_model_timeout", INT, FIELD(unregister_timeout), 1, INT_MAX, NULL, 120},
    {"initial_worker_port", INT, FIELD(initial_worker_port), 1, 65535, NULL, 9000},
    {"number_of_netty_threads", INT, FIELD(loops), 0, INT_MAX, NULL, 0},
    {"shutdown_timeout_ms", INT, FIELD(drain_ms), 0, INT_MAX, NULL, SC_DRAIN_MS},
    {"cors_allowed_origin", TEXT, FIELD(cors_origin), 0, 0, NULL, 0},
    {"cors_allowed_methods", TEXT, FIELD(cors_methods), 0, 0, NULL, 0},
    {"cors_allowed_headers", TEXT, FIELD(cors_headers), 0, 0, NULL, 0},
    {"log_location", TEXT, FIELD(log_dir), 0, 0, NULL, 0},
    {"metrics_location", TEXT, FIELD(metrics_dir), 0, 0, NULL, 0},
    {"log_to_stdout", BOOL, FIELD(log_to_stdout), 0, 0, NULL, 1},
    {"log_json", BOOL, FIELD(log_json), 0, 0, NULL, 0},
    {"access_log", BOOL, FIELD(access_log), 0, 0, NULL, 1},
    {"disable_system_metrics", BOOL, FIELD(system_metrics), 0, 0, NULL, 0},
    {"metric_time_interval", INT, FIELD(metric_interval), 1, INT_MAX, NULL, 60},
    {"backend_dir", TEXT, FIELD(backend_dir), 0, 0, NULL, 0},
};

static char *text_or_null(const char *v)
{
    return v && *v ? sc_strdup(v) : NULL;
}

static int refuse(const char *file, const struct key *k, const struct sc_property *p, struct sc_msg *msg)
{
    char place[4096] = "";
    if (*file)
        snprintf(place, sizeof place, "%s:%u: ", file, p->line);
    if (k->kind == TEXT)
        return sc_fail(msg, SC_EINVAL, "%s%s is empty: leave it out for %s", place, k->name, k->text);
    return sc_fail(msg, SC_EINVAL, "%s%s is \"%.200s\": it must be an integer from %lld to %lld", place,
                   k->name, p->value, (long long)k->min, (long long)k->max);
}

static int apply(struct sc_settings *s, const struct key *k, const struct sc_property *p, const char *file,
                 struct sc_msg *msg)
{
    char *at = (char *)s + k->offset;
    struct sc_span v = sc_span_trim(sc_span_str(p ? p->value : NULL));
    int64_t n = k->number;
    char *end = NULL;
    switch (k->kind) {
    case TEXT:
        if (p && k->text && !*p->value)
            return refuse(file, k, p, msg);
        *(char **)at = text_or_null(p ? p->value : k->text);
        return 0;
    case BOOL: *(bool *)at = p ? sc_span_eq_nocase(v, SC_SPAN("true")) : k->number != 0; return 0;
    case INT:
    case BYTES:
        if (p && v.n) {
            errno = 0;
            n = strtoll(v.p, &end, 10);
            if (errno || end != v.p + v.n || n < k->min || n > k->max)
                return refuse(file, k, p, msg);
        }
        if (k->kind == INT)
            *(int *)at = (int)n;
        else
            *(uint64_t *)at = (uint64_t)n;
        return 0;
    }
    return 0;
}

static const char *environment(const char *name, void *ctx)
{
    (void)ctx;
    return getenv(name);
}

/* LOG_LOCATION and METRICS_LOCATION are TorchServe's way to say where logs go; a key of the same meaning
 * wins. */
static void default_folders(struct sc_settings *s)
{
    const char *log = getenv("LOG_LOCATION"), *metrics = getenv("METRICS_LOCATION");
    if (!s->log_dir)
        s->log_dir = sc_strdup(log && *log ? log : "logs");
    if (!s->metrics_dir)
        s->metrics_dir = sc_strdup(metrics && *metrics ? metrics : log && *log ? log : s->log_dir);
}

int sc_settings_read(struct sc_settings *s, struct sc_span text, const char *name, struct sc_msg *msg)
{
    struct sc_properties p = {0};
    *s = (struct sc_settings){0};
    int rc = sc_properties_read(&p, text, name, msg);
    if (rc == 0)
        rc = sc_properties_expand(&p, environment, NULL, msg);
    for (size_t i = 0; rc == 0 && i < SC_COUNT(keys); i++)
        rc = apply(s, &keys[i], sc_properties_find(&p, keys[i].name), name, msg);
    s->system_metrics = !s->system_metrics; /* the key says "disable" */
    const char *mode = sc_properties_get(&p, "metrics_mode");
    struct sc_span m = sc_span_trim(sc_span_str(mode));
    s->prometheus =
        !mode || sc_span_eq_nocase(m, SC_SPAN("prometheus")) || sc_span_eq_nocase(m, SC_SPAN("legacy"));
    sc_properties_free(&p);
    if (rc == 0)
        default_folders(s);
    return rc;
}

bool sc_settings_known(const char *key)
{
    for (size_t i = 0; i < SC_COUNT(keys); i++)
        if (strcmp(key, keys[i].name) == 0)
            return true;
    return strcmp(key, "metrics_mode") == 0;
}

void sc_settings_free(struct sc_settings *s)
{
    for (size_t i = 0; i < SC_COUNT(keys); i++)
        if (keys[i].kind == TEXT)
            free(*(char **)((char *)s + keys[i].offset));
    *s = (struct sc_settings){0};
}
