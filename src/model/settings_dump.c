/* What the log says of the settings when the server starts. */
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "model/settings_parts.h"
#include "model/settings_table.h"

#define FEATURES_MAX 16

/* ---- notes ------------------------------------------------------------------------------------------ */

struct notes {
    const struct sc_settings *s;
    sc_settings_note fn;
    void *ctx;
};

static void SC_PRINTF(3, 4) note(const struct notes *n, enum sc_log_level level, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    n->fn(n->ctx, level, text);
}

/* One line for all keys that belong to a feature of a later version. */
static void later(const struct notes *n, const char *feature)
{
    char keys[640] = "";
    size_t used = 0;
    for (size_t i = 0; i < sc_setting_count(); i++) {
        const struct sc_setting_key *k = sc_setting_at(i);
        const struct sc_property *p = sc_properties_find(&n->s->all, k->name);
        if (k->feature && strcmp(k->feature, feature) == 0 && p && used < sizeof keys)
            used += (size_t)snprintf(keys + used, sizeof keys - used, "%s%s", used ? ", " : "", k->name);
    }
    if (used)
        note(n, SC_LOG_WARN, "%s: not in this version; without effect: %s", feature, keys);
}

/* workflow_store is always there: it follows the model store. */
static bool only_follows(const struct sc_settings *s, const struct sc_setting_key *k)
{
    const char *workflows = sc_properties_get(&s->all, k->name),
               *models = sc_properties_get(&s->all, "model_store");
    return strcmp(k->name, "workflow_store") == 0 && workflows && models && strcmp(workflows, models) == 0;
}

static void features(const struct notes *n)
{
    const char *seen[FEATURES_MAX];
    size_t count = 0;
    for (size_t i = 0; i < sc_setting_count(); i++) {
        const struct sc_setting_key *k = sc_setting_at(i);
        bool known = k->effect != SC_SETTING_LATER || !sc_properties_find(&n->s->all, k->name) ||
                     only_follows(n->s, k);
        for (size_t j = 0; j < count && !known; j++)
            known = strcmp(seen[j], k->feature) == 0;
        if (!known && count < FEATURES_MAX) {
            seen[count++] = k->feature;
            later(n, k->feature);
        }
    }
}

void sc_settings_notes(const struct sc_settings *s, sc_settings_note fn, void *ctx)
{
    const struct notes n = {s, fn, ctx};
    const char *mode = sc_properties_get(&s->all, "metrics_mode");
    const char *minutes = sc_properties_get(&s->all, "token_expiration_min");
    struct sc_span m = sc_span_trim(sc_span_str(mode));
    double unused;
    for (size_t i = 0; i < sc_setting_count(); i++) {
        const struct sc_setting_key *k = sc_setting_at(i);
        if (k->effect == SC_SETTING_IGNORED && sc_properties_find(&s->all, k->name))
            note(&n, SC_LOG_INFO, "%s is accepted and ignored: %s", k->name, k->about);
    }
    features(&n);
    if (mode && !sc_span_eq_nocase(m, SC_SPAN("log")) && s->metrics_mode == SC_METRICS_LOG)
        note(&n, SC_LOG_ERROR,
             "metrics_mode is \"%.100s\": it must be log, prometheus or legacy; log is used", mode);
    if (minutes && !sc_settings_minutes(sc_span_trim(sc_span_str(minutes)), &unused))
        note(&n, SC_LOG_ERROR, "Token expiration not a valid integer: \"%.100s\"; 60 minutes are used",
             minutes);
    if (s->debug)
        note(&n, SC_LOG_WARN,
             "debug=true: workers are started as always, one per model and without time limits; "
             "attaching to one that runs already is not possible");
    if (s->model_server_home)
        note(&n, SC_LOG_INFO, "the server's home is %s; workers use the ts package that comes with Sconce",
             s->model_server_home);
    if (!sc_properties_find(&s->all, "allowed_urls"))
        note(&n, SC_LOG_WARN,
             "Your torchserve instance can access any URL to load models. When deploying to "
             "production, make sure to limit the set of allowed_urls in config.properties");
}

/* ---- dump ------------------------------------------------------------------------------------------- */

static void line(struct sc_buf *out, const char *label, const char *value)
{
    sc_buf_printf(out, "%s%s: %s", out->n ? "\n" : "", label, value && *value ? value : "N/A");
}

static void number(struct sc_buf *out, const char *label, long long value)
{
    sc_buf_printf(out, "%s%s: %lld", out->n ? "\n" : "", label, value);
}

static void yes_or_no(struct sc_buf *out, const char *label, bool value)
{
    line(out, label, value ? "true" : "false");
}

static void folder(struct sc_buf *out, const char *label, const char *path)
{
    char here[PATH_MAX], joined[2 * PATH_MAX];
    char *real = path ? realpath(path, NULL) : NULL;
    if (!real && path && *path != '/' && getcwd(here, sizeof here)) {
        snprintf(joined, sizeof joined, "%s/%s", here, path);
        path = joined;
    }
    line(out, label, real ? real : path);
    free(real);
}

static long cpus(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

/* A key that has no field: as it was given. */
static const char *given(const struct sc_settings *s, const char *key)
{
    const char *v = sc_properties_get(&s->all, key);
    const struct sc_setting_key *k = sc_setting_find(key);
    return v && *v ? v : k ? sc_setting_default(k, s->face) : NULL;
}

/* "a,b" as Java prints a list. */
static void list(struct sc_buf *out, const char *label, const char *text)
{
    sc_buf_printf(out, "\n%s: [", label);
    for (const char *p = text ? text : ""; *p; p++)
        sc_buf_str(out, *p == ',' ? ", " : (char[]){*p, '\0'});
    sc_buf_char(out, ']');
}

void sc_settings_dump(const struct sc_settings *s, struct sc_buf *out)
{
    static const char *const modes[] = {"LOG", "PROMETHEUS", "LEGACY"};
    char yaml[PATH_MAX];
    struct sc_buf b;
    sc_buf_init(&b, out->max);
    snprintf(yaml, sizeof yaml, "%s/ts/configs/metrics.yaml", s->home ? s->home : "");
    line(&b, "Torchserve version", SC_TORCHSERVE_VERSION " (Sconce " SCONCE_VERSION ")");
    line(&b, "TS Home", s->model_server_home ? s->model_server_home : s->home);
    folder(&b, "Current directory", ".");
    line(&b, "Temp directory", s->temp);
    line(&b, "Metrics config path", s->metrics_config ? s->metrics_config : s->home ? yaml : NULL);
    number(&b, "Number of GPUs", SC_MAX(s->number_of_gpu, 0));
    number(&b, "Number of CPUs", cpus());
    line(&b, "Max heap size", NULL);
    line(&b, "Python executable", s->python);
    line(&b, "Config file", s->config_file);
    line(&b, "Inference address", s->inference_address);
    line(&b, "Management address", s->management_address);
    line(&b, "Metrics address", s->metrics_address);
    line(&b, "Model Store", s->model_store);
    line(&b, "Initial Models", s->load_models);
    folder(&b, "Log dir", s->log_dir);
    folder(&b, "Metrics dir", s->metrics_dir);
    number(&b, "Netty threads", s->loops);
    line(&b, "Netty client threads", given(s, "netty_client_threads"));
    number(&b, "Default workers per model", sc_settings_default_workers(s));
    line(&b, "Blacklist Regex", given(s, "blacklist_env_vars"));
    number(&b, "Maximum Response Size", (long long)s->max_response_size);
    number(&b, "Maximum Request Size", (long long)s->max_request_size);
    yes_or_no(&b, "Limit Maximum Image Pixels", s->limit_max_image_pixels);
    line(&b, "Prefer direct buffer", given(s, "prefer_direct_buffer"));
    list(&b, "Allowed Urls", s->allowed_urls);
    yes_or_no(&b, "Custom python dependency for model allowed", s->install_py_dep_per_model);
    yes_or_no(&b, "Enable metrics API", s->enable_metrics_api);
    line(&b, "Metrics mode", modes[s->metrics_mode]);
    yes_or_no(&b, "Disable system metrics", !s->system_metrics);
    line(&b, "Workflow Store", s->workflow_store);
    line(&b, "CPP log config", given(s, "cpp_log_config"));
    line(&b, "Model config", s->models);
    line(&b, "System metrics command", s->system_metrics_cmd ? s->system_metrics_cmd : "default");
    yes_or_no(&b, "Model API enabled", s->enable_model_api);
    sc_buf_span(out, sc_buf_view(&b));
    if (b.failed)
        out->failed = b.failed;
    sc_buf_free(&b);
}
