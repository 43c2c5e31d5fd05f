/* A YAML mapping as JSON, if JSON can say what PyYAML's safe_load would give. */
#include <math.h>
#include <yaml.h>

#include "base/limits.h"
#include "proto/json_write.h"
#include "proto/yaml.h"

struct converting {
    struct sc_json_writer w;
    uint64_t sequences; /* bit d: the collection at depth d is a sequence */
    uint64_t keyed;     /* bit d: the mapping at depth d waits for the value of a key */
    unsigned depth;
    unsigned documents;
};

/* The bit of the innermost open collection; none is open: 0. */
static uint64_t innermost(const struct converting *c)
{
    return c->depth > 0 ? UINT64_C(1) << (c->depth - 1) : 0;
}

static bool wants_key(const struct converting *c)
{
    return c->depth > 0 && !((c->sequences | c->keyed) & innermost(c));
}

static void value_done(struct converting *c)
{
    c->keyed &= ~innermost(c);
}

/* Keys of another type than text are no JSON. */
static bool key(struct converting *c, struct sc_span text, bool plain)
{
    struct sc_yaml_value v;
    if (plain && sc_yaml_type(text, &v) != SC_YAML_STRING)
        return false;
    sc_json_key_span(&c->w, text);
    c->keyed |= innermost(c);
    return true;
}

static bool plain_value(struct converting *c, struct sc_span text)
{
    struct sc_yaml_value v;
    switch (sc_yaml_type(text, &v)) {
    case SC_YAML_STRING: sc_json_string(&c->w, text); return true;
    case SC_YAML_NULL: sc_json_null(&c->w); return true;
    case SC_YAML_BOOL: sc_json_bool(&c->w, v.truth); return true;
    case SC_YAML_INT: sc_json_int(&c->w, v.number); return !v.big;
    case SC_YAML_FLOAT: /* base 60 is summed in another order there */
        sc_json_double(&c->w, v.real);
        return isfinite(v.real) && sc_span_find(text, ':') == text.n;
    case SC_YAML_TIMESTAMP:
    case SC_YAML_SPECIAL: return false;
    }
    return false;
}

static bool scalar(struct converting *c, const yaml_event_t *ev)
{
    struct sc_span text = sc_span(ev->data.scalar.value, ev->data.scalar.length);
    bool plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (ev->data.scalar.tag || c->depth == 0)
        return false;
    if (wants_key(c))
        return key(c, text, plain);
    value_done(c);
    if (plain)
        return plain_value(c, text);
    sc_json_string(&c->w, text);
    return true;
}

static bool begin(struct converting *c, bool sequence, const yaml_char_t *tag)
{
    if (tag || c->depth == SC_JSON_DEPTH_MAX || wants_key(c) || (c->depth == 0 && sequence))
        return false;
    value_done(c);
    c->sequences &= ~(UINT64_C(1) << c->depth);
    c->sequences |= (uint64_t)sequence << c->depth;
    c->keyed &= ~(UINT64_C(1) << c->depth);
    c->depth++;
    if (sequence)
        sc_json_begin_array(&c->w);
    else
        sc_json_begin_object(&c->w);
    return true;
}

static bool take(struct converting *c, const yaml_event_t *ev)
{
    switch (ev->type) {
    case YAML_SCALAR_EVENT: return scalar(c, ev);
    case YAML_MAPPING_START_EVENT: return begin(c, false, ev->data.mapping_start.tag);
    case YAML_SEQUENCE_START_EVENT: return begin(c, true, ev->data.sequence_start.tag);
    case YAML_MAPPING_END_EVENT:
        c->depth--;
        sc_json_end_object(&c->w);
        return true;
    case YAML_SEQUENCE_END_EVENT:
        c->depth--;
        sc_json_end_array(&c->w);
        return true;
    case YAML_DOCUMENT_START_EVENT: return c->documents++ == 0 && !ev->data.document_start.version_directive;
    case YAML_ALIAS_EVENT: return false;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT: return true;
    }
    return false;
}

int sc_yaml_to_json(struct sc_span text, struct sc_buf *out)
{
    struct converting c = {0};
    yaml_parser_t parser;
    yaml_event_t ev;
    bool good = true, end = false;
    /* PyYAML refuses most tabs, libyaml few. */
    if (!sc_utf8_valid(text) || sc_span_find(text, '\t') < text.n ||
        sc_span_starts(text, SC_SPAN("\xef\xbb\xbf")) || !yaml_parser_initialize(&parser))
        return SC_EUNSUPPORTED;
    sc_json_write_init(&c.w, out, true);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.p, text.n);
    while (good && !end) {
        good = yaml_parser_parse(&parser, &ev);
        if (!good)
            break;
        good = take(&c, &ev);
        end = ev.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&ev);
    }
    yaml_parser_delete(&parser);
    if (!good)
        return SC_EUNSUPPORTED;
    if (c.documents == 0) {
        sc_json_begin_object(&c.w);
        sc_json_end_object(&c.w);
    }
    return sc_json_write_finish(&c.w);
}
