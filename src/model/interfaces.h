/* Interfaces beside /predictions that native models may have (include/sconce/backend.h): a bit each. */
#ifndef SC_MODEL_INTERFACES_H
#define SC_MODEL_INTERFACES_H

#include "base/span.h"

enum sc_interface {
    SC_OPENAI_EMBEDDINGS,
    SC_TEI_EMBED,
    SC_TEI_SIMILARITY,
    SC_TEI_PREDICT,
    SC_TEI_RERANK,
    SC_TEI_TOKENIZE,
    SC_TEI_INFO,
    SC_COHERE_RERANK,
    SC_COHERE_RERANK_V2,
    SC_KSERVE_INFER,
    SC_KSERVE_METADATA,
    SC_INTERFACES
};
/* Set of a model that has told what it has: the executor was loaded. */
#define SC_INTERFACES_KNOWN (1u << 31)

/* "openai/embeddings": what a backend calls it. */
const char *sc_interface_name(enum sc_interface i);
/* The bits of names that are separated by blanks; others are passed over. */
unsigned sc_interfaces_read(struct sc_span names);
/* The names of some bits, separated by ", "; "none" if there is no bit. */
void sc_interfaces_write(unsigned bits, char *text, size_t size);

#endif
