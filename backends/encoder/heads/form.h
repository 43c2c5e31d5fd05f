/* The interfaces that a request may have come by (sconce_request_interface). */
#ifndef SC_ENCODER_FORM_H
#define SC_ENCODER_FORM_H

#include "base/error.h"

enum sc_form {
    SC_FORM_PIPELINE, /* /predictions */
    SC_FORM_OPENAI_EMBEDDINGS,
    SC_FORM_TEI_EMBED,
    SC_FORM_TEI_SIMILARITY,
    SC_FORM_TEI_PREDICT,
    SC_FORM_TEI_RERANK,
    SC_FORM_TEI_TOKENIZE,
    SC_FORM_TEI_INFO,
    SC_FORM_COHERE_RERANK,    /* /v1/rerank */
    SC_FORM_COHERE_RERANK_V2, /* /v2/rerank */
    SC_FORM_KSERVE_INFER,     /* tensors (tensors.c) */
    SC_FORM_KSERVE_METADATA,
    SC_FORMS
};

/* "openai/embeddings"; "" for SC_FORM_PIPELINE. */
const char *sc_form_name(enum sc_form f);
/* SC_ENOTFOUND if there is no such. */
int sc_form_named(const char *name, enum sc_form *out);

#endif
