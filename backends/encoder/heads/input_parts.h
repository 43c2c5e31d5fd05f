/* What the files that read requests share. */
#ifndef SC_ENCODER_INPUT_PARTS_H
#define SC_ENCODER_INPUT_PARTS_H

#include "heads/input.h"

/* The reader's error: what is wrong with the latest event. */
int sc_input_refuse(struct sc_input *in, const char *what);
/* The string that comes next, or that was the latest event. null leaves *out as it was where it may stand. */
int sc_input_string(struct sc_input *in, struct sc_span *out, struct sc_msg *msg);
int sc_input_string_or_null(struct sc_input *in, struct sc_span *out, struct sc_msg *msg);
int sc_input_latest(struct sc_input *in, struct sc_span *out, struct sc_msg *msg);
/* A text more; pair.p may be NULL. */
int sc_input_add(struct sc_input *in, struct sc_span text, struct sc_span pair, struct sc_msg *msg);
/* A list of strings, or of {"text": ...}, as texts. ev is its first event. */
int sc_input_documents(struct sc_input *in, int ev, struct sc_msg *msg);
/* The value of "parameters": null or an object of options. */
int sc_input_parameters(struct sc_input *in, struct sc_msg *msg);
/* Makes the texts that were read the pairs of a query. */
int sc_input_query(struct sc_input *in, struct sc_span query);

/* interfaces.c: the whole body of an interface that is not /predictions, behind its '{'. */
int sc_input_interface(struct sc_input *in, struct sc_msg *msg);

#endif
