/* What the heads share. */
#ifndef SC_ENCODER_HEADS_PARTS_H
#define SC_ENCODER_HEADS_PARTS_H

#include "heads/heads.h"

/* A task. All functions get a work whose body was read; see heads.h. */
struct sc_head {
    const char *what;  /* what its models are, for messages: "a text classifier" */
    const char *forms; /* names of the interfaces that it has, separated by blanks */
    bool divides;      /* prepare may have a part of the texts alone: from the run's `first` on */
    /* Reads a body in the head's own way; NULL: sc_input_parse. */
    int (*read)(const struct sc_heads *h, struct sc_run *w, struct sc_span body, struct sc_msg *msg);
    int (*prepare)(const struct sc_heads *h, struct sc_run *w, struct sc_encoding *e, struct sc_msg *msg);
    int (*begin)(const struct sc_heads *h, struct sc_run *w);
    int (*take)(const struct sc_heads *h, struct sc_run *w, uint32_t i, float *rows);
    int (*write)(const struct sc_heads *h, struct sc_run *w, struct sc_buf *out);
};

extern const struct sc_head sc_head_sequence, sc_head_token, sc_head_question, sc_head_mask, sc_head_embed,
    sc_head_example;

/* Encodes text i of the request, cut or refused where it is too long, and adds it as a sequence. `text` may
 * differ from the request's own (prompts). */
int sc_heads_encode(const struct sc_heads *h, struct sc_run *w, uint32_t i, struct sc_span text, bool origins,
                    struct sc_encoding *e, struct sc_msg *msg);
/* Refuses what only other tasks take: pairs, questions, rankings. */
int sc_heads_plain(const struct sc_heads *h, const struct sc_run *w, struct sc_msg *msg);

/* parts.c: whether the texts are so many that they are tokenised in parts, by several threads; does so. */
bool sc_heads_divides(const struct sc_heads *h, const struct sc_run *w);
int sc_heads_prepare_parts(const struct sc_heads *h, struct sc_run *w, struct sc_msg *msg);

/* info.c: /tokenize and /info of text-embeddings-inference, of models of all tasks: written at once. */
int sc_heads_tokenize(const struct sc_heads *h, struct sc_run *w, struct sc_encoding *e, struct sc_msg *msg);
int sc_heads_info(const struct sc_heads *h, struct sc_run *w);

/* tensors.c: the texts of records (proto/tensor.h), SC_EINVAL, SC_ELIMIT or SC_ENOMEM with *msg; the results
 * as such; what there is of both, written at once. */
int sc_heads_tensors_read(const struct sc_heads *h, struct sc_run *w, struct sc_span block,
                          struct sc_msg *msg);
int sc_heads_tensors_write(const struct sc_heads *h, struct sc_run *w, struct sc_buf *out);
int sc_heads_tensors_tell(const struct sc_heads *h, struct sc_run *w);

#endif
