#include "heads/form.h"

#include <string.h>

static const char *const names[SC_FORMS] = {
    [SC_FORM_PIPELINE] = "",
    [SC_FORM_OPENAI_EMBEDDINGS] = "openai/embeddings",
    [SC_FORM_TEI_EMBED] = "tei/embed",
    [SC_FORM_TEI_SIMILARITY] = "tei/similarity",
    [SC_FORM_TEI_PREDICT] = "tei/predict",
    [SC_FORM_TEI_RERANK] = "tei/rerank",
    [SC_FORM_TEI_TOKENIZE] = "tei/tokenize",
    [SC_FORM_TEI_INFO] = "tei/info",
    [SC_FORM_COHERE_RERANK] = "cohere/rerank",
    [SC_FORM_COHERE_RERANK_V2] = "cohere/rerank_v2",
    [SC_FORM_KSERVE_INFER] = "kserve/infer",
    [SC_FORM_KSERVE_METADATA] = "kserve/metadata",
};

const char *sc_form_name(enum sc_form f)
{
    return names[f];
}

int sc_form_named(const char *name, enum sc_form *out)
{
    for (int f = 0; f < SC_FORMS; f++)
        if (strcmp(name, names[f]) == 0) {
            *out = (enum sc_form)f;
            return 0;
        }
    return SC_ENOTFOUND;
}
