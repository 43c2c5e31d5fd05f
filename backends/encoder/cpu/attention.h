/* Attention of one head over one sequence; the sequences of a batch lie one behind the other, unpadded. */
#ifndef SC_ENCODER_ATTENTION_H
#define SC_ENCODER_ATTENTION_H

#include <stdint.h>

#include "cpu/kernels.h"

/* Floats of working memory for sequences of at most n tokens and heads of size d. */
size_t sc_attention_work(const struct sc_kernels *kernels, size_t n, size_t d);

#define SC_ATTENTION_GLOBAL SIZE_MAX /* window: every token sees all others */

/*
 * out[i] = sum over j of softmax_j(q[i] . k[j] / sqrt d) v[j] for all i < n and all j < keys with |i - j| <=
 * window; keys is n, or less where the window is global. Row i of q lies at q + i * q_stride, of k and v at
 * kv_stride, of out at out_stride. work as above.
 */
void sc_attention(const struct sc_kernels *kernels, const float *q, size_t q_stride, const float *k,
                  const float *v, size_t kv_stride, size_t n, size_t keys, size_t d, size_t window,
                  float *out, size_t out_stride, float *work);

/* The same for a single q, where packing would not pay. work: n floats. */
void sc_attention_one(const struct sc_kernels *kernels, const float *q, const float *k, const float *v,
                      size_t kv_stride, size_t n, size_t d, float *out, float *work);

#endif
