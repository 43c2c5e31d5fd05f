#include "heads/rank.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/array.h"
#include "heads/put.h"
#include "heads/score.h"

static void put_id(struct sc_buf *out)
{
    unsigned char r[16] = {0};
    if (getrandom(r, sizeof r, GRND_NONBLOCK) < 0)
        r[0] = 1; /* early at boot; an id that is not unique harms nobody */
    r[6] = (unsigned char)(0x40 | (r[6] & 0x0F));
    r[8] = (unsigned char)(0x80 | (r[8] & 0x3F));
    char text[40], *to = text; /* 36, and what snprintf may use behind them */
    for (int i = 0; i < 16; i++)
        to += snprintf(to, 4, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", r[i]);
    sc_buf_add(out, text, (size_t)(to - text));
}

static void put_tei(const struct sc_input *in, const struct sc_ranked *r, struct sc_buf *out)
{
    sc_buf_str(out, "{\"index\": ");
    sc_put_uint(out, r->index);
    if (in->options.return_texts == SC_YES) {
        sc_buf_str(out, ", \"text\": ");
        sc_put_string(out, in->texts[r->index].pair);
    }
    sc_buf_str(out, ", \"score\": ");
    sc_put_float(out, r->score);
    sc_buf_char(out, '}');
}

static void put_cohere(const struct sc_input *in, const struct sc_ranked *r, struct sc_buf *out)
{
    sc_buf_char(out, '{');
    if (in->options.return_texts == SC_YES) {
        sc_buf_str(out, "\"document\": {\"text\": ");
        sc_put_string(out, in->texts[r->index].pair);
        sc_buf_str(out, "}, ");
    }
    sc_buf_str(out, "\"index\": ");
    sc_put_uint(out, r->index);
    sc_buf_str(out, ", \"relevance_score\": ");
    sc_put_float(out, r->score);
    sc_buf_char(out, '}');
}

int sc_rank_write(const struct sc_input *in, enum sc_form form, const float *scores, struct sc_buf *out)
{
    bool cohere = form == SC_FORM_COHERE_RERANK || form == SC_FORM_COHERE_RERANK_V2;
    uint32_t k = in->options.top_n ? SC_MIN(in->options.top_n, in->n) : in->n;
    struct sc_ranked *order = malloc(SC_MAX(in->n, 1u) * sizeof *order);
    if (!order)
        return SC_ENOMEM;
    for (uint32_t i = 0; i < in->n; i++)
        order[i] = (struct sc_ranked){scores[i], i};
    sc_rank(order, in->n, k);
    if (cohere) {
        sc_buf_str(out, "{\"id\": \"");
        put_id(out);
        sc_buf_str(out, "\", \"results\": ");
    }
    sc_buf_char(out, '[');
    for (uint32_t i = 0; i < k; i++) {
        if (i > 0)
            sc_buf_str(out, ", ");
        if (cohere)
            put_cohere(in, &order[i], out);
        else
            put_tei(in, &order[i], out);
    }
    sc_buf_char(out, ']');
    if (cohere) {
        sc_buf_str(out, ", \"meta\": {\"api_version\": {\"version\": \"");
        sc_buf_char(out, form == SC_FORM_COHERE_RERANK ? '1' : '2');
        sc_buf_str(out, "\"}, \"billed_units\": {\"search_units\": 1}}}");
    }
    free(order);
    return 0;
}
