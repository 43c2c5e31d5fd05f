/*
 * What a client may send: texts, and how they are to be answered.
 *
 * /predictions: one text or a list of them, plain or in JSON, in the manner of Hugging Face's pipelines.
 *
 *   application/json   T, {"text": T} or {"inputs": T}, where T is "text", {"text": ..., "text_pair": ...},
 *       {"question": ..., "context": ...}, {"query": ..., "texts": [...]} or a list of all but the last; the
 *       members of such an object may also stand beside "parameters", an object of options (options.c). A \u
 *       escape of half a surrogate pair becomes U+FFFD.
 *   application/x-www-form-urlencoded   what curl -d says of anything: JSON if it begins with { or [, else
 * the fields text, inputs or data if there are such, else the body as it is text/plain and any other type the
 * body is the text
 *
 * The interfaces of others (enum sc_form) take the objects of those, as JSON whatever the type.
 */
#ifndef SC_ENCODER_INPUT_H
#define SC_ENCODER_INPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "heads/form.h"
#include "heads/options.h"
#include "proto/json_read.h"

struct sc_text {
    struct sc_span text, pair; /* pair.p is NULL if there is none; question and context; query and document */
};

struct sc_input {
    struct sc_text *texts;
    uint32_t n;
    bool list;      /* the client sent a list, so it gets one */
    bool questions; /* texts are questions, pairs their contexts */
    bool ranking;   /* texts are all the same query */
    struct sc_options options;
    /* private */
    uint32_t cap, max;
    enum sc_form form;
    struct sc_json_reader json;
    struct sc_buf decoded; /* texts that do not stand in the body as they are */
};

/*
 * Reads a body; the spans lie in it or in *in, so it must outlive *in. At most max_texts texts. All texts are
 * valid UTF-8. SC_EINVAL, SC_ELIMIT or SC_ENOMEM with *msg saying what to send instead, and *in needs no
 * free. The caller frees with sc_input_free. Any thread.
 */
int sc_input_parse(struct sc_input *in, enum sc_form form, struct sc_span body, const char *content_type,
                   uint32_t max_texts, struct sc_msg *msg);
void sc_input_free(struct sc_input *in);

#endif
