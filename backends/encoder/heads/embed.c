#include "heads/embed.h"

#include <math.h>

#include "heads/put.h"

void sc_embed_normalise(float *v, uint32_t n)
{
    double square = 0;
    for (uint32_t i = 0; i < n; i++)
        square += (double)v[i] * (double)v[i];
    /* As torch's normalize, which divides by at least 1e-12. */
    float scale = (float)(1 / fmax(sqrt(square), 1e-12));
    for (uint32_t i = 0; i < n; i++)
        v[i] *= scale;
}

static void put_one(const struct sc_embed_answer *a, uint32_t i, struct sc_buf *out)
{
    const float *v = a->vectors + (size_t)i * a->stride;
    if (a->base64)
        sc_put_vector_base64(out, v, a->width);
    else
        sc_put_vector(out, v, a->width);
}

static void write_openai(const struct sc_embed_answer *a, struct sc_buf *out)
{
    sc_buf_str(out, "{\"object\": \"list\", \"data\": [");
    for (uint32_t i = 0; i < a->n; i++) {
        sc_buf_str(out, i > 0 ? ", {" : "{");
        sc_buf_str(out, "\"object\": \"embedding\", \"index\": ");
        sc_put_uint(out, i);
        sc_buf_str(out, ", \"embedding\": ");
        put_one(a, i, out);
        sc_buf_char(out, '}');
    }
    sc_buf_str(out, "], \"model\": ");
    sc_put_string(out, sc_span_str(a->model));
    sc_buf_str(out, ", \"usage\": {\"prompt_tokens\": ");
    sc_put_uint(out, a->tokens);
    sc_buf_str(out, ", \"total_tokens\": ");
    sc_put_uint(out, a->tokens);
    sc_buf_str(out, "}}");
}

/* Of all but the last with the last; vectors have length 1. */
static void write_similarity(const struct sc_embed_answer *a, struct sc_buf *out)
{
    const float *source = a->vectors + (size_t)(a->n - 1) * a->stride;
    for (uint32_t i = 0; i + 1 < a->n; i++) {
        const float *v = a->vectors + (size_t)i * a->stride;
        double sum = 0;
        for (uint32_t k = 0; k < a->width; k++)
            sum += (double)v[k] * (double)source[k];
        sc_buf_str(out, i > 0 ? ", " : "[");
        sc_put_float(out, (float)sum);
    }
    sc_buf_char(out, ']');
}

void sc_embed_write(const struct sc_embed_answer *a, struct sc_buf *out)
{
    if (a->form == SC_FORM_TEI_SIMILARITY) {
        write_similarity(a, out);
        return;
    }
    if (a->form == SC_FORM_OPENAI_EMBEDDINGS) {
        write_openai(a, out);
        return;
    }
    bool list = a->list || a->form == SC_FORM_TEI_EMBED;
    if (list)
        sc_buf_char(out, '[');
    for (uint32_t i = 0; i < a->n; i++) {
        if (i > 0)
            sc_buf_str(out, ", ");
        put_one(a, i, out);
    }
    if (list)
        sc_buf_char(out, ']');
}
