/*
 * What a client may send to a classifier: one text, or a list of them, plain or in JSON.
 *
 *   application/json
 *       T, {"text": T} or {"inputs": T}, where T is "text", {"text": ..., "text_pair": ...} or a list of
 * either; beside them "text_pair" and "parameters": {"top_k": n or null, "function_to_apply": ...}. A \u
 * escape of half a surrogate pair becomes U+FFFD. application/x-www-form-urlencoded what curl -d says of
 * anything: JSON if it begins with { or [, else the fields text, inputs or data if there are such, else the
 * body as it is text/plain and any other type the body is the text
 */
#ifndef SC_ENCODER_INPUT_H
#define SC_ENCODER_INPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "heads/classify.h"
#include "proto/json_read.h"

struct sc_text {
    struct sc_span text, pair; /* pair.p is NULL if there is none */
};

struct sc_input {
    struct sc_text *texts;
    uint32_t n;
    bool list; /* the client sent a list, so it gets one */
    struct sc_classify_options options;
    /* private */
    uint32_t cap, max;
    struct sc_json_reader json;
    struct sc_buf decoded; /* texts that do not stand in the body as they are */
};

/*
 * Reads a body; the spans lie in it or in *in, so it must outlive *in. At most max_texts texts. All texts are
 * valid UTF-8. SC_EINVAL, SC_ELIMIT or SC_ENOMEM with *msg saying what to send instead, and *in needs no
 * free. The caller frees with sc_input_free. Any thread.
 */
int sc_input_parse(struct sc_input *in, struct sc_span body, const char *content_type, uint32_t max_texts,
                   struct sc_msg *msg);
void sc_input_free(struct sc_input *in);

#endif
