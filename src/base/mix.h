/* A 64-bit hash for names and checks of our own data: not for what others choose (FNV-1a). Pure; any thread.
 */
#ifndef SC_BASE_MIX_H
#define SC_BASE_MIX_H

#include <stddef.h>
#include <stdint.h>

#define SC_MIX_START UINT64_C(0xcbf29ce484222325)

/* Continues h, which begins as SC_MIX_START. */
static inline uint64_t sc_mix_bytes(uint64_t h, const void *data, size_t n)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    return h;
}

#endif
