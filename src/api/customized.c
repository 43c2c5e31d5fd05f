#include "api/customized.h"

#include <stdio.h>

#include "api/answer.h"
#include "api/describe.h"
#include "api/respond.h"
#include "api/rows.h"
#include "proto/json_read.h"

/* ---- the field ------------------------------------------------------------------------------ */

/* True for one JSON object that can stand in the list and the model of a description. */
static bool is_object(struct sc_span text)
{
    struct sc_json_reader r;
    int ev;
    sc_json_read_init(&r, text);
    if (sc_json_next(&r) != SC_JSON_OBJECT)
        return false;
    while ((ev = sc_json_next(&r)) > 0)
        if (r.depth + 2 > SC_JSON_DEPTH_MAX)
            return false;
    return ev == SC_JSON_END;
}

/* Python writes what is no number as a bare word, which TorchServe reads as a text. */
static void quote_words(struct sc_span text, struct sc_buf *out)
{
    static const struct sc_span words[] = {{"NaN", 3}, {"Infinity", 8}, {"-Infinity", 9}};
    bool inside = false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        size_t n = 0;
        for (size_t k = 0; !inside && k < SC_COUNT(words); k++)
            if (sc_span_starts(sc_span_sub(text, i, words[k].n), words[k]))
                n = words[k].n;
        if (n) {
            sc_buf_printf(out, "\"%.*s\"", (int)n, text.p + i);
            i += n - 1;
            continue;
        }
        sc_buf_char(out, c);
        if (c == '"')
            inside = !inside;
        if (inside && c == '\\' && i + 1 < text.n)
            sc_buf_char(out, text.p[++i]);
    }
}

/* Numbers stay as they were written, members that are null are left out: so does Gson. */
static int copy_object(struct sc_json_writer *w, struct sc_json_reader *r, struct sc_buf *texts)
{
    struct sc_span text;
    int ev, rc;
    sc_json_begin_object(w);
    for (unsigned open = 1; open > 0;) {
        if ((ev = sc_json_next(r)) == SC_JSON_KEY) {
            if ((rc = sc_json_text(r, texts, &text)) < 0)
                return rc;
            if ((ev = sc_json_next(r)) == SC_JSON_NULL)
                continue;
            sc_json_key_span(w, text);
        }
        switch (ev) {
        case SC_JSON_OBJECT:
            sc_json_begin_object(w);
            open++;
            break;
        case SC_JSON_OBJECT_END:
            sc_json_end_object(w);
            open--;
            break;
        case SC_JSON_ARRAY:
            sc_json_begin_array(w);
            open++;
            break;
        case SC_JSON_ARRAY_END:
            sc_json_end_array(w);
            open--;
            break;
        case SC_JSON_STRING:
            if ((rc = sc_json_text(r, texts, &text)) < 0)
                return rc;
            sc_json_string(w, text);
            break;
        case SC_JSON_NUMBER: sc_json_raw(w, r->raw); break;
        case SC_JSON_TRUE: sc_json_bool(w, true); break;
        case SC_JSON_FALSE: sc_json_bool(w, false); break;
        case SC_JSON_NULL: sc_json_null(w); break;
        default: return SC_EINVAL; /* not after is_object */
        }
    }
    return 0;
}

void sc_customized_put(struct sc_json_writer *w, struct sc_span result)
{
    struct sc_json_reader r;
    struct sc_buf texts, words;
    if (result.n == 0)
        return;
    sc_json_key(w, "customizedMetadata");
    sc_buf_init(&texts, 3 * result.n);
    sc_buf_init(&words, 3 * result.n);
    bool object = is_object(result);
    if (!object) {
        quote_words(result, &words);
        result = sc_buf_view(&words);
        object = !words.failed && is_object(result);
    }
    sc_json_read_init(&r, result);
    if (!object || sc_buf_reserve(&texts, result.n) < 0 || sc_json_next(&r) != SC_JSON_OBJECT) {
        sc_json_begin_object(w);
        sc_json_end_object(w);
    } else if (copy_object(w, &r, &texts) < 0) {
        w->failed = SC_EINVAL;
    }
    sc_buf_free(&texts);
    sc_buf_free(&words);
}

/* ---- asking --------------------------------------------------------------------------------- */

static void respond_no_worker(struct sc_call *c)
{
    char text[SC_MODEL_NAME_MAX + 128];
    int n =
        snprintf(text, sizeof text,
                 "Model \"%s\" has no worker to serve describe request. Please use scale workers API to add "
                 "workers.",
                 sc_shard_spec(c->shard)->name);
    sc_call_refuse(c, 503, "ServiceUnavailableException", sc_span(text, (size_t)n));
}

/* The description itself is loop 0's: what the handler said is kept until it can be written. */
static void done(struct sc_job *j, void *arg, const struct sc_job_answer *a)
{
    struct sc_call *c = arg;
    (void)j;
    c->job = NULL;
    if (a->status == 0 || sc_job_failed(a)) { /* 0: the client is gone */
        sc_call_failed(c, a);
        return;
    }
    sc_buf_init(&c->told, a->meta.n + a->body.n + 1);
    sc_buf_span(&c->told, a->meta);
    sc_buf_span(&c->told, a->body);
    if (c->told.failed) {
        sc_call_refuse(c, 500, "InternalServerException",
                       SC_SPAN("there is no memory for what the handler says of its model"));
        return;
    }
    c->told_meta = a->meta.n;
    c->told_status = a->status;
    c->on_zero = sc_model_describe;
    sc_call_to_loop_zero(c);
}

static void submit(struct sc_call *c)
{
    if (c->deadline_ns)
        sc_job_set_deadline(c->job, c->deadline_ns);
    sc_job_set_alone(c->job); /* a handler answers for all of a batch with one description */
    if (sc_job_submit(c->job, &c->x->body, NULL, done, c) < 0) {
        c->job = NULL;
        respond_no_worker(c);
    }
}

/* True if the query says so; a query that cannot be read is answered. */
static bool asked_for(struct sc_call *c, bool *answered)
{
    struct sc_query q = {0};
    struct sc_msg msg;
    bool asked = false;
    *answered = sc_query_parse(&q, c->x->req.target, &msg) < 0;
    if (*answered)
        sc_respond_error(c->x, 403, "IllegalArgumentException", sc_span_str(msg.text));
    for (unsigned i = 0; !*answered && i < q.n; i++)
        if (sc_span_eq(q.params[i].name, SC_SPAN("customized"))) {
            asked = sc_is_true(q.params[i].value);
            break;
        }
    sc_query_free(&q);
    return asked;
}

bool sc_customized_claim(struct sc_call *c)
{
    bool answered;
    bool asked = asked_for(c, &answered);
    return asked ? sc_customized_begin(c) : answered;
}

bool sc_customized_begin(struct sc_call *c)
{
    struct sc_http_exchange *x = c->x;
    struct sc_span version = sc_call_version(c);
    if (sc_span_eq(version, SC_SPAN("all")) ||
        sc_engine_find(c->app->engine, x->loop, c->path.segments[1], version, &c->shard) < 0 ||
        sc_spec_is_native(sc_shard_spec(c->shard)))
        return false;
    if (!sc_shard_has_worker(c->shard)) {
        respond_no_worker(c);
        return true;
    }
    char room[2 * SC_HTTP_HEADERS_BYTES + SC_HTTP_LINE_MAX];
    struct sc_buf meta = {.p = room, .cap = sizeof room, .max = sizeof room};
    sc_row_describe(x, c->rpc != NULL, &meta);
    size_t announced = x->req.content_length > 0 ? (size_t)x->req.content_length : 0;
    if (sc_job_begin(c->shard, sc_buf_view(&meta), announced, &x->body, &c->job) < 0) {
        c->job = NULL;
        respond_no_worker(c);
        return true;
    }
    c->route = submit;
    return true;
}
