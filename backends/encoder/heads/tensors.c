/*
 * KServe's second protocol: texts come as BYTES, results go as tensors.
 *
 *   every task          in:  text BYTES [n] (a model of one input takes it by any name), text_pair BYTES [n]
 *   question answering  in:  question BYTES [n], context BYTES [n]
 *   sequences           out: scores FP32 [n, labels], label BYTES [n], the best one
 *   embeddings          out: embedding FP32 [n, numbers]
 *   others              out: result BYTES [1], what /predictions answers to a list
 */
#include "heads/heads_parts.h"
#include "heads/input_parts.h"
#include "proto/tensor.h"

#define NAME(s) (int)SC_MIN((s).n, 100u), (s).p

/* The task's inputs, and its outputs as they are told: sizes that depend on the request are -1. */
static unsigned inputs(const struct sc_heads *h, struct sc_span name[2])
{
    name[0] = h->task == SC_TASK_QA ? SC_SPAN("question") : SC_SPAN("text");
    name[1] = h->task == SC_TASK_QA ? SC_SPAN("context") : SC_SPAN("text_pair");
    return h->task == SC_TASK_QA || h->task == SC_TASK_SEQUENCE ? 2 : 1;
}

static void put(struct sc_buf *out, enum sc_tensor_kind kind, struct sc_span name, enum sc_datatype type,
                unsigned rank, int64_t columns)
{
    struct sc_tensor t = {.kind = kind, .type = type, .rank = rank, .shape = {-1, columns}, .name = name};
    sc_tensor_put(out, &t);
}

int sc_heads_tensors_tell(const struct sc_heads *h, struct sc_run *w)
{
    struct sc_buf *out = &w->answer;
    struct sc_span name[2];
    for (unsigned i = 0, n = inputs(h, name); i < n; i++)
        put(out, SC_TENSOR_INPUT, name[i], SC_TYPE_BYTES, 1, 0);
    if (h->task == SC_TASK_EMBED) {
        put(out, SC_TENSOR_OUTPUT, SC_SPAN("embedding"), SC_TYPE_FP32, 2,
            h->dimensions ? h->dimensions : h->columns);
    } else if (h->task == SC_TASK_SEQUENCE) {
        put(out, SC_TENSOR_OUTPUT, SC_SPAN("scores"), SC_TYPE_FP32, 2, h->columns);
        put(out, SC_TENSOR_OUTPUT, SC_SPAN("label"), SC_TYPE_BYTES, 1, 0);
    } else {
        put(out, SC_TENSOR_OUTPUT, SC_SPAN("result"), SC_TYPE_BYTES, 1, 0);
    }
    return out->failed;
}

/* ---- in ----------------------------------------------------------------------------------------------- */

static int find(const struct sc_heads *h, struct sc_span block, struct sc_tensor got[2], bool have[2],
                struct sc_msg *msg)
{
    struct sc_span name[2];
    struct sc_tensor t;
    size_t at = 0;
    unsigned n = inputs(h, name), k;
    int rc;
    while ((rc = sc_tensor_read(block, &at, &t)) == 1) {
        for (k = 0; k < n && !sc_span_eq(t.name, name[k]); k++)
            ;
        if (k == n && h->task != SC_TASK_QA && !have[0])
            k = 0; /* whatever the client calls its texts */
        if (k == n || have[k])
            return sc_fail(msg, SC_EINVAL, "unexpected inference input '%.*s' for model '%s'", NAME(t.name),
                           h->model);
        if (t.type != SC_TYPE_BYTES)
            return sc_fail(msg, SC_EINVAL, "input '%.*s' is %s: texts are BYTES", NAME(t.name),
                           sc_datatype_name(t.type));
        got[k] = t;
        have[k] = true;
    }
    if (rc < 0)
        return sc_fail(msg, rc, "the tensors of the request are malformed");
    if (!have[0] || (h->task == SC_TASK_QA && !have[1]))
        return sc_fail(msg, SC_EINVAL, "the request has no input '%.*s'", NAME(name[have[0]]));
    return 0;
}

int sc_heads_tensors_read(const struct sc_heads *h, struct sc_run *w, struct sc_span block,
                          struct sc_msg *msg)
{
    struct sc_tensor got[2];
    struct sc_span text, pair = {NULL, 0};
    bool have[2] = {false, false};
    size_t at[2] = {0, 0};
    struct sc_input *in = &w->in;
    *in = (struct sc_input){.max = h->max_texts, .form = w->form, .list = true};
    in->questions = h->task == SC_TASK_QA;
    int rc = find(h, block, got, have, msg);
    while (rc == 0 && sc_tensor_next(got[0].data, &at[0], &text)) {
        if (have[1] && !sc_tensor_next(got[1].data, &at[1], &pair))
            rc = sc_fail(msg, SC_EINVAL, "the inputs of the request differ in length");
        else
            rc = sc_input_add(in, text, pair, msg);
    }
    if (rc == 0 && have[1] && at[1] != got[1].data.n)
        rc = sc_fail(msg, SC_EINVAL, "the inputs of the request differ in length");
    if (rc == 0 && in->n == 0)
        rc = sc_fail(msg, SC_EINVAL, "the request has no text");
    if (rc < 0)
        sc_input_free(in);
    return rc;
}

/* ---- out ---------------------------------------------------------------------------------------------- */

static void put_rows(struct sc_buf *out, struct sc_span name, const struct sc_run *w, uint32_t columns)
{
    struct sc_tensor t = {.kind = SC_TENSOR_OUTPUT,
                          .type = SC_TYPE_FP32,
                          .rank = 2,
                          .shape = {w->n, columns},
                          .name = name,
                          .data = sc_span(w->kept, (size_t)w->n * columns * sizeof *w->kept)};
    sc_tensor_put(out, &t);
}

int sc_heads_tensors_write(const struct sc_heads *h, struct sc_run *w, struct sc_buf *out)
{
    struct sc_tensor t = {.kind = SC_TENSOR_OUTPUT, .type = SC_TYPE_BYTES, .rank = 1};
    const struct sc_classifier *c = &h->classifier;
    size_t begun;
    if (h->task == SC_TASK_EMBED) {
        put_rows(out, SC_SPAN("embedding"), w, h->dimensions ? h->dimensions : h->columns);
        return out->failed;
    }
    if (h->task == SC_TASK_SEQUENCE) {
        for (uint32_t i = 0; i < w->n; i++)
            sc_classify_score(c, &w->in.options, w->kept + (size_t)i * h->columns);
        put_rows(out, SC_SPAN("scores"), w, h->columns);
        t.name = SC_SPAN("label");
        t.shape[0] = w->n;
        begun = sc_tensor_begin(out, &t);
        for (uint32_t i = 0; i < w->n; i++)
            sc_tensor_put_bytes(out,
                                sc_span_str(c->label[sc_best(w->kept + (size_t)i * h->columns, c->labels)]));
        sc_tensor_end(out, begun);
        return out->failed;
    }
    /* One element, whose length is known when it is written. */
    uint32_t bytes = 0;
    t.name = SC_SPAN("result");
    t.shape[0] = 1;
    begun = sc_tensor_begin(out, &t);
    size_t length = out->n;
    sc_buf_add(out, &bytes, sizeof bytes);
    int rc = h->head->write(h, w, out);
    if (rc == 0 && !out->failed) {
        bytes = (uint32_t)(out->n - length - sizeof bytes);
        memcpy(out->p + length, &bytes, sizeof bytes);
    }
    sc_tensor_end(out, begun);
    return rc < 0 ? rc : out->failed;
}
