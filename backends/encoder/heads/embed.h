/* Vectors as they are sent: cut, normalised, and in the words of each interface. */
#ifndef SC_ENCODER_EMBED_H
#define SC_ENCODER_EMBED_H

#include "base/buf.h"
#include "heads/form.h"
#include "heads/options.h"

/* v to length 1; a vector of zeros stays. */
void sc_embed_normalise(float *v, uint32_t n);

struct sc_embed_answer {
    enum sc_form form;
    bool list, base64;
    const float *vectors; /* n of `stride` floats, of which the first `width` are sent */
    uint32_t n, stride, width;
    uint64_t tokens;   /* that were computed */
    const char *model; /* its name */
};
/* Appends the answer; failures are out's. */
void sc_embed_write(const struct sc_embed_answer *a, struct sc_buf *out);

#endif
