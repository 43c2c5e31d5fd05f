#include "proto/yaml.h"

#include <stdio.h>
#include <yaml.h>

#include "base/limits.h"

#define PATH_BYTES 256

/* One open mapping or sequence. */
struct level {
    bool sequence;
    bool have_key;  /* mapping: the next scalar is a value */
    unsigned index; /* sequence: of the next item */
    size_t path;    /* length of the path of this collection */
};

struct reader {
    const char *name;
    sc_yaml_visit fn;
    void *arg;
    struct sc_msg *msg;
    struct level levels[SC_JSON_DEPTH_MAX];
    unsigned depth;
    char path[PATH_BYTES];
    size_t n;
};

static int extend_path(struct reader *r, const yaml_event_t *at, struct sc_span part)
{
    size_t base = r->levels[r->depth - 1].path;
    if (base + 1 + part.n > PATH_BYTES)
        return sc_fail(r->msg, SC_ELIMIT, "%s:%zu: the key is longer than %d bytes", r->name,
                       at->start_mark.line + 1, PATH_BYTES);
    if (base)
        r->path[base++] = '.';
    memcpy(r->path + base, part.p, part.n);
    r->n = base + part.n;
    return 0;
}

/* Before a value in a sequence: its index becomes the last part of the path. */
static int begin_value(struct reader *r, const yaml_event_t *at)
{
    char number[16];
    if (r->depth == 0 || !r->levels[r->depth - 1].sequence)
        return 0;
    int n = snprintf(number, sizeof number, "%u", r->levels[r->depth - 1].index++);
    return extend_path(r, at, sc_span(number, (size_t)n));
}

/* The value that the path leads to. */
static int visit(struct reader *r, const yaml_event_t *ev, enum sc_yaml_kind kind, struct sc_span value)
{
    const struct sc_yaml_item item = {.path = sc_span(r->path, r->depth ? r->n : 0),
                                      .value = value,
                                      .kind = kind,
                                      .depth = r->depth,
                                      .line = (unsigned)ev->start_mark.line + 1};
    return r->fn(r->arg, &item, r->msg);
}

static bool wants_key(const struct reader *r)
{
    const struct level *top = r->depth ? &r->levels[r->depth - 1] : NULL;
    return top && !top->sequence && !top->have_key;
}

static int no_mapping(const struct reader *r)
{
    return sc_fail(r->msg, SC_EINVAL, "%s: a mapping (key: value) is expected", r->name);
}

static int scalar(struct reader *r, const yaml_event_t *ev)
{
    struct sc_span text = sc_span(ev->data.scalar.value, ev->data.scalar.length);
    bool plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (r->depth == 0)
        return no_mapping(r);
    if (wants_key(r)) {
        r->levels[r->depth - 1].have_key = true;
        return extend_path(r, ev, text);
    }
    int rc = begin_value(r, ev);
    r->levels[r->depth - 1].have_key = false;
    return rc < 0 ? rc : visit(r, ev, plain ? SC_YAML_PLAIN : SC_YAML_TEXT, text);
}

static int alias(struct reader *r, const yaml_event_t *ev)
{
    if (r->depth == 0)
        return no_mapping(r);
    if (wants_key(r))
        return sc_fail(r->msg, SC_EUNSUPPORTED, "%s:%zu: an alias (*name) cannot be a key; write it out",
                       r->name, ev->start_mark.line + 1);
    int rc = begin_value(r, ev);
    r->levels[r->depth - 1].have_key = false;
    return rc < 0 ? rc : visit(r, ev, SC_YAML_ALIAS, sc_span_str((const char *)ev->data.alias.anchor));
}

static int open_level(struct reader *r, const yaml_event_t *ev, bool sequence)
{
    if (r->depth == SC_JSON_DEPTH_MAX)
        return sc_fail(r->msg, SC_ELIMIT, "%s:%zu: nested deeper than %d", r->name, ev->start_mark.line + 1,
                       SC_JSON_DEPTH_MAX);
    if (r->depth && !r->levels[r->depth - 1].sequence && !r->levels[r->depth - 1].have_key)
        return sc_fail(r->msg, SC_EINVAL, "%s:%zu: a key must be a plain word", r->name,
                       ev->start_mark.line + 1);
    int rc = begin_value(r, ev);
    if (rc == 0)
        rc = visit(r, ev, sequence ? SC_YAML_SEQUENCE : SC_YAML_MAP, sc_span(NULL, 0));
    if (rc < 0)
        return rc;
    if (r->depth)
        r->levels[r->depth - 1].have_key = false;
    r->levels[r->depth] = (struct level){.sequence = sequence, .path = r->depth ? r->n : 0};
    r->depth++;
    return 0;
}

static int event(struct reader *r, const yaml_event_t *ev)
{
    switch (ev->type) {
    case YAML_SCALAR_EVENT: return scalar(r, ev);
    case YAML_MAPPING_START_EVENT: return open_level(r, ev, false);
    case YAML_SEQUENCE_START_EVENT: return open_level(r, ev, true);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT: r->depth--; return 0;
    case YAML_ALIAS_EVENT: return alias(r, ev);
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_START_EVENT:
    case YAML_DOCUMENT_END_EVENT: return 0;
    }
    return 0;
}

int sc_yaml_each(struct sc_span text, const char *name, sc_yaml_visit fn, void *arg, struct sc_msg *msg)
{
    struct reader r = {.name = name, .fn = fn, .arg = arg, .msg = msg};
    yaml_parser_t parser;
    yaml_event_t ev;
    int rc = 0;
    bool end = false;
    if (!yaml_parser_initialize(&parser))
        return sc_fail(msg, SC_ENOMEM, "%s: out of memory", name);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.p, text.n);
    while (rc == 0 && !end) {
        if (!yaml_parser_parse(&parser, &ev)) {
            rc = sc_fail(msg, SC_EINVAL, "%s:%zu:%zu: %s", name, parser.problem_mark.line + 1,
                         parser.problem_mark.column + 1, parser.problem ? parser.problem : "not YAML");
            break;
        }
        rc = event(&r, &ev);
        end = ev.type == YAML_STREAM_END_EVENT || ev.type == YAML_DOCUMENT_END_EVENT;
        yaml_event_delete(&ev);
    }
    yaml_parser_delete(&parser);
    return rc;
}

struct scalars {
    const char *name;
    sc_yaml_scalar fn;
    void *arg;
};

static int only_scalars(void *arg, const struct sc_yaml_item *i, struct sc_msg *msg)
{
    const struct scalars *s = arg;
    switch (i->kind) {
    case SC_YAML_PLAIN:
    case SC_YAML_TEXT: return s->fn(s->arg, i->path, i->value, msg);
    case SC_YAML_MAP:
    case SC_YAML_SEQUENCE: return 0;
    case SC_YAML_ALIAS:
        return sc_fail(msg, SC_EUNSUPPORTED, "%s:%u: aliases (*name) are not supported; write the value out",
                       s->name, i->line);
    }
    return 0;
}

int sc_yaml_read(struct sc_span text, const char *name, sc_yaml_scalar fn, void *arg, struct sc_msg *msg)
{
    struct scalars s = {name, fn, arg};
    return sc_yaml_each(text, name, only_scalars, &s, msg);
}
