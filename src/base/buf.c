#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"

void sc_buf_init(struct sc_buf *b, size_t max)
{
    *b = (struct sc_buf){.max = max};
}

void sc_buf_free(struct sc_buf *b)
{
    free(b->p);
    sc_buf_init(b, b->max);
}

int sc_buf_reserve(struct sc_buf *b, size_t more)
{
    if (b->failed)
        return b->failed;
    if (more <= b->cap - b->n)
        return 0;
    if (more > b->max - b->n)
        return b->failed = SC_ELIMIT;
    size_t cap = b->cap ? b->cap : SC_MIN((size_t)256, b->max);
    while (cap - b->n < more)
        cap = cap > b->max / 2 ? b->max : cap * 2;
    char *p = realloc(b->p, cap);
    if (!p)
        return b->failed = SC_ENOMEM;
    b->p = p;
    b->cap = cap;
    return 0;
}

void sc_buf_add(struct sc_buf *b, const void *p, size_t n)
{
    if (n == 0 || sc_buf_reserve(b, n) < 0)
        return;
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

void sc_buf_char(struct sc_buf *b, char c)
{
    sc_buf_add(b, &c, 1);
}

void sc_buf_printf(struct sc_buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    /* vsnprintf writes a NUL behind the text: room for it, without counting it. */
    if (n < 0 || sc_buf_reserve(b, (size_t)n + 1) < 0)
        return;
    va_start(ap, fmt);
    vsnprintf(b->p + b->n, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->n += (size_t)n;
}

void sc_buf_consume(struct sc_buf *b, size_t n)
{
    if (n >= b->n) {
        b->n = 0;
        return;
    }
    memmove(b->p, b->p + n, b->n - n);
    b->n -= n;
}
