/*
 * Python literals, as ast.literal_eval reads them: what clients of TorchServe's Transformers example send in
 * place of JSON. Strings in all their spellings but \N{...}, which needs the names of all characters;
 * numbers, containers, comments. No recursion; nesting is bounded by SC_LITERAL_DEPTH_MAX.
 */
#ifndef SC_ENCODER_LITERAL_H
#define SC_ENCODER_LITERAL_H

#include "base/buf.h"
#include "base/error.h"

#define SC_LITERAL_KEYS 2

enum sc_literal_kind {
    SC_LITERAL_ABSENT,
    SC_LITERAL_TEXT,
    SC_LITERAL_NONE,
    SC_LITERAL_OTHER /* of another type, or a text with half a surrogate pair */
};

struct sc_literal_value {
    enum sc_literal_kind kind;
    size_t at, n; /* of a text: where it lies in `texts` */
};

/*
 * Reads a dictionary and finds the values of `n` keys (at most SC_LITERAL_KEYS) in it; of a key that comes
 * twice the last. Texts are appended to `texts`, which needs no more room than the literal has bytes.
 * SC_EINVAL: it is not valid UTF-8, no literal, or no dictionary; SC_ENOMEM, SC_ELIMIT as texts says.
 */
int sc_literal_dict(struct sc_span literal, const struct sc_span *keys, unsigned n,
                    struct sc_literal_value *values, struct sc_buf *texts);

#endif
