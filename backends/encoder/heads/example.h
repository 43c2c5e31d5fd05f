/*
 * Archives of TorchServe's Transformers example, served in its words: what `handler:` in model-config.yaml
 * says is obeyed, requests come as its handler takes them, and answers are its bytes.
 *
 * A body, or the form field `data`, else `body`, is a text; with captum_explanation the Python literal
 * {"text": ...}; for question answering {"question": ..., "context": ...}. Texts are cut to max_length; for
 * tokens and answers they are padded to it, too, since what the model says of the padding is part of the
 * answer.
 */
#ifndef SC_ENCODER_EXAMPLE_H
#define SC_ENCODER_EXAMPLE_H

#include "heads/heads.h"

/* Of a model; read-only once made. */
struct sc_example;

/* True if the settings are those of the example: there is a handler.mode. */
bool sc_example_is(const char *(*setting)(void *ctx, const char *key), void *ctx);
/* The task that handler.mode names. SC_EUNSUPPORTED: text generation, or a save_mode that is not pretrained;
 * SC_EINVAL: nothing that is known. */
int sc_example_task(const char *(*setting)(void *ctx, const char *key), void *ctx, enum sc_task *task,
                    struct sc_msg *msg);
/* handler.do_lower_case. */
int sc_example_lower_case(const char *(*setting)(void *ctx, const char *key), void *ctx, bool *lower,
                          struct sc_msg *msg);

/* *out is NULL if this is not the example. SC_EINVAL, SC_EUNSUPPORTED, SC_ENOTFOUND or SC_ENOMEM with *msg.
 */
int sc_example_new(struct sc_example **out, const struct sc_heads_spec *spec, struct sc_msg *msg);
void sc_example_del(struct sc_example *e);

#endif
