/*
 * ManagementAPIsService: the routes of the REST API, whose parameters are a message's fields and whose
 * answers are texts (docs/contract.md §16.2).
 */
#include <stdio.h>

#include "api/customized.h"
#include "api/describe.h"
#include "api/grpc.h"
#include "api/register.h"
#include <management.pb-c.h>

#define NAME(x) Org__Pytorch__Serve__Grpc__Management__##x
#define OF(x) org__pytorch__serve__grpc__management__##x##__descriptor

static void finish(struct sc_call *c)
{
    NAME(ManagementResponse) r = ORG__PYTORCH__SERVE__GRPC__MANAGEMENT__MANAGEMENT_RESPONSE__INIT;
    struct sc_buf *text = &c->out;
    if (text->failed && !text->n) {
        sc_grpc_end(c->grpc, SC_GRPC_INTERNAL, SC_SPAN("the answer is too large"));
    } else if (c->type) {
        sc_grpc_refuse(c, c->status, c->type, sc_buf_view(text));
    } else {
        size_t n = text->n;
        if (c->raw && n && text->p[n - 1] == '\n')
            n--;
        sc_buf_char(text, '\0');
        if (text->failed) {
            sc_grpc_end(c->grpc, SC_GRPC_INTERNAL, SC_SPAN("the answer is too large"));
            return;
        }
        text->p[n] = '\0';
        r.msg = text->p;
        sc_grpc_reply(c->grpc, &r.base);
    }
}

static const struct sc_rpc rpc = {sc_grpc_refuse, NULL, NULL, finish, NULL};

/* ---- parameters ----------------------------------------------------------------------------- */

static void give(struct sc_grpc *g, const char *name, struct sc_span value)
{
    if (value.p)
        g->given[g->c->ngiven++] = (struct sc_param){sc_span_str(name), value};
}

static void give_text(struct sc_grpc *g, const char *name, const char *text)
{
    give(g, name, sc_grpc_given(text));
}

static void give_any(struct sc_grpc *g, const char *name, int32_t v)
{
    char *digits = g->digits[g->c->ngiven];
    int n = snprintf(digits, sizeof g->digits[0], "%d", v);
    give(g, name, sc_span(digits, (size_t)n));
}

static void give_int(struct sc_grpc *g, const char *name, int32_t v)
{
    if (v > 0)
        give_any(g, name, v);
}

static void give_bool(struct sc_grpc *g, const char *name, bool v)
{
    give(g, name, v ? SC_SPAN("true") : SC_SPAN("false"));
}

/* The call as REST would have it: /models/NAME/VERSION. */
static struct sc_call *call_of(struct sc_grpc *g, const char *name, struct sc_span version)
{
    struct sc_call *c = g->c;
    g->errors = SC_GRPC_OF_MANAGEMENT;
    c->rpc = &rpc;
    c->running = true;
    c->given = g->given;
    c->ngiven = 0;
    c->path.segments[0] = SC_SPAN("models");
    c->path.segments[1] = sc_span_str(name ? name : "");
    c->path.segments[2] = version;
    c->path.n = !name ? 1 : version.p ? 3 : 2;
    return c;
}

static void go(struct sc_call *c, void (*route)(struct sc_call *c))
{
    c->on_zero = route;
    sc_call_to_loop_zero(c);
}

/* False: the model API is off, and the call was answered. */
static bool may_change(struct sc_grpc *g)
{
    if (g->c->app->settings->enable_model_api)
        return true;
    sc_grpc_end(g, SC_GRPC_PERMISSION_DENIED,
                SC_SPAN("Model API disabled\norg.pytorch.serve.archive.model.ModelException"));
    return false;
}

/* ---- methods ---------------------------------------------------------------------------------- */

static void describe_model(struct sc_grpc *g, const ProtobufCMessage *m)
{
    const NAME(DescribeModelRequest) *q = (const NAME(DescribeModelRequest) *)m;
    struct sc_call *c = call_of(g, q->model_name, sc_grpc_given(q->model_version));
    if (q->customized)
        g->errors = SC_GRPC_OF_DESCRIPTION;
    if (!q->customized || !sc_customized_begin(c))
        go(c, sc_model_describe);
    else if (c->job)
        c->route(c);
}

static void list_models(struct sc_grpc *g, const ProtobufCMessage *m)
{
    const NAME(ListModelsRequest) *q = (const NAME(ListModelsRequest) *)m;
    struct sc_call *c = call_of(g, NULL, sc_span(NULL, 0));
    give_any(g, "limit", q->limit);
    give_any(g, "next_page_token", q->next_page_token);
    go(c, sc_models_list);
}

static void register_model(struct sc_grpc *g, const ProtobufCMessage *m)
{
    const NAME(RegisterModelRequest) *q = (const NAME(RegisterModelRequest) *)m;
    struct sc_call *c = call_of(g, NULL, sc_span(NULL, 0));
    if (!may_change(g))
        return;
    give_text(g, "url", q->url);
    give_text(g, "model_name", q->model_name);
    give_text(g, "handler", q->handler);
    give_text(g, "runtime", q->runtime);
    give_int(g, "batch_size", q->batch_size);
    give_int(g, "max_batch_delay", q->max_batch_delay);
    give_int(g, "initial_workers", q->initial_workers);
    give_int(g, "response_timeout", q->response_timeout);
    give_int(g, "startup_timeout", q->startup_timeout);
    give_bool(g, "synchronous", q->synchronous);
    give_bool(g, "s3_sse_kms", q->s3_sse_kms);
    go(c, sc_model_register);
}

static void scale_worker(struct sc_grpc *g, const ProtobufCMessage *m)
{
    const NAME(ScaleWorkerRequest) *q = (const NAME(ScaleWorkerRequest) *)m;
    struct sc_call *c = call_of(g, q->model_name, sc_grpc_given(q->model_version));
    if (!*q->model_name) {
        sc_grpc_end(g, SC_GRPC_UNKNOWN, SC_SPAN(""));
        return;
    }
    give_int(g, "min_worker", q->min_worker);
    give_int(g, "max_worker", q->max_worker);
    give_bool(g, "synchronous", q->synchronous);
    go(c, sc_model_scale);
}

static void set_default(struct sc_grpc *g, const ProtobufCMessage *m)
{
    const NAME(SetDefaultRequest) *q = (const NAME(SetDefaultRequest) *)m;
    go(call_of(g, q->model_name, sc_span_str(q->model_version)), sc_model_set_default);
}

static void unregister_model(struct sc_grpc *g, const ProtobufCMessage *m)
{
    const NAME(UnregisterModelRequest) *q = (const NAME(UnregisterModelRequest) *)m;
    struct sc_call *c = call_of(g, q->model_name, sc_grpc_given(q->model_version));
    if (!may_change(g))
        return;
    if (*q->model_name)
        go(c, sc_model_unregister);
    else /* the words are TorchServe's */
        sc_grpc_refuse(c, 400, "BadRequestException", SC_SPAN("Parameter url is required."));
}

static const struct sc_grpc_method methods[] = {
    {.name = "DescribeModel", .request = &OF(describe_model_request), .run = describe_model},
    {.name = "ListModels", .request = &OF(list_models_request), .run = list_models},
    {.name = "RegisterModel", .request = &OF(register_model_request), .run = register_model},
    {.name = "ScaleWorker", .request = &OF(scale_worker_request), .run = scale_worker},
    {.name = "SetDefault", .request = &OF(set_default_request), .run = set_default},
    {.name = "UnregisterModel", .request = &OF(unregister_model_request), .run = unregister_model},
};

const struct sc_grpc_service sc_grpc_management = {
    .name = "org.pytorch.serve.grpc.management.ManagementAPIsService",
    .serves = SC_SERVES_MANAGEMENT,
    .methods = methods,
    .n = SC_COUNT(methods)};
