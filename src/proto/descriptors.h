/*
 * The files of proto/ as protobuf describes them, for gRPC's reflection: which file has a name or a symbol.
 * The bytes are built in. Any thread.
 */
#ifndef SC_PROTO_DESCRIPTORS_H
#define SC_PROTO_DESCRIPTORS_H

#include "base/array.h"
#include "base/span.h"

/* The file of that name, as serialized FileDescriptorProto; a NULL pointer if there is none. */
struct sc_span sc_descriptor_file(struct sc_span name);
/* The one that defines a service, a method, a message, a field, an enumeration or one of its values, by its
 * full name. */
struct sc_span sc_descriptor_symbol(struct sc_span name);
/* The names of the files that a file imports, one after the other: start with *at = 0. */
bool sc_descriptor_import(struct sc_span file, size_t *at, struct sc_span *name);

#endif
