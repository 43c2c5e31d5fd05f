#include "base/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *must(void *p)
{
    if (!p) {
        fputs("sconce: out of memory\n", stderr);
        abort();
    }
    return p;
}

void *sc_alloc(size_t n)
{
    return must(calloc(1, n ? n : 1));
}

void *sc_alloc_array(size_t count, size_t size)
{
    return must(calloc(count ? count : 1, size));
}

void *sc_realloc_array(void *p, size_t count, size_t size)
{
    return must(reallocarray(p, count ? count : 1, size));
}

char *sc_strdup(const char *s)
{
    return must(strdup(s));
}
