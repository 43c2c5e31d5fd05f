/* How a client wants its texts answered: the members of "parameters", or those of other interfaces. */
#ifndef SC_ENCODER_OPTIONS_H
#define SC_ENCODER_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "heads/entities.h"
#include "model/config.h"

/* A wish that may not have been uttered. */
enum sc_wish { SC_UNSAID, SC_NO, SC_YES };

struct sc_options {
    bool has_top_k;   /* classification: then each text gets a list, best first */
    uint32_t top_k;   /* UINT32_MAX: all */
    bool has_scoring; /* else the model's */
    enum sc_scoring scoring;

    bool has_aggregation; /* token classification, as the next two */
    enum sc_aggregation aggregation;
    uint32_t stride; /* long texts in windows that share so many tokens; 0: they are cut */

    /* Question answering; 0: the default. */
    uint32_t doc_stride, max_answer_len, max_seq_len, max_question_len;
    enum sc_wish impossible, align;

    bool has_names; /* ignore_labels or targets */
    struct sc_span *names;
    uint32_t names_n;

    /* Embeddings. */
    enum sc_wish normalize;
    uint32_t dimensions; /* 0: all */
    bool base64;
    struct sc_span prompt, prompt_name; /* a NULL pointer: none */

    /* Rankings. */
    uint32_t top_n; /* 0: all */
    enum sc_wish return_texts;

    enum sc_wish truncate;
    enum sc_wish special_tokens; /* of tokenize */
};

struct sc_input;
struct sc_msg;

/*
 * Behind a key of the object that has the options of in->form: reads the value if the key is one of them (1),
 * or leaves it (0). SC_EINVAL as the reader's error; SC_ENOMEM.
 */
int sc_options_member(struct sc_input *in, struct sc_msg *msg);
void sc_options_free(struct sc_options *o);

#endif
