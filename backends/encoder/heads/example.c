#include "heads/example.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/file.h"
#include "base/utf8.h"
#include "heads/example_body.h"
#include "heads/heads_parts.h"

/* The example's own defaults; captum_explanation is true in its file, but changes what clients send. */
#define MAX_LENGTH 150
#define PRETRAINED "pretrained"

struct sc_example {
    bool captum;
    uint32_t max_length, pad;
    char **name; /* of labels, NULL where index_to_name.json has none */
    uint32_t names;
};

/* ---- settings ------------------------------------------------------------------------------------ */

bool sc_example_is(const char *(*setting)(void *ctx, const char *key), void *ctx)
{
    return setting(ctx, "handler.mode") != NULL;
}

int sc_example_task(const char *(*setting)(void *ctx, const char *key), void *ctx, enum sc_task *task,
                    struct sc_msg *msg)
{
    static const struct {
        const char *mode;
        enum sc_task task;
    } modes[] = {{"sequence_classification", SC_TASK_SEQUENCE},
                 {"token_classification", SC_TASK_TOKEN},
                 {"question_answering", SC_TASK_QA}};
    const char *mode = setting(ctx, "handler.mode"), *save = setting(ctx, "handler.save_mode");
    if (save && strcmp(save, PRETRAINED) != 0)
        return sc_fail(msg, SC_EUNSUPPORTED,
                       "model-config.yaml: handler.save_mode is \"%.60s\": the encoder serves \"" PRETRAINED
                       "\" (config.json and model.safetensors) only; without backend: encoder the handler "
                       "itself serves it",
                       save);
    for (size_t i = 0; i < SC_COUNT(modes); i++)
        if (strcmp(mode, modes[i].mode) == 0) {
            *task = modes[i].task;
            return 0;
        }
    return sc_fail(
        msg, strcmp(mode, "text_generation") == 0 ? SC_EUNSUPPORTED : SC_EINVAL,
        "model-config.yaml: handler.mode is \"%.60s\": the encoder serves sequence_classification, "
        "token_classification and question_answering; without backend: encoder the handler itself "
        "serves it",
        mode);
}

/* As YAML 1.1 and the files in circulation spell it. */
static int truth(const char *(*setting)(void *ctx, const char *key), void *ctx, const char *key, bool absent,
                 bool *out, struct sc_msg *msg)
{
    static const char *const yes[] = {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"};
    static const char *const no[] = {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"};
    const char *v = setting(ctx, key);
    *out = absent;
    for (size_t i = 0; v && i < SC_COUNT(yes); i++) {
        if (strcmp(v, yes[i]) != 0 && strcmp(v, no[i]) != 0)
            continue;
        *out = strcmp(v, yes[i]) == 0;
        return 0;
    }
    return v ? sc_fail(msg, SC_EINVAL, "model-config.yaml: %s is \"%.60s\": it must be true or false", key, v)
             : 0;
}

int sc_example_lower_case(const char *(*setting)(void *ctx, const char *key), void *ctx, bool *lower,
                          struct sc_msg *msg)
{
    return truth(setting, ctx, "handler.do_lower_case", true, lower, msg);
}

static int read_length(struct sc_example *e, const struct sc_heads_spec *s, struct sc_msg *msg)
{
    const char *v = s->setting(s->ctx, "handler.max_length");
    uint32_t most = sc_tokenizer_max_length(s->tokenizer);
    uint64_t n = MAX_LENGTH;
    if (v && (!sc_span_u64(sc_span_str(v), UINT32_MAX, &n) || n < 2))
        return sc_fail(msg, SC_EINVAL,
                       "model-config.yaml: handler.max_length is \"%.60s\": it must be an integer", v);
    if (n > most)
        return sc_fail(msg, SC_EINVAL,
                       "model-config.yaml: handler.max_length is %llu%s: the model takes at most "
                       "%u tokens",
                       (unsigned long long)n, v ? "" : " (as nothing is said)", most);
    e->max_length = (uint32_t)n;
    return 0;
}

/* ---- index_to_name.json ---------------------------------------------------------------------------- */

static int keep_name(struct sc_example *e, uint32_t i, const char *p, size_t n)
{
    e->name[i] = calloc(1, n + 1);
    if (!e->name[i])
        return SC_ENOMEM;
    memcpy(e->name[i], p, n);
    return 0;
}

/* {"0": "Not Accepted", ...} */
static int read_mapping(struct sc_example *e, const json_t *root, struct sc_msg *msg)
{
    for (uint32_t i = 0; i < e->names; i++) {
        char key[16];
        snprintf(key, sizeof key, "%u", i);
        const json_t *v = json_object_get(root, key);
        if (!v)
            continue; /* its answers fail, as the handler's do */
        if (!json_is_string(v))
            return sc_fail(msg, SC_EINVAL, "index_to_name.json: the name of label %u must be a text", i);
        if (keep_name(e, i, json_string_value(v), json_string_length(v)) < 0)
            return sc_fail(msg, SC_ENOMEM, "No memory for the labels");
    }
    return 0;
}

/* {"label_list": "[O, B-MISC, ...]"}: brackets at the ends do not count, ", " separates. */
static int read_list(struct sc_example *e, const json_t *root, struct sc_msg *msg)
{
    const json_t *v = json_object_get(root, "label_list");
    if (!json_is_string(v))
        return sc_fail(msg, SC_EINVAL,
                       "index_to_name.json: label_list must be a text such as \"[O, B-PER, I-PER]\"");
    struct sc_span s = sc_span(json_string_value(v), json_string_length(v));
    while (s.n && (s.p[0] == '[' || s.p[0] == ']'))
        s = sc_span_sub(s, 1, s.n);
    while (s.n && (s.p[s.n - 1] == '[' || s.p[s.n - 1] == ']'))
        s.n--;
    for (uint32_t i = 0; i < e->names; i++) {
        const char *end = s.n ? memmem(s.p, s.n, ", ", 2) : NULL;
        size_t n = end ? (size_t)(end - s.p) : s.n;
        if (keep_name(e, i, s.p, n) < 0)
            return sc_fail(msg, SC_ENOMEM, "No memory for the labels");
        if (!end)
            break;
        s = sc_span_sub(s, n + 2, s.n);
    }
    return 0;
}

static int read_names(struct sc_example *e, const struct sc_heads_spec *s, struct sc_msg *msg)
{
    char path[4096];
    struct sc_buf text;
    json_error_t error;
    enum sc_task task = s->config->task;
    if (task == SC_TASK_QA)
        return 0;
    e->names = s->config->labels;
    e->name = calloc(e->names, sizeof *e->name);
    if (!e->name)
        return sc_fail(msg, SC_ENOMEM, "No memory for the labels");
    sc_buf_init(&text, SC_ENCODER_CONFIG_BYTES);
    int n = snprintf(path, sizeof path, "%s/index_to_name.json", s->root);
    int rc = n > 0 && (size_t)n < sizeof path ? sc_file_read(path, &text, msg) : SC_EINVAL;
    if (rc < 0) {
        sc_buf_free(&text);
        return rc == SC_ENOTFOUND ? sc_fail(msg, rc,
                                            "The archive has no index_to_name.json, which the example's "
                                            "handler answers with: add it "
                                            "by --extra-files")
                                  : rc;
    }
    json_t *root = json_loadb(text.p ? text.p : "", text.n, 0, &error);
    sc_buf_free(&text);
    if (!json_is_object(root))
        rc = sc_fail(msg, SC_EINVAL, "index_to_name.json: %s", root ? "it must be an object" : error.text);
    else
        rc = task == SC_TASK_TOKEN ? read_list(e, root, msg) : read_mapping(e, root, msg);
    json_decref(root);
    return rc;
}

/* ---- life ------------------------------------------------------------------------------------------ */

void sc_example_del(struct sc_example *e)
{
    if (!e)
        return;
    for (uint32_t i = 0; e->name && i < e->names; i++)
        free(e->name[i]);
    free(e->name);
    free(e);
}

static uint32_t pad_of(const struct sc_heads_spec *s)
{
    uint32_t id = sc_tokenizer_id(s->tokenizer, SC_SPAN("[PAD]"));
    if (id == UINT32_MAX)
        id = sc_tokenizer_id(s->tokenizer, SC_SPAN("<pad>"));
    return id != UINT32_MAX ? id : s->config->has_pad ? s->config->pad_id : 0;
}

int sc_example_new(struct sc_example **out, const struct sc_heads_spec *s, struct sc_msg *msg)
{
    *out = NULL;
    if (!sc_example_is(s->setting, s->ctx))
        return 0;
    struct sc_example *e = calloc(1, sizeof *e);
    if (!e)
        return sc_fail(msg, SC_ENOMEM, "No memory for the model");
    e->pad = pad_of(s);
    int rc = truth(s->setting, s->ctx, "handler.captum_explanation", false, &e->captum, msg);
    if (rc == 0)
        rc = read_length(e, s, msg);
    if (rc == 0)
        rc = read_names(e, s, msg);
    for (uint32_t i = 0; rc == 0 && s->config->task != SC_TASK_SEQUENCE && i < s->config->layers; i++)
        if (sc_encoder_layer_local(s->config, i))
            rc = sc_fail(
                msg, SC_EUNSUPPORTED,
                "handler.mode: a model with local attention is served in the example's form for "
                "sequence_classification only: the handler itself serves it without backend: encoder");
    if (rc < 0)
        sc_example_del(e);
    else
        *out = e;
    return rc;
}

/* ---- requests ---------------------------------------------------------------------------------------- */

static int read_body(const struct sc_heads *h, struct sc_run *w, struct sc_span body, struct sc_msg *msg)
{
    enum sc_example_form form = h->task == SC_TASK_QA ? SC_EXAMPLE_QUESTION
                                : h->example->captum  ? SC_EXAMPLE_LITERAL
                                                      : SC_EXAMPLE_TEXT;
    return sc_example_body(&w->in, form, body, w->type, msg);
}

static int prepare(const struct sc_heads *h, struct sc_run *w, struct sc_encoding *e, struct sc_msg *msg)
{
    const struct sc_example *x = h->example;
    const struct sc_text *t = &w->in.texts[0];
    struct sc_encode_options how = {.max_length = x->max_length, .truncation = SC_TRUNCATE_LONGEST};
    int rc = sc_tokenizer_encode_with(h->tokenizer, t->text, t->pair, &how, e);
    if (rc == 0)
        rc = sc_run_add(w, e, 0, false);
    if (rc == 0) /* the handler passes no segments: all are the first one's */
        memset(w->types, 0, e->n);
    if (rc == 0 && h->task != SC_TASK_SEQUENCE)
        rc = sc_run_pad(w, x->max_length, x->pad);
    return rc < 0 ? sc_fail(msg, rc, "The text cannot be tokenised") : 0;
}

static int begin(const struct sc_heads *h, struct sc_run *w)
{
    size_t n = h->task == SC_TASK_TOKEN ? sc_run_tokens(w) : 2;
    w->kept = calloc(n, sizeof *w->kept);
    return w->kept ? 0 : SC_ENOMEM;
}

/* The first of the largest of n numbers, each `stride` behind the other. */
static uint32_t largest(const float *x, uint32_t n, uint32_t stride)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (x[(size_t)i * stride] > x[(size_t)best * stride])
            best = i;
    return best;
}

/* kept: the label; the label of each token; the answer's first token and its last. */
static int take(const struct sc_heads *h, struct sc_run *w, uint32_t i, float *rows)
{
    uint32_t tokens = w->begin[i + 1] - w->begin[i];
    if (h->task == SC_TASK_SEQUENCE) {
        w->kept[0] = (float)largest(rows, h->columns, 1);
    } else if (h->task == SC_TASK_QA) {
        w->kept[0] = (float)largest(rows, tokens, h->columns);
        w->kept[1] = (float)largest(rows + 1, tokens, h->columns);
    } else {
        for (uint32_t t = 0; t < tokens; t++)
            w->kept[t] = (float)largest(rows + (size_t)t * h->columns, h->columns, 1);
    }
    return 0;
}

/* ---- answers --------------------------------------------------------------------------------------- */

/* A name as json.dumps writes it: ASCII. */
static void put_ascii(struct sc_buf *out, struct sc_span s)
{
    sc_buf_char(out, '"');
    for (size_t i = 0; i < s.n;) {
        unsigned n = sc_utf8_length(s.p + i, s.n - i);
        uint32_t c = (unsigned char)s.p[i];
        if (n > 1) {
            c &= 0x7Fu >> n;
            for (unsigned k = 1; k < n; k++)
                c = c << 6 | ((unsigned char)s.p[i + k] & 0x3F);
        }
        i += n ? n : 1;
        const char *from = "\"\\\b\f\n\r\t", *to = "\"\\bfnrt",
                   *simple = c && c < 0x80 ? strchr(from, (int)c) : NULL;
        if (simple)
            sc_buf_printf(out, "\\%c", to[simple - from]);
        else if (c >= 0x20 && c < 0x7F)
            sc_buf_char(out, (char)c);
        else if (c < 0x10000)
            sc_buf_printf(out, "\\u%04x", c);
        else
            sc_buf_printf(out, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10),
                          0xDC00 + ((c - 0x10000) & 0x3FF));
    }
    sc_buf_char(out, '"');
}

/* [["[CLS]", "O"], ...]: the words are what the tokenizer makes anew of the decoded text, as the handler has
 * it. */
static int write_tokens(const struct sc_heads *h, struct sc_run *w, struct sc_buf *out)
{
    struct sc_encode_options how = {.no_specials = true};
    struct sc_encoding e = {0};
    struct sc_buf text;
    uint32_t n = w->begin[1];
    sc_buf_init(&text, SC_ENCODER_ANSWER_BYTES);
    int rc = sc_tokenizer_decode(h->tokenizer, w->ids, n, false, &text);
    if (rc == 0)
        rc = sc_tokenizer_encode_with(h->tokenizer, sc_buf_view(&text), sc_span(NULL, 0), &how, &e);
    n = SC_MIN(n, e.n);
    sc_buf_str(out, n ? "[" : "[]");
    for (uint32_t i = 0; rc == 0 && i < n; i++) {
        const char *name = h->example->name[(uint32_t)w->kept[i]];
        if (!name)
            rc = SC_EINVAL;
        sc_buf_str(out, i ? ",\n  [\n    " : "\n  [\n    ");
        put_ascii(out, sc_tokenizer_token(h->tokenizer, e.ids[i]));
        sc_buf_str(out, ",\n    ");
        put_ascii(out, sc_span_str(name ? name : ""));
        sc_buf_str(out, "\n  ]");
    }
    sc_buf_str(out, n ? "\n]" : "");
    sc_encoding_free(&e);
    sc_buf_free(&text);
    return rc;
}

static int write(const struct sc_heads *h, struct sc_run *w, struct sc_buf *out)
{
    uint32_t first = (uint32_t)w->kept[0], last = (uint32_t)w->kept[1];
    if (h->task == SC_TASK_TOKEN)
        return write_tokens(h, w, out);
    if (h->task == SC_TASK_QA)
        return first > last ? 0
                            : sc_tokenizer_decode(h->tokenizer, w->ids + first, last + 1 - first, false, out);
    const char *name = h->example->name[first];
    sc_buf_str(out, name ? name : "");
    return name ? 0 : SC_EINVAL;
}

const struct sc_head sc_head_example = {
    .what = "served in the form of the Transformers example",
    .forms = "",
    .read = read_body,
    .prepare = prepare,
    .begin = begin,
    .take = take,
    .write = write,
};
