/* fp32 to the GPU's 16-bit types, to nearest even as the GPU itself rounds. Pure; any thread. */
#ifndef SC_ENCODER_CUDA_HALF_H
#define SC_ENCODER_CUDA_HALF_H

#include <stdint.h>
#include <string.h>

#define SC_HALF_INFINITY 0x7c00u

/* fp16; beyond its range: infinity. Without branches, so that compilers make vectors of it. */
static inline uint16_t sc_half(float x)
{
    uint32_t u, small, half_bits = 0x3f000000u;
    float half = 0.5f, sum;
    memcpy(&u, &x, sizeof u);
    uint32_t sign = u >> 16 & 0x8000u;
    u &= 0x7fffffffu;
    memcpy(&sum, &u, sizeof sum);
    sum += half; /* has the unit in the last place of fp16's smallest numbers */
    memcpy(&small, &sum, sizeof small);
    uint32_t normal = (u + 0xc8000fffu + (u >> 13 & 1)) >> 13;
    uint32_t large = u > 0x7f800000u ? 0x7e00u : SC_HALF_INFINITY;
    uint32_t h = u < 0x38800000u ? small - half_bits : normal;
    return (uint16_t)(sign | (u >= 0x47800000u ? large : h));
}

static inline uint16_t sc_bf16(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    uint32_t rounded = (u + 0x7fffu + (u >> 16 & 1)) >> 16;
    return (uint16_t)((u & 0x7fffffffu) > 0x7f800000u ? (u >> 16 | 0x40u) : rounded);
}

#endif
