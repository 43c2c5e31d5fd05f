/* The scalars of a YAML file (model-config.yaml): what settings are made of. libyaml does the reading. */
#ifndef SC_PROTO_YAML_H
#define SC_PROTO_YAML_H

#include "base/array.h"
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

#endif
