#include "api/description.h"

#include <stdlib.h>

#include "api/respond.h"
#include "api/routes.h"
#include "proto/json_write.h"

#define W struct sc_json_writer *w

/* ---- words ------------------------------------------------------------------------------------------- */

/* Parameters of paths and queries. A default stands in the route, since calls differ in it. */
static const struct param {
    const char *name, *type, *says;
} params[] = {
    {"model_name", "string", "Name of model."},
    {"model_version", "string", "Version of model."},
    {"workflow_name", "string", "Name of workflow."},
    {"limit", "integer", "Most models of one answer, 1 to 100."},
    {"next_page_token", "string", "What the answer before had as nextPageToken."},
    {"url", "string", "Archive or folder in the model store, or a URL that allowed_urls has."},
    {"handler", "string", "Entry point, in place of the manifest's."},
    {"runtime", "string", "Runtime, in place of the manifest's: python, python3 or LSP."},
    {"batch_size", "integer", "Requests of one batch, at most."},
    {"max_batch_delay", "integer", "Milliseconds that a batch waits to be filled, at most."},
    {"response_timeout", "integer", "Seconds for a worker to answer."},
    {"startup_timeout", "integer", "Seconds for a worker to load the model."},
    {"initial_workers", "integer", "Workers that are started."},
    {"synchronous", "boolean", "Answer when the workers have started."},
    {"s3_sse_kms", "boolean", "The archive is encrypted with S3's SSE-KMS."},
    {"min_worker", "integer", "Workers, at least."},
    {"max_worker", "integer", "Workers, at most."},
    {"number_gpu", "integer", "Workers on GPUs; ignored."},
    {"timeout", "integer", "Ignored."},
    {"customized", "boolean", "The handler is asked for a description, too."},
    {"type", "string", "Whose key: management or inference."},
    {"name[]", "string", "A metric's name; only those that are named."},
};

static const struct {
    const char *code, *says, *schema;
} codes[] = {
    {"202", "Accepted", "Status"},
    {"210", "Partial Success", "Status"},
    {"400", "Bad request", "Error"},
    {"404", "Not found", "Error"},
    {"408", "Request Timeout Error", "Error"},
    {"409", "Model already registered", "Error"},
    {"500", "Internal Server Error", "Error"},
    {"501", "Not Implemented", "Error"},
    {"503", "No worker is available to serve request", "Error"},
};

/* ---- pieces ------------------------------------------------------------------------------------------ */

static void object(W, const char *key)
{
    sc_json_key(w, key);
    sc_json_begin_object(w);
}

/* "content" of one type, whose schema is written next; two objects to end. */
static void begin_content(W, const char *media)
{
    object(w, "content");
    object(w, media);
    sc_json_key(w, "schema");
}

static void end_content(W)
{
    sc_json_end_object(w);
    sc_json_end_object(w);
}

/* {"type": ...}, of which format or items follow from the type. */
static void schema(W, const char *type, const char *format)
{
    sc_json_begin_object(w);
    sc_json_put_str(w, "type", type);
    if (format)
        sc_json_put_str(w, "format", format);
    if (strcmp(type, "array") == 0) {
        sc_json_key(w, "items");
        schema(w, "object", NULL);
    }
    sc_json_end_object(w);
}

static void reference(W, const char *name)
{
    struct sc_buf path;
    sc_buf_init(&path, 128);
    sc_buf_printf(&path, "#/components/schemas/%s", name);
    sc_json_begin_object(w);
    sc_json_put_string(w, "$ref", sc_buf_view(&path));
    sc_json_end_object(w);
    sc_buf_free(&path);
}

static void property(W, const char *name, const char *type)
{
    sc_json_key(w, name);
    schema(w, type, NULL);
}

/* What routes refer to. A message may be missing, as with an exception that has none. */
static void components(W)
{
    object(w, "components");
    object(w, "schemas");
    object(w, "Error");
    sc_json_put_str(w, "type", "object");
    sc_json_key(w, "required");
    sc_json_raw(w, SC_SPAN("[\"code\", \"type\"]"));
    object(w, "properties");
    property(w, "code", "integer");
    property(w, "type", "string");
    property(w, "message", "string");
    sc_json_end_object(w);
    sc_json_end_object(w);
    object(w, "Status");
    sc_json_put_str(w, "type", "object");
    sc_json_key(w, "required");
    sc_json_raw(w, SC_SPAN("[\"status\"]"));
    object(w, "properties");
    property(w, "status", "string");
    sc_json_end_object(w);
    sc_json_end_object(w);
    sc_json_end_object(w);
    sc_json_end_object(w);
}

static void begin_document(W, struct sc_buf *b, struct sc_span title, const char *says, const char *version)
{
    sc_buf_init(b, SC_DESCRIPTION_BYTES);
    sc_json_write_init(w, b, false);
    sc_json_begin_object(w);
    sc_json_put_str(w, "openapi", "3.0.1");
    object(w, "info");
    sc_json_put_string(w, "title", title);
    if (says)
        sc_json_put_str(w, "description", says);
    sc_json_put_str(w, "version", version);
    sc_json_end_object(w);
    object(w, "paths");
}

static void end_document(struct sc_call *c, W, struct sc_buf *b)
{
    sc_json_end_object(w);
    components(w);
    sc_json_end_object(w);
    sc_respond_json(c->x, 200, w, b);
}

/* ---- an operation ------------------------------------------------------------------------------------ */

/* One parameter: NAME, NAME=DEFAULT or NAME!. */
static void put_param(W, const char *in, struct sc_span token)
{
    size_t n = SC_MIN(sc_span_find(token, '='), sc_span_find(token, '!'));
    struct sc_span name = sc_span_sub(token, 0, n), fallback = {NULL, 0};
    const struct param plain = {"", "string", "See the documentation."}, *p = &plain;
    bool required = in[0] == 'p' || (n < token.n && token.p[n] == '!');
    for (size_t i = 0; i < SC_COUNT(params); i++)
        if (sc_span_eq(name, sc_span_str(params[i].name)))
            p = &params[i];
    if (n < token.n && token.p[n] == '=')
        fallback = sc_span_sub(token, n + 1, token.n);
    sc_json_begin_object(w);
    sc_json_put_str(w, "in", in);
    sc_json_put_string(w, "name", name);
    sc_json_put_str(w, "description", p->says);
    sc_json_put_bool(w, "required", required);
    object(w, "schema");
    sc_json_put_str(w, "type", p->type);
    if (fallback.p) {
        sc_json_key(w, "default");
        sc_json_raw(w, fallback);
    }
    sc_json_end_object(w);
    sc_json_end_object(w);
}

static void put_params(W, const struct sc_route *r)
{
    sc_json_key(w, "parameters");
    sc_json_begin_array(w);
    for (const char *at = r->path; (at = strchr(at, '{')); at++)
        put_param(w, "path", sc_span(at + 1, strcspn(at, "}") - 1));
    for (const char *at = r->doc.query; at && *at; at += strspn(at, " ")) {
        size_t n = strcspn(at, " ");
        put_param(w, "query", sc_span(at, n));
        at += n;
    }
    sc_json_end_array(w);
}

static void put_answer(W, enum sc_doc_answer a)
{
    sc_json_put_str(w, "description", "OK");
    switch (a) {
    case SC_DOC_EMPTY: return;
    case SC_DOC_STATUS:
        begin_content(w, "application/json");
        reference(w, "Status");
        break;
    case SC_DOC_BYTES:
        begin_content(w, "*/*");
        schema(w, "string", "binary");
        break;
    case SC_DOC_OBJECT:
    case SC_DOC_ARRAY:
        begin_content(w, "application/json");
        schema(w, a == SC_DOC_ARRAY ? "array" : "object", NULL);
        break;
    case SC_DOC_TEXT:
        begin_content(w, "text/plain; version=0.0.4; charset=utf-8");
        schema(w, "string", NULL);
        break;
    }
    end_content(w);
}

static void put_codes(W, const struct sc_route_doc *d, bool ping)
{
    for (size_t i = 0; d->codes && i < SC_COUNT(codes); i++) {
        if (!strstr(d->codes, codes[i].code))
            continue;
        object(w, codes[i].code);
        sc_json_put_str(w, "description", codes[i].says);
        begin_content(w, "application/json");
        if (d->ours)
            schema(w, "object", NULL);
        else
            reference(w, ping ? "Status" : codes[i].schema);
        end_content(w);
        sc_json_end_object(w);
    }
}

static void put_operation(W, const struct sc_route *r)
{
    const struct sc_route_doc *d = &r->doc;
    char method[16];
    const char *name = r->method ? r->method : d->body ? "POST" : "GET";
    size_t n = 0;
    for (; name[n] && n + 1 < sizeof method; n++)
        method[n] = (char)(name[n] | 0x20);
    method[n] = '\0';
    object(w, method);
    sc_json_put_str(w, "description", d->says);
    sc_json_put_str(w, "operationId", d->id);
    put_params(w, r);
    if (d->body) {
        bool json = d->body[0] == 'a';
        object(w, "requestBody");
        begin_content(w, d->body);
        schema(w, json ? "object" : "string", json ? NULL : "binary");
        end_content(w);
        sc_json_put_bool(w, "required", true);
        sc_json_end_object(w);
    }
    object(w, "responses");
    object(w, "200");
    put_answer(w, d->answer);
    sc_json_end_object(w);
    put_codes(w, d, r->run == sc_ping);
    object(w, "default");
    sc_json_put_str(w, "description", "Error");
    sc_json_end_object(w);
    sc_json_end_object(w);
    if (d->deprecated)
        sc_json_put_bool(w, "deprecated", true);
    sc_json_end_object(w);
}

/* ---- documents --------------------------------------------------------------------------------------- */

static bool is_told(const struct sc_call *c, const struct sc_route *r)
{
    unsigned serves = c->app->serves[c->x->listener];
    if (!r->doc.id || (serves & r->serves) != r->serves)
        return false;
    if (r->doc.ours && c->app->settings->face == SC_FACE_TORCHSERVE)
        return false;
    return r->serves || serves & (SC_SERVES_INFERENCE | SC_SERVES_MANAGEMENT);
}

static bool told_before(const struct sc_call *c, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (is_told(c, sc_route_at(k)) && strcmp(sc_route_at(k)->path, sc_route_at(i)->path) == 0)
            return true;
    return false;
}

/* The path of row i with all its operations, unless it was told. */
static void put_path(W, const struct sc_call *c, size_t i)
{
    const struct sc_route *first = sc_route_at(i), *r;
    size_t n = strlen(first->path);
    if (!is_told(c, first) || told_before(c, i))
        return;
    if (first->path[n - 1] == '*')
        n -= 2;
    sc_json_key_span(w, sc_span(first->path, n));
    sc_json_begin_object(w);
    for (; (r = sc_route_at(i)) && strcmp(r->path, first->path) == 0; i++)
        if (is_told(c, r))
            put_operation(w, r);
    sc_json_end_object(w);
}

static const char *version(const struct sc_call *c)
{
    return c->app->settings->face == SC_FACE_TORCHSERVE ? SC_TORCHSERVE_VERSION : SCONCE_VERSION;
}

void sc_describe_apis(struct sc_call *c)
{
    struct sc_json_writer w;
    struct sc_buf b;
    bool ts = c->app->settings->face == SC_FACE_TORCHSERVE;
    if (c->path.n == 0 && !sc_span_eq(c->path.decoded, SC_SPAN("/"))) {
        sc_respond_bad_method(c->x);
        return;
    }
    begin_document(&w, &b, ts ? SC_SPAN("TorchServe APIs") : SC_SPAN("Sconce APIs"),
                   ts ? "TorchServe is a flexible and easy to use tool for serving deep learning models"
                      : "Calls of this listener",
                   version(c));
    for (size_t i = 0; sc_route_at(i); i++)
        put_path(&w, c, i);
    end_document(c, &w, &b);
}

void sc_describe_management(struct sc_call *c)
{
    const struct sc_path *p = &c->path;
    struct sc_json_writer w;
    struct sc_buf b, title;
    if (!sc_call_find(c, p->segments[1], p->n >= 3 ? p->segments[2] : sc_span(NULL, 0)))
        return;
    sc_buf_init(&title, 4096);
    sc_buf_printf(&title, "RESTful Management API for: %s", sc_shard_spec(c->shard)->name);
    begin_document(&w, &b, sc_buf_view(&title), NULL, version(c));
    for (size_t i = 0; sc_route_at(i); i++)
        if (strncmp(sc_route_at(i)->path, "/models/{model_name}", 20) == 0 &&
            sc_route_at(i)->serves == SC_SERVES_MANAGEMENT)
            put_path(&w, c, i);
    end_document(c, &w, &b);
    sc_buf_free(&title);
}

static void put_prediction(W, const char *before, const char *model, const char *after, const char *prefix)
{
    struct sc_buf b;
    sc_buf_init(&b, 4096);
    sc_buf_printf(&b, "%s%s%s", before, model, after);
    sc_json_key_span(w, sc_buf_view(&b));
    sc_json_begin_object(w);
    object(w, "post");
    sc_buf_clear(&b);
    sc_buf_printf(&b, "A predict entry point for model: %s.", model);
    sc_json_put_string(w, "description", sc_buf_view(&b));
    sc_buf_clear(&b);
    sc_buf_printf(&b, "%s%s", prefix, model);
    sc_json_put_string(w, "operationId", sc_buf_view(&b));
    sc_json_key(w, "parameters");
    sc_json_begin_array(w);
    sc_json_end_array(w);
    object(w, "responses");
    object(w, "200");
    sc_json_put_str(w, "description", "OK");
    sc_json_end_object(w);
    put_codes(w, &(struct sc_route_doc){.codes = "500"}, false);
    sc_json_end_object(w);
    sc_json_end_object(w);
    sc_json_end_object(w);
    sc_buf_free(&b);
}

void sc_describe_predictions(struct sc_call *c)
{
    struct sc_json_writer w;
    struct sc_buf b, title;
    const char *model = sc_shard_spec(c->shard)->name;
    sc_buf_init(&title, 4096);
    sc_buf_printf(&title, "RESTful API for: %s", model);
    begin_document(&w, &b, sc_buf_view(&title), NULL, "1.0.0");
    put_prediction(&w, "/predictions/", model, "", "");
    put_prediction(&w, "/v1/models/", model, ":predict", "v1_");
    put_prediction(&w, "/v2/models/", model, "/infer", "v2_");
    end_document(c, &w, &b);
    sc_buf_free(&title);
}
