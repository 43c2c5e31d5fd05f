#include "heads/input.h"

#include <stdlib.h>
#include <strings.h>

#include "base/array.h"

#define HOW                                                                                             \
    "send the text itself (Content-Type: text/plain) or JSON such as {\"text\": \"...\"} or [\"...\", " \
    "\"...\"] "                                                                                         \
    "(Content-Type: application/json)"

static int add(struct sc_input *in, struct sc_span text, struct sc_msg *msg)
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
    in->texts[in->n++] = (struct sc_text){.text = sc_span(text.p ? text.p : "", text.n)};
    return 0;
}

static int raw_text(struct sc_input *in, struct sc_span body, struct sc_msg *msg)
{
    if (!sc_utf8_valid(body))
        return sc_fail(msg, SC_EINVAL, "The text is not valid UTF-8: convert it to UTF-8 before sending it");
    return add(in, body, msg);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static int unexpected(struct sc_input *in, const char *what)
{
    return sc_json_refuse(&in->json, SC_EINVAL, what);
}

/* The latest string. Room for the escaped ones of the whole body is made once: none may move. */
static int latest_text(struct sc_input *in, struct sc_span *out, struct sc_msg *msg)
{
    struct sc_json_reader *r = &in->json;
    if (r->escaped && !in->decoded.p)
        sc_buf_reserve(&in->decoded, r->text.n);
    if (sc_json_text(r, &in->decoded, out) < 0)
        return sc_fail(msg, SC_ENOMEM, "No memory for the texts of this request");
    return 0;
}

static int next_text(struct sc_input *in, struct sc_span *out, struct sc_msg *msg)
{
    int ev = sc_json_next(&in->json);
    if (ev < 0)
        return ev;
    return ev == SC_JSON_STRING ? latest_text(in, out, msg) : unexpected(in, "a string was expected");
}

/* null leaves *out as it was. */
static int next_text_or_null(struct sc_input *in, struct sc_span *out, struct sc_msg *msg)
{
    int ev = sc_json_next(&in->json);
    if (ev < 0 || ev == SC_JSON_NULL)
        return SC_MIN(ev, 0);
    return ev == SC_JSON_STRING ? latest_text(in, out, msg) : unexpected(in, "a string or null was expected");
}

/* {"text": "...", "text_pair": "..."} as an element, behind its '{'. */
static int pair_object(struct sc_input *in, struct sc_msg *msg)
{
    struct sc_json_reader *r = &in->json;
    struct sc_span text = {0}, pair = {0};
    int ev;
    while ((ev = sc_json_next(r)) == SC_JSON_KEY) {
        int rc = sc_json_is(r, SC_SPAN("text"))        ? next_text(in, &text, msg)
                 : sc_json_is(r, SC_SPAN("text_pair")) ? next_text_or_null(in, &pair, msg)
                                                       : sc_json_skip(r);
        if (rc < 0)
            return rc;
    }
    if (ev < 0)
        return ev;
    if (!text.p)
        return unexpected(in, "an object with a text has no \"text\"");
    int rc = add(in, text, msg);
    if (rc == 0)
        in->texts[in->n - 1].pair = pair;
    return rc;
}

/* A text, or an object with a pair; ev is its first event. */
static int element(struct sc_input *in, int ev, const char *otherwise, struct sc_msg *msg)
{
    struct sc_span text;
    if (ev < 0)
        return ev;
    if (ev == SC_JSON_OBJECT)
        return pair_object(in, msg);
    if (ev != SC_JSON_STRING)
        return unexpected(in, otherwise);
    int rc = latest_text(in, &text, msg);
    return rc < 0 ? rc : add(in, text, msg);
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

static int scoring_name(struct sc_input *in, struct sc_span name)
{
    static const struct {
        struct sc_span name;
        enum sc_scoring scoring;
    } known[] = {{SC_SPAN("softmax"), SC_SCORE_SOFTMAX},
                 {SC_SPAN("sigmoid"), SC_SCORE_SIGMOID},
                 {SC_SPAN("none"), SC_SCORE_NONE}};
    if (!name.p || sc_span_eq_nocase(name, SC_SPAN("default")))
        return 0;
    for (size_t i = 0; i < SC_COUNT(known); i++)
        if (sc_span_eq_nocase(name, known[i].name)) {
            in->options.has_scoring = true;
            in->options.scoring = known[i].scoring;
            return 0;
        }
    return unexpected(in, "function_to_apply must be \"softmax\", \"sigmoid\" or \"none\"");
}

static int top_k(struct sc_input *in)
{
    struct sc_json_reader *r = &in->json;
    uint64_t k = UINT32_MAX;
    int ev = sc_json_next(r);
    if (ev < 0)
        return ev;
    if (ev != SC_JSON_NULL && (ev != SC_JSON_NUMBER || !sc_span_u64(r->raw, UINT32_MAX, &k) || k == 0))
        return unexpected(in, "top_k must be a whole number, 1 or more, or null for all");
    in->options.has_top_k = true;
    in->options.top_k = (uint32_t)k;
    return 0;
}

static int parameters(struct sc_input *in, struct sc_msg *msg)
{
    struct sc_json_reader *r = &in->json;
    int ev = sc_json_next(r);
    if (ev == SC_JSON_NULL)
        return 0;
    if (ev >= 0 && ev != SC_JSON_OBJECT)
        return unexpected(in, "\"parameters\" must be an object");
    while (ev >= 0 && (ev = sc_json_next(r)) == SC_JSON_KEY) {
        struct sc_span name = {0};
        if (sc_json_is(r, SC_SPAN("top_k"))) {
            ev = top_k(in);
        } else if (sc_json_is(r, SC_SPAN("function_to_apply"))) {
            ev = next_text_or_null(in, &name, msg);
            if (ev == 0)
                ev = scoring_name(in, name);
        } else {
            ev = sc_json_skip(r);
        }
    }
    return SC_MIN(ev, 0);
}

/* Behind its '{'. */
static int request_object(struct sc_input *in, struct sc_msg *msg)
{
    struct sc_json_reader *r = &in->json;
    struct sc_span pair = {0};
    bool found = false;
    int ev;
    while ((ev = sc_json_next(r)) == SC_JSON_KEY) {
        int rc;
        if (sc_json_is(r, SC_SPAN("text")) || sc_json_is(r, SC_SPAN("inputs"))) {
            if (found)
                return unexpected(in, "\"text\" or \"inputs\" comes twice");
            found = true;
            rc = texts(in, sc_json_next(r), msg);
        } else if (sc_json_is(r, SC_SPAN("text_pair"))) {
            rc = next_text_or_null(in, &pair, msg);
        } else if (sc_json_is(r, SC_SPAN("parameters"))) {
            rc = parameters(in, msg);
        } else {
            rc = sc_json_skip(r);
        }
        if (rc < 0)
            return rc;
    }
    if (ev < 0)
        return ev;
    if (!found)
        return unexpected(in, "there is no \"text\" and no \"inputs\"");
    if (!pair.p)
        return 0;
    if (in->list || in->texts[0].pair.p)
        return unexpected(
            in, "\"text_pair\" belongs to one text; for several send a list of {\"text\", \"text_pair\"}");
    in->texts[0].pair = pair;
    return 0;
}

static int json(struct sc_input *in, struct sc_span body, struct sc_msg *msg)
{
    struct sc_json_reader *r = &in->json;
    sc_json_read_init(r, body);
    sc_buf_init(&in->decoded, body.n);
    int ev = sc_json_next(r);
    int rc = ev == SC_JSON_OBJECT ? request_object(in, msg) : texts(in, ev, msg);
    if (rc == 0)
        rc = sc_json_next(r); /* SC_JSON_END, or what is wrong behind the value */
    if (r->failed)
        sc_fail(msg, rc, "The JSON body cannot be read: byte %zu: %s; " HOW, r->problem_at, r->problem);
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

static int form(struct sc_input *in, struct sc_span body, struct sc_msg *msg)
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

int sc_input_parse(struct sc_input *in, struct sc_span body, const char *content_type, uint32_t max_texts,
                   struct sc_msg *msg)
{
    *in = (struct sc_input){.max = max_texts};
    struct sc_span type = sc_span_str(content_type);
    struct sc_span start = body;
    while (start.n > 0 && memchr(" \t\r\n", start.p[0], 4))
        start = sc_span_sub(start, 1, start.n);
    int rc;
    if (body.n == 0)
        rc = sc_fail(msg, SC_EINVAL, "The body is empty: " HOW);
    else if (sc_span_starts(type, SC_SPAN("multipart/")))
        rc = sc_fail(msg, SC_EINVAL, "The encoder does not read multipart bodies: " HOW);
    else if (is_json(type))
        rc = json(in, body, msg);
    else if (!sc_span_eq_nocase(type, SC_SPAN("application/x-www-form-urlencoded")))
        rc = raw_text(in, body, msg);
    else if (start.n > 0 && (start.p[0] == '{' || start.p[0] == '['))
        rc = json(in, body, msg);
    else
        rc = form(in, body, msg);
    if (rc < 0)
        sc_input_free(in);
    return rc;
}

void sc_input_free(struct sc_input *in)
{
    free(in->texts);
    sc_buf_free(&in->decoded);
    *in = (struct sc_input){0};
}
