#include "load/body.h"

#include "base/limits.h"

void sc_body_begin(struct sc_body *b, enum sc_body_want want, struct sc_span expected)
{
    b->want = want;
    b->expected = expected;
    b->n = 0;
    b->differs = false;
    b->excerpt_n = 0;
    if (want != SC_BODY_KEEP)
        return;
    if (!b->kept.max)
        sc_buf_init(&b->kept, SC_LOAD_ANSWER_BYTES);
    sc_buf_clear(&b->kept);
}

void sc_body_add(struct sc_body *b, const char *p, size_t n)
{
    if (b->excerpt_n < sizeof b->excerpt) {
        size_t more = sizeof b->excerpt - b->excerpt_n;
        more = n < more ? n : more;
        memcpy(b->excerpt + b->excerpt_n, p, more);
        b->excerpt_n += more;
    }
    switch (b->want) {
    case SC_BODY_COUNT: break;
    case SC_BODY_COMPARE:
        if (!b->differs)
            b->differs = !sc_span_eq(sc_span_sub(b->expected, (size_t)b->n, n), sc_span(p, n));
        break;
    case SC_BODY_KEEP: sc_buf_add(&b->kept, p, n); break;
    }
    b->n += n;
}

void sc_body_end(struct sc_body *b)
{
    if (b->want == SC_BODY_COMPARE && b->n != b->expected.n)
        b->differs = true;
    if (b->want != SC_BODY_KEEP)
        return;
    sc_buf_char(&b->kept, '\0');
    if (b->kept.failed)
        b->differs = true;
    else
        b->kept.n--;
}

void sc_body_free(struct sc_body *b)
{
    sc_buf_free(&b->kept);
}
