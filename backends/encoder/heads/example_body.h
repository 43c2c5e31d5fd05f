/* What a client of TorchServe's Transformers example sends, in all the ways that its handler takes it. */
#ifndef SC_ENCODER_EXAMPLE_BODY_H
#define SC_ENCODER_EXAMPLE_BODY_H

#include "heads/input.h"

enum sc_example_form {
    SC_EXAMPLE_TEXT,    /* the text as it is */
    SC_EXAMPLE_LITERAL, /* {"text": ...}, a Python literal */
    SC_EXAMPLE_QUESTION /* {"question": ..., "context": ...}, a Python literal */
};

/*
 * Reads the one text of a request, or a question with its context, into *in, as TorchServe's worker and the
 * handler would: form fields `data`, else `body`, else the body itself; JSON that is a string stands for it.
 * `type`: the Content-Type as sent. SC_EINVAL: what makes the handler fail; SC_EPROTO with TorchServe's
 * sentence in *msg: a form that cannot be read; SC_ELIMIT, SC_ENOMEM. The spans lie in the body or in *in,
 * which the caller frees.
 */
int sc_example_body(struct sc_input *in, enum sc_example_form form, struct sc_span body, struct sc_span type,
                    struct sc_msg *msg);

#endif
