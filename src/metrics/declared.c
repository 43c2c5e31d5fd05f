#include "metrics/declared.h"

#include <stdlib.h>
#include <yaml.h>

#include "base/alloc.h"

struct reading {
    yaml_document_t doc;
    const char *name;
    struct sc_msg *msg;
    struct sc_declarations *out;
};

static const char *const types[] = {"counter", "gauge", "histogram"};

/* What TorchServe has where metrics_config is not set. */
struct sc_span sc_declarations_default(void)
{
    static const char text[] =
        "ts_metrics:\n"
        "  counter:\n"
        "    - {name: Requests2XX, unit: Count, dimensions: [Level, Hostname]}\n"
        "    - {name: Requests4XX, unit: Count, dimensions: [Level, Hostname]}\n"
        "    - {name: Requests5XX, unit: Count, dimensions: [Level, Hostname]}\n"
        "    - {name: ts_inference_requests_total, unit: Count, dimensions: [model_name, model_version, "
        "hostname]}\n"
        "    - {name: ts_inference_latency_microseconds, unit: Microseconds, dimensions: [model_name, "
        "model_version, hostname]}\n"
        "    - {name: ts_queue_latency_microseconds, unit: Microseconds, dimensions: [model_name, "
        "model_version, hostname]}\n"
        "  gauge:\n"
        "    - {name: QueueTime, unit: Milliseconds, dimensions: [Level, Hostname]}\n"
        "    - {name: WorkerThreadTime, unit: Milliseconds, dimensions: [Level, Hostname]}\n"
        "    - {name: WorkerLoadTime, unit: Milliseconds, dimensions: [WorkerName, Level, Hostname]}\n"
        "    - {name: CPUUtilization, unit: Percent, dimensions: [Level, Hostname]}\n"
        "    - {name: MemoryUsed, unit: Megabytes, dimensions: [Level, Hostname]}\n"
        "    - {name: MemoryAvailable, unit: Megabytes, dimensions: [Level, Hostname]}\n"
        "    - {name: MemoryUtilization, unit: Percent, dimensions: [Level, Hostname]}\n"
        "    - {name: DiskUsage, unit: Gigabytes, dimensions: [Level, Hostname]}\n"
        "    - {name: DiskUtilization, unit: Percent, dimensions: [Level, Hostname]}\n"
        "    - {name: DiskAvailable, unit: Gigabytes, dimensions: [Level, Hostname]}\n"
        "    - {name: GPUMemoryUtilization, unit: Percent, dimensions: [Level, DeviceId, Hostname]}\n"
        "    - {name: GPUMemoryUsed, unit: Megabytes, dimensions: [Level, DeviceId, Hostname]}\n"
        "    - {name: GPUUtilization, unit: Percent, dimensions: [Level, DeviceId, Hostname]}\n"
        "model_metrics:\n"
        "  gauge:\n"
        "    - {name: HandlerTime, unit: ms, dimensions: [ModelName, Level]}\n"
        "    - {name: PredictionTime, unit: ms, dimensions: [ModelName, Level]}\n";
    return sc_span(text, sizeof text - 1);
}

static struct sc_span text_of(const yaml_node_t *n)
{
    return n->type == YAML_SCALAR_NODE ? sc_span(n->data.scalar.value, n->data.scalar.length)
                                       : sc_span(NULL, 0);
}

/* An absent value (key:, ~, null) is nothing, quotes or not: so are empty lists of metrics read. */
static bool is_null(const yaml_node_t *n)
{
    struct sc_span s = text_of(n);
    return n->type == YAML_SCALAR_NODE && n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (s.n == 0 || sc_span_eq(s, SC_SPAN("~")) || sc_span_eq_nocase(s, SC_SPAN("null")));
}

static int refuse(const struct reading *r, const yaml_node_t *at, const char *what)
{
    return sc_fail(r->msg, SC_EINVAL, "%s:%zu: %s", r->name, at->start_mark.line + 1, what);
}

static void free_one(struct sc_declared *m)
{
    for (unsigned i = 0; i < m->ndims; i++)
        free(m->dims[i]);
    free(m->name);
    free(m->unit);
    free(m);
}

static void append(struct sc_declarations *d, struct sc_declared *m, bool model)
{
    struct sc_declared **end = model ? &d->model : &d->server;
    while (*end)
        end = &(*end)->next;
    *end = m;
    d->n++;
}

static int read_dims(struct reading *r, const yaml_node_t *list, struct sc_declared *m)
{
    if (list->type != YAML_SEQUENCE_NODE)
        return refuse(r, list, "dimensions must be a list, e.g. [Level, Hostname]");
    for (yaml_node_item_t *i = list->data.sequence.items.start; i < list->data.sequence.items.top; i++) {
        const yaml_node_t *n = yaml_document_get_node(&r->doc, *i);
        struct sc_span s = text_of(n);
        if (s.n == 0 || memchr(s.p, 0, s.n))
            return refuse(r, n, "a dimension must be a word");
        if (m->ndims == SC_METRIC_LABELS_MAX - 1)
            return sc_fail(r->msg, SC_ELIMIT, "%s:%zu: more than %d dimensions", r->name,
                           n->start_mark.line + 1, SC_METRIC_LABELS_MAX - 1);
        m->dims[m->ndims++] = sc_span_dup(s);
    }
    return 0;
}

static int read_field(struct reading *r, const yaml_node_t *key, const yaml_node_t *value,
                      struct sc_declared *m, bool *dims)
{
    struct sc_span k = text_of(key), v = text_of(value);
    if (sc_span_eq(k, SC_SPAN("dimensions"))) {
        *dims = !is_null(value);
        return *dims ? read_dims(r, value, m) : 0;
    }
    char **at = sc_span_eq(k, SC_SPAN("name")) ? &m->name : sc_span_eq(k, SC_SPAN("unit")) ? &m->unit : NULL;
    if (!at)
        return refuse(r, key, "a metric has name, unit and dimensions; this key is none of them");
    if (v.n == 0 || is_null(value) || memchr(v.p, 0, v.n))
        return refuse(r, value,
                      at == &m->name ? "Metric name cannot be empty. Give it a word."
                                     : "Metric unit cannot be empty. Give it a word.");
    free(*at);
    *at = sc_span_dup(v);
    return 0;
}

static int read_metric(struct reading *r, const yaml_node_t *n, enum sc_metric_type type, bool model)
{
    bool dims = false;
    int rc = 0;
    if (n->type != YAML_MAPPING_NODE)
        return refuse(r, n, "a metric must be a mapping with name, unit and dimensions");
    if (r->out->n == SC_METRIC_FAMILIES_MAX)
        return sc_fail(r->msg, SC_ELIMIT, "%s:%zu: more than %d metrics", r->name, n->start_mark.line + 1,
                       SC_METRIC_FAMILIES_MAX);
    struct sc_declared *m = sc_alloc(sizeof *m);
    m->type = type;
    for (yaml_node_pair_t *p = n->data.mapping.pairs.start; rc == 0 && p < n->data.mapping.pairs.top; p++)
        rc = read_field(r, yaml_document_get_node(&r->doc, p->key), yaml_document_get_node(&r->doc, p->value),
                        m, &dims);
    if (rc == 0 && !m->name)
        rc = refuse(r, n, "Metric name cannot be empty. Give it a word.");
    if (rc == 0 && !m->unit)
        rc = refuse(r, n, "Metric unit cannot be empty. Give it a word.");
    if (rc == 0 && model && !dims)
        rc = refuse(r, n, "a metric of a model needs a list of dimensions; [] for none");
    if (rc == 0 && model)
        m->dims[m->ndims++] = sc_strdup("Hostname");
    if (rc < 0)
        free_one(m);
    else
        append(r->out, m, model);
    return rc;
}

static int read_types(struct reading *r, const yaml_node_t *section, bool model)
{
    if (is_null(section))
        return 0;
    if (section->type != YAML_MAPPING_NODE)
        return refuse(r, section, "counter, gauge and histogram are expected here");
    for (yaml_node_pair_t *p = section->data.mapping.pairs.start; p < section->data.mapping.pairs.top; p++) {
        const yaml_node_t *key = yaml_document_get_node(&r->doc, p->key);
        const yaml_node_t *list = yaml_document_get_node(&r->doc, p->value);
        unsigned t = 0;
        while (t < SC_COUNT(types) && !sc_span_eq(text_of(key), sc_span_str(types[t])))
            t++;
        if (t == SC_COUNT(types))
            return refuse(r, key, "the types of metrics are counter, gauge and histogram");
        if (is_null(list))
            continue;
        if (list->type != YAML_SEQUENCE_NODE)
            return refuse(r, list, "a list of metrics is expected here");
        for (yaml_node_item_t *i = list->data.sequence.items.start; i < list->data.sequence.items.top; i++) {
            int rc = read_metric(r, yaml_document_get_node(&r->doc, *i), (enum sc_metric_type)t, model);
            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

static int read_document(struct reading *r)
{
    const yaml_node_t *root = yaml_document_get_root_node(&r->doc);
    if (!root || root->type != YAML_MAPPING_NODE)
        return sc_fail(r->msg, SC_EINVAL, "%s: dimensions, ts_metrics and model_metrics are expected",
                       r->name);
    for (yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top; p++) {
        const yaml_node_t *key = yaml_document_get_node(&r->doc, p->key);
        const yaml_node_t *value = yaml_document_get_node(&r->doc, p->value);
        struct sc_span k = text_of(key);
        int rc = 0;
        if (sc_span_eq(k, SC_SPAN("ts_metrics")))
            rc = read_types(r, value, false);
        else if (sc_span_eq(k, SC_SPAN("model_metrics")))
            rc = read_types(r, value, true);
        else if (!sc_span_eq(k, SC_SPAN("dimensions"))) /* only a place for anchors */
            rc = refuse(r, key, "the keys here are dimensions, ts_metrics and model_metrics");
        if (rc < 0)
            return rc;
    }
    return 0;
}

int sc_declarations_read(struct sc_declarations *d, struct sc_span text, const char *name, struct sc_msg *msg)
{
    struct reading r = {.name = name, .msg = msg, .out = d};
    yaml_parser_t parser;
    *d = (struct sc_declarations){0};
    if (!yaml_parser_initialize(&parser))
        return sc_fail(msg, SC_ENOMEM, "%s: out of memory", name);
    yaml_parser_set_input_string(&parser, (const unsigned char *)(text.p ? text.p : ""), text.n);
    int rc;
    if (yaml_parser_load(&parser, &r.doc)) {
        rc = read_document(&r);
        yaml_document_delete(&r.doc);
    } else {
        rc = sc_fail(msg, SC_EINVAL, "%s:%zu:%zu: %s", name, parser.problem_mark.line + 1,
                     parser.problem_mark.column + 1, parser.problem ? parser.problem : "not YAML");
    }
    yaml_parser_delete(&parser);
    if (rc < 0)
        sc_declarations_free(d);
    return rc;
}

static void free_list(struct sc_declared *m)
{
    for (struct sc_declared *next; m; m = next) {
        next = m->next;
        free_one(m);
    }
}

void sc_declarations_free(struct sc_declarations *d)
{
    free_list(d->server);
    free_list(d->model);
    *d = (struct sc_declarations){0};
}

struct sc_declared *sc_declared_find(struct sc_declared *list, struct sc_span name)
{
    struct sc_declared *found = NULL;
    for (; list; list = list->next)
        if (sc_span_eq(sc_span_str(list->name), name))
            found = list;
    return found;
}

struct sc_declared *sc_declared_add(struct sc_declarations *d, enum sc_metric_type type, struct sc_span name,
                                    struct sc_span unit, const struct sc_span *dims, unsigned ndims)
{
    if (d->n == SC_METRIC_FAMILIES_MAX || ndims >= SC_METRIC_LABELS_MAX)
        return NULL;
    struct sc_declared *m = sc_alloc(sizeof *m);
    m->type = type;
    m->name = sc_span_dup(name);
    m->unit = sc_span_dup(unit);
    for (; m->ndims < ndims; m->ndims++)
        m->dims[m->ndims] = sc_span_dup(dims[m->ndims]);
    m->dims[m->ndims++] = sc_strdup("Hostname");
    append(d, m, true);
    return m;
}

static bool is_name(const char *s, bool label)
{
    for (const char *p = s; *p; p++) {
        bool letter = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || *p == '_';
        if (!letter && !(*p >= '0' && *p <= '9' && p > s) && !(*p == ':' && !label))
            return false;
    }
    return *s != '\0';
}

int sc_declared_check_prometheus(const struct sc_declarations *d, const struct sc_declared *m,
                                 struct sc_msg *msg)
{
    for (const struct sc_declared *o = d->server; o; o = o->next)
        if (o != m && strcmp(o->name, m->name) == 0)
            return sc_fail(msg, SC_EINVAL, "the metric %.200s is declared twice", m->name);
    for (const struct sc_declared *o = d->model; o; o = o->next)
        if (o != m && strcmp(o->name, m->name) == 0)
            return sc_fail(msg, SC_EINVAL, "the metric %.200s is declared twice", m->name);
    if (!is_name(m->name, false))
        return sc_fail(msg, SC_EINVAL,
                       "the metric \"%.200s\" must be named with letters, digits, _ and :", m->name);
    for (unsigned i = 0; i < m->ndims; i++)
        if (!is_name(m->dims[i], true))
            return sc_fail(msg, SC_EINVAL,
                           "the dimension \"%.100s\" of the metric %.100s must be named with letters, digits "
                           "and _",
                           m->dims[i], m->name);
    return 0;
}

int sc_declarations_check_prometheus(const struct sc_declarations *d, struct sc_msg *msg)
{
    int rc = 0;
    for (const struct sc_declared *m = d->server; m && rc == 0; m = m->next)
        rc = sc_declared_check_prometheus(d, m, msg);
    for (const struct sc_declared *m = d->model; m && rc == 0; m = m->next)
        rc = sc_declared_check_prometheus(d, m, msg);
    return rc;
}
