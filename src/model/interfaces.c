#include "model/interfaces.h"

#include <stdio.h>

static const char *const names[SC_INTERFACES] = {
    [SC_OPENAI_EMBEDDINGS] = "openai/embeddings",
    [SC_TEI_EMBED] = "tei/embed",
    [SC_TEI_SIMILARITY] = "tei/similarity",
    [SC_TEI_PREDICT] = "tei/predict",
    [SC_TEI_RERANK] = "tei/rerank",
    [SC_TEI_TOKENIZE] = "tei/tokenize",
    [SC_TEI_INFO] = "tei/info",
    [SC_COHERE_RERANK] = "cohere/rerank",
    [SC_COHERE_RERANK_V2] = "cohere/rerank_v2",
    [SC_KSERVE_INFER] = "kserve/infer",
    [SC_KSERVE_METADATA] = "kserve/metadata",
};

const char *sc_interface_name(enum sc_interface i)
{
    return names[i];
}

unsigned sc_interfaces_read(struct sc_span text)
{
    unsigned bits = 0;
    while (text.n) {
        size_t end = sc_span_find(text, ' ');
        for (unsigned i = 0; i < SC_INTERFACES; i++)
            if (sc_span_eq(sc_span_sub(text, 0, end), sc_span_str(names[i])))
                bits |= 1u << i;
        text = sc_span_sub(text, end + 1, text.n);
    }
    return bits;
}

void sc_interfaces_write(unsigned bits, char *text, size_t size)
{
    size_t at = 0;
    snprintf(text, size, "none");
    for (unsigned i = 0; i < SC_INTERFACES && at < size; i++) {
        if (!(bits & 1u << i))
            continue;
        int n = snprintf(text + at, size - at, "%s%s", at ? ", " : "", names[i]);
        at += n < 0 ? 0 : (size_t)n;
    }
}
