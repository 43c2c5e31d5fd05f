/* The bodies of the interfaces that others have made: OpenAI, text-embeddings-inference, Cohere. */
#include "heads/input_parts.h"

/* [["a", "b"], ["c"]]: texts and pairs; behind the outer '['. */
static int pairs(struct sc_input *in, struct sc_msg *msg)
{
    struct sc_json_reader *r = &in->json;
    int ev = SC_JSON_ARRAY;
    in->list = true;
    do {
        struct sc_span part[2] = {{NULL, 0}, {NULL, 0}};
        unsigned n = 0;
        while ((ev = sc_json_next(r)) == SC_JSON_STRING && n < 2) {
            int rc = sc_input_latest(in, &part[n++], msg);
            if (rc < 0)
                return rc;
        }
        if (ev != SC_JSON_ARRAY_END || n == 0)
            return ev < 0
                       ? ev
                       : sc_input_refuse(in, "every element of a batch must be a list of one or two texts");
        int rc = sc_input_add(in, part[0], part[1], msg);
        if (rc < 0)
            return rc;
    } while ((ev = sc_json_next(r)) == SC_JSON_ARRAY);
    return ev < 0 ? ev
           : ev == SC_JSON_ARRAY_END
               ? 0
               : sc_input_refuse(in, "every element of a batch must be a list of one or two texts");
}

/* /predict: "a", ["a"], ["a", "its pair"] or a batch of such lists. */
static int sequences(struct sc_input *in, int ev, struct sc_msg *msg)
{
    struct sc_json_reader *r = &in->json;
    struct sc_span part[2] = {{NULL, 0}, {NULL, 0}};
    unsigned n = 0;
    if (ev == SC_JSON_STRING) {
        int rc = sc_input_latest(in, &part[0], msg);
        return rc < 0 ? rc : sc_input_add(in, part[0], part[1], msg);
    }
    if (ev != SC_JSON_ARRAY)
        return ev < 0 ? ev
                      : sc_input_refuse(in, "a text, a pair of texts or a list of such lists was expected");
    ev = sc_json_next(r);
    if (ev == SC_JSON_ARRAY)
        return pairs(in, msg);
    for (; ev == SC_JSON_STRING && n < 2; ev = sc_json_next(r)) {
        int rc = sc_input_latest(in, &part[n++], msg);
        if (rc < 0)
            return rc;
    }
    if (ev != SC_JSON_ARRAY_END)
        return ev < 0 ? ev : sc_input_refuse(in, "a pair is two texts; send several as a list of lists");
    return n ? sc_input_add(in, part[0], part[1], msg) : 0;
}

/* /similarity: {"source_sentence": ..., "sentences": [...]}; the source becomes the last text. */
static int similarity(struct sc_input *in, int ev, struct sc_msg *msg)
{
    struct sc_json_reader *r = &in->json;
    struct sc_span source = {NULL, 0};
    if (ev != SC_JSON_OBJECT)
        return ev < 0 ? ev : sc_input_refuse(in, "\"inputs\" must be an object");
    while ((ev = sc_json_next(r)) == SC_JSON_KEY) {
        int rc = sc_json_is(r, SC_SPAN("source_sentence")) ? sc_input_string(in, &source, msg)
                 : !sc_json_is(r, SC_SPAN("sentences"))    ? sc_json_skip(r)
                 : in->n                                   ? sc_input_refuse(in, "the texts come twice")
                                                           : sc_input_documents(in, sc_json_next(r), msg);
        if (rc < 0)
            return rc;
    }
    if (ev < 0)
        return ev;
    if (!source.p || in->n == 0)
        return sc_input_refuse(in, source.p ? "\"sentences\" is missing or empty"
                                            : "there is no \"source_sentence\"");
    return sc_input_add(in, source, sc_span(NULL, 0), msg);
}

static bool is_ranking(enum sc_form f)
{
    return f == SC_FORM_TEI_RERANK || f == SC_FORM_COHERE_RERANK || f == SC_FORM_COHERE_RERANK_V2;
}

/* What the interface calls its texts. */
static struct sc_span key_of(enum sc_form f)
{
    return f == SC_FORM_OPENAI_EMBEDDINGS ? SC_SPAN("input")
           : f == SC_FORM_TEI_RERANK      ? SC_SPAN("texts")
           : is_ranking(f)                ? SC_SPAN("documents")
                                          : SC_SPAN("inputs");
}

static int texts(struct sc_input *in, struct sc_msg *msg)
{
    int ev = sc_json_next(&in->json);
    if (in->form == SC_FORM_TEI_PREDICT)
        return sequences(in, ev, msg);
    if (in->form == SC_FORM_TEI_SIMILARITY)
        return similarity(in, ev, msg);
    if (ev != SC_JSON_STRING || is_ranking(in->form))
        return sc_input_documents(in, ev, msg);
    struct sc_span text;
    int rc = sc_input_latest(in, &text, msg);
    return rc < 0 ? rc : sc_input_add(in, text, sc_span(NULL, 0), msg);
}

int sc_input_interface(struct sc_input *in, struct sc_msg *msg)
{
    struct sc_json_reader *r = &in->json;
    struct sc_span query = {NULL, 0}, key = key_of(in->form);
    bool found = false;
    int ev;
    while ((ev = sc_json_next(r)) == SC_JSON_KEY) {
        int rc;
        if (sc_json_is(r, key)) {
            if (found)
                return sc_input_refuse(in, "the texts come twice");
            found = true;
            rc = texts(in, msg);
        } else if (is_ranking(in->form) && sc_json_is(r, SC_SPAN("query"))) {
            rc = sc_input_string(in, &query, msg);
        } else if (in->form == SC_FORM_TEI_SIMILARITY && sc_json_is(r, SC_SPAN("parameters"))) {
            rc = sc_input_parameters(in, msg);
        } else {
            rc = sc_options_member(in, msg);
            if (rc == 0)
                rc = sc_json_skip(r);
        }
        if (rc < 0)
            return rc;
    }
    if (ev < 0)
        return ev;
    if (is_ranking(in->form) && !query.p)
        return sc_input_refuse(in, "there is no \"query\"");
    if (!found || in->n == 0)
        return sc_input_refuse(in, in->form == SC_FORM_OPENAI_EMBEDDINGS ? "\"input\" is missing or empty"
                                   : in->form == SC_FORM_TEI_RERANK      ? "\"texts\" is missing or empty"
                                   : is_ranking(in->form)                ? "\"documents\" is missing or empty"
                                                                         : "\"inputs\" is missing or empty");
    if (is_ranking(in->form))
        return sc_input_query(in, query);
    return 0;
}
