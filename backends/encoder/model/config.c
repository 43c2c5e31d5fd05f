#include "model/config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "model/arch.h"
#include "model/json.h"

static int refuse_unless_absent(const struct sc_json_file *s, const char *key, const char *why)
{
    const json_t *v = json_object_get(s->root, key);
    if (!v || json_is_null(v) || json_is_false(v) || (json_is_object(v) && json_object_size(v) == 0) ||
        (json_is_array(v) && json_array_size(v) == 0))
        return 0;
    return sc_fail(s->msg, SC_EUNSUPPORTED, "%s: %s is set: %s", s->file, key, why);
}

/* Options that would compute something else than the engines do. */
static int refuse_others(const struct sc_json_file *s)
{
    static const char *const not[][2] = {
        {"is_decoder", "decoders are not supported"},
        {"add_cross_attention", "decoders are not supported"},
        {"is_encoder_decoder", "decoders are not supported"},
        {"quantization_config", "quantised weights are not supported; save the model in fp32, fp16 or bf16"},
        {"pruned_heads", "pruned heads are not supported"},
        {"rope_scaling", "scaled rotary positions are not supported"},
    };
    const json_t *v = json_object_get(s->root, "position_embedding_type");
    const char *type = json_string_value(v);
    if (v && !json_is_null(v) && (!type || strcmp(type, "absolute") != 0))
        return sc_fail(s->msg, SC_EUNSUPPORTED,
                       "%s: position_embedding_type \"%.60s\" is not supported, only \"absolute\"", s->file,
                       type ? type : "(not a string)");
    for (size_t i = 0; i < SC_COUNT(not); i++) {
        int rc = refuse_unless_absent(s, not[i][0], not[i][1]);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- family and task ------------------------------------------------------------------------- */

static int family(const struct sc_json_file *s, struct sc_encoder_config *c)
{
    const json_t *type = json_object_get(s->root, "model_type");
    c->arch = json_is_string(type) ? sc_arch_find(json_string_value(type)) : NULL;
    if (!c->arch)
        return sc_fail(s->msg, SC_EUNSUPPORTED,
                       "%s: model_type \"%.60s\" is not supported; the encoder backend serves %s", s->file,
                       json_is_string(type) ? json_string_value(type) : "", sc_arch_list());
    return 0;
}

static int task(const struct sc_json_file *s, const struct sc_encoder_choice *choice,
                struct sc_encoder_config *c)
{
    if (choice && choice->has_task) {
        c->task = choice->task;
        return 0;
    }
    const char *name = json_string_value(json_array_get(json_object_get(s->root, "architectures"), 0));
    if (!name)
        return sc_fail(s->msg, SC_EINVAL,
                       "%s: architectures must name the model's class, e.g. "
                       "[\"%sForSequenceClassification\"], or the setting `task` what it is for",
                       s->file, c->arch->class_name);
    if (sc_arch_task(c->arch, name, &c->task) < 0)
        return sc_fail(s->msg, SC_EUNSUPPORTED,
                       "%s: architecture \"%.60s\" is not supported; the encoder backend serves %s with "
                       "ForSequenceClassification, ForTokenClassification, ForQuestionAnswering, ForMaskedLM "
                       "and the bare %sModel",
                       s->file, name, c->arch->class_name, c->arch->class_name);
    return 0;
}

/* ---- sizes ------------------------------------------------------------------------------------- */

static int activation(const struct sc_json_file *s, const char *key, const char *fallback,
                      enum sc_activation *out)
{
    static const struct {
        const char *name;
        enum sc_activation act;
    } known[] = {
        {"gelu", SC_ACT_GELU},
        {"gelu_python", SC_ACT_GELU},
        {"gelu_new", SC_ACT_GELU_TANH},
        {"gelu_pytorch_tanh", SC_ACT_GELU_TANH},
        {"gelu_python_tanh", SC_ACT_GELU_TANH},
        {"gelu_fast", SC_ACT_GELU_TANH},
        {"relu", SC_ACT_RELU},
        {"silu", SC_ACT_SILU},
        {"swish", SC_ACT_SILU},
        {"tanh", SC_ACT_TANH},
    };
    const json_t *v = json_object_get(s->root, key);
    const char *name = v ? json_string_value(v) : fallback;
    for (size_t i = 0; name && i < SC_COUNT(known); i++)
        if (strcmp(known[i].name, name) == 0) {
            *out = known[i].act;
            return 0;
        }
    return sc_fail(s->msg, SC_EUNSUPPORTED,
                   "%s: %s \"%.60s\" is not supported (gelu, gelu_new, gelu_pytorch_tanh, relu, silu, tanh)",
                   s->file, key, name ? name : "(not a string)");
}

/* Positions that a text can have, and where they begin. */
static int positions(const struct sc_json_file *s, struct sc_encoder_config *c)
{
    uint32_t rows;
    int rc = sc_json_count(s, "max_position_embeddings", SC_ENCODER_POSITIONS_MAX, 0, &rows);
    if (rc < 0)
        return rc;
    c->position_by_pad = c->arch->offset;
    c->position_offset = c->arch->offset ? c->pad_id + 1 : 0;
    if (rows <= c->position_offset)
        return sc_fail(s->msg, SC_EINVAL,
                       "%s: max_position_embeddings is %u, but positions begin at pad_token_id + 1 = %u",
                       s->file, rows, c->position_offset);
    c->positions = rows - c->position_offset;
    return 0;
}

static int norm_eps(const struct sc_json_file *s, struct sc_encoder_config *c)
{
    const char *key = c->arch->modern ? "norm_eps" : "layer_norm_eps";
    double value = c->arch->norm_eps;
    int rc = sc_json_real(s, key, 0, 1, &value);
    c->norm_eps = (float)value;
    return rc;
}

static int sizes(const struct sc_json_file *s, struct sc_encoder_config *c)
{
    const struct sc_arch *a = c->arch;
    const struct {
        const char *key;
        uint32_t max, fallback, *to;
    } numbers[] = {
        {a->keys->hidden, SC_ENCODER_HIDDEN_MAX, 0, &c->hidden},
        {a->keys->layers, SC_ENCODER_LAYERS_MAX, 0, &c->layers},
        {a->keys->heads, SC_ENCODER_HEADS_MAX, 0, &c->heads},
        {a->keys->intermediate, SC_ENCODER_INTERMEDIATE_MAX, 0, &c->intermediate},
        {"vocab_size", SC_ENCODER_VOCAB_MAX, 0, &c->vocab},
    };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < SC_COUNT(numbers); i++)
        rc = sc_json_count(s, numbers[i].key, numbers[i].max, numbers[i].fallback, numbers[i].to);
    if (rc < 0)
        return rc;
    if (c->hidden % c->heads != 0)
        return sc_fail(s->msg, SC_EINVAL, "%s: %s %u is no multiple of %s %u", s->file, a->keys->hidden,
                       c->hidden, a->keys->heads, c->heads);
    c->head_dim = c->hidden / c->heads;
    c->embedding = c->hidden;
    if (a->embedding)
        rc = sc_json_count(s, "embedding_size", SC_ENCODER_HIDDEN_MAX, a->embedding, &c->embedding);
    c->projected = a->always_projected || c->embedding != c->hidden;
    if (rc == 0 && a->types)
        rc = sc_json_count(s, "type_vocab_size", SC_ENCODER_TYPES_MAX, a->types, &c->types);
    if (rc == 0)
        rc = activation(s, a->keys->act, a->act, &c->act);
    if (rc == 0)
        rc = norm_eps(s, c);
    return rc;
}

static int special_tokens(const struct sc_json_file *s, struct sc_encoder_config *c)
{
    c->pad_id = c->arch->pad_id;
    int rc = sc_json_id(s, "pad_token_id", &c->has_pad, &c->pad_id);
    return rc < 0 ? rc : sc_json_id(s, "mask_token_id", &c->has_mask, &c->mask_id);
}

/* ---- ALBERT and ModernBERT --------------------------------------------------------------------- */

static int groups(const struct sc_json_file *s, struct sc_encoder_config *c)
{
    uint32_t stacked;
    int rc = sc_json_count(s, "num_hidden_groups", SC_ENCODER_LAYERS_MAX, 1, &c->groups);
    if (rc == 0)
        rc = sc_json_count(s, "inner_group_num", SC_ENCODER_LAYERS_MAX, 1, &c->per_group);
    if (rc < 0)
        return rc;
    if (c->groups > c->layers)
        return sc_fail(s->msg, SC_EINVAL, "%s: num_hidden_groups %u is more than num_hidden_layers %u",
                       s->file, c->groups, c->layers);
    stacked = c->layers * c->per_group;
    if (stacked > SC_ENCODER_LAYERS_MAX)
        return sc_fail(s->msg, SC_ELIMIT, "%s: %u layers in all are more than %u", s->file, stacked,
                       SC_ENCODER_LAYERS_MAX);
    c->layers = stacked;
    return 0;
}

/* Which layers look only at their neighbourhood: a list, or every n-th does not. */
static int local_layers(const struct sc_json_file *s, struct sc_encoder_config *c)
{
    const json_t *types = json_object_get(s->root, "layer_types");
    uint32_t every = 0, window = 0;
    int rc = sc_json_count(s, "global_attn_every_n_layers", SC_ENCODER_LAYERS_MAX, 3, &every);
    if (rc == 0)
        rc = sc_json_count(s, "local_attention", SC_ENCODER_POSITIONS_MAX, 128, &window);
    if (rc < 0)
        return rc;
    c->window = window / 2;
    bool listed = types && !json_is_null(types);
    if (listed && (!json_is_array(types) || json_array_size(types) != c->layers))
        return sc_fail(s->msg, SC_EINVAL, "%s: layer_types must name the attention of each of the %u layers",
                       s->file, c->layers);
    for (uint32_t i = 0; i < c->layers; i++) {
        const char *name = listed           ? json_string_value(json_array_get(types, i))
                           : i % every == 0 ? "full_attention"
                                            : "sliding_attention";
        if (name && strcmp(name, "sliding_attention") == 0)
            c->local[i / 64] |= UINT64_C(1) << i % 64;
        else if (!name || strcmp(name, "full_attention") != 0)
            return sc_fail(s->msg, SC_EUNSUPPORTED,
                           "%s: layer_types: \"%.60s\" is not supported (full_attention, sliding_attention)",
                           s->file, name ? name : "(not a string)");
    }
    return 0;
}

/* The base of one kind of layer: rope_parameters.KIND.rope_theta, or the older key. */
static int theta(const struct sc_json_file *s, const char *kind, const char *older, double fallback,
                 float *out)
{
    const json_t *all = json_object_get(s->root, "rope_parameters");
    json_t *one = json_object_get(all, kind);
    struct sc_json_file in = *s;
    double value = fallback;
    int rc;
    if (json_is_object(one)) {
        in.root = one;
        const char *type = json_string_value(json_object_get(one, "rope_type"));
        if (type && strcmp(type, "default") != 0)
            return sc_fail(s->msg, SC_EUNSUPPORTED,
                           "%s: rope_type \"%.60s\" is not supported, only \"default\"", s->file, type);
        rc = sc_json_real(&in, "rope_theta", 1, 1e12, &value);
    } else {
        rc = sc_json_real(s, older, 1, 1e12, &value);
    }
    *out = (float)value;
    return rc;
}

static int modern(const struct sc_json_file *s, struct sc_encoder_config *c)
{
    struct {
        const char *key;
        bool fallback, *to;
    } flags[] = {
        {"attention_bias", false, &c->attention_bias}, {"mlp_bias", false, &c->mlp_bias},
        {"norm_bias", false, &c->norm_bias},           {"classifier_bias", false, &c->head_bias},
        {"decoder_bias", true, &c->decoder_bias},
    };
    c->pre_norm = c->gated = c->rotary = true;
    if (c->head_dim % 2 != 0)
        return sc_fail(s->msg, SC_EUNSUPPORTED, "%s: rotary positions need heads of even size, not %u",
                       s->file, c->head_dim);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < SC_COUNT(flags); i++)
        rc = sc_json_flag(s, flags[i].key, flags[i].fallback, flags[i].to);
    if (rc == 0)
        rc = local_layers(s, c);
    if (rc == 0)
        rc = theta(s, "full_attention", "global_rope_theta", 160000, &c->theta_global);
    return rc < 0 ? rc : theta(s, "sliding_attention", "local_rope_theta", 10000, &c->theta_local);
}

/* ---- heads --------------------------------------------------------------------------------------- */

/* id2label, or LABEL_0, LABEL_1 … as Hugging Face names labels that have no name. */
static int labels(const struct sc_json_file *s, struct sc_encoder_config *c)
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
        int rc = sc_json_count(s, "num_labels", SC_ENCODER_LABELS_MAX, 2, &c->labels);
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

static int scoring(const struct sc_json_file *s, struct sc_encoder_config *c)
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

/* What goes on to the head of a sequence: its first token, unless ModernBERT or the choice says else. */
static int pooling(const struct sc_json_file *s, const struct sc_encoder_choice *choice,
                   struct sc_encoder_config *c)
{
    c->pooling = c->task == SC_TASK_EMBED ? SC_POOL_MEAN : SC_POOL_CLS;
    if (c->task == SC_TASK_EMBED && choice && choice->has_pooling)
        c->pooling = choice->pooling;
    const json_t *v = json_object_get(s->root, "classifier_pooling");
    if (c->task != SC_TASK_SEQUENCE || !c->arch->modern || !v || json_is_null(v))
        return 0;
    const char *name = json_string_value(v);
    if (name && strcmp(name, "mean") == 0)
        c->pooling = SC_POOL_MEAN;
    else if (!name || strcmp(name, "cls") != 0)
        return sc_fail(s->msg, SC_EUNSUPPORTED,
                       "%s: classifier_pooling \"%.60s\" is not supported (cls, mean)", s->file,
                       name ? name : "(not a string)");
    return 0;
}

static int head(const struct sc_json_file *s, const struct sc_encoder_choice *choice,
                struct sc_encoder_config *c)
{
    int rc = pooling(s, choice, c);
    if (rc < 0 || c->task == SC_TASK_EMBED)
        return rc;
    switch (c->arch->heads[c->task]->act) {
    case SC_HEAD_TANH: c->head_act = SC_ACT_TANH; break;
    case SC_HEAD_RELU: c->head_act = SC_ACT_RELU; break;
    case SC_HEAD_GELU: c->head_act = SC_ACT_GELU; break;
    case SC_HEAD_HIDDEN_ACT: c->head_act = c->act; break;
    case SC_HEAD_CLASSIFIER_ACT: rc = activation(s, "classifier_activation", "gelu", &c->head_act); break;
    }
    if (rc == 0 && c->task == SC_TASK_FILL_MASK)
        rc = sc_json_flag(s, "tie_word_embeddings", true, &c->tied);
    if (rc == 0 && (c->task == SC_TASK_SEQUENCE || c->task == SC_TASK_TOKEN))
        rc = labels(s, c);
    if (rc == 0 && c->task == SC_TASK_SEQUENCE)
        rc = scoring(s, c);
    if (c->task == SC_TASK_QA)
        c->labels = 2;
    return rc;
}

static int read_all(const struct sc_json_file *s, const struct sc_encoder_choice *choice,
                    struct sc_encoder_config *c)
{
    c->attention_bias = c->mlp_bias = c->norm_bias = c->head_bias = c->decoder_bias = true;
    int rc = family(s, c);
    if (rc == 0)
        rc = task(s, choice, c);
    if (rc == 0)
        rc = refuse_others(s);
    if (rc == 0)
        rc = sizes(s, c);
    if (rc == 0)
        rc = special_tokens(s, c);
    if (rc == 0)
        rc = positions(s, c);
    if (rc == 0 && c->arch->groups)
        rc = groups(s, c);
    if (rc == 0 && c->arch->modern)
        rc = modern(s, c);
    return rc < 0 ? rc : head(s, choice, c);
}

int sc_encoder_config_read(struct sc_encoder_config *c, const struct sc_json_file *s,
                           const struct sc_encoder_choice *choice)
{
    *c = (struct sc_encoder_config){0};
    int rc = read_all(s, choice, c);
    if (rc < 0)
        sc_encoder_config_free(c);
    return rc;
}

int sc_encoder_config_parse(struct sc_encoder_config *c, struct sc_span text, const char *file,
                            const struct sc_encoder_choice *choice, struct sc_msg *msg)
{
    struct sc_json_file s;
    int rc = sc_json_file_parse(&s, text, file, msg);
    if (rc == 0)
        rc = sc_encoder_config_read(c, &s, choice);
    sc_json_file_free(&s);
    return rc;
}

void sc_encoder_config_free(struct sc_encoder_config *c)
{
    for (uint32_t i = 0; c->label && i < c->labels; i++)
        free(c->label[i]);
    free(c->label);
    for (uint32_t i = 0; i < c->dense_n; i++)
        free(c->dense[i].dir);
    *c = (struct sc_encoder_config){0};
}

uint32_t sc_encoder_columns(const struct sc_encoder_config *c)
{
    switch (c->task) {
    case SC_TASK_SEQUENCE:
    case SC_TASK_TOKEN:
    case SC_TASK_QA: return c->labels;
    case SC_TASK_FILL_MASK: return c->vocab;
    case SC_TASK_EMBED: return c->dense_n ? c->dense[c->dense_n - 1].out : c->hidden;
    }
    return 0;
}

double sc_encoder_flops(const struct sc_encoder_config *c, uint32_t n)
{
    double h = c->hidden, t = n, total = 0;
    for (uint32_t i = 0; i < c->layers; i++) {
        double seen = sc_encoder_layer_local(c, i) ? SC_MIN(t, 2.0 * c->window + 1) : t;
        total += 2 * t * h * (4 * h + (c->gated ? 3 : 2) * (double)c->intermediate) + 4 * t * seen * h;
    }
    return total;
}

static const char *const task_names[] = {
    [SC_TASK_SEQUENCE] = "text-classification",
    [SC_TASK_TOKEN] = "token-classification",
    [SC_TASK_QA] = "question-answering",
    [SC_TASK_FILL_MASK] = "fill-mask",
    [SC_TASK_EMBED] = "embeddings",
};

const char *sc_task_name(enum sc_task t)
{
    return task_names[t];
}

int sc_task_named(const char *name, enum sc_task *out)
{
    for (size_t i = 0; i < SC_COUNT(task_names); i++)
        if (strcmp(task_names[i], name) == 0) {
            *out = (enum sc_task)i;
            return 0;
        }
    return SC_ENOTFOUND;
}

int sc_pooling_named(const char *name, enum sc_pooling *out)
{
    static const char *const names[] = {
        [SC_POOL_CLS] = "cls", [SC_POOL_MEAN] = "mean", [SC_POOL_MAX] = "max", [SC_POOL_LAST] = "last"};
    for (size_t i = 0; i < SC_COUNT(names); i++)
        if (strcmp(names[i], name) == 0) {
            *out = (enum sc_pooling)i;
            return 0;
        }
    return SC_ENOTFOUND;
}
