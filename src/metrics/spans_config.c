/* What is sent where: OpenTelemetry's environment variables ("Environment Variable Specification", "OTLP
 * exporter"), and one setting. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "metrics/spans.h"

#define PAIRS_MAX 64

struct environment {
    const char *(*get)(const char *name);
};

/* An empty variable is as good as none. */
static const char *variable(const struct environment *e, const char *name)
{
    const char *v = e->get(name);
    return v && *v ? v : NULL;
}

static unsigned number(const struct environment *e, const char *name, unsigned fallback, unsigned max)
{
    const char *v = variable(e, name);
    uint64_t n;
    if (!v)
        return fallback;
    if (sc_span_u64(sc_span_trim(sc_span_str(v)), UINT64_MAX, &n) && n > 0)
        return n < max ? (unsigned)n : max;
    sc_log(SC_LOG_WARN, "%s must be a number above 0, not %.60s: it is %u", name, v, fallback);
    return fallback;
}

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A copy with its %XX resolved. NULL: a control character is among it. */
static char *decoded(struct sc_span s)
{
    char *out = sc_alloc(s.n + 1), *o = out;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '%' && i + 2 < s.n && digit(s.p[i + 1]) >= 0 && digit(s.p[i + 2]) >= 0) {
            *o++ = (char)(digit(s.p[i + 1]) * 16 + digit(s.p[i + 2]));
            i += 2;
        } else {
            *o++ = s.p[i];
        }
    }
    for (const char *p = out; p < o; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) {
            free(out);
            return NULL;
        }
    return out;
}

static void add(char ***list, unsigned *n, char *text)
{
    *list = sc_realloc_array(*list, *n + 1, sizeof **list);
    (*list)[(*n)++] = text;
}

/* key=value,key=value. Calls take with what it then owns. */
static void pairs(struct sc_spans_config *c, const char *name, const char *text,
                  void (*take)(struct sc_spans_config *c, char *key, char *value))
{
    struct sc_span s = sc_span_str(text);
    for (unsigned i = 0; s.n && i < PAIRS_MAX; i++) {
        struct sc_span pair = sc_span_sub(s, 0, sc_span_find(s, ','));
        size_t equals = sc_span_find(pair, '=');
        s = sc_span_sub(s, pair.n + 1, s.n);
        if (sc_span_trim(pair).n == 0)
            continue;
        char *key = decoded(sc_span_trim(sc_span_sub(pair, 0, equals)));
        char *value = decoded(sc_span_trim(sc_span_sub(pair, equals + 1, pair.n)));
        if (key && *key && value && equals < pair.n) {
            take(c, key, value);
            continue;
        }
        sc_log(SC_LOG_WARN, "%s: a part of it is not key=value, and is left out", name);
        free(key);
        free(value);
    }
}

static void take_header(struct sc_spans_config *c, char *key, char *value)
{
    size_t n = strlen(key) + strlen(value) + 3;
    char *line = sc_alloc(n);
    snprintf(line, n, "%s: %s", key, value);
    free(key);
    free(value);
    add(&c->headers, &c->nheaders, line);
}

static void take_resource(struct sc_spans_config *c, char *key, char *value)
{
    add(&c->resource, &c->nresource, key);
    add(&c->resource, &c->nresource, value);
}

static bool has_resource(const struct sc_spans_config *c, const char *key)
{
    for (unsigned i = 0; i < c->nresource; i += 2)
        if (strcmp(c->resource[i], key) == 0)
            return true;
    return false;
}

static void read_resource(struct sc_spans_config *c, const struct environment *e)
{
    static const char name[] = "service.name";
    const char *service = variable(e, "OTEL_SERVICE_NAME"), *all = variable(e, "OTEL_RESOURCE_ATTRIBUTES");
    char host[256] = "";
    if (all)
        pairs(c, "OTEL_RESOURCE_ATTRIBUTES", all, take_resource);
    if (service)
        for (unsigned i = 0; i < c->nresource; i += 2)
            if (strcmp(c->resource[i], name) == 0) {
                free(c->resource[i + 1]);
                c->resource[i + 1] = sc_strdup(service);
            }
    if (!has_resource(c, "service.version"))
        take_resource(c, sc_strdup("service.version"), sc_strdup(SCONCE_VERSION));
    if (!has_resource(c, "host.name") && gethostname(host, sizeof host - 1) == 0)
        take_resource(c, sc_strdup("host.name"), sc_strdup(host));
    if (!has_resource(c, name))
        take_resource(c, sc_strdup(name), sc_strdup(service ? service : "sconce"));
}

/* The endpoint of all signals is a base. */
static char *url_of(const struct environment *e, const char *setting)
{
    const char *own = setting && *setting ? setting : variable(e, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    const char *base = variable(e, "OTEL_EXPORTER_OTLP_ENDPOINT");
    if (own || !base)
        return own ? sc_strdup(own) : NULL;
    size_t n = strlen(base);
    char *url = sc_alloc(n + sizeof "/v1/traces");
    snprintf(url, n + sizeof "/v1/traces", "%.*s/v1/traces", (int)(base[n - 1] == '/' ? n - 1 : n), base);
    return url;
}

static void check_protocol(const struct environment *e)
{
    const char *p = variable(e, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL");
    if (!p)
        p = variable(e, "OTEL_EXPORTER_OTLP_PROTOCOL");
    if (p && strcmp(p, "http/json") != 0)
        sc_log(SC_LOG_WARN, "spans are sent as http/json, whatever OTEL_EXPORTER_OTLP_PROTOCOL says: %.40s",
               p);
}

void sc_spans_config_read(struct sc_spans_config *c, const char *setting,
                          const char *(*get)(const char *name))
{
    const struct environment e = {get};
    const char *headers = variable(&e, "OTEL_EXPORTER_OTLP_TRACES_HEADERS");
    const char *disabled = variable(&e, "OTEL_SDK_DISABLED"),
               *exporter = variable(&e, "OTEL_TRACES_EXPORTER");
    *c = (struct sc_spans_config){.sampler = {.parent_based = true, .ratio = 1}};
    if ((disabled && sc_span_eq_nocase(sc_span_str(disabled), SC_SPAN("true"))) ||
        (exporter && strcmp(exporter, "none") == 0))
        return;
    c->url = url_of(&e, setting);
    if (!c->url)
        return;
    if (strncmp(c->url, "http://", 7) != 0 && strncmp(c->url, "https://", 8) != 0) {
        sc_log(SC_LOG_ERROR, "spans are not sent: the collector must be an http or https URL, not %.200s",
               c->url);
        free(c->url);
        c->url = NULL;
        return;
    }
    check_protocol(&e);
    if (!headers)
        headers = variable(&e, "OTEL_EXPORTER_OTLP_HEADERS");
    if (headers)
        pairs(c, "OTEL_EXPORTER_OTLP_HEADERS", headers, take_header);
    read_resource(c, &e);
    c->timeout_ms = number(&e, "OTEL_EXPORTER_OTLP_TIMEOUT", 10000, 600000);
    c->timeout_ms = number(&e, "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", c->timeout_ms, 600000);
    c->delay_ms = number(&e, "OTEL_BSP_SCHEDULE_DELAY", 5000, 3600000);
    c->queue_max = number(&e, "OTEL_BSP_MAX_QUEUE_SIZE", 2048, SC_SPANS_QUEUE_MAX);
    c->batch_max = number(&e, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512, c->queue_max);
    const char *sampler = variable(&e, "OTEL_TRACES_SAMPLER"),
               *argument = variable(&e, "OTEL_TRACES_SAMPLER_ARG");
    if (!sc_sampler_read(sampler, argument, &c->sampler))
        sc_log(SC_LOG_WARN, "OTEL_TRACES_SAMPLER is parentbased_always_on: %.60s (%.60s) is not known",
               sampler ? sampler : "", argument ? argument : "");
}

static void free_list(char **list, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        free(list[i]);
    free(list);
}

void sc_spans_config_free(struct sc_spans_config *c)
{
    free(c->url);
    free_list(c->headers, c->nheaders);
    free_list(c->resource, c->nresource);
    *c = (struct sc_spans_config){0};
}
