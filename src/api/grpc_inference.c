/* InferenceAPIsService: predictions, one by one, streamed, and of sequences (docs/contract.md §16.1). */
#include <stdio.h>

#include "api/grpc.h"
#include "api/respond.h"
#include <google/rpc/error_details.pb-c.h>
#include <inference.pb-c.h>

#define NAME(x) Org__Pytorch__Serve__Grpc__Inference__##x
#define OF(x) org__pytorch__serve__grpc__inference__##x##__descriptor
#define INIT(x) ORG__PYTORCH__SERVE__GRPC__INFERENCE__##x##__INIT

typedef NAME(PredictionsRequest) request_type;
typedef NAME(PredictionResponse) response_type;

#define NO_NAME "Parameter model_name is required."
#define BAD "BadRequestException.()"

static void ping(struct sc_grpc *g, const ProtobufCMessage *m)
{
    static char healthy[] = "{\n  \"status\": \"Healthy\"\n}",
                unhealthy[] = "{\n  \"status\": \"Unhealthy\"\n}";
    NAME(TorchServeHealthResponse) r = INIT(TORCH_SERVE_HEALTH_RESPONSE);
    (void)m;
    r.health = sc_engine_healthy(g->c->app->engine) ? healthy : unhealthy;
    sc_grpc_reply(g, &r.base);
}

/* ---- one request ---------------------------------------------------------------------------- */

static response_type response_of(struct sc_span body)
{
    response_type r = INIT(PREDICTION_RESPONSE);
    r.prediction = sc_pb_bytes(body);
    return r;
}

static int row(struct sc_call *c, const struct sc_row_route *route, struct sc_buf *meta, struct sc_msg *msg)
{
    return sc_row_of_parts(c->x->id, route, c->grpc->parts, c->grpc->nparts, meta, msg);
}

/* Predictions can tell no more than the first part. */
static void whole(struct sc_call *c, struct sc_span body)
{
    response_type r = response_of(body);
    sc_grpc_reply(c->grpc, &r.base);
}

static void some_part(struct sc_call *c, struct sc_span body)
{
    response_type r = response_of(body);
    (void)sc_grpc_send(c->grpc, &r.base);
}

static void last_part(struct sc_call *c, struct sc_span body)
{
    struct sc_grpc *g = c->grpc;
    sc_grpc_hold(g);
    some_part(c, body);
    sc_grpc_end(g, SC_GRPC_OK, SC_SPAN(""));
    sc_grpc_release(g);
}

static const struct sc_rpc unary = {sc_grpc_refuse, whole, whole, NULL, row},
                           streamed = {sc_grpc_refuse, some_part, last_part, NULL, row};

static bool find_parts(struct sc_grpc *g, const request_type *q)
{
    struct sc_row_part *parts = sc_pb_take(&g->arena, q->n_input * sizeof *parts + 1);
    g->parts = parts;
    g->nparts = q->n_input;
    for (size_t i = 0; parts && i < q->n_input; i++)
        parts[i] = (struct sc_row_part){sc_span_str(q->input[i]->key), sc_pb_span(q->input[i]->value)};
    return parts != NULL;
}

/* What a native model takes: one input. */
static struct sc_span the_input(const struct sc_grpc *g)
{
    static const char *const names[] = {"data", "body"};
    for (size_t k = 0; k < SC_COUNT(names); k++)
        for (size_t i = g->nparts; i-- > 0;)
            if (sc_span_eq(g->parts[i].name, sc_span_str(names[k])))
                return g->parts[i].data;
    return g->nparts ? g->parts[0].data : SC_SPAN("");
}

static void run(struct sc_call *c)
{
    const struct sc_grpc *g = c->grpc;
    if (sc_spec_is_native(sc_shard_spec(c->shard))) {
        struct sc_span one = the_input(g);
        sc_call_run_pieces(c, &one, 1);
        return;
    }
    struct sc_span *pieces = sc_pb_take(&c->grpc->arena, g->nparts * sizeof *pieces + 1);
    for (size_t i = 0; pieces && i < g->nparts; i++)
        pieces[i] = g->parts[i].data;
    if (pieces)
        sc_call_run_pieces(c, pieces, g->nparts);
    else
        sc_call_refuse(c, 507, "InternalServerException", SC_SPAN("there is no memory for the request"));
}

static void predict(struct sc_grpc *g, const ProtobufCMessage *m, const struct sc_rpc *rpc)
{
    const request_type *q = (const request_type *)m;
    struct sc_call *c = g->c;
    c->rpc = rpc;
    c->running = true;
    c->sequence = c->media_given = sc_span(NULL, 0);
    if (!*q->model_name)
        sc_grpc_end(g, SC_GRPC_INTERNAL, SC_SPAN(NO_NAME "\n" BAD));
    else if (!find_parts(g, q))
        sc_grpc_end(g, SC_GRPC_RESOURCE_EXHAUSTED, SC_SPAN("there is no memory for the request"));
    else if (sc_call_find(c, sc_span_str(q->model_name), sc_grpc_given(q->model_version)))
        run(c);
}

static void predictions(struct sc_grpc *g, const ProtobufCMessage *m)
{
    predict(g, m, &unary);
}

static void stream_predictions(struct sc_grpc *g, const ProtobufCMessage *m)
{
    predict(g, m, &streamed);
}

/* ---- sequences: many requests in one stream --------------------------------------------------- */

/* What is wrong with one request, while the others go on. */
static void tell(struct sc_grpc *g, enum sc_grpc_code code, const char *text, const char *reason)
{
    static char url[] = "type.googleapis.com/google.rpc.ErrorInfo";
    Google__Rpc__ErrorInfo info = GOOGLE__RPC__ERROR_INFO__INIT;
    Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT, *details = &any;
    Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;
    response_type r = INIT(PREDICTION_RESPONSE);
    struct sc_buf packed;
    info.reason = (char *)(uintptr_t)reason;
    sc_buf_init(&packed, 64 << 10);
    size_t n = google__rpc__error_info__get_packed_size(&info);
    if (sc_buf_reserve(&packed, n) == 0)
        packed.n = google__rpc__error_info__pack(&info, (uint8_t *)packed.p);
    any.type_url = url;
    any.value = sc_pb_bytes(sc_buf_view(&packed));
    status.code = (int32_t)code;
    status.message = (char *)(uintptr_t)text;
    status.details = &details;
    status.n_details = 1;
    r.status = &status;
    (void)sc_grpc_send(g, &r.base);
    sc_buf_free(&packed);
}

/* c is gone afterwards, and the RPC unless it is held. */
static void turn_over(struct sc_call *c)
{
    struct sc_grpc *g = c->grpc;
    sc_list_remove(&c->node);
    sc_call_del(c);
    if (g->closed && sc_list_empty(&g->open))
        sc_grpc_end(g, SC_GRPC_OK, SC_SPAN(""));
}

static void turn_refused(struct sc_call *c, int status, const char *type, struct sc_span message)
{
    struct sc_grpc *g = c->grpc;
    struct sc_buf text;
    sc_grpc_hold(g);
    if (c->span)
        c->span->refused = true;
    if (status) { /* else nobody waits */
        sc_buf_init(&text, 16 << 10);
        enum sc_grpc_code code =
            sc_grpc_error(SC_GRPC_OF_INFERENCE, status, type, sc_span_sub(message, 0, 8192), &text);
        sc_buf_char(&text, '\0');
        char *line = text.failed ? NULL : strrchr(text.p, '\n');
        if (line)
            *line++ = '\0';
        tell(g, code, text.failed ? "" : text.p, line ? line : "");
        sc_buf_free(&text);
    }
    turn_over(c);
    sc_grpc_release(g);
}

static void turn_answered(struct sc_call *c, struct sc_span body)
{
    struct sc_grpc *g = c->grpc;
    sc_grpc_hold(g);
    some_part(c, body);
    turn_over(c);
    sc_grpc_release(g);
}

/* The handler is told the sequence, and that it ends: always, as by TorchServe. */
static int turn_row(struct sc_call *c, const struct sc_row_route *route, struct sc_buf *meta,
                    struct sc_msg *msg)
{
    const struct sc_settings *set = c->app->settings;
    struct sc_row_route r = *route;
    char id[37];
    snprintf(id, sizeof id, "%.28s%08x", c->x->id, c->grpc->turns); /* each request has one of its own */
    if (r.nadded == 0) {
        r.added[0] = (struct sc_http_header){sc_span_str(set->sequence_id_header), c->sequence};
        r.added[1] = (struct sc_http_header){sc_span_str(set->sequence_end_header), SC_SPAN("true")};
        r.nadded = 2;
    }
    return sc_row_of_parts(id, &r, c->grpc->parts, c->grpc->nparts, meta, msg);
}

static const struct sc_rpc turn = {turn_refused, some_part, turn_answered, NULL, turn_row};

static bool asks_to_begin(const struct sc_grpc *g)
{
    const char *name = g->c->app->settings->sequence_start_header;
    for (size_t i = 0; i < g->nparts; i++)
        if (sc_span_eq(g->parts[i].name, sc_span_str(name)) &&
            sc_span_eq_nocase(g->parts[i].data, SC_SPAN("true")))
            return true;
    return false;
}

/* Runs it, or tells what is wrong with it. False: the stream cannot go on. */
static bool run_turn(struct sc_call *c, const request_type *q)
{
    struct sc_span model = sc_span_str(q->model_name), version = sc_grpc_given(q->model_version);
    int rc = sc_engine_find(c->app->engine, c->x->loop, model, version, &c->shard);
    if (rc < 0) {
        (void)sc_call_find(c, model, version);
        return rc != SC_ENOTFOUND;
    }
    c->versioned = version.p != NULL;
    if (sc_shard_spec(c->shard)->sequence_batching) {
        run(c);
        return true;
    }
    if (sc_shard_has_worker(c->shard))
        turn_over(c);
    else
        run(c); /* which tells so */
    return false;
}

static void next_turn(struct sc_grpc *g, const ProtobufCMessage *m)
{
    const request_type *q = (const request_type *)m;
    if (!find_parts(g, q)) {
        tell(g, SC_GRPC_RESOURCE_EXHAUSTED, "there is no memory for the request", "");
        return;
    }
    if (!*q->sequence_id && !asks_to_begin(g)) {
        tell(g, SC_GRPC_INTERNAL, "Parameter sequenceId is required.", BAD);
        return;
    }
    if (!*q->model_name) {
        tell(g, SC_GRPC_INTERNAL, NO_NAME, BAD);
        sc_grpc_end(g, SC_GRPC_UNKNOWN, SC_SPAN(""));
        return;
    }
    struct sc_call *c = sc_call_new(g->c->app, g->c->x);
    c->grpc = g;
    c->rpc = &turn;
    c->deadline_ns = g->c->deadline_ns;
    c->sequence = sc_grpc_given(q->sequence_id);
    c->media_given = sc_span(NULL, 0);
    sc_list_push_back(&g->open, &c->node);
    g->turns++;
    if (!run_turn(c, q))
        sc_grpc_end(g, SC_GRPC_UNKNOWN, SC_SPAN(""));
}

static void no_more_turns(struct sc_grpc *g)
{
    if (sc_list_empty(&g->open))
        sc_grpc_end(g, SC_GRPC_OK, SC_SPAN(""));
}

static void turns_gone(struct sc_grpc *g)
{
    sc_grpc_end(g, SC_GRPC_CANCELLED, SC_SPAN(""));
}

static const struct sc_grpc_method methods[] = {
    {.name = "Ping", .request = &google__protobuf__empty__descriptor, .run = ping},
    {.name = "Predictions", .request = &OF(predictions_request), .run = predictions},
    {.name = "StreamPredictions", .request = &OF(predictions_request), .run = stream_predictions},
    {.name = "StreamPredictions2",
     .request = &OF(predictions_request),
     .run = next_turn,
     .end = no_more_turns,
     .gone = turns_gone,
     .many = true},
};

const struct sc_grpc_service sc_grpc_inference = {.name =
                                                      "org.pytorch.serve.grpc.inference.InferenceAPIsService",
                                                  .serves = SC_SERVES_INFERENCE,
                                                  .methods = methods,
                                                  .n = SC_COUNT(methods)};
