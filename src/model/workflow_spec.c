#include "model/workflow_spec.h"

#include <stdio.h>
#include <stdlib.h>

#include "archive/locate.h"
#include "base/alloc.h"
#include "base/buf.h"
#include "model/spec.h"
#include "proto/yaml.h"

#define BAD_SPEC 500, "InvalidWorkflowException"
#define BAD_DAG 400, "InvalidDAGException"

static const struct number {
    const char *name;
    size_t offset;
    int low, high;
} numbers[] = {
    {"min-workers", offsetof(struct sc_workflow_numbers, min_workers), 0, SC_WORKERS_MAX},
    {"max-workers", offsetof(struct sc_workflow_numbers, max_workers), 0, SC_WORKERS_MAX},
    {"batch-size", offsetof(struct sc_workflow_numbers, batch_size), 1, SC_BATCH_SIZE_MAX},
    {"max-batch-delay", offsetof(struct sc_workflow_numbers, max_batch_delay), 0, INT32_MAX},
    {"retry-attempts", offsetof(struct sc_workflow_numbers, retry_attempts), 0, SC_WORKFLOW_RETRIES_MAX},
    {"timeout-ms", offsetof(struct sc_workflow_numbers, timeout_ms), 0, INT32_MAX},
};

static const struct sc_workflow_numbers defaults = {.min_workers = 1,
                                                    .max_workers = 1,
                                                    .batch_size = 1,
                                                    .max_batch_delay = 50,
                                                    .retry_attempts = 1,
                                                    .timeout_ms = 10000};

struct model {
    char *name, *url;
    struct sc_workflow_numbers numbers;
};

struct reading {
    struct sc_workflow_spec *s;
    const char *file;
    struct sc_archive_error *err;
    struct model models[SC_WORKFLOW_NODES_MAX];
    unsigned nmodels;
    bool in_model; /* models[nmodels - 1] is being read */
    unsigned from; /* the node whose list is being read */
    struct sc_buf dag;
    bool has_models, has_dag;
};

/* ---- models ------------------------------------------------------------------------------------------- */

static int bad_value(const struct reading *r, const struct sc_yaml_item *i, const char *should_be)
{
    return sc_archive_refuse(r->err, SC_EINVAL, BAD_SPEC, "%s:%u: %.*s should be %s", r->file, i->line,
                             (int)SC_MIN(i->path.n, 200u), i->path.p, should_be);
}

static int take_number(const struct reading *r, const struct sc_yaml_item *i, const struct number *n,
                       struct sc_workflow_numbers *to)
{
    struct sc_yaml_value v;
    char should_be[96];
    if (i->kind == SC_YAML_PLAIN && sc_yaml_type(i->value, &v) == SC_YAML_INT && !v.big &&
        v.number >= n->low && v.number <= n->high) {
        *(int *)(void *)((char *)to + n->offset) = (int)v.number;
        return 0;
    }
    snprintf(should_be, sizeof should_be, "an integer from %d to %d", n->low, n->high);
    return bad_value(r, i, should_be);
}

static const struct number *number_named(struct sc_span name)
{
    for (size_t k = 0; k < SC_COUNT(numbers); k++)
        if (sc_span_eq(name, sc_span_str(numbers[k].name)))
            return &numbers[k];
    return NULL;
}

/* What stands behind the first or second dot of the path. A name may have dots itself: the prefix is known.
 */
static struct sc_span behind(struct sc_span path, size_t prefix)
{
    return sc_span_sub(path, prefix + 1, path.n);
}

static int model(struct reading *r, const struct sc_yaml_item *i, struct sc_span name)
{
    r->in_model = false;
    struct sc_msg unused;
    if (i->kind != SC_YAML_MAP || sc_spec_check_name(name, &unused) < 0)
        return bad_value(r, i, "a model's name, and a map with its url");
    if (r->nmodels == SC_WORKFLOW_NODES_MAX)
        return sc_archive_refuse(r->err, SC_ELIMIT, BAD_SPEC, "%s:%u: a workflow has at most %d models",
                                 r->file, i->line, SC_WORKFLOW_NODES_MAX);
    for (unsigned k = 0; k < r->nmodels; k++)
        if (sc_span_eq(name, sc_span_str(r->models[k].name)))
            return bad_value(r, i, "given once");
    r->in_model = true;
    r->models[r->nmodels++] = (struct model){.name = sc_span_dup(name), .numbers = r->s->numbers};
    return r->models[r->nmodels - 1].name ? 0 : SC_ENOMEM;
}

static int model_value(struct reading *r, const struct sc_yaml_item *i)
{
    struct model *m = &r->models[r->nmodels - 1];
    struct sc_span key = behind(i->path, strlen("models.") + strlen(m->name));
    const struct number *n = number_named(key);
    if (n)
        return take_number(r, i, n, &m->numbers);
    if (!sc_span_eq(key, SC_SPAN("url")))
        return 0;
    if ((i->kind != SC_YAML_PLAIN && i->kind != SC_YAML_TEXT) || i->value.n == 0 ||
        memchr(i->value.p, '\0', i->value.n))
        return bad_value(r, i, "a url or the name of an archive");
    free(m->url);
    m->url = sc_span_dup(i->value);
    return m->url ? 0 : SC_ENOMEM;
}

/* ---- the graph ---------------------------------------------------------------------------------------- */

/* The node of that name, a new one if need be; a negative code, and told. */
static int node(struct reading *r, const struct sc_yaml_item *i, struct sc_span name)
{
    struct sc_workflow_spec *s = r->s;
    for (unsigned k = 0; k < s->n; k++)
        if (sc_span_eq(name, sc_span_str(s->nodes[k].name)))
            return (int)k;
    if (s->n == SC_WORKFLOW_NODES_MAX)
        return sc_archive_refuse(r->err, SC_ELIMIT, BAD_DAG, "%s:%u: a workflow has at most %d nodes",
                                 r->file, i->line, SC_WORKFLOW_NODES_MAX);
    if (sc_spec_check_name(name, &r->err->msg) < 0) {
        r->err->status = 400;
        r->err->type = "InvalidDAGException";
        return SC_EINVAL;
    }
    s->nodes[s->n] = (struct sc_workflow_node){.name = sc_span_dup(name)};
    return s->nodes[s->n].name ? (int)s->n++ : SC_ENOMEM;
}

static int node_list(struct reading *r, const struct sc_yaml_item *i, struct sc_span name)
{
    if (i->kind != SC_YAML_SEQUENCE)
        return bad_value(r, i, "a list of nodes");
    int k = node(r, i, name);
    if (k < 0)
        return k;
    r->from = (unsigned)k;
    sc_buf_str(&r->dag, r->dag.n > 1 ? "], " : "");
    sc_buf_span(&r->dag, name);
    sc_buf_str(&r->dag, "=[");
    return 0;
}

static int edge(struct reading *r, const struct sc_yaml_item *i)
{
    struct sc_workflow_node *nodes = r->s->nodes;
    struct sc_yaml_value unused;
    if (i->kind != SC_YAML_TEXT &&
        (i->kind != SC_YAML_PLAIN || sc_yaml_type(i->value, &unused) != SC_YAML_STRING))
        return bad_value(r, i, "the name of a node");
    int k = node(r, i, i->value);
    if (k < 0)
        return k;
    unsigned to = (unsigned)k;
    if (to == r->from)
        return sc_archive_refuse(r->err, SC_EINVAL, BAD_DAG, "Self loop exception");
    nodes[r->from].next |= UINT64_C(1) << to;
    nodes[to].before |= UINT64_C(1) << r->from;
    if (r->dag.n && r->dag.p[r->dag.n - 1] != '[')
        sc_buf_str(&r->dag, ", ");
    sc_buf_span(&r->dag, i->value);
    return 0;
}

/* One node without predecessors, and from there every node can be run. */
static int check_graph(struct reading *r)
{
    struct sc_workflow_spec *s = r->s;
    uint64_t all = 0, run = 0, before;
    unsigned starts = 0;
    for (unsigned k = 0; k < s->n; k++) {
        all |= UINT64_C(1) << k;
        if (s->nodes[k].next == 0)
            s->leaves |= UINT64_C(1) << k;
        if (s->nodes[k].before == 0) {
            s->start = k;
            starts++;
        }
    }
    if (starts != 1)
        return sc_archive_refuse(r->err, SC_EINVAL, BAD_DAG, "DAG should have only one start node");
    do {
        before = run;
        for (unsigned k = 0; k < s->n; k++)
            if ((s->nodes[k].before & ~run) == 0)
                run |= UINT64_C(1) << k;
    } while (run != before);
    return run == all ? 0 : sc_archive_refuse(r->err, SC_EINVAL, BAD_DAG, "Not a valid DAG");
}

/* ---- the file ----------------------------------------------------------------------------------------- */

static int visit(void *arg, const struct sc_yaml_item *i, struct sc_msg *msg)
{
    const struct sc_span models = SC_SPAN("models."), dag = SC_SPAN("dag.");
    struct reading *r = arg;
    (void)msg;
    if (i->kind == SC_YAML_ALIAS)
        return bad_value(r, i, "written out: aliases (*name) are not supported");
    if (i->depth == 1 && sc_span_eq(i->path, SC_SPAN("models")))
        r->has_models = i->kind == SC_YAML_MAP;
    if (i->depth == 1 && sc_span_eq(i->path, SC_SPAN("dag")))
        r->has_dag = i->kind == SC_YAML_MAP;
    if (i->depth == 2 && r->has_models && sc_span_starts(i->path, models)) {
        struct sc_span name = sc_span_sub(i->path, models.n, i->path.n);
        const struct number *n = number_named(name);
        return n ? take_number(r, i, n, &r->s->numbers) : model(r, i, name);
    }
    if (i->depth == 3 && r->in_model && sc_span_starts(i->path, models))
        return model_value(r, i);
    if (i->depth == 2 && r->has_dag && sc_span_starts(i->path, dag))
        return node_list(r, i, sc_span_sub(i->path, dag.n, i->path.n));
    if (i->depth == 3 && r->has_dag && sc_span_starts(i->path, dag))
        return edge(r, i);
    return 0;
}

/* Each node is the model of its name, or a function. */
static int settle_nodes(struct reading *r)
{
    struct sc_workflow_spec *s = r->s;
    for (unsigned k = 0; k < s->n; k++) {
        struct sc_workflow_node *n = &s->nodes[k];
        n->numbers = s->numbers;
        n->numbers.min_workers = n->numbers.max_workers = n->numbers.batch_size = 1;
        n->numbers.max_batch_delay = 0;
        for (unsigned i = 0; i < r->nmodels; i++) {
            struct model *m = &r->models[i];
            if (strcmp(m->name, n->name) != 0)
                continue;
            if (!m->url)
                return sc_archive_refuse(r->err, SC_EINVAL, BAD_SPEC, "%s: the model %s has no url", r->file,
                                         m->name);
            n->numbers = m->numbers;
            n->url = m->url;
            m->url = NULL;
        }
    }
    return 0;
}

static int finish(struct reading *r)
{
    if (!r->has_models || !r->has_dag)
        return sc_archive_refuse(r->err, SC_EINVAL, BAD_SPEC, "%s has no map called %s", r->file,
                                 r->has_models ? "dag" : "models");
    int rc = check_graph(r);
    if (rc == 0)
        rc = settle_nodes(r);
    sc_buf_str(&r->dag, "]}");
    if (rc == 0 && (r->dag.failed || !(r->s->dag = sc_span_dup(sc_buf_view(&r->dag)))))
        rc = SC_ENOMEM;
    return rc;
}

int sc_workflow_spec_read(struct sc_workflow_spec *s, struct sc_span text, const char *file,
                          struct sc_archive_error *err)
{
    struct reading r = {.s = s, .file = file, .err = err};
    struct sc_msg msg = {""};
    *s = (struct sc_workflow_spec){.numbers = defaults};
    *err = (struct sc_archive_error){0};
    sc_buf_init(&r.dag, 2 * SC_WORKFLOW_SPEC_BYTES);
    sc_buf_char(&r.dag, '{');
    int rc = sc_yaml_each(text, file, visit, &r, &msg);
    if (rc == 0)
        rc = finish(&r);
    if (rc < 0 && !err->type)
        (void)sc_archive_refuse(err, rc, BAD_SPEC, "Failed to parse yaml. %s", msg.text);
    for (unsigned i = 0; i < r.nmodels; i++) {
        free(r.models[i].name);
        free(r.models[i].url);
    }
    sc_buf_free(&r.dag);
    if (rc < 0)
        sc_workflow_spec_free(s);
    return rc;
}

void sc_workflow_spec_free(struct sc_workflow_spec *s)
{
    for (unsigned i = 0; i < s->n; i++) {
        free(s->nodes[i].name);
        free(s->nodes[i].url);
    }
    free(s->dag);
    *s = (struct sc_workflow_spec){0};
}

int sc_workflow_model_name(char out[SC_MODEL_NAME_MAX + 1], const char *workflow, const char *node,
                           struct sc_msg *msg)
{
    char name[2 * SC_MODEL_NAME_MAX + 8];
    int n = snprintf(name, sizeof name, "%s__%s", workflow, node);
    if (n >= (int)sizeof name || sc_spec_check_name(sc_span(name, (size_t)n), msg) < 0)
        return sc_fail(msg, SC_EINVAL,
                       "The workflow's and the node's name have more than %d bytes: %.64s, %.64s",
                       SC_MODEL_NAME_MAX - 2, workflow, node);
    memcpy(out, name, (size_t)n + 1);
    return 0;
}
