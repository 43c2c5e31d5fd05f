/*
 * Reader of .safetensors files: named tensors in one file.
 *
 * Everything in the file is somebody else's word: the header's length is bounded before it is read, every
 * tensor's type, shape and place are checked against each other and against the file's size, and no two
 * may overlap. After a successful open, every tensor's bytes are there. Memory needed is
 * proportional to the header, whatever it says. Read-only afterwards, any thread.
 */
#ifndef SC_ENCODER_SAFETENSORS_H
#define SC_ENCODER_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/limits.h"
#include "base/span.h"

enum sc_dtype { SC_DTYPE_F32, SC_DTYPE_F16, SC_DTYPE_BF16, SC_DTYPE_OTHER };

struct sc_tensor {
    struct sc_span name;
    struct sc_span dtype_name; /* as written in the file */
    enum sc_dtype dtype;
    unsigned dims;
    uint64_t shape[SC_ENCODER_TENSOR_DIMS];
    uint64_t count; /* product of shape */
    uint64_t begin, end;
    const unsigned char *data; /* not aligned */
};

struct sc_safetensors;

/*
 * Opens the file at `path`. On failure *msg names the file, the tensor or field, and the remedy. The caller
 * closes with sc_safetensors_close. The file must not be made shorter while it is open.
 */
int sc_safetensors_open(struct sc_safetensors **out, const char *path, struct sc_msg *msg);
/* The same over bytes that stay the caller's and must outlive *out; `name` is for messages, not kept. */
int sc_safetensors_parse(struct sc_safetensors **out, struct sc_span bytes, const char *name,
                         struct sc_msg *msg);
void sc_safetensors_close(struct sc_safetensors *s);
/* A number that another file, or the same one written again, does not have: of device, inode, size and times.
 * 0 for bytes. */
uint64_t sc_safetensors_identity(const struct sc_safetensors *s);

/* NULL if there is none of that name. */
const struct sc_tensor *sc_safetensors_find(const struct sc_safetensors *s, struct sc_span name);
size_t sc_safetensors_count(const struct sc_safetensors *s);
/* Tensor i in the order of their places, i < count. */
const struct sc_tensor *sc_safetensors_at(const struct sc_safetensors *s, size_t i);

/* Writes all t->count elements to out as fp32. t's dtype is not SC_DTYPE_OTHER. */
void sc_tensor_floats(const struct sc_tensor *t, float *out);
/* The same for `count` elements from `first` on, which t has. */
void sc_tensor_floats_at(const struct sc_tensor *t, uint64_t first, uint64_t count, float *out);

#endif
