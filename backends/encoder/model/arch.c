#include "model/arch.h"

#include <string.h>

#include "base/array.h"

static const struct sc_arch_keys usual_keys = {"hidden_size", "num_hidden_layers", "num_attention_heads",
                                               "intermediate_size", "hidden_act"};
static const struct sc_arch_keys distil_keys = {"dim", "n_layers", "n_heads", "hidden_dim", "activation"};
static const struct sc_arch_keys modern_keys = {"hidden_size", "num_hidden_layers", "num_attention_heads",
                                                "intermediate_size", "hidden_activation"};

static const struct sc_arch_names bert_names = {
    .words = "embeddings.word_embeddings",
    .positions = "embeddings.position_embeddings",
    .types = "embeddings.token_type_embeddings",
    .embedding_norm = "embeddings.LayerNorm",
    .projection = "embeddings_project",
    .layer = "encoder.layer.#.",
    .q = "attention.self.query",
    .k = "attention.self.key",
    .v = "attention.self.value",
    .attention_out = "attention.output.dense",
    .attention_norm = "attention.output.LayerNorm",
    .up = "intermediate.dense",
    .down = "output.dense",
    .norm = "output.LayerNorm",
};

static const struct sc_arch_names distil_names = {
    .words = "embeddings.word_embeddings",
    .positions = "embeddings.position_embeddings",
    .embedding_norm = "embeddings.LayerNorm",
    .layer = "transformer.layer.#.",
    .q = "attention.q_lin",
    .k = "attention.k_lin",
    .v = "attention.v_lin",
    .attention_out = "attention.out_lin",
    .attention_norm = "sa_layer_norm",
    .up = "ffn.lin1",
    .down = "ffn.lin2",
    .norm = "output_layer_norm",
};

static const struct sc_arch_names albert_names = {
    .words = "embeddings.word_embeddings",
    .positions = "embeddings.position_embeddings",
    .types = "embeddings.token_type_embeddings",
    .embedding_norm = "embeddings.LayerNorm",
    .projection = "encoder.embedding_hidden_mapping_in",
    .layer = "encoder.albert_layer_groups.#.albert_layers.#.",
    .q = "attention.query",
    .k = "attention.key",
    .v = "attention.value",
    .attention_out = "attention.dense",
    .attention_norm = "attention.LayerNorm",
    .up = "ffn",
    .down = "ffn_output",
    .norm = "full_layer_layer_norm",
};

static const struct sc_arch_names modern_names = {
    .words = "embeddings.tok_embeddings",
    .embedding_norm = "embeddings.norm",
    .layer = "layers.#.",
    .qkv = "attn.Wqkv",
    .attention_out = "attn.Wo",
    .attention_norm = "attn_norm",
    .up = "mlp.Wi",
    .down = "mlp.Wo",
    .norm = "mlp_norm",
    .final_norm = "final_norm",
};

static const struct sc_arch_head classifier = {.out = "classifier"}, qa_outputs = {.out = "qa_outputs"};

static const struct sc_arch_head bert_sequence = {
    .dense = "pooler.dense", .act = SC_HEAD_TANH, .out = "classifier"};
static const struct sc_arch_head bert_mask = {
    .dense = "cls.predictions.transform.dense",
    .act = SC_HEAD_HIDDEN_ACT,
    .norm = "cls.predictions.transform.LayerNorm",
    .out = "cls.predictions.decoder",
    .out_bias = "cls.predictions.bias",
};

static const struct sc_arch_head roberta_sequence = {
    .dense = "classifier.dense", .act = SC_HEAD_TANH, .out = "classifier.out_proj"};
static const struct sc_arch_head roberta_mask = {
    .dense = "lm_head.dense",
    .act = SC_HEAD_GELU,
    .norm = "lm_head.layer_norm",
    .out = "lm_head.decoder",
    .out_bias = "lm_head.bias",
};

static const struct sc_arch_head distil_sequence = {
    .dense = "pre_classifier", .act = SC_HEAD_RELU, .out = "classifier"};
static const struct sc_arch_head distil_mask = {
    .dense = "vocab_transform",
    .act = SC_HEAD_HIDDEN_ACT,
    .norm = "vocab_layer_norm",
    .out = "vocab_projector",
};

static const struct sc_arch_head electra_sequence = {
    .dense = "classifier.dense", .act = SC_HEAD_GELU, .out = "classifier.out_proj"};
static const struct sc_arch_head electra_mask = {
    .dense = "generator_predictions.dense",
    .act = SC_HEAD_GELU,
    .norm = "generator_predictions.LayerNorm",
    .out = "generator_lm_head",
};

static const struct sc_arch_head albert_sequence = {
    .dense = "pooler", .act = SC_HEAD_TANH, .out = "classifier"};
static const struct sc_arch_head albert_mask = {
    .dense = "predictions.dense",
    .act = SC_HEAD_HIDDEN_ACT,
    .norm = "predictions.LayerNorm",
    .out = "predictions.decoder",
    .out_bias = "predictions.bias",
};

static const struct sc_arch_head modern_labels = {
    .dense = "head.dense", .act = SC_HEAD_CLASSIFIER_ACT, .norm = "head.norm", .out = "classifier"};
static const struct sc_arch_head modern_mask = {
    .dense = "head.dense", .act = SC_HEAD_CLASSIFIER_ACT, .norm = "head.norm", .out = "decoder"};

#define HEADS(sequence, token, qa, mask)  \
    {                                     \
        [SC_TASK_SEQUENCE] = &(sequence), \
        [SC_TASK_TOKEN] = &(token),       \
        [SC_TASK_QA] = &(qa),             \
        [SC_TASK_FILL_MASK] = &(mask),    \
    }
#define ROBERTA(type, class)                                                    \
    {                                                                           \
        .model_type = (type),                                                   \
        .class_name = (class),                                                  \
        .prefix = "roberta.",                                                   \
        .keys = &usual_keys,                                                    \
        .names = &bert_names,                                                   \
        .heads = HEADS(roberta_sequence, classifier, qa_outputs, roberta_mask), \
        .norm_eps = 1e-12,                                                      \
        .act = "gelu",                                                          \
        .types = 2,                                                             \
        .pad_id = 1,                                                            \
        .offset = true,                                                         \
    }

static const struct sc_arch archs[] = {
    {
        .model_type = "bert",
        .class_name = "Bert",
        .prefix = "bert.",
        .keys = &usual_keys,
        .names = &bert_names,
        .heads = HEADS(bert_sequence, classifier, qa_outputs, bert_mask),
        .norm_eps = 1e-12,
        .act = "gelu",
        .types = 2,
        .pretraining = true,
    },
    ROBERTA("roberta", "Roberta"),
    ROBERTA("xlm-roberta", "XLMRoberta"),
    ROBERTA("camembert", "Camembert"),
    {
        .model_type = "distilbert",
        .class_name = "DistilBert",
        .prefix = "distilbert.",
        .keys = &distil_keys,
        .names = &distil_names,
        .heads = HEADS(distil_sequence, classifier, qa_outputs, distil_mask),
        .norm_eps = 1e-12,
        .act = "gelu",
    },
    {
        .model_type = "electra",
        .class_name = "Electra",
        .prefix = "electra.",
        .keys = &usual_keys,
        .names = &bert_names,
        .heads = HEADS(electra_sequence, classifier, qa_outputs, electra_mask),
        .norm_eps = 1e-12,
        .act = "gelu",
        .types = 2,
        .embedding = 128,
    },
    {
        .model_type = "albert",
        .class_name = "Albert",
        .prefix = "albert.",
        .keys = &usual_keys,
        .names = &albert_names,
        .heads = HEADS(albert_sequence, classifier, qa_outputs, albert_mask),
        .norm_eps = 1e-12,
        .act = "gelu_new",
        .types = 2,
        .embedding = 128,
        .always_projected = true,
        .groups = true,
        .pretraining = true,
    },
    {
        .model_type = "modernbert",
        .class_name = "ModernBert",
        .prefix = "model.",
        .keys = &modern_keys,
        .names = &modern_names,
        .heads = HEADS(modern_labels, modern_labels, modern_labels, modern_mask),
        .norm_eps = 1e-5,
        .act = "gelu",
        .pad_id = 50283,
        .modern = true,
    },
};

const struct sc_arch *sc_arch_find(const char *model_type)
{
    for (size_t i = 0; i < SC_COUNT(archs); i++)
        if (strcmp(archs[i].model_type, model_type) == 0)
            return &archs[i];
    return NULL;
}

const char *sc_arch_list(void)
{
    return "bert, roberta, xlm-roberta, camembert, distilbert, electra, albert, modernbert";
}

int sc_arch_task(const struct sc_arch *a, const char *class_name, enum sc_task *out)
{
    static const struct {
        const char *name;
        enum sc_task task;
    } known[] = {
        {"ForSequenceClassification", SC_TASK_SEQUENCE},
        {"ForTokenClassification", SC_TASK_TOKEN},
        {"ForQuestionAnswering", SC_TASK_QA},
        {"ForMaskedLM", SC_TASK_FILL_MASK},
        {"Model", SC_TASK_EMBED},
    };
    size_t n = strlen(a->class_name);
    if (strncmp(class_name, a->class_name, n) != 0)
        return SC_ENOTFOUND;
    if (a->pretraining && strcmp(class_name + n, "ForPreTraining") == 0) {
        *out = SC_TASK_FILL_MASK;
        return 0;
    }
    for (size_t i = 0; i < SC_COUNT(known); i++)
        if (strcmp(class_name + n, known[i].name) == 0) {
            *out = known[i].task;
            return 0;
        }
    return SC_ENOTFOUND;
}
