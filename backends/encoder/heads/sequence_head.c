/* Sequence classification: labels of texts and pairs; with one label also rankings. */
#include <stdlib.h>

#include "heads/heads_parts.h"
#include "heads/rank.h"

static int prepare(const struct sc_heads *h, struct sc_run *w, struct sc_encoding *e, struct sc_msg *msg)
{
    struct sc_input *in = &w->in;
    if (in->ranking && h->columns != 1)
        return sc_fail(msg, SC_EINVAL, "This model has %u labels: ranking takes one that has a single one",
                       h->columns);
    for (uint32_t i = w->first; i < in->n; i++) {
        int rc = sc_heads_encode(h, w, i, in->texts[i].text, false, e, msg);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int begin(const struct sc_heads *h, struct sc_run *w)
{
    w->kept = malloc((size_t)w->n * h->columns * sizeof *w->kept);
    return w->kept ? 0 : SC_ENOMEM;
}

static int take(const struct sc_heads *h, struct sc_run *w, uint32_t i, float *rows)
{
    memcpy(w->kept + (size_t)i * h->columns, rows, h->columns * sizeof *rows);
    return 0;
}

static int write(const struct sc_heads *h, struct sc_run *w, struct sc_buf *out)
{
    const struct sc_options *o = &w->in.options;
    if (w->in.ranking) {
        for (uint32_t i = 0; i < w->n; i++)
            sc_classify_score(&h->classifier, o, w->kept + i);
        return sc_rank_write(&w->in, w->form, w->kept, out);
    }
    if (w->form == SC_FORM_TEI_PREDICT)
        return sc_classify_tei(&h->classifier, o, w->in.list, w->kept, w->n, out);
    return sc_classify(&h->classifier, o, w->in.list, w->kept, w->n, out);
}

const struct sc_head sc_head_sequence = {
    .what = "a text classifier",
    .forms = "tei/predict",
    .divides = true,
    .prepare = prepare,
    .begin = begin,
    .take = take,
    .write = write,
};
