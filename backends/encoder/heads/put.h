/* JSON as the answers of all tasks are written: Python's separators, floats of nine digits. */
#ifndef SC_ENCODER_PUT_H
#define SC_ENCODER_PUT_H

#include "base/buf.h"

/* Most bytes of a number. */
#define SC_PUT_FLOAT_MAX 24

/*
 * Writes v as printf's %.9g does (which reads back as the same float), with ".0" behind whole numbers; what
 * is no number (of a damaged model) becomes null, as JSON has no name for it. Returns the length; no NUL.
 */
size_t sc_put_float_text(char to[SC_PUT_FLOAT_MAX], float v);

void sc_put_float(struct sc_buf *b, float v);
/* s between quotes, escaped where JSON wants it. */
void sc_put_string(struct sc_buf *b, struct sc_span s);
void sc_put_uint(struct sc_buf *b, uint64_t v);
/* [0.1, -0.2, ...] */
void sc_put_vector(struct sc_buf *b, const float *v, uint32_t n);
/* The little-endian floats in base64, between quotes, as OpenAI's encoding_format has it. */
void sc_put_vector_base64(struct sc_buf *b, const float *v, uint32_t n);

#endif
