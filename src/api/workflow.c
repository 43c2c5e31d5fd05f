/* Workflows: register, list, describe, unregister, and requests to them (docs/contract.md §13;
 * model/workflow.h). */
#include <stdio.h>
#include <stdlib.h>

#include "api/app.h"
#include "api/describe.h"
#include "api/params.h"
#include "api/respond.h"
#include "api/rows.h"
#include "base/alloc.h"
#include "metrics/registry.h"
#include "proto/json_read.h"
#include "proto/json_write.h"
#include "worker/meta.h"

/* ---- requests ------------------------------------------------------------------------------------------ */

static void node_meta(void *arg, const struct sc_model_spec *spec, struct sc_span type, size_t length,
                      const struct sc_flow_part *parts, unsigned nparts, struct sc_buf *out)
{
    struct sc_call *c = arg;
    struct sc_meta_writer w;
    if (!sc_spec_is_native(spec)) {
        sc_row_node(c->x, length, parts, nparts, out);
        return;
    }
    sc_meta_begin(&w, out);
    if (type.p)
        sc_meta_add(&w, SC_SPAN(":content-type"), type);
    sc_meta_end(&w);
}

/* The leaf's answer as a value of the object that all of them make: an object. As Gson has it, members that
 * are null are left out. */
static int put_leaf(struct sc_json_writer *w, const struct sc_flow_leaf *leaf)
{
    struct sc_json_reader r;
    struct sc_span key = {NULL, 0}, text;
    struct sc_buf keys, room;
    int ev, rc = 0;
    bool object = false;
    sc_json_read_init(&r, leaf->body);
    sc_buf_init(&keys, leaf->body.n + 1);
    sc_buf_init(&room, leaf->body.n + 1);
    sc_json_key_span(w, leaf->name);
    while (rc == 0 && (ev = sc_json_next(&r)) > 0) {
        if (!object && ev != SC_JSON_OBJECT)
            rc = SC_EINVAL;
        object = true;
        if (key.p && ev != SC_JSON_NULL)
            sc_json_key_span(w, key);
        bool member = key.p != NULL;
        key.p = NULL;
        switch ((enum sc_json_event)ev) {
        case SC_JSON_END: break;
        case SC_JSON_OBJECT: sc_json_begin_object(w); break;
        case SC_JSON_OBJECT_END: sc_json_end_object(w); break;
        case SC_JSON_ARRAY: sc_json_begin_array(w); break;
        case SC_JSON_ARRAY_END: sc_json_end_array(w); break;
        case SC_JSON_KEY:
            sc_buf_clear(&keys);
            rc = sc_json_text(&r, &keys, &key);
            key.p = key.p ? key.p : "";
            break;
        case SC_JSON_STRING:
            sc_buf_clear(&room);
            rc = sc_json_text(&r, &room, &text);
            sc_json_string(w, text);
            break;
        case SC_JSON_NUMBER: sc_json_raw(w, r.raw); break;
        case SC_JSON_TRUE: sc_json_bool(w, true); break;
        case SC_JSON_FALSE: sc_json_bool(w, false); break;
        case SC_JSON_NULL:
            if (!member)
                sc_json_null(w);
            break;
        }
    }
    sc_buf_free(&keys);
    sc_buf_free(&room);
    return rc < 0 || r.failed || !object ? SC_EINVAL : 0;
}

static void respond_leaves(struct sc_http_exchange *x, const struct sc_flow_answer *a)
{
    struct sc_json_writer w;
    struct sc_buf out;
    char text[SC_MODEL_NAME_MAX + 64];
    size_t total = 64;
    for (unsigned i = 0; i < a->n; i++)
        total += 8 * a->leaves[i].body.n + SC_MODEL_NAME_MAX;
    sc_buf_init(&out, SC_MAX(total, (size_t)1 << 20));
    sc_json_write_init(&w, &out, false);
    sc_json_begin_object(&w);
    for (unsigned i = 0; i < a->n; i++)
        if (put_leaf(&w, &a->leaves[i]) < 0) {
            int n = snprintf(text, sizeof text, "Not a JSON Object: the output of %.*s",
                             SC_FMT(a->leaves[i].name));
            sc_buf_free(&out);
            sc_respond_error(x, 500, "InternalServerException", sc_span(text, (size_t)n));
            return;
        }
    sc_json_end_object(&w);
    sc_respond_json(x, 200, &w, &out);
}

static void flow_done(void *arg, const struct sc_flow_answer *a)
{
    struct sc_call *c = arg;
    c->flow = NULL;
    if (a->status == 0) /* the client is gone */
        sc_respond_status(c->x, 500, SC_SPAN(""));
    else if (a->type)
        sc_respond_error(c->x, a->status, a->type, sc_span_str(a->message));
    else if (a->n == 1)
        sc_respond_body(c->x, 200, SC_SPAN("application/json"), a->leaves[0].body);
    else
        respond_leaves(c->x, a);
}

void sc_wfpredict_submit(struct sc_call *c)
{
    static const struct sc_flow_ops ops = {.meta = node_meta, .done = flow_done};
    struct sc_job *first = c->job;
    c->job = NULL;
    sc_flow_run(c->workflow, first, &c->x->body, &ops, c, &c->flow);
}

void sc_wfpredict(struct sc_call *c)
{
    const struct sc_path *p = &c->path;
    struct sc_buf text;
    if (p->n < 2) {
        sc_respond_no_resource(c->x);
    } else if (sc_workflow_find(c->app->engine, c->x->loop, p->segments[1], &c->workflow) < 0) {
        sc_buf_init(&text, 16 << 10);
        sc_buf_str(&text, "Workflow not found: ");
        sc_buf_span(&text, p->segments[1]);
        sc_respond_error(c->x, 404, "WorkflowNotFoundException", sc_buf_view(&text));
        sc_buf_free(&text);
    } else if (sc_flow_start_shard(c->app->engine, c->x->loop, c->workflow, &c->shard) < 0) {
        const struct sc_workflow_spec *s = &c->workflow->spec; /* somebody took its model away */
        sc_buf_init(&text, 16 << 10);
        sc_buf_printf(&text, "%s__%s", c->workflow->name, s->nodes[s->start].name);
        sc_respond_error(c->x, 500, "InternalServerException", sc_buf_view(&text));
        sc_buf_free(&text);
    } else {
        (void)sc_call_begin(c);
    }
}

/* ---- management: on loop 0 ----------------------------------------------------------------------------- */

static void respond_refused(struct sc_call *c, const struct sc_archive_error *err)
{
    sc_call_error(c, err->status, err->type, "%s", err->msg.text);
}

static void registered(void *arg, const char *name, const struct sc_archive_error *err)
{
    if (err)
        respond_refused(arg, err);
    else
        sc_call_status(arg, 200, "Workflow %s has been registered and scaled successfully.", name);
}

void sc_workflow_post(struct sc_call *c)
{
    struct sc_params p = {0};
    struct sc_span url, name;
    struct sc_msg msg;
    if (sc_params_read(c, &p) < 0)
        goto done;
    url = sc_param(&p, "url");
    name = sc_param(&p, "workflow_name");
    if (!url.p) {
        sc_call_error(c, 400, "BadRequestException", "Parameter url is required.");
    } else if (memchr(url.p, '\0', url.n)) {
        sc_call_error(c, 404, "WorkflowNotFoundException", "Workflow not found at: %.*s", SC_FMT(url));
    } else if (name.n && sc_spec_check_name(name, &msg) < 0) {
        sc_call_error(c, 400, "BadRequestException", "%s", msg.text);
    } else {
        char *url_text = sc_span_dup(url), *name_text = name.n ? sc_span_dup(name) : NULL;
        const struct sc_workflow_want want = {
            .url = url_text ? url_text : "",
            .name = name_text,
            .response_timeout = sc_param_int(&p, "response_timeout", SC_SPEC_UNSET),
            .startup_timeout = sc_param_int(&p, "startup_timeout", SC_SPEC_UNSET),
            .s3_sse_kms = sc_param_bool(&p, "s3_sse_kms", false)};
        sc_workflow_register(c->app->engine, &want, registered, c);
        free(url_text);
        free(name_text);
    }
done:
    sc_params_free(&p);
}

static void list_workflow(void *listing, const struct sc_workflow *w)
{
    sc_list_add(listing, w->name, w->url);
}

static void each_workflow(struct sc_engine *e, struct sc_listing *l)
{
    sc_workflows_each(e, list_workflow, l);
}

void sc_workflows_list(struct sc_call *c)
{
    static const struct sc_list_kind kind = {"workflows", "workflowName", "workflowUrl", each_workflow};
    sc_call_list(c, &kind);
}

static void respond_unknown(struct sc_call *c)
{
    sc_call_error(c, 404, "WorkflowNotFoundException", "Workflow not found: %.*s",
                  SC_FMT(c->path.segments[1]));
}

void sc_workflow_describe(struct sc_call *c)
{
    const struct sc_workflow *w = sc_workflow_named(c->app->engine, c->path.segments[1]);
    struct sc_json_writer j;
    if (!w) {
        respond_unknown(c);
        return;
    }
    sc_json_write_init(&j, &c->out, false);
    sc_json_begin_array(&j);
    sc_json_begin_object(&j);
    sc_json_put_str(&j, "workflowName", w->name);
    sc_json_put_str(&j, "workflowUrl", w->url);
    sc_json_put_int(&j, "minWorkers", w->spec.numbers.min_workers);
    sc_json_put_int(&j, "maxWorkers", w->spec.numbers.max_workers);
    sc_json_put_int(&j, "batchSize", w->spec.numbers.batch_size);
    sc_json_put_int(&j, "maxBatchDelay", w->spec.numbers.max_batch_delay);
    sc_json_put_str(&j, "workflowDag", w->spec.dag);
    sc_json_end_object(&j);
    sc_json_end_array(&j);
    sc_call_json(c, &j);
}

static void unregistered(void *arg, const char *name, const struct sc_archive_error *err)
{
    if (err)
        respond_refused(arg, err);
    else
        sc_call_status(arg, 200, "Workflow \"%s\" unregistered", name);
}

void sc_workflow_delete(struct sc_call *c)
{
    if (sc_workflow_unregister(c->app->engine, c->path.segments[1], unregistered, c) < 0)
        respond_unknown(c);
}
