/*
 * Any bytes as YAML: collections nest, paths have a bound, what is refused says why; what becomes JSON is a
 * well-formed object with as many values. Each line is also tried as a plain scalar.
 */
#include <stdlib.h>

#include "base/limits.h"
#include "proto/json_read.h"
#include "proto/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    unsigned scalars, collections, depth;
};

static void check(bool ok)
{
    if (!ok)
        abort();
}

static int visit(void *arg, const struct sc_yaml_item *i, struct sc_msg *msg)
{
    struct seen *s = arg;
    (void)msg;
    check(i->depth <= s->depth + 1 && i->depth <= SC_JSON_DEPTH_MAX && i->path.n <= 256 && i->line > 0);
    check((i->path.n > 0) <= (i->depth > 0));
    s->depth = i->depth;
    if (i->kind == SC_YAML_MAP || i->kind == SC_YAML_SEQUENCE)
        s->collections++;
    else
        s->scalars++;
    return 0;
}

static int scalar(void *arg, struct sc_span path, struct sc_span value, struct sc_msg *msg)
{
    (void)path, (void)msg;
    (*(unsigned *)arg)++;
    check(value.p != NULL);
    return 0;
}

/* The JSON's values beside those that were visited. */
static void compare(struct sc_span text, const struct seen *visited)
{
    struct sc_json_reader r;
    unsigned scalars = 0, collections = 0;
    int ev;
    sc_json_read_init(&r, text);
    while ((ev = sc_json_next(&r)) > SC_JSON_END) {
        check(collections > 0 || ev == SC_JSON_OBJECT);
        if (ev == SC_JSON_OBJECT || ev == SC_JSON_ARRAY)
            collections++;
        else if (ev != SC_JSON_OBJECT_END && ev != SC_JSON_ARRAY_END && ev != SC_JSON_KEY)
            scalars++;
    }
    check(ev == SC_JSON_END && collections > 0);
    if (visited && visited->collections)
        check(scalars == visited->scalars && collections == visited->collections);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sc_span text = sc_span(data, size), rest = text;
    struct seen s = {0};
    struct sc_msg msg = {""};
    struct sc_buf json;
    unsigned plain = 0;
    int rc = sc_yaml_each(text, "f", visit, &s, &msg);
    check(rc == 0 || *msg.text);
    if (sc_yaml_read(text, "f", scalar, &plain, &msg) == 0)
        check(rc == 0 && plain == s.scalars);
    sc_buf_init(&json, 8 * size + 64);
    if (sc_yaml_to_json(text, &json) == 0)
        compare(sc_buf_view(&json), rc == 0 ? &s : NULL);
    sc_buf_free(&json);
    while (rest.n) {
        struct sc_yaml_value v;
        size_t end = sc_span_find(rest, '\n');
        enum sc_yaml_type type = sc_yaml_type(sc_span_sub(rest, 0, end), &v);
        check(!v.big || (type == SC_YAML_INT && v.number == 0));
        check(type == SC_YAML_INT || type == SC_YAML_FLOAT || v.number == 0);
        rest = sc_span_sub(rest, end + 1, rest.n);
    }
    return 0;
}
