/* Logits to scores: the arithmetic that several heads share. */
#ifndef SC_ENCODER_SCORE_H
#define SC_ENCODER_SCORE_H

#include <math.h>
#include <stdint.h>

/* In place; n >= 1. */
static inline void sc_softmax(float *x, uint32_t n)
{
    float top = x[0], total = 0;
    for (uint32_t i = 1; i < n; i++)
        top = fmaxf(top, x[i]);
    for (uint32_t i = 0; i < n; i++) {
        x[i] = expf(x[i] - top);
        total += x[i];
    }
    for (uint32_t i = 0; i < n; i++)
        x[i] /= total;
}

static inline float sc_sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

/* Index of the largest; the first of equals. */
static inline uint32_t sc_best(const float *x, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

/* A score and what it belongs to. */
struct sc_ranked {
    float score;
    uint32_t index;
};
/* Puts the k best of n first, in order; equals in the order of their indices; what is no number comes last.
 */
void sc_rank(struct sc_ranked *x, uint32_t n, uint32_t k);

#endif
