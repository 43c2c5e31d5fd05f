/* Rankings of documents for a query: text-embeddings-inference's and Cohere's answers. */
#ifndef SC_ENCODER_RANK_H
#define SC_ENCODER_RANK_H

#include "base/buf.h"
#include "heads/input.h"

/*
 * Appends the answer in the form `form` (SC_FORM_PIPELINE: as text-embeddings-inference) for texts with one
 * score each: best first, equals in the order in which they were sent, at most top_n. SC_ENOMEM, else
 * failures are out's.
 */
int sc_rank_write(const struct sc_input *in, enum sc_form form, const float *scores, struct sc_buf *out);

#endif
