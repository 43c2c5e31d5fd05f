/*
 * GRPCInferenceService, the open inference protocol, in two packages: TorchServe's, which answers as
 * TorchServe where models are handlers, and the standard one, which answers as REST does (v2_infer.c,
 * v2_server.c). Native models take and give tensors in both.
 */
#include <stdlib.h>

#include "api/describe.h"
#include "api/grpc.h"
#include "api/kserve.h"
#include "api/v2_message.h"

#define NAME(x) Inference__##x
#define INIT(x) INFERENCE__##x##__INIT
#define OF(x) inference__##x##__descriptor

static bool as_torchserve(const struct sc_grpc *g)
{
    return g->service == &sc_grpc_open_inference;
}

/* ---- the server --------------------------------------------------------------------------------------- */

static void server_live(struct sc_grpc *g, const ProtobufCMessage *m)
{
    NAME(ServerLiveResponse) r = INIT(SERVER_LIVE_RESPONSE);
    (void)m;
    r.live = true;
    sc_grpc_reply(g, &r.base);
}

static void server_ready(struct sc_grpc *g, const ProtobufCMessage *m)
{
    NAME(ServerReadyResponse) r = INIT(SERVER_READY_RESPONSE);
    (void)m;
    r.ready = as_torchserve(g) || sc_engine_healthy(g->c->app->engine);
    sc_grpc_reply(g, &r.base);
}

static void server_metadata(struct sc_grpc *g, const ProtobufCMessage *m)
{
    NAME(ServerMetadataResponse) r = INIT(SERVER_METADATA_RESPONSE);
    struct sc_v2_identity us = sc_v2_identity(g->c->app);
    (void)m;
    if (as_torchserve(g)) {
        sc_grpc_endf(g, SC_GRPC_UNIMPLEMENTED, "Method %s/%s is unimplemented", g->service->name,
                     g->method->name);
        return;
    }
    r.name = (char *)(uintptr_t)us.name;
    r.version = (char *)(uintptr_t)us.version;
    r.extensions = (char **)(uintptr_t)us.extensions;
    while (us.extensions[r.n_extensions])
        r.n_extensions++;
    sc_grpc_reply(g, &r.base);
}

/* ---- models ------------------------------------------------------------------------------------------- */

/* Of answers that loop 0 has made, framed. */
static void finish(struct sc_call *c)
{
    if (c->type)
        sc_grpc_refuse(c, c->status, c->type, sc_buf_view(&c->out));
    else if (c->out.failed)
        sc_grpc_end(c->grpc, SC_GRPC_RESOURCE_EXHAUSTED, SC_SPAN("the answer is too large"));
    else
        sc_grpc_reply_frame(c->grpc, sc_buf_view(&c->out));
}

/* The call as REST would have it; NULL: answered, no model was named. `field`: where its name should be. */
static struct sc_call *call_of(struct sc_grpc *g, const char *model, const char *field,
                               enum sc_grpc_errors errors, const struct sc_rpc *rpc)
{
    static const struct sc_family family = {NULL, NULL}; /* errors and answers are rpc's */
    struct sc_call *c = g->c;
    bool ts = as_torchserve(g);
    g->errors = ts ? errors : SC_GRPC_PLAIN;
    c->rpc = rpc;
    c->family = &family;
    c->running = true;
    c->sequence = c->media_given = sc_span(NULL, 0);
    if (*model)
        return c;
    sc_grpc_endf(g, ts ? SC_GRPC_INTERNAL : SC_GRPC_INVALID_ARGUMENT, "Parameter %s is required.%s", field,
                 ts ? "\nBadRequestException.()" : "");
    return NULL;
}

static void tell_ready(struct sc_call *c)
{
    const NAME(ModelReadyRequest) *q = (const NAME(ModelReadyRequest) *)c->grpc->request;
    NAME(ModelReadyResponse) r = INIT(MODEL_READY_RESPONSE);
    struct sc_span name = sc_span_str(q->name), version = sc_grpc_given(q->version);
    struct sc_v2_seen seen = sc_v2_look(c->app, name, version);
    if (!seen.found) {
        sc_call_no_model(c, seen.known ? SC_EINVAL : SC_ENOTFOUND, name, version);
        return;
    }
    r.ready = as_torchserve(c->grpc) ? seen.all_ready : seen.ready;
    sc_pb_put_frame(&c->out, &r.base);
    sc_call_finish(c);
}

static void model_ready(struct sc_grpc *g, const ProtobufCMessage *m)
{
    static const struct sc_rpc rpc = {sc_grpc_refuse, NULL, NULL, finish, NULL};
    const NAME(ModelReadyRequest) *q = (const NAME(ModelReadyRequest) *)m;
    struct sc_call *c = call_of(g, q->name, "name", SC_GRPC_OF_MANAGEMENT, &rpc);
    if (!c)
        return;
    c->on_zero = tell_ready;
    sc_call_to_loop_zero(c);
}

/* ---- a model's tensors: what the backend says, then, on loop 0, what the registry does ------------------
 */

struct telling {
    struct sc_buf *out;
    struct sc_span version; /* NULL pointer: all */
    bool known;
};

static void put_version(void *arg, const struct sc_version_view *v)
{
    struct telling *t = arg;
    NAME(ModelMetadataResponse) r = INIT(MODEL_METADATA_RESPONSE);
    char *version = (char *)(uintptr_t)v->spec->version;
    t->known = true;
    if (t->version.p && !sc_span_eq(t->version, sc_span_str(version)))
        return;
    r.versions = &version;
    r.n_versions = 1;
    sc_pb_put(t->out, &r.base);
}

static void put_tensor(struct sc_buf *out, const struct sc_tensor *t)
{
    NAME(ModelMetadataResponse) r = INIT(MODEL_METADATA_RESPONSE);
    NAME(ModelMetadataResponse__TensorMetadata)
    one = INIT(MODEL_METADATA_RESPONSE__TENSOR_METADATA), *list = &one;
    int64_t shape[SC_TENSOR_RANK_MAX];
    memcpy(shape, t->shape, sizeof shape);
    one.name = sc_span_dup(t->name); /* NULL is as empty */
    one.datatype = (char *)(uintptr_t)sc_datatype_name(t->type);
    one.shape = shape;
    one.n_shape = t->rank;
    if (t->kind == SC_TENSOR_INPUT) {
        r.inputs = &list;
        r.n_inputs = 1;
    } else {
        r.outputs = &list;
        r.n_outputs = 1;
    }
    sc_pb_put(out, &r.base);
    free(one.name);
}

static void tell_metadata(struct sc_call *c)
{
    const NAME(ModelMetadataRequest) *q = (const NAME(ModelMetadataRequest) *)c->grpc->request;
    const struct sc_model_spec *s = sc_shard_spec(c->shard);
    NAME(ModelMetadataResponse) r = INIT(MODEL_METADATA_RESPONSE);
    bool ts = as_torchserve(c->grpc), native = sc_spec_is_native(s);
    struct sc_span name = sc_span_str(q->name), version = sc_grpc_given(q->version);
    struct telling t = {.out = &c->out, .version = ts ? sc_span(NULL, 0) : version};
    struct sc_tensor tensor;
    size_t begun = sc_pb_begin_frame(&c->out), at = 0;
    r.name = q->name;
    if (native)
        r.platform = (char *)(uintptr_t)s->backend;
    else if (!ts)
        r.platform = (char *)(uintptr_t)s->runtime;
    sc_pb_put(&c->out, &r.base);
    sc_engine_each(c->app->engine, name, put_version, &t);
    while (sc_tensor_read(sc_buf_view(&c->told), &at, &tensor) == 1)
        put_tensor(&c->out, &tensor);
    sc_pb_end_frame(&c->out, begun);
    if (t.known) {
        sc_call_finish(c);
    } else { /* gone since it was found */
        sc_buf_clear(&c->out);
        sc_call_no_model(c, SC_ENOTFOUND, name, version);
    }
}

/* No backend sends this in parts. */
static void metadata_part(struct sc_call *c, struct sc_span body)
{
    (void)body;
    sc_call_refuse(c, 500, "InternalServerException", SC_SPAN("the backend's metadata is malformed"));
}

static void model_metadata(struct sc_grpc *g, const ProtobufCMessage *m)
{
    static const struct sc_rpc rpc = {sc_grpc_refuse, metadata_part, sc_v2_told, finish, NULL};
    const NAME(ModelMetadataRequest) *q = (const NAME(ModelMetadataRequest) *)m;
    const char *field = as_torchserve(g) ? "model_name" : "name";
    struct sc_call *c = call_of(g, q->name, field, SC_GRPC_OF_MANAGEMENT, &rpc);
    if (!c || !sc_call_find(c, sc_span_str(q->name), sc_grpc_given(q->version)))
        return;
    c->on_zero = tell_metadata;
    sc_v2_ask(c);
}

/* ---- what there is ------------------------------------------------------------------------------------- */

static void put_entry(void *arg, const struct sc_version_view *v)
{
    struct sc_call *c = arg;
    NAME(RepositoryIndexResponse) r = INIT(REPOSITORY_INDEX_RESPONSE);
    NAME(RepositoryIndexResponse__ModelIndex)
    one = INIT(REPOSITORY_INDEX_RESPONSE__MODEL_INDEX), *list = &one;
    bool ready = sc_v2_ready_workers(v) > 0;
    if (!ready && ((const NAME(RepositoryIndexRequest) *)c->grpc->request)->ready)
        return;
    one.name = (char *)(uintptr_t)v->spec->name;
    one.version = (char *)(uintptr_t)v->spec->version;
    one.state = (char *)(uintptr_t)sc_v2_state(ready);
    one.reason = (char *)(uintptr_t)sc_v2_reason(ready);
    r.models = &list;
    r.n_models = 1;
    sc_pb_put(&c->out, &r.base);
}

static void tell_index(struct sc_call *c)
{
    size_t begun = sc_pb_begin_frame(&c->out);
    sc_engine_each(c->app->engine, sc_span(NULL, 0), put_entry, c);
    sc_pb_end_frame(&c->out, begun);
    sc_call_finish(c);
}

static void repository_index(struct sc_grpc *g, const ProtobufCMessage *m)
{
    static const struct sc_rpc rpc = {sc_grpc_refuse, NULL, NULL, finish, NULL};
    struct sc_call *c = call_of(g, "all", "", SC_GRPC_PLAIN, &rpc);
    (void)m;
    c->on_zero = tell_index;
    sc_call_to_loop_zero(c);
}

/* ---- inference ---------------------------------------------------------------------------------------- */

static int row(struct sc_call *c, const struct sc_row_route *route, struct sc_buf *meta, struct sc_msg *msg)
{
    (void)msg;
    sc_row_of_json(c->x->id, route, meta);
    return meta->failed;
}

/* What a native model or a handler has answered, framed in c->out. */
static int make_answer(struct sc_call *c, struct sc_span body, struct sc_msg *msg)
{
    const struct sc_model_spec *s = sc_shard_spec(c->shard);
    struct sc_span model = sc_span_str(s->name), version = sc_span_str(s->version);
    bool ts = as_torchserve(c->grpc);
    struct sc_v2_wants *said = NULL;
    struct sc_buf block;
    if (sc_spec_is_native(s))
        return sc_v2_write_message(body, c->v2, model, version, &c->out, msg);
    sc_buf_init(&block, SC_V2_ANSWER_BYTES);
    int rc = sc_v2_read_answer(body, ts, &block, &said, msg);
    if (rc == 0)
        rc = ts ? sc_v2_write_message(sc_buf_view(&block), said, said->model, said->version, &c->out, msg)
                : sc_v2_write_message(sc_buf_view(&block), c->v2, model, version, &c->out, msg);
    sc_buf_free(&block);
    sc_v2_wants_del(said);
    return rc;
}

/* Of a stream the first part alone: the protocol has no place for more. */
static void answer(struct sc_call *c, struct sc_span body)
{
    struct sc_msg msg = {"there is no memory for the answer"};
    struct sc_buf copy; /* the worker may still write to its own memory: a copy stays as it was checked */
    sc_buf_init(&copy, body.n + 1);
    sc_buf_span(&copy, body);
    c->out.max = SC_V2_ANSWER_BYTES;
    int rc = copy.failed ? copy.failed : make_answer(c, sc_buf_view(&copy), &msg);
    sc_buf_free(&copy);
    if (rc == SC_ENOTFOUND)
        sc_call_refuse(c, 400, "BadRequestException", sc_span_str(msg.text));
    else if (rc < 0)
        sc_call_refuse(c, rc == SC_ENOMEM || rc == SC_ELIMIT ? 413 : 500, "InternalServerException",
                       sc_span_str(msg.text));
    else
        sc_grpc_reply_frame(c->grpc, sc_buf_view(&c->out));
}

static void run(struct sc_call *c, const sc_infer_request *q)
{
    struct sc_msg msg = {"there is no memory for the request"};
    bool native = sc_spec_is_native(sc_shard_spec(c->shard));
    unsigned have = sc_shard_interfaces(c->shard);
    struct sc_buf block, text;
    int rc;
    /* The densest message has a byte for an element of eight. */
    sc_buf_init(&block, 8 * (size_t)c->app->settings->max_request_size + (1u << 20));
    sc_buf_init(&text, SC_V2_ANSWER_BYTES);
    c->interface = SC_KSERVE_INFER;
    if (native && have && !(have & 1u << SC_KSERVE_INFER))
        rc = sc_fail(&msg, SC_EINVAL, "The model takes no tensors: call Predictions with what it takes");
    else if (!native && as_torchserve(c->grpc))
        rc = sc_v2_write_torchserve(q, &text);
    else
        rc = sc_v2_read_message(q, &block, &c->v2, &msg);
    if (rc == 0 && c->v2 && !native)
        rc = sc_v2_write_request(sc_buf_view(&block), c->v2, &text, &msg);
    if (rc < 0)
        sc_call_refuse(c, rc == SC_ENOMEM ? 413 : 400, "BadRequestException", sc_span_str(msg.text));
    else
        sc_call_run_on(c, sc_buf_view(native ? &block : &text));
    sc_buf_free(&block);
    sc_buf_free(&text);
}

static void model_infer(struct sc_grpc *g, const ProtobufCMessage *m)
{
    static const struct sc_rpc rpc = {sc_grpc_refuse, answer, answer, NULL, row};
    const sc_infer_request *q = (const sc_infer_request *)m;
    struct sc_call *c = call_of(g, q->model_name, "model_name", SC_GRPC_OF_INFERENCE, &rpc);
    if (c && sc_call_find(c, sc_span_str(q->model_name), sc_grpc_given(q->model_version)))
        run(c, q);
}

static const struct sc_grpc_method methods[] = {
    {.name = "ServerLive", .request = &OF(server_live_request), .run = server_live},
    {.name = "ServerReady", .request = &OF(server_ready_request), .run = server_ready},
    {.name = "ModelReady", .request = &OF(model_ready_request), .run = model_ready},
    {.name = "ServerMetadata", .request = &OF(server_metadata_request), .run = server_metadata},
    {.name = "ModelMetadata", .request = &OF(model_metadata_request), .run = model_metadata},
    {.name = "ModelInfer", .request = &OF(model_infer_request), .run = model_infer},
    /* of the standard package alone: */
    {.name = "RepositoryIndex", .request = &OF(repository_index_request), .run = repository_index},
};

const struct sc_grpc_service sc_grpc_open_inference = {
    .name = "org.pytorch.serve.grpc.openinference.GRPCInferenceService",
    .serves = SC_SERVES_OIP,
    .methods = methods,
    .n = SC_COUNT(methods) - 1};
const struct sc_grpc_service sc_grpc_kserve = {.name = "inference.GRPCInferenceService",
                                               .serves = SC_SERVES_OIP,
                                               .methods = methods,
                                               .n = SC_COUNT(methods)};
