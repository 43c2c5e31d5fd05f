/* /tokenize and /info of text-embeddings-inference: nothing is computed. */
#include "heads/heads_parts.h"
#include "heads/put.h"

static void put_token(const struct sc_heads *h, struct sc_span text, uint32_t id, const struct sc_origin *o,
                      struct sc_buf *out)
{
    bool special = o->sequence == SC_NO_SEQUENCE;
    sc_buf_str(out, "{\"id\": ");
    sc_put_uint(out, id);
    sc_buf_str(out, ", \"text\": ");
    sc_put_string(out, special ? sc_tokenizer_token(h->tokenizer, id)
                               : sc_span_sub(text, o->bytes.start, o->bytes.end - o->bytes.start));
    if (special) {
        sc_buf_str(out, ", \"special\": true, \"start\": null, \"stop\": null}");
        return;
    }
    sc_buf_str(out, ", \"special\": false, \"start\": ");
    sc_put_uint(out, o->chars.start);
    sc_buf_str(out, ", \"stop\": ");
    sc_put_uint(out, o->chars.end);
    sc_buf_char(out, '}');
}

int sc_heads_tokenize(const struct sc_heads *h, struct sc_run *w, struct sc_encoding *e, struct sc_msg *msg)
{
    struct sc_encode_options how = {.origins = true, .no_specials = w->in.options.special_tokens == SC_NO};
    struct sc_buf *out = &w->answer;
    sc_buf_char(out, '[');
    for (uint32_t i = 0; i < w->in.n; i++) {
        struct sc_span text = w->in.texts[i].text;
        int rc = sc_tokenizer_encode_with(h->tokenizer, text, sc_span(NULL, 0), &how, e);
        if (rc < 0)
            return sc_fail(msg, rc, "Text %u cannot be tokenised", i);
        sc_buf_str(out, i > 0 ? ", [" : "[");
        for (uint32_t k = 0; k < e->n; k++) {
            if (k > 0)
                sc_buf_str(out, ", ");
            put_token(h, text, e->ids[k], &e->origins[k], out);
        }
        sc_buf_char(out, ']');
    }
    sc_buf_char(out, ']');
    return out->failed ? sc_fail(msg, out->failed, "The answer is too large: send fewer texts") : 0;
}

static void put_labels(const struct sc_heads *h, struct sc_buf *out)
{
    const struct sc_classifier *c = &h->classifier;
    sc_buf_str(out, "{\"id2label\": {");
    for (uint32_t i = 0; i < c->labels; i++) {
        sc_buf_str(out, i > 0 ? ", \"" : "\"");
        sc_put_uint(out, i);
        sc_buf_str(out, "\": ");
        sc_buf_span(out, c->quoted[i]);
    }
    sc_buf_str(out, "}, \"label2id\": {");
    for (uint32_t i = 0; i < c->labels; i++) {
        if (i > 0)
            sc_buf_str(out, ", ");
        sc_buf_span(out, c->quoted[i]);
        sc_buf_str(out, ": ");
        sc_put_uint(out, i);
    }
    sc_buf_str(out, "}}");
}

static void put_type(const struct sc_heads *h, struct sc_buf *out)
{
    static const char *const pooling[] = {
        [SC_POOL_CLS] = "cls", [SC_POOL_MEAN] = "mean", [SC_POOL_MAX] = "max", [SC_POOL_LAST] = "last_token"};
    switch (h->task) {
    case SC_TASK_EMBED:
        sc_buf_str(out, "{\"embedding\": {\"pooling\": \"");
        sc_buf_str(out, pooling[h->pooling]);
        sc_buf_str(out, "\"}}");
        return;
    case SC_TASK_SEQUENCE:
        sc_buf_str(out, h->columns == 1 ? "{\"reranker\": " : "{\"classifier\": ");
        put_labels(h, out);
        break;
    case SC_TASK_TOKEN:
        sc_buf_str(out, "{\"token_classifier\": ");
        put_labels(h, out);
        break;
    case SC_TASK_QA: sc_buf_str(out, "{\"question_answering\": {}"); break;
    case SC_TASK_FILL_MASK: sc_buf_str(out, "{\"fill_mask\": {}"); break;
    }
    sc_buf_char(out, '}');
}

static void put_member(struct sc_buf *out, const char *name, uint64_t v)
{
    sc_buf_str(out, ", \"");
    sc_buf_str(out, name);
    sc_buf_str(out, "\": ");
    sc_put_uint(out, v);
}

int sc_heads_info(const struct sc_heads *h, struct sc_run *w)
{
    struct sc_buf *out = &w->answer;
    sc_buf_str(out, "{\"model_id\": ");
    sc_put_string(out, sc_span_str(h->model));
    sc_buf_str(out, ", \"model_sha\": null, \"model_dtype\": ");
    sc_put_string(out, sc_span_str(h->dtype));
    sc_buf_str(out, ", \"model_type\": ");
    put_type(h, out);
    put_member(out, "max_input_length", sc_tokenizer_max_length(h->tokenizer));
    put_member(out, "max_batch_tokens", h->batch_tokens);
    put_member(out, "max_client_batch_size", h->max_texts);
    sc_buf_str(out, ", \"max_batch_requests\": null, \"auto_truncate\": ");
    sc_buf_str(out, h->truncate ? "true" : "false");
    sc_buf_str(out, ", \"version\": ");
    sc_put_string(out, SC_SPAN(SCONCE_VERSION));
    sc_buf_char(out, '}');
    return out->failed;
}
