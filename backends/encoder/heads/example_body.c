#include "heads/example_body.h"

#include "base/array.h"
#include "heads/input_parts.h"
#include "heads/literal.h"
#include "proto/multipart.h"
#include "proto/url.h"

/* What a row has under a name. */
struct field {
    bool found;
    bool json; /* declared as such */
    struct sc_span value;
};

struct row {
    struct field data, body;
};

static void set(struct row *row, struct sc_span name, struct sc_span value, bool json)
{
    struct field *f = sc_span_eq(name, SC_SPAN("data"))   ? &row->data
                      : sc_span_eq(name, SC_SPAN("body")) ? &row->body
                                                          : NULL;
    if (f)
        *f = (struct field){.found = true, .json = json, .value = sc_span(value.p ? value.p : "", value.n)};
}

static bool is_json(struct sc_span type)
{
    return sc_span_eq(sc_media_type(type), SC_SPAN("application/json"));
}

/* The values are kept in in->decoded. */
static int urlencoded(struct sc_input *in, struct sc_span body, struct row *row, struct sc_msg *msg)
{
    struct sc_query q = {0};
    int rc = sc_form_parse(&q, body, msg);
    if (rc == SC_EINVAL)
        rc = SC_EPROTO;
    if (rc == 0 && q.text.n) {
        sc_buf_add(&in->decoded, q.text.p, q.text.n);
        rc = in->decoded.failed;
    }
    for (unsigned i = 0; rc == 0 && i < q.n; i++) {
        struct sc_span v = q.params[i].value;
        if (v.n)
            v.p = in->decoded.p + (v.p - q.text.p);
        set(row, q.params[i].name, v, false);
    }
    sc_query_free(&q);
    return rc;
}

/* What cannot be read ends the form: TorchServe goes on with what it has. */
static void multipart(struct sc_multipart *m, struct row *row)
{
    struct sc_part part;
    struct sc_msg unused;
    while (sc_multipart_next(m, &part, &unused) == 1)
        set(row, part.name, part.data,
            part.has_filename && part.content_type.p && is_json(part.content_type));
}

static int read_row(struct sc_input *in, struct sc_span body, struct sc_span type, struct row *row,
                    struct sc_msg *msg)
{
    struct sc_multipart m;
    if (sc_media_is(type, "application/x-www-form-urlencoded"))
        return urlencoded(in, body, row, msg);
    int rc = sc_multipart_init(&m, type, body, msg);
    if (rc < 0)
        return SC_EPROTO;
    if (rc == 1)
        multipart(&m, row);
    else
        set(row, SC_SPAN("body"), body, is_json(type));
    return 0;
}

/* ---- values ------------------------------------------------------------------------------------------ */

/* json.loads of a value: 1: *out is the string that it is; 0: it is no JSON, and stays what it is; SC_EINVAL:
 * it is something else; SC_ENOTFOUND: null. */
static int json_string(struct sc_input *in, struct sc_span value, struct sc_span *out)
{
    static const struct sc_span numbers[] = {SC_SPAN("NaN"), SC_SPAN("Infinity"), SC_SPAN("-Infinity")};
    struct sc_json_reader r;
    struct sc_span text;
    for (size_t i = 0; i < SC_COUNT(numbers); i++)
        if (sc_span_eq(value, numbers[i]))
            return SC_EINVAL;
    sc_json_read_init(&r, value);
    int ev = sc_json_next(&r), end;
    bool string = ev == SC_JSON_STRING, null = ev == SC_JSON_NULL;
    if (string && sc_json_text(&r, &in->decoded, &text) < 0)
        return SC_ENOMEM;
    if (ev == SC_JSON_OBJECT || ev == SC_JSON_ARRAY)
        ev = sc_json_skip(&r);
    end = ev < 0 ? ev : sc_json_next(&r);
    if (end < 0)
        return end == SC_ELIMIT ? SC_EINVAL : 0;
    if (string)
        *out = text;
    return string ? 1 : null ? SC_ENOTFOUND : SC_EINVAL;
}

/* The text of a field; SC_ENOTFOUND: it is not there, or is null. */
static int text_of(struct sc_input *in, const struct field *f, struct sc_span *out)
{
    *out = f->value;
    if (!f->found)
        return SC_ENOTFOUND;
    int rc = f->json ? json_string(in, f->value, out) : 0;
    return rc < 0 ? rc : sc_utf8_valid(*out) ? 0 : SC_EINVAL;
}

static struct sc_span found(const struct sc_literal_value *v, const struct sc_buf *texts)
{
    return sc_span(v->n ? texts->p + v->at : "", v->n);
}

/* The texts of a literal take the place of what was decoded before. */
static int literal(struct sc_input *in, enum sc_example_form form, struct sc_span text, struct sc_msg *msg)
{
    static const struct sc_span one[] = {SC_SPAN("text")}, two[] = {SC_SPAN("question"), SC_SPAN("context")};
    bool question = form == SC_EXAMPLE_QUESTION;
    struct sc_literal_value v[SC_LITERAL_KEYS];
    struct sc_buf texts;
    sc_buf_init(&texts, text.n);
    int rc = sc_literal_dict(text, question ? two : one, question ? 2 : 1, v, &texts);
    /* Its context may be None: then it is a text alone. */
    if (rc == 0 && (v[0].kind != SC_LITERAL_TEXT ||
                    (question && v[1].kind != SC_LITERAL_TEXT && v[1].kind != SC_LITERAL_NONE)))
        rc = SC_EINVAL;
    sc_buf_free(&in->decoded);
    in->decoded = texts;
    if (rc < 0)
        return rc;
    /* A context without a character is none to the tokenizer. */
    struct sc_span pair = question && v[1].n ? found(&v[1], &in->decoded) : sc_span(NULL, 0);
    return sc_input_add(in, found(&v[0], &in->decoded), pair, msg);
}

int sc_example_body(struct sc_input *in, enum sc_example_form form, struct sc_span body, struct sc_span type,
                    struct sc_msg *msg)
{
    struct row row = {0};
    struct sc_span text;
    *in = (struct sc_input){.max = 1};
    sc_buf_init(&in->decoded, body.n); /* one form or one string: nothing moves what was found */
    int rc = read_row(in, body, type, &row, msg);
    if (rc < 0)
        return rc;
    rc = text_of(in, &row.data, &text);
    if (rc == SC_ENOTFOUND)
        rc = text_of(in, &row.body, &text);
    if (rc < 0)
        return rc == SC_ENOTFOUND ? SC_EINVAL : rc;
    return form == SC_EXAMPLE_TEXT ? sc_input_add(in, text, sc_span(NULL, 0), msg)
                                   : literal(in, form, text, msg);
}
