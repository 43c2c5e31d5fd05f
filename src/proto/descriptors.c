#include "proto/descriptors.h"

/* cmake/embed.cmake: a FileDescriptorSet. */
extern const unsigned char sc_grpc_descriptors[];
extern const size_t sc_grpc_descriptors_n;

/* Numbers of fields (descriptor.proto). */
enum { SET_FILE = 1 };
enum {
    FILE_NAME = 1,
    FILE_PACKAGE = 2,
    FILE_DEPENDENCY = 3,
    FILE_MESSAGE = 4,
    FILE_ENUM = 5,
    FILE_SERVICE = 6
};
enum { ANY_NAME = 1, MEMBER = 2, NESTED_MESSAGE = 3, NESTED_ENUM = 4 };
#define DEPTH 4

static bool varint(struct sc_span in, size_t *at, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; *at < in.n && shift < 64; shift += 7) {
        unsigned char c = (unsigned char)in.p[(*at)++];
        *out |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80))
            return true;
    }
    return false;
}

/* The next field that holds bytes. */
static bool next(struct sc_span in, size_t *at, unsigned *number, struct sc_span *value)
{
    uint64_t key, n;
    while (*at < in.n && varint(in, at, &key)) {
        if ((key & 7) == 0) {
            if (!varint(in, at, &n))
                return false;
            continue;
        }
        if ((key & 7) != 2 || !varint(in, at, &n) || n > in.n - *at)
            return false;
        *number = (unsigned)(key >> 3);
        *value = sc_span_sub(in, *at, (size_t)n);
        *at += (size_t)n;
        return true;
    }
    return false;
}

static struct sc_span field(struct sc_span in, unsigned wanted)
{
    struct sc_span value;
    unsigned number;
    for (size_t at = 0; next(in, &at, &number, &value);)
        if (number == wanted)
            return value;
    return sc_span(NULL, 0);
}

/* True if `name` is "prefix" or "prefix.rest": *rest is what follows. */
static bool strip(struct sc_span name, struct sc_span prefix, struct sc_span *rest)
{
    if (!sc_span_starts(name, prefix) || (name.n > prefix.n && name.p[prefix.n] != '.'))
        return false;
    *rest = sc_span_sub(name, prefix.n + 1, name.n);
    return true;
}

/* True if the name is of `in` (a message, service or enumeration), or of what it contains. */
static bool has(struct sc_span in, struct sc_span name, unsigned depth)
{
    struct sc_span value;
    unsigned number;
    if (!strip(name, field(in, ANY_NAME), &name))
        return false;
    if (name.n == 0)
        return true;
    for (size_t at = 0; next(in, &at, &number, &value);) {
        if (number == MEMBER && sc_span_eq(field(value, ANY_NAME), name))
            return true;
        if ((number == NESTED_MESSAGE || number == NESTED_ENUM) && depth < DEPTH &&
            has(value, name, depth + 1))
            return true;
    }
    return false;
}

static bool file_has(struct sc_span file, struct sc_span name)
{
    struct sc_span value;
    unsigned number;
    if (!strip(name, field(file, FILE_PACKAGE), &name))
        return false;
    for (size_t at = 0; next(file, &at, &number, &value);)
        if ((number == FILE_MESSAGE || number == FILE_ENUM || number == FILE_SERVICE) && has(value, name, 0))
            return true;
    return false;
}

static struct sc_span find(struct sc_span name, bool symbol)
{
    struct sc_span set = sc_span(sc_grpc_descriptors, sc_grpc_descriptors_n), file;
    unsigned number;
    for (size_t at = 0; next(set, &at, &number, &file);)
        if (number == SET_FILE && (symbol ? file_has(file, name) : sc_span_eq(field(file, FILE_NAME), name)))
            return file;
    return sc_span(NULL, 0);
}

struct sc_span sc_descriptor_file(struct sc_span name)
{
    return find(name, false);
}

struct sc_span sc_descriptor_symbol(struct sc_span name)
{
    return find(name, true);
}

bool sc_descriptor_import(struct sc_span file, size_t *at, struct sc_span *name)
{
    unsigned number;
    while (next(file, at, &number, name))
        if (number == FILE_DEPENDENCY)
            return true;
    return false;
}
