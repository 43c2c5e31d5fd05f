/* The scalars of a YAML file (model-config.yaml): what settings are made of. libyaml does the reading. */
#ifndef SC_PROTO_YAML_H
#define SC_PROTO_YAML_H

#include "base/array.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/span.h"

/* A reader of scalars: path is "key" or "outer.inner" (sequence items: "key.0"). A negative return ends the
 * reading. */
typedef int (*sc_yaml_scalar)(void *arg, struct sc_span path, struct sc_span value, struct sc_msg *msg);

/*
 * Reads the first document of text, calling fn for each scalar in order. `name` stands in messages. SC_EINVAL
 * with line and column, SC_ELIMIT (deeper than SC_JSON_DEPTH_MAX, path too long), SC_EUNSUPPORTED (anchors),
 * or what fn returned.
 */
int sc_yaml_read(struct sc_span text, const char *name, sc_yaml_scalar fn, void *arg,
                 struct sc_msg *msg) SC_MUST_USE;

/* ---- with types ------------------------------------------------------------------------------------- */

enum sc_yaml_kind {
    SC_YAML_PLAIN,    /* a scalar without quotes: its type follows from its text (sc_yaml_type) */
    SC_YAML_TEXT,     /* a scalar in quotes, or a block: a string */
    SC_YAML_MAP,      /* a mapping begins; its values follow */
    SC_YAML_SEQUENCE, /* a sequence begins */
    SC_YAML_ALIAS     /* *name: stands for a value that was given before */
};
struct sc_yaml_item {
    struct sc_span path; /* as above; empty for the document's own mapping */
    struct sc_span value;
    enum sc_yaml_kind kind;
    unsigned depth; /* 1: a value of the document's mapping; 2: of one in it */
    unsigned line;
};
typedef int (*sc_yaml_visit)(void *arg, const struct sc_yaml_item *item, struct sc_msg *msg);

/* As sc_yaml_read, but fn sees every value, collections and aliases too. SC_EUNSUPPORTED only for an alias
 * that is a key. */
int sc_yaml_each(struct sc_span text, const char *name, sc_yaml_visit fn, void *arg,
                 struct sc_msg *msg) SC_MUST_USE;

/* What a plain scalar is by YAML 1.1, as PyYAML and SnakeYAML read it. */
enum sc_yaml_type {
    SC_YAML_STRING,
    SC_YAML_NULL,
    SC_YAML_BOOL,
    SC_YAML_INT,
    SC_YAML_FLOAT,
    SC_YAML_TIMESTAMP,
    SC_YAML_SPECIAL /* "<<" and "=" */
};
struct sc_yaml_value {
    bool truth;
    bool big; /* an integer beyond 64 bits; number is 0 */
    int64_t number;
    double real; /* may be infinite or no number */
};
enum sc_yaml_type sc_yaml_type(struct sc_span plain, struct sc_yaml_value *out);

/*
 * Appends the document as compact JSON that json.load reads as PyYAML's safe_load reads the text; {} for an
 * empty text. SC_EUNSUPPORTED if JSON cannot say it, or might not say the same (timestamps, keys that are no
 * text, aliases, tags, several documents, not a mapping), or the text is no YAML; SC_ELIMIT. `out` holds
 * rubbish then.
 */
int sc_yaml_to_json(struct sc_span text, struct sc_buf *out) SC_MUST_USE;

#endif
