#include "heads/options.h"

#include <stdlib.h>

#include "base/limits.h"
#include "heads/input_parts.h"

#define BIT(form) (1u << (form))
#define PIPELINE BIT(SC_FORM_PIPELINE)
#define OPENAI BIT(SC_FORM_OPENAI_EMBEDDINGS)
#define EMBED BIT(SC_FORM_TEI_EMBED)
#define SIMILARITY BIT(SC_FORM_TEI_SIMILARITY)
#define PREDICT BIT(SC_FORM_TEI_PREDICT)
#define RANK BIT(SC_FORM_TEI_RERANK)
#define TOKENIZE BIT(SC_FORM_TEI_TOKENIZE)
#define COHERE (BIT(SC_FORM_COHERE_RERANK) | BIT(SC_FORM_COHERE_RERANK_V2))

enum kind { COUNT, WISH, TEXT, NAMES, TOP_K, FUNCTION, RAW_SCORES, AGGREGATION, ENCODING };

static const struct option {
    struct sc_span name;
    unsigned forms;
    enum kind kind;
    size_t offset;
    uint32_t max; /* of a COUNT, which is at least 1 */
    const char *wrong;
} options[] = {
#define OF(member) offsetof(struct sc_options, member)
    {SC_SPAN("top_k"), PIPELINE, TOP_K, 0, 0, "top_k must be a whole number, 1 or more, or null for all"},
    {SC_SPAN("function_to_apply"), PIPELINE, FUNCTION, 0, 0,
     "function_to_apply must be \"softmax\", \"sigmoid\" or \"none\""},
    {SC_SPAN("raw_scores"), PREDICT | RANK, RAW_SCORES, 0, 0, "raw_scores must be true or false"},
    {SC_SPAN("aggregation_strategy"), PIPELINE, AGGREGATION, 0, 0,
     "aggregation_strategy must be \"none\", \"simple\", \"first\", \"average\" or \"max\""},
    {SC_SPAN("ignore_labels"), PIPELINE, NAMES, 0, 0, "ignore_labels must be a list of labels"},
    {SC_SPAN("stride"), PIPELINE, COUNT, OF(stride), UINT32_MAX,
     "stride must be a number of tokens, 1 or more"},
    {SC_SPAN("targets"), PIPELINE, NAMES, 0, 0, "targets must be a token or a list of tokens"},
    {SC_SPAN("doc_stride"), PIPELINE, COUNT, OF(doc_stride), UINT32_MAX,
     "doc_stride must be a number of tokens, 1 or more"},
    {SC_SPAN("max_answer_len"), PIPELINE, COUNT, OF(max_answer_len), UINT32_MAX,
     "max_answer_len must be a number of tokens, 1 or more"},
    {SC_SPAN("max_seq_len"), PIPELINE, COUNT, OF(max_seq_len), UINT32_MAX,
     "max_seq_len must be a number of tokens, 1 or more"},
    {SC_SPAN("max_question_len"), PIPELINE, COUNT, OF(max_question_len), UINT32_MAX,
     "max_question_len must be a number of tokens, 1 or more"},
    {SC_SPAN("handle_impossible_answer"), PIPELINE, WISH, OF(impossible), 0,
     "handle_impossible_answer must be true or false"},
    {SC_SPAN("align_to_words"), PIPELINE, WISH, OF(align), 0, "align_to_words must be true or false"},
    {SC_SPAN("normalize"), PIPELINE | EMBED, WISH, OF(normalize), 0, "normalize must be true or false"},
    {SC_SPAN("dimensions"), PIPELINE | EMBED | OPENAI, COUNT, OF(dimensions), UINT32_MAX,
     "dimensions must be a whole number, 1 or more"},
    {SC_SPAN("encoding_format"), PIPELINE | OPENAI, ENCODING, 0, 0,
     "encoding_format must be \"float\" or \"base64\""},
    {SC_SPAN("prompt_name"), PIPELINE | EMBED | SIMILARITY, TEXT, OF(prompt_name), 0,
     "prompt_name must be a string"},
    {SC_SPAN("prompt"), PIPELINE, TEXT, OF(prompt), 0, "prompt must be a string"},
    {SC_SPAN("top_n"), PIPELINE | COHERE, COUNT, OF(top_n), UINT32_MAX,
     "top_n must be a whole number, 1 or more"},
    {SC_SPAN("return_text"), PIPELINE | RANK, WISH, OF(return_texts), 0, "return_text must be true or false"},
    {SC_SPAN("return_documents"), PIPELINE | COHERE, WISH, OF(return_texts), 0,
     "return_documents must be true or false"},
    {SC_SPAN("truncate"), PIPELINE | EMBED | SIMILARITY | PREDICT | RANK, WISH, OF(truncate), 0,
     "truncate must be true or false"},
    {SC_SPAN("truncation"), PIPELINE, WISH, OF(truncate), 0, "truncation must be true or false"},
    {SC_SPAN("add_special_tokens"), TOKENIZE, WISH, OF(special_tokens), 0,
     "add_special_tokens must be true or false"},
#undef OF
};

static int top_k(struct sc_input *in, int ev)
{
    uint64_t k = UINT32_MAX;
    if (ev != SC_JSON_NULL && (ev != SC_JSON_NUMBER || !sc_span_u64(in->json.raw, UINT32_MAX, &k) || k == 0))
        return SC_EINVAL;
    in->options.has_top_k = true;
    in->options.top_k = (uint32_t)k;
    return 0;
}

static int function(struct sc_options *o, struct sc_span name)
{
    static const struct {
        struct sc_span name;
        enum sc_scoring scoring;
    } known[] = {{SC_SPAN("softmax"), SC_SCORE_SOFTMAX},
                 {SC_SPAN("sigmoid"), SC_SCORE_SIGMOID},
                 {SC_SPAN("none"), SC_SCORE_NONE}};
    if (!name.p || sc_span_eq_nocase(name, SC_SPAN("default")))
        return 0;
    for (size_t i = 0; i < SC_COUNT(known); i++)
        if (sc_span_eq_nocase(name, known[i].name)) {
            o->has_scoring = true;
            o->scoring = known[i].scoring;
            return 0;
        }
    return SC_EINVAL;
}

static int encoding(struct sc_options *o, struct sc_span name)
{
    o->base64 = name.p && sc_span_eq(name, SC_SPAN("base64"));
    return !name.p || o->base64 || sc_span_eq(name, SC_SPAN("float")) ? 0 : SC_EINVAL;
}

static int add_name(struct sc_input *in, struct sc_msg *msg)
{
    struct sc_options *o = &in->options;
    if (o->names_n == SC_ENCODER_NAMES_MAX)
        return sc_json_refuse(&in->json, SC_ELIMIT, "more names than " SC_ENCODER_NAMES_TEXT);
    if (!o->names)
        o->names = calloc(SC_ENCODER_NAMES_MAX, sizeof *o->names);
    if (!o->names)
        return sc_fail(msg, SC_ENOMEM, "No memory for the options of this request");
    return sc_input_latest(in, &o->names[o->names_n++], msg);
}

/* A string or a list of them, ev its first event; what was named before is forgotten. */
static int names(struct sc_input *in, int ev, struct sc_msg *msg)
{
    in->options.names_n = 0;
    in->options.has_names = true;
    if (ev == SC_JSON_STRING)
        return add_name(in, msg);
    if (ev != SC_JSON_ARRAY)
        return SC_EINVAL;
    while ((ev = sc_json_next(&in->json)) == SC_JSON_STRING) {
        int rc = add_name(in, msg);
        if (rc < 0)
            return rc;
    }
    return ev == SC_JSON_ARRAY_END ? 0 : SC_EINVAL;
}

/* The value of option o, whose first event is ev. SC_EINVAL: it is none. */
static int value(struct sc_input *in, const struct option *o, int ev, struct sc_msg *msg)
{
    void *to = (char *)&in->options + o->offset;
    struct sc_span text = {NULL, 0};
    uint64_t n;
    if (o->kind == TOP_K)
        return top_k(in, ev);
    if (ev == SC_JSON_NULL)
        return 0;
    switch (o->kind) {
    case TOP_K: break;
    case COUNT:
        if (ev != SC_JSON_NUMBER || !sc_span_u64(in->json.raw, o->max, &n) || n == 0)
            return SC_EINVAL;
        *(uint32_t *)to = (uint32_t)n;
        return 0;
    case WISH:
    case RAW_SCORES:
        if (ev != SC_JSON_TRUE && ev != SC_JSON_FALSE)
            return SC_EINVAL;
        if (o->kind == WISH) {
            *(enum sc_wish *)to = ev == SC_JSON_TRUE ? SC_YES : SC_NO;
        } else if (ev == SC_JSON_TRUE) {
            in->options.has_scoring = true;
            in->options.scoring = SC_SCORE_NONE;
        }
        return 0;
    case NAMES: return names(in, ev, msg);
    case TEXT:
    case FUNCTION:
    case AGGREGATION:
    case ENCODING: break;
    }
    if (ev != SC_JSON_STRING)
        return SC_EINVAL;
    int rc = sc_input_latest(in, &text, msg);
    if (rc < 0)
        return rc;
    if (o->kind == FUNCTION)
        return function(&in->options, text);
    if (o->kind == ENCODING)
        return encoding(&in->options, text);
    if (o->kind == AGGREGATION) {
        in->options.has_aggregation = true;
        return sc_aggregation_read(text, &in->options.aggregation) ? 0 : SC_EINVAL;
    }
    *(struct sc_span *)to = text;
    return 0;
}

int sc_options_member(struct sc_input *in, struct sc_msg *msg)
{
    for (size_t i = 0; i < SC_COUNT(options); i++) {
        if (!(options[i].forms & BIT(in->form)) || !sc_json_is(&in->json, options[i].name))
            continue;
        int ev = sc_json_next(&in->json);
        int rc = ev < 0 ? ev : value(in, &options[i], ev, msg);
        if (rc == SC_EINVAL)
            rc = sc_input_refuse(in, options[i].wrong);
        return rc < 0 ? rc : 1;
    }
    return 0;
}

void sc_options_free(struct sc_options *o)
{
    free(o->names);
    *o = (struct sc_options){0};
}
