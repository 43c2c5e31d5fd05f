#include "heads/input_parts.h"

#include <stdlib.h>

#include "base/array.h"

#define HOW                                                                                             \
    "send the text itself (Content-Type: text/plain) or JSON such as {\"text\": \"...\"} or [\"...\", " \
    "\"...\"] "                                                                                         \
    "(Content-Type: application/json)"

int sc_input_add(struct sc_input *in, struct sc_span text, struct sc_span pair, struct sc_msg *msg)
{
    if (in->n == in->max)
        return sc_fail(
            msg, SC_ELIMIT,
            "More than %u texts in one request: send them in several, or raise the model's setting maxTexts",
            in->max);
    if (in->n == in->cap) {
        uint32_t cap = SC_MIN(in->cap ? in->cap * 4 : 4u, in->max);
        struct sc_text *more = realloc(in->texts, cap * sizeof *more);
        if (!more)
            return sc_fail(msg, SC_ENOMEM, "No memory for the texts of this request");
        in->texts = more;
        in->cap = cap;
    }
    /* An empty text is a text; an absent one is NULL. */
    in->texts[in->n++] = (struct sc_text){.text = sc_span(text.p ? text.p : "", text.n), .pair = pair};
    return 0;
}

static int raw_text(struct sc_input *in, struct sc_span body, struct sc_msg *msg)
{
    if (!sc_utf8_valid(body))
        return sc_fail(msg, SC_EINVAL, "The text is not valid UTF-8: convert it to UTF-8 before sending it");
    return sc_input_add(in, body, sc_span(NULL, 0), msg);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

int sc_input_refuse(struct sc_input *in, const char *what)
{
    return sc_json_refuse(&in->json, SC_EINVAL, what);
}

/* Room for the escaped strings of the whole body is made once: none may move. */
int sc_input_latest(struct sc_input *in, struct sc_span *out, struct sc_msg *msg)
{
    struct sc_json_reader *r = &in->json;
    if (r->escaped && !in->decoded.p)
        sc_buf_reserve(&in->decoded, r->text.n);
    if (sc_json_text(r, &in->decoded, out) < 0)
        return sc_fail(msg, SC_ENOMEM, "No memory for the texts of this request");
    if (!out->p)
        out->p = "";
    return 0;
}

int sc_input_string(struct sc_input *in, struct sc_span *out, struct sc_msg *msg)
{
    int ev = sc_json_next(&in->json);
    if (ev < 0)
        return ev;
    return ev == SC_JSON_STRING ? sc_input_latest(in, out, msg)
                                : sc_input_refuse(in, "a string was expected");
}

int sc_input_string_or_null(struct sc_input *in, struct sc_span *out, struct sc_msg *msg)
{
    int ev = sc_json_next(&in->json);
    if (ev < 0 || ev == SC_JSON_NULL)
        return SC_MIN(ev, 0);
    return ev == SC_JSON_STRING ? sc_input_latest(in, out, msg)
                                : sc_input_refuse(in, "a string or null was expected");
}

int sc_input_documents(struct sc_input *in, int ev, struct sc_msg *msg)
{
    struct sc_json_reader *r = &in->json;
    const struct sc_span none = {NULL, 0};
    if (ev != SC_JSON_ARRAY)
        return ev < 0 ? ev : sc_input_refuse(in, "a list of texts was expected");
    in->list = true;
    while ((ev = sc_json_next(r)) != SC_JSON_ARRAY_END) {
        struct sc_span text = none;
        int rc = 0;
        if (ev == SC_JSON_OBJECT) {
            while (rc == 0 && (ev = sc_json_next(r)) == SC_JSON_KEY)
                rc = sc_json_is(r, SC_SPAN("text")) ? sc_input_string(in, &text, msg) : sc_json_skip(r);
            if (rc == 0 && ev >= 0 && !text.p)
                rc = sc_input_refuse(in, "an object with a text has no \"text\"");
        } else if (ev == SC_JSON_STRING) {
            rc = sc_input_latest(in, &text, msg);
        } else if (ev >= 0) {
            rc =
                sc_input_refuse(in, ev == SC_JSON_NUMBER || ev == SC_JSON_ARRAY
                                        ? "every element must be a text; token ids are not taken (LangChain: "
                                          "check_embedding_ctx_length=False)"
                                        : "every element of the list must be a text");
        }
        if (rc == 0)
            rc = ev < 0 ? ev : sc_input_add(in, text, none, msg);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int sc_input_query(struct sc_input *in, struct sc_span query)
{
    in->ranking = true;
    for (uint32_t i = 0; i < in->n; i++) {
        in->texts[i].pair = in->texts[i].text;
        in->texts[i].text = query;
    }
    return 0;
}

/* An object that holds texts, or the whole body, which may have options beside them. */
struct holder {
    struct sc_span text, pair, question, context, query;
    bool texts, ranked; /* "text" or "inputs" was there; "texts" or "documents" was */
};

/* What is said by members that have been read. */
static int add_holder(struct sc_input *in, const struct holder *h, struct sc_msg *msg)
{
    if (h->question.p || h->context.p) {
        if (!h->question.p || !h->context.p)
            return sc_input_refuse(in, h->question.p ? "there is a \"question\" without a \"context\""
                                                     : "there is a \"context\" without a \"question\"");
        in->questions = true;
        return sc_input_add(in, h->question, h->context, msg);
    }
    return sc_input_add(in, h->text, h->pair, msg);
}

/* A member that an element has, too; 0: none of them, 1: read. */
static int holder_member(struct sc_input *in, struct holder *h, struct sc_msg *msg)
{
    struct sc_json_reader *r = &in->json;
    int rc = sc_json_is(r, SC_SPAN("text_pair"))  ? sc_input_string_or_null(in, &h->pair, msg)
             : sc_json_is(r, SC_SPAN("question")) ? sc_input_string(in, &h->question, msg)
             : sc_json_is(r, SC_SPAN("context"))  ? sc_input_string(in, &h->context, msg)
                                                  : 1;
    return rc == 1 ? 0 : rc < 0 ? rc : 1;
}

/* {"text": "...", "text_pair": "..."} as an element, behind its '{'. */
static int object(struct sc_input *in, struct sc_msg *msg)
{
    struct sc_json_reader *r = &in->json;
    struct holder h = {0};
    int ev;
    while ((ev = sc_json_next(r)) == SC_JSON_KEY) {
        int rc = holder_member(in, &h, msg);
        if (rc == 0)
            rc = sc_json_is(r, SC_SPAN("text")) ? sc_input_string(in, &h.text, msg) : sc_json_skip(r);
        if (rc < 0)
            return rc;
    }
    if (ev < 0)
        return ev;
    if (!h.text.p && !h.question.p && !h.context.p)
        return sc_input_refuse(in, "an object with a text has no \"text\"");
    return add_holder(in, &h, msg);
}

/* A text, or an object with a pair; ev is its first event. */
static int element(struct sc_input *in, int ev, const char *otherwise, struct sc_msg *msg)
{
    struct sc_span text;
    if (ev < 0)
        return ev;
    if (ev == SC_JSON_OBJECT)
        return object(in, msg);
    if (ev != SC_JSON_STRING)
        return sc_input_refuse(in, otherwise);
    int rc = sc_input_latest(in, &text, msg);
    return rc < 0 ? rc : sc_input_add(in, text, sc_span(NULL, 0), msg);
}

/* An element or a list of them; ev is its first event. */
static int texts(struct sc_input *in, int ev, struct sc_msg *msg)
{
    if (ev != SC_JSON_ARRAY)
        return element(in, ev, "a text or a list of texts was expected", msg);
    in->list = true;
    while ((ev = sc_json_next(&in->json)) != SC_JSON_ARRAY_END) {
        int rc = element(in, ev, "every element of the list must be a text", msg);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int sc_input_parameters(struct sc_input *in, struct sc_msg *msg)
{
    struct sc_json_reader *r = &in->json;
    int ev = sc_json_next(r);
    if (ev == SC_JSON_NULL)
        return 0;
    if (ev >= 0 && ev != SC_JSON_OBJECT)
        return sc_input_refuse(in, "\"parameters\" must be an object");
    while (ev >= 0 && (ev = sc_json_next(r)) == SC_JSON_KEY) {
        ev = sc_options_member(in, msg);
        if (ev == 0)
            ev = sc_json_skip(r);
    }
    return SC_MIN(ev, 0);
}

/* "text": T, "inputs": T, where T may be {"query": ..., "texts": [...]}. */
static int held_texts(struct sc_input *in, struct holder *h, struct sc_msg *msg)
{
    if (h->texts || h->ranked)
        return sc_input_refuse(in, "\"text\" or \"inputs\" comes twice");
    h->texts = true;
    return texts(in, sc_json_next(&in->json), msg);
}

static int request_member(struct sc_input *in, struct holder *h, struct sc_msg *msg)
{
    struct sc_json_reader *r = &in->json;
    int rc = holder_member(in, h, msg);
    if (rc != 0)
        return rc;
    if (sc_json_is(r, SC_SPAN("text")) || sc_json_is(r, SC_SPAN("inputs")))
        return held_texts(in, h, msg);
    if (sc_json_is(r, SC_SPAN("query")))
        return sc_input_string(in, &h->query, msg);
    if (sc_json_is(r, SC_SPAN("parameters")))
        return sc_input_parameters(in, msg);
    if (sc_json_is(r, SC_SPAN("texts")) || sc_json_is(r, SC_SPAN("documents"))) {
        if (h->texts || h->ranked)
            return sc_input_refuse(in, "the texts come twice");
        h->ranked = true;
        return sc_input_documents(in, sc_json_next(r), msg);
    }
    return sc_json_skip(r);
}

/* Behind its '{'. */
static int request_object(struct sc_input *in, struct sc_msg *msg)
{
    struct holder h = {0};
    int ev;
    while ((ev = sc_json_next(&in->json)) == SC_JSON_KEY) {
        int rc = request_member(in, &h, msg);
        if (rc < 0)
            return rc;
    }
    if (ev < 0)
        return ev;
    if (h.ranked || h.query.p) {
        if (!h.ranked || !h.query.p)
            return sc_input_refuse(in, h.ranked ? "there is no \"query\" for the texts"
                                                : "there are no \"texts\" for the query");
        return sc_input_query(in, h.query);
    }
    if (h.question.p || h.context.p) {
        if (h.texts)
            return sc_input_refuse(in, "there are a question and texts");
        return add_holder(in, &h, msg);
    }
    if (!h.texts)
        return sc_input_refuse(in, "there is no \"text\" and no \"inputs\"");
    if (!h.pair.p)
        return 0;
    if (in->list || in->texts[0].pair.p)
        return sc_input_refuse(
            in, "\"text_pair\" belongs to one text; for several send a list of {\"text\", \"text_pair\"}");
    in->texts[0].pair = h.pair;
    return 0;
}

static int json(struct sc_input *in, struct sc_span body, struct sc_msg *msg)
{
    struct sc_json_reader *r = &in->json;
    sc_json_read_init(r, body);
    sc_buf_init(&in->decoded, body.n);
    int ev = sc_json_next(r), rc;
    if (in->form != SC_FORM_PIPELINE)
        rc = ev == SC_JSON_OBJECT ? sc_input_interface(in, msg)
             : ev < 0             ? ev
                                  : sc_input_refuse(in, "an object was expected");
    else
        rc = ev == SC_JSON_OBJECT ? request_object(in, msg) : texts(in, ev, msg);
    if (rc == 0)
        rc = sc_json_next(r); /* SC_JSON_END, or what is wrong behind the value */
    if (r->failed && in->form == SC_FORM_PIPELINE)
        sc_fail(msg, rc, "The JSON body cannot be read: byte %zu: %s; " HOW, r->problem_at, r->problem);
    else if (r->failed)
        sc_fail(msg, rc, "The JSON body cannot be used: byte %zu: %s", r->problem_at, r->problem);
    return rc;
}

/* ---- forms ----------------------------------------------------------------------------------- */

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static struct sc_span percent_decode(struct sc_span s, char *to)
{
    char *start = to;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '%' && s.n - i > 2 && hex(s.p[i + 1]) >= 0 && hex(s.p[i + 2]) >= 0) {
            *to++ = (char)(hex(s.p[i + 1]) * 16 + hex(s.p[i + 2]));
            i += 2;
        } else {
            *to++ = s.p[i] == '+' ? ' ' : s.p[i];
        }
    }
    return sc_span(start, (size_t)(to - start));
}

static int form_fields(struct sc_input *in, struct sc_span body, struct sc_msg *msg)
{
    if (sc_span_find(body, '=') == body.n)
        return raw_text(in, body, msg);
    sc_buf_init(&in->decoded, body.n);
    if (sc_buf_reserve(&in->decoded, body.n) < 0)
        return sc_fail(msg, SC_ENOMEM, "No memory for the texts of this request");
    char *to = in->decoded.p;
    for (struct sc_span rest = body; rest.n > 0;) {
        size_t end = sc_span_find(rest, '&');
        struct sc_span field = sc_span_sub(rest, 0, end);
        rest = sc_span_sub(rest, end + 1, rest.n);
        size_t eq = sc_span_find(field, '=');
        struct sc_span name = sc_span_sub(field, 0, eq);
        if (eq == field.n || !(sc_span_eq(name, SC_SPAN("text")) || sc_span_eq(name, SC_SPAN("inputs")) ||
                               sc_span_eq(name, SC_SPAN("data"))))
            continue;
        struct sc_span value = percent_decode(sc_span_sub(field, eq + 1, field.n), to);
        to += value.n;
        int rc = raw_text(in, value, msg);
        if (rc < 0)
            return rc;
    }
    in->list = in->n > 1;
    /* None of our fields: a text that happens to have an equals sign in it. */
    return in->n ? 0 : raw_text(in, body, msg);
}

static bool is_json(struct sc_span type)
{
    return sc_span_eq_nocase(type, SC_SPAN("application/json")) ||
           (type.n > 5 && sc_span_eq_nocase(sc_span_sub(type, type.n - 5, 5), SC_SPAN("+json")));
}

int sc_input_parse(struct sc_input *in, enum sc_form form, struct sc_span body, const char *content_type,
                   uint32_t max_texts, struct sc_msg *msg)
{
    *in = (struct sc_input){.max = max_texts, .form = form};
    struct sc_span type = sc_span_str(content_type);
    struct sc_span start = body;
    while (start.n > 0 && memchr(" \t\r\n", start.p[0], 4))
        start = sc_span_sub(start, 1, start.n);
    int rc;
    if (form == SC_FORM_TEI_INFO)
        rc = 0;
    else if (body.n == 0)
        rc = sc_fail(msg, SC_EINVAL, "The body is empty: " HOW);
    else if (sc_span_starts(type, SC_SPAN("multipart/")))
        rc = sc_fail(msg, SC_EINVAL, "The encoder does not read multipart bodies: " HOW);
    else if (form != SC_FORM_PIPELINE || is_json(type))
        rc = json(in, body, msg);
    else if (!sc_span_eq_nocase(type, SC_SPAN("application/x-www-form-urlencoded")))
        rc = raw_text(in, body, msg);
    else if (start.n > 0 && (start.p[0] == '{' || start.p[0] == '['))
        rc = json(in, body, msg);
    else
        rc = form_fields(in, body, msg);
    if (rc < 0)
        sc_input_free(in);
    return rc;
}

void sc_input_free(struct sc_input *in)
{
    free(in->texts);
    sc_options_free(&in->options);
    sc_buf_free(&in->decoded);
    *in = (struct sc_input){0};
}
