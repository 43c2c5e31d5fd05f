#include "model/config.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/limits.h"

/* What the readers below share: the document, its name, and where complaints go. */
struct source {
    const json_t *root;
    const char *file;
    struct sc_msg *msg;
};

/* A whole number from 1 to max; fallback (0: none) if it is absent. */
static int number(const struct source *s, const char *key, uint32_t max, uint32_t fallback, uint32_t *out)
{
    const json_t *v = json_object_get(s->root, key);
    if (!v && fallback) {
        *out = fallback;
        return 0;
    }
    if (!v)
        return sc_fail(s->msg, SC_EINVAL, "%s: %s is missing; save the model again with save_pretrained",
                       s->file, key);
    if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > (json_int_t)max)
        return sc_fail(s->msg, SC_EINVAL, "%s: %s must be a whole number from 1 to %u", s->file, key, max);
    *out = (uint32_t)json_integer_value(v);
    return 0;
}

/* An option of which only one value is BERT as it is computed here (absent is the same). */
static int only(const struct source *s, const char *key, const char *value)
{
    const json_t *v = json_object_get(s->root, key);
    if (!v || json_is_null(v) || (json_is_string(v) && strcmp(json_string_value(v), value) == 0))
        return 0;
    return sc_fail(s->msg, SC_EUNSUPPORTED, "%s: %s \"%.60s\" is not supported, only \"%s\"", s->file, key,
                   json_is_string(v) ? json_string_value(v) : "(not a string)", value);
}

static int not_set(const struct source *s, const char *key, const char *why)
{
    const json_t *v = json_object_get(s->root, key);
    if (!v || json_is_null(v) || json_is_false(v) || (json_is_object(v) && json_object_size(v) == 0))
        return 0;
    return sc_fail(s->msg, SC_EUNSUPPORTED, "%s: %s is set: %s", s->file, key, why);
}

static int architecture(const struct source *s, struct sc_bert_config *c)
{
    const json_t *list = json_object_get(s->root, "architectures"),
                 *type = json_object_get(s->root, "model_type");
    const char *name = json_string_value(json_array_get(list, 0));
    if (!json_is_string(type) || strcmp(json_string_value(type), "bert") != 0)
        return sc_fail(s->msg, SC_EUNSUPPORTED,
                       "%s: model_type \"%.60s\" is not supported; the encoder backend serves \"bert\"",
                       s->file, json_is_string(type) ? json_string_value(type) : "");
    if (!name)
        return sc_fail(
            s->msg, SC_EINVAL,
            "%s: architectures must name the model's class, e.g. [\"BertForSequenceClassification\"]",
            s->file);
    c->has_head = strcmp(name, "BertForSequenceClassification") == 0;
    if (!c->has_head && strcmp(name, "BertModel") != 0)
        return sc_fail(s->msg, SC_EUNSUPPORTED,
                       "%s: architecture \"%.60s\" is not supported; the encoder backend serves "
                       "\"BertForSequenceClassification\"",
                       s->file, name);
    return 0;
}

static int activation(const struct source *s, struct sc_bert_config *c)
{
    static const struct {
        const char *name;
        enum sc_activation act;
    } known[] = {
        {"gelu", SC_ACT_GELU},           {"gelu_python", SC_ACT_GELU},
        {"gelu_new", SC_ACT_GELU_TANH},  {"gelu_pytorch_tanh", SC_ACT_GELU_TANH},
        {"gelu_fast", SC_ACT_GELU_TANH}, {"relu", SC_ACT_RELU},
        {"silu", SC_ACT_SILU},           {"swish", SC_ACT_SILU},
        {"tanh", SC_ACT_TANH},
    };
    const json_t *v = json_object_get(s->root, "hidden_act");
    const char *name = v ? json_string_value(v) : "gelu";
    for (size_t i = 0; name && i < SC_COUNT(known); i++)
        if (strcmp(known[i].name, name) == 0) {
            c->act = known[i].act;
            return 0;
        }
    return sc_fail(
        s->msg, SC_EUNSUPPORTED,
        "%s: hidden_act \"%.60s\" is not supported (gelu, gelu_new, gelu_pytorch_tanh, relu, silu, tanh)",
        s->file, name ? name : "(not a string)");
}

/* id2label, or LABEL_0, LABEL_1 … as Hugging Face names labels that have no name. */
static int labels(const struct source *s, struct sc_bert_config *c)
{
    const json_t *names = json_object_get(s->root, "id2label");
    if (names && !json_is_null(names)) {
        if (!json_is_object(names) || json_object_size(names) == 0 ||
            json_object_size(names) > SC_ENCODER_LABELS_MAX)
            return sc_fail(s->msg, SC_EINVAL, "%s: id2label must be an object with 1 to %u names", s->file,
                           SC_ENCODER_LABELS_MAX);
        c->labels = (uint32_t)json_object_size(names);
    } else {
        names = NULL;
        int rc = number(s, "num_labels", SC_ENCODER_LABELS_MAX, 2, &c->labels);
        if (rc < 0)
            return rc;
    }
    c->label = calloc(c->labels, sizeof(*c->label));
    if (!c->label)
        return sc_fail(s->msg, SC_ENOMEM, "%s: no memory", s->file);
    for (uint32_t i = 0; i < c->labels; i++) {
        char key[16], made[32];
        snprintf(key, sizeof key, "%u", i);
        snprintf(made, sizeof made, "LABEL_%u", i);
        const json_t *v = names ? json_object_get(names, key) : NULL;
        if (names && !json_is_string(v))
            return sc_fail(s->msg, SC_EINVAL, "%s: id2label has %u names, but none for \"%u\"", s->file,
                           c->labels, i);
        c->label[i] = strdup(names ? json_string_value(v) : made);
        if (!c->label[i])
            return sc_fail(s->msg, SC_ENOMEM, "%s: no memory", s->file);
    }
    return 0;
}

static int scoring(const struct source *s, struct sc_bert_config *c)
{
    const json_t *v = json_object_get(s->root, "problem_type");
    const char *type = json_string_value(v);
    c->scoring = c->labels == 1 ? SC_SCORE_SIGMOID : SC_SCORE_SOFTMAX;
    if (!v || json_is_null(v))
        return 0;
    if (type && strcmp(type, "regression") == 0)
        c->scoring = SC_SCORE_NONE;
    else if (type && strcmp(type, "multi_label_classification") == 0)
        c->scoring = SC_SCORE_SIGMOID;
    else if (!type || strcmp(type, "single_label_classification") != 0)
        return sc_fail(
            s->msg, SC_EUNSUPPORTED,
            "%s: problem_type must be single_label_classification, multi_label_classification or regression",
            s->file);
    return 0;
}

static int read_all(const struct source *s, struct sc_bert_config *c)
{
    const struct {
        const char *key;
        uint32_t max, fallback, *to;
    } numbers[] = {
        {"hidden_size", SC_ENCODER_HIDDEN_MAX, 0, &c->hidden},
        {"num_hidden_layers", SC_ENCODER_LAYERS_MAX, 0, &c->layers},
        {"num_attention_heads", SC_ENCODER_HEADS_MAX, 0, &c->heads},
        {"intermediate_size", SC_ENCODER_INTERMEDIATE_MAX, 0, &c->intermediate},
        {"vocab_size", SC_ENCODER_VOCAB_MAX, 0, &c->vocab},
        {"max_position_embeddings", SC_ENCODER_POSITIONS_MAX, 0, &c->positions},
        {"type_vocab_size", SC_ENCODER_TYPES_MAX, 2, &c->types},
    };
    int rc = architecture(s, c);
    for (size_t i = 0; rc == 0 && i < SC_COUNT(numbers); i++)
        rc = number(s, numbers[i].key, numbers[i].max, numbers[i].fallback, numbers[i].to);
    if (rc == 0)
        rc = activation(s, c);
    if (rc == 0)
        rc = only(s, "position_embedding_type", "absolute");
    if (rc == 0)
        rc = not_set(s, "is_decoder", "decoders are not supported");
    if (rc == 0)
        rc = not_set(s, "add_cross_attention", "decoders are not supported");
    if (rc == 0)
        rc = not_set(s, "quantization_config",
                     "quantised weights are not supported; save the model in fp32, fp16 or bf16");
    if (rc == 0)
        rc = not_set(s, "pruned_heads", "models with pruned heads are not supported");
    if (rc < 0)
        return rc;
    if (c->hidden % c->heads != 0)
        return sc_fail(s->msg, SC_EINVAL, "%s: hidden_size %u is no multiple of num_attention_heads %u",
                       s->file, c->hidden, c->heads);

    const json_t *eps = json_object_get(s->root, "layer_norm_eps");
    double value = eps ? json_number_value(eps) : 1e-12;
    if ((eps && !json_is_number(eps)) || !(value >= 0 && value < 1))
        return sc_fail(s->msg, SC_EINVAL, "%s: layer_norm_eps must be a number from 0 to 1", s->file);
    c->norm_eps = (float)value;
    if (!c->has_head)
        return 0;
    rc = labels(s, c);
    return rc < 0 ? rc : scoring(s, c);
}

int sc_bert_config_parse(struct sc_bert_config *c, struct sc_span text, const char *file, struct sc_msg *msg)
{
    *c = (struct sc_bert_config){0};
    json_error_t error;
    json_t *root = json_loadb(text.p ? text.p : "", text.n, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return sc_fail(msg, SC_EINVAL, "%s: line %d: %s", file, error.line, error.text);
    struct source s = {.root = root, .file = file, .msg = msg};
    int rc =
        json_is_object(root) ? read_all(&s, c) : sc_fail(msg, SC_EINVAL, "%s: must be a JSON object", file);
    json_decref(root);
    if (rc < 0)
        sc_bert_config_free(c);
    return rc;
}

void sc_bert_config_free(struct sc_bert_config *c)
{
    for (uint32_t i = 0; c->label && i < c->labels; i++)
        free(c->label[i]);
    free(c->label);
    *c = (struct sc_bert_config){0};
}
