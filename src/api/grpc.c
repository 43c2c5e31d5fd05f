#include "api/grpc.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/auth_http.h"
#include "base/alloc.h"

#define TEXT_MAX 4096
#define RESET_CANCEL 8 /* RFC 9113 §7 */
#define TYPE SC_SPAN("application/grpc")

static const struct sc_grpc_service *const services[] = {
    &sc_grpc_inference, &sc_grpc_management, &sc_grpc_open_inference,  &sc_grpc_kserve,
    &sc_grpc_health,    &sc_grpc_reflection, &sc_grpc_reflection_alpha};

const struct sc_grpc_service *sc_grpc_services(const struct sc_grpc *g, unsigned *at)
{
    while (*at < SC_COUNT(services)) {
        const struct sc_grpc_service *s = services[(*at)++];
        if (s->serves & g->c->app->serves[g->c->x->listener])
            return s;
    }
    return NULL;
}

/* "/package.Service/Method" */
static bool find(unsigned serves, struct sc_span path, const struct sc_grpc_service **service,
                 const struct sc_grpc_method **method)
{
    size_t slash = path.n ? sc_span_find(sc_span_sub(path, 1, path.n), '/') : 0;
    struct sc_span of = sc_span_sub(path, 1, slash), name = sc_span_sub(path, slash + 2, path.n);
    for (size_t i = 0; i < SC_COUNT(services); i++) {
        const struct sc_grpc_service *s = services[i];
        if (!sc_span_eq(of, sc_span_str(s->name)) || !(s->serves & serves))
            continue;
        for (unsigned k = 0; k < s->n; k++)
            if (sc_span_eq(name, sc_span_str(s->methods[k].name))) {
                *service = s;
                *method = &s->methods[k];
                return true;
            }
    }
    return false;
}

struct sc_span sc_grpc_given(const char *text)
{
    return *text ? sc_span_str(text) : sc_span(NULL, 0);
}

/* ---- life ------------------------------------------------------------------------------------ */

void sc_grpc_release(struct sc_grpc *g)
{
    if (--g->busy || !g->done)
        return;
    sc_grpc_reader_free(&g->in);
    sc_pb_free(&g->arena);
    sc_buf_free(&g->out);
    free(g);
}

void sc_grpc_done(struct sc_call *c)
{
    struct sc_grpc *g = c->grpc;
    g->over = g->done = true;
    sc_grpc_hold(g);
    sc_grpc_release(g);
}

/* ---- ends ------------------------------------------------------------------------------------ */

/* TorchServe's access line has the code in the place of a status. */
static void note_end(struct sc_http_exchange *x, int code)
{
    char room[256];
    struct sc_buf what = {.p = room, .cap = sizeof room, .max = sizeof room};
    struct sc_call *c = x->user;
    if (c && c->span)
        c->span->code = code;
    sc_buf_str(&what, "gRPC ");
    sc_buf_span(&what, sc_span_sub(x->req.path, 1, sizeof room - 32));
    sc_buf_str(&what, " HTTP/2.0");
    sc_http_access(x, sc_buf_view(&what), code);
}

static unsigned put_status(struct sc_http_header h[2], char digits[4], enum sc_grpc_code code,
                           struct sc_buf *encoded, struct sc_span text)
{
    int n = snprintf(digits, 4, "%d", (int)code);
    h[0] = (struct sc_http_header){SC_SPAN("grpc-status"), sc_span(digits, (size_t)n)};
    if (text.n == 0)
        return 1;
    sc_grpc_put_text(encoded, sc_span_sub(text, 0, TEXT_MAX));
    h[1] = (struct sc_http_header){SC_SPAN("grpc-message"), sc_buf_view(encoded)};
    return 2;
}

static void answer_status(struct sc_http_exchange *x, enum sc_grpc_code code, struct sc_span text,
                          const struct sc_http_header *more)
{
    struct sc_http_header h[3];
    struct sc_buf encoded;
    char digits[4];
    sc_buf_init(&encoded, 3 * TEXT_MAX);
    struct sc_http_response r = {.status = 200, .content_type = TYPE, .bare = true, .headers = h};
    r.nheaders = put_status(h, digits, code, &encoded, text);
    if (more)
        h[r.nheaders++] = *more;
    note_end(x, (int)code);
    sc_http_respond(x, &r);
    sc_buf_free(&encoded);
}

/* It is being ended: what runs for it is cancelled, and ends for nobody. A call whose answer is being told
 * has no job any more, and sees to itself. */
static void stop(struct sc_grpc *g)
{
    struct sc_node *n;
    g->over = true;
    if (g->method->over)
        g->method->over(g);
    if (g->c->job)
        sc_job_cancel(g->c->job);
    while ((n = sc_list_pop(&g->open))) {
        struct sc_call *c = SC_CONTAINER(n, struct sc_call, node);
        if (c->job)
            sc_job_cancel(c->job);
    }
}

void sc_grpc_end(struct sc_grpc *g, enum sc_grpc_code code, struct sc_span text)
{
    struct sc_http_exchange *x = g->c->x;
    struct sc_http_header h[2];
    struct sc_buf encoded;
    char digits[4];
    if (g->over)
        return;
    stop(g);
    if (!g->begun) {
        answer_status(x, code, text, NULL);
        return;
    }
    sc_buf_init(&encoded, 3 * TEXT_MAX);
    unsigned n = put_status(h, digits, code, &encoded, text);
    note_end(x, (int)code);
    sc_http_stream_finish(x, h, n);
    sc_buf_free(&encoded);
}

void sc_grpc_endf(struct sc_grpc *g, enum sc_grpc_code code, const char *fmt, ...)
{
    char text[TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    sc_grpc_end(g, code, sc_span(text, n < 0 ? 0 : SC_MIN((size_t)n, sizeof text - 1)));
}

/* The message in g->out; false: it cannot be. */
static bool pack(struct sc_grpc *g, const ProtobufCMessage *m)
{
    sc_buf_clear(&g->out);
    sc_pb_put_frame(&g->out, m);
    if (!g->out.failed)
        return true;
    sc_grpc_end(g, SC_GRPC_RESOURCE_EXHAUSTED, SC_SPAN("there is no memory for the answer"));
    return false;
}

void sc_grpc_reply_frame(struct sc_grpc *g, struct sc_span frame)
{
    static const struct sc_http_header ok = {{"grpc-status", 11}, {"0", 1}};
    struct sc_http_exchange *x = g->c->x;
    if (g->over)
        return;
    stop(g);
    struct sc_http_response r = {
        .status = 200, .content_type = TYPE, .bare = true, .body = frame, .trailers = &ok, .ntrailers = 1};
    note_end(x, SC_GRPC_OK);
    sc_grpc_hold(g); /* the body may lie in it */
    sc_http_respond(x, &r);
    sc_grpc_release(g);
}

void sc_grpc_reply(struct sc_grpc *g, const ProtobufCMessage *m)
{
    if (!g->over && pack(g, m))
        sc_grpc_reply_frame(g, sc_buf_view(&g->out));
}

bool sc_grpc_send(struct sc_grpc *g, const ProtobufCMessage *m)
{
    struct sc_http_exchange *x = g->c->x;
    if (g->over || !pack(g, m))
        return false;
    if (!g->begun) {
        struct sc_http_response head = {.status = 200, .content_type = TYPE, .bare = true};
        g->begun = true;
        sc_http_stream_begin(x, &head, NULL);
    }
    int rc = sc_http_stream_chunk(x, sc_buf_view(&g->out));
    if (rc == SC_ELIMIT)
        sc_grpc_endf(g, SC_GRPC_RESOURCE_EXHAUSTED,
                     "the stream is read too slowly: %u bytes wait for its client", SC_CONN_STREAM_BYTES);
    return rc == 0;
}

/* ---- errors of TorchServe -------------------------------------------------------------------- */

#define BY_STATUS 0xff
#define ARCHIVE "org.pytorch.serve.archive."
#define HTTP "org.pytorch.serve.http."

/* What stands in a description's second line, and the code: for predictions and for models. */
static const struct {
    const char *type, *line;
    uint8_t predictions, models;
} errors[] = {
    {"InternalServerException", HTTP "InternalServerException", BY_STATUS, SC_GRPC_INTERNAL},
    {"ServiceUnavailableException", "InternalServerException.()", SC_GRPC_INTERNAL, SC_GRPC_INTERNAL},
    {"ModelNotFoundException", ARCHIVE "model.ModelNotFoundException", SC_GRPC_INTERNAL, SC_GRPC_NOT_FOUND},
    {"ModelVersionNotFoundException", ARCHIVE "model.ModelVersionNotFoundException", SC_GRPC_INTERNAL,
     SC_GRPC_NOT_FOUND},
    {"BadRequestException", HTTP "BadRequestException", BY_STATUS, SC_GRPC_INVALID_ARGUMENT},
    {"InvalidModelException", ARCHIVE "model.InvalidModelException", BY_STATUS, SC_GRPC_INVALID_ARGUMENT},
    {"ModelException", ARCHIVE "model.ModelException", BY_STATUS, SC_GRPC_INVALID_ARGUMENT},
    {"DownloadArchiveException", ARCHIVE "DownloadArchiveException", BY_STATUS, SC_GRPC_INVALID_ARGUMENT},
    {"WorkerInitializationException", "org.pytorch.serve.wlm.WorkerInitializationException", BY_STATUS,
     SC_GRPC_INTERNAL},
    /* TorchServe never answers: its client sees that its own time is over. */
    {"RequestTimeoutException", NULL, SC_GRPC_DEADLINE_EXCEEDED, SC_GRPC_UNKNOWN},
    /* Exceptions that it does not catch. */
    {"ConflictStatusException", NULL, SC_GRPC_UNKNOWN, SC_GRPC_UNKNOWN},
    {"InvalidModelVersionException", NULL, SC_GRPC_UNKNOWN, SC_GRPC_UNKNOWN},
};

enum sc_grpc_code sc_grpc_error(enum sc_grpc_errors how, int status, const char *type, struct sc_span message,
                                struct sc_buf *text)
{
    size_t i = 0;
    while (i < SC_COUNT(errors) && strcmp(errors[i].type, type) != 0)
        i++;
    unsigned code = i == SC_COUNT(errors)          ? BY_STATUS
                    : how == SC_GRPC_OF_MANAGEMENT ? errors[i].models
                                                   : errors[i].predictions;
    if (how == SC_GRPC_PLAIN) {
        sc_buf_span(text, message);
        return strcmp(type, "RequestTimeoutException") == 0 ? SC_GRPC_DEADLINE_EXCEEDED
                                                            : sc_grpc_code_of_http(status);
    }
    if (how == SC_GRPC_OF_DESCRIPTION && status == 503 && strcmp(type, "ServiceUnavailableException") == 0) {
        sc_buf_str(text, "InternalServerException.()\n" HTTP "InternalServerException");
        return SC_GRPC_INTERNAL;
    }
    sc_buf_span(text, message);
    if (i < SC_COUNT(errors) && errors[i].line) {
        sc_buf_char(text, '\n');
        sc_buf_str(text, errors[i].line);
    }
    return code == BY_STATUS ? sc_grpc_code_of_http(status) : (enum sc_grpc_code)code;
}

void sc_grpc_refuse(struct sc_call *c, int status, const char *type, struct sc_span message)
{
    struct sc_grpc *g = c->grpc;
    struct sc_buf text;
    if (status == 0) { /* nobody waits */
        sc_grpc_end(g, SC_GRPC_CANCELLED, SC_SPAN(""));
        return;
    }
    sc_buf_init(&text, 2 * TEXT_MAX);
    enum sc_grpc_code code = sc_grpc_error(g->errors, status, type, sc_span_sub(message, 0, TEXT_MAX), &text);
    sc_grpc_end(g, code, sc_buf_view(&text));
    sc_buf_free(&text);
}

/* ---- the request ----------------------------------------------------------------------------- */

/* The stream cannot be read any further. Like TorchServe's, but for what it cannot say then. */
static void broken(struct sc_grpc *g, int rc)
{
    if (rc == SC_ENOMEM) {
        sc_grpc_end(g, SC_GRPC_RESOURCE_EXHAUSTED, sc_span_str(g->in.problem));
        return;
    }
    stop(g);
    note_end(g->c->x, SC_GRPC_CANCELLED);
    sc_http_reset(g->c->x, RESET_CANCEL);
}

static void take(struct sc_grpc *g, struct sc_span message)
{
    if (g->request && !g->method->many) {
        sc_grpc_end(g, SC_GRPC_INTERNAL, SC_SPAN("Too many requests"));
        return;
    }
    const ProtobufCMessage *m = sc_pb_unpack(&g->arena, g->method->request, message);
    if (!m)
        sc_grpc_end(g, SC_GRPC_UNKNOWN, SC_SPAN("")); /* as grpc-java */
    else if (!g->method->many)
        g->request = m;
    else
        g->method->run(g, m);
    if (g->method->many)
        sc_pb_free(&g->arena);
}

static void on_data(struct sc_http_exchange *x, struct sc_span data)
{
    struct sc_call *c = x->user;
    struct sc_grpc *g = c->grpc;
    struct sc_span message;
    size_t n = data.n;
    int rc = 0;
    sc_grpc_hold(g);
    while (!g->over && (rc = sc_grpc_read(&g->in, &data, &message)) == 1)
        take(g, message);
    if (!g->over && rc < 0)
        broken(g, rc);
    if (!g->done)
        sc_http_consumed(x, n);
    sc_grpc_release(g);
}

static void on_end(struct sc_call *c)
{
    struct sc_grpc *g = c->grpc;
    g->closed = true;
    sc_grpc_hold(g);
    if (g->over)
        ;
    else if (!sc_grpc_reader_idle(&g->in))
        broken(g, SC_EINVAL);
    else if (g->method->many)
        g->method->end(g);
    else if (g->request)
        g->method->run(g, g->request);
    else
        sc_grpc_end(g, SC_GRPC_INTERNAL, SC_SPAN("Half-closed without a request"));
    sc_grpc_release(g);
}

void sc_grpc_gone(struct sc_call *c)
{
    struct sc_grpc *g = c->grpc;
    if (g->over)
        return;
    if (g->method->gone)
        g->method->gone(g);
    else if (c->job)
        sc_job_cancel(c->job); /* which answers, for nobody */
    else if (!c->running)
        sc_grpc_end(g, SC_GRPC_CANCELLED, SC_SPAN("")); /* else a management route is at work */
}

/* What no gRPC client sends. */
static void answer_http(struct sc_http_exchange *x, int status, const char *begin, struct sc_span what,
                        const char *end)
{
    char text[512], digits[4];
    struct sc_http_header h[2];
    struct sc_buf encoded;
    int n =
        snprintf(text, sizeof text, "%s%.*s%s", begin, (int)SC_MIN(what.n, 300u), what.p ? what.p : "", end);
    sc_buf_init(&encoded, 3 * sizeof text);
    struct sc_http_response r = {.status = status,
                                 .content_type = SC_SPAN("text/plain; charset=utf-8"),
                                 .bare = true,
                                 .headers = h,
                                 .body = sc_span(text, SC_MIN((size_t)n, sizeof text - 1))};
    r.nheaders = put_status(h, digits, SC_GRPC_INTERNAL, &encoded, r.body);
    sc_http_respond(x, &r);
    sc_buf_free(&encoded);
}

static bool is_grpc(struct sc_span type)
{
    return sc_span_starts(type, TYPE) && (type.n == TYPE.n || type.p[TYPE.n] == '+' || type.p[TYPE.n] == ';');
}

static bool has_key(const struct sc_app *app, const struct sc_http_exchange *x,
                    const struct sc_grpc_service *s)
{
    return !app->auth || s->keyless ||
           sc_auth_admits_rpc(app, s->serves & SC_SERVES_MANAGEMENT ? SC_AUTH_MANAGEMENT : SC_AUTH_INFERENCE,
                              x);
}

void sc_grpc_request(struct sc_app *app, struct sc_http_exchange *x, unsigned serves)
{
    static const struct sc_http_header codings = {{"grpc-accept-encoding", 20},
                                                  {SC_GRPC_CODINGS, sizeof SC_GRPC_CODINGS - 1}};
    const struct sc_grpc_service *service;
    const struct sc_grpc_method *method;
    struct sc_span type = sc_http_header_get(&x->req, SC_SPAN("content-type")),
                   encoding = sc_http_header_get(&x->req, SC_SPAN("grpc-encoding")), path = x->req.path;
    enum sc_grpc_coding coding;
    char text[TEXT_MAX];
    int64_t ns;
    x->quiet = true;
    if (!sc_span_eq(x->req.method, SC_SPAN("POST"))) {
        answer_http(x, 405, "Method '", x->req.method, "' is not supported");
    } else if (!is_grpc(type)) {
        answer_http(x, 415, type.p ? "Content-Type '" : "Content-Type is missing from the request", type,
                    type.p ? "' is not supported" : "");
    } else if (!find(serves, path, &service, &method)) {
        int n = snprintf(text, sizeof text, "Method not found: %.*s", (int)SC_MIN(path.n - !!path.n, 2000u),
                         path.p + !!path.n);
        answer_status(x, SC_GRPC_UNIMPLEMENTED, sc_span(text, (size_t)n), NULL);
    } else if (!has_key(app, x, service)) {
        answer_status(x, SC_GRPC_PERMISSION_DENIED, SC_SPAN(SC_AUTH_REFUSED), NULL);
    } else if (sc_grpc_coding(encoding, &coding) < 0) {
        int n = snprintf(text, sizeof text, "Can't find decompressor for %.*s", (int)SC_MIN(encoding.n, 200u),
                         encoding.p);
        answer_status(x, SC_GRPC_UNIMPLEMENTED, sc_span(text, (size_t)n), &codings);
    } else {
        struct sc_grpc *g = sc_alloc(sizeof *g);
        struct sc_call *c = x->user = sc_call_new(app, x);
        g->c = c;
        g->service = service;
        g->method = method;
        sc_list_init(&g->open);
        sc_buf_init(&g->out, (size_t)UINT32_MAX + SC_GRPC_HEAD);
        sc_grpc_reader_init(&g->in, coding, app->settings->max_request_size);
        c->grpc = g;
        c->route = on_end;
        if (sc_grpc_timeout(sc_http_header_get(&x->req, SC_SPAN("grpc-timeout")), &ns) == 0)
            c->deadline_ns = x->start_ns + ns;
        x->on_data = on_data;
    }
}
