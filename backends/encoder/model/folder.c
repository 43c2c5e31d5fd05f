#include "model/folder.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "model/json.h"

/* What modules.json says, before config.json is read. */
struct modules {
    char *transformer; /* folder of the Transformer module; NULL: there is no modules.json */
    bool normalize, skip_prompt;
    enum sc_pooling pooling;
    uint32_t dense_n;
    struct sc_dense_config dense[SC_ENCODER_DENSE_MAX];
};

static void modules_free(struct modules *m)
{
    free(m->transformer);
    for (uint32_t i = 0; i < m->dense_n; i++)
        free(m->dense[i].dir);
    *m = (struct modules){0};
}

static int no_memory(const char *dir, struct sc_msg *msg)
{
    return sc_fail(msg, SC_ENOMEM, "%s: no memory", dir);
}

/* The config.json of a module in folder `dir`. */
static int open_config(struct sc_json_file *s, char **path, const char *dir, struct sc_msg *msg)
{
    *s = (struct sc_json_file){0};
    *path = sc_path_in(dir, "config.json");
    return *path ? sc_json_file_open(s, *path, false, msg) : no_memory(dir, msg);
}

/* pooling_mode_mean_tokens and its like, of which one is true; or pooling_mode: "mean". */
static int pooling_of(const struct sc_json_file *s, enum sc_pooling *out)
{
    static const struct {
        const char *key, *name;
        enum sc_pooling pooling;
    } known[] = {
        {"pooling_mode_cls_token", "cls", SC_POOL_CLS},
        {"pooling_mode_mean_tokens", "mean", SC_POOL_MEAN},
        {"pooling_mode_max_tokens", "max", SC_POOL_MAX},
        {"pooling_mode_lasttoken", "lasttoken", SC_POOL_LAST},
    };
    const char *key, *named = json_string_value(json_object_get(s->root, "pooling_mode"));
    json_t *v;
    unsigned found = 0;
    json_object_foreach(s->root, key, v)
    {
        if (strncmp(key, "pooling_mode_", 13) != 0 || !json_is_true(v))
            continue;
        size_t i = 0;
        while (i < SC_COUNT(known) && strcmp(known[i].key, key) != 0)
            i++;
        if (i == SC_COUNT(known))
            return sc_fail(s->msg, SC_EUNSUPPORTED, "%s: %.60s is not supported (cls, mean, max, last token)",
                           s->file, key);
        *out = known[i].pooling;
        found++;
    }
    for (size_t i = 0; named && i < SC_COUNT(known); i++)
        if (strcmp(known[i].name, named) == 0) {
            *out = known[i].pooling;
            found++;
        }
    if (found != 1)
        return sc_fail(s->msg, SC_EUNSUPPORTED,
                       "%s: one pooling mode must be set (cls, mean, max, last token)", s->file);
    return 0;
}

static int pooling(struct modules *m, const char *dir, struct sc_msg *msg)
{
    struct sc_json_file s;
    char *path;
    bool prompt = true;
    int rc = open_config(&s, &path, dir, msg);
    if (rc == 0)
        rc = pooling_of(&s, &m->pooling);
    if (rc == 0)
        rc = sc_json_flag(&s, "include_prompt", true, &prompt);
    m->skip_prompt = !prompt;
    sc_json_file_free(&s);
    free(path);
    return rc;
}

/* An activation by the path of its class in PyTorch. */
static int activation_of(const struct sc_json_file *s, enum sc_activation *out)
{
    static const struct {
        const char *name;
        enum sc_activation act;
    } known[] = {{"Identity", SC_ACT_NONE},
                 {"Tanh", SC_ACT_TANH},
                 {"ReLU", SC_ACT_RELU},
                 {"GELU", SC_ACT_GELU},
                 {"SiLU", SC_ACT_SILU}};
    const json_t *v = json_object_get(s->root, "activation_function");
    const char *name = v ? json_string_value(v) : "Tanh", *dot = name ? strrchr(name, '.') : NULL;
    for (size_t i = 0; name && i < SC_COUNT(known); i++)
        if (strcmp(dot ? dot + 1 : name, known[i].name) == 0) {
            *out = known[i].act;
            return 0;
        }
    return sc_fail(s->msg, SC_EUNSUPPORTED,
                   "%s: activation_function \"%.60s\" is not supported (Identity, Tanh, ReLU, GELU, SiLU)",
                   s->file, name ? name : "(not a string)");
}

static int dense(struct modules *m, const char *dir, struct sc_msg *msg)
{
    struct sc_json_file s;
    char *path;
    if (m->dense_n == SC_ENCODER_DENSE_MAX)
        return sc_fail(msg, SC_ELIMIT, "%s: more than %u Dense modules are not supported", dir,
                       SC_ENCODER_DENSE_MAX);
    struct sc_dense_config *d = &m->dense[m->dense_n];
    int rc = open_config(&s, &path, dir, msg);
    if (rc == 0)
        rc = sc_json_count(&s, "in_features", SC_ENCODER_HIDDEN_MAX, 0, &d->in);
    if (rc == 0)
        rc = sc_json_count(&s, "out_features", SC_ENCODER_HIDDEN_MAX, 0, &d->out);
    if (rc == 0)
        rc = sc_json_flag(&s, "bias", true, &d->bias);
    if (rc == 0)
        rc = activation_of(&s, &d->act);
    if (rc == 0 && !(d->dir = strdup(dir)))
        rc = no_memory(dir, msg);
    if (rc == 0)
        m->dense_n++;
    sc_json_file_free(&s);
    free(path);
    return rc;
}

/* Module `i` of the list: the order is Transformer, Pooling, Dense ..., Normalize. */
static int module(struct modules *m, size_t i, const char *dir, const struct sc_json_file *s)
{
    const json_t *one = json_array_get(s->root, i);
    const char *type = json_string_value(json_object_get(one, "type")),
               *path = json_string_value(json_object_get(one, "path"));
    if (!type || !path || path[0] == '/' || path[0] == '.' || strstr(path, ".."))
        return sc_fail(s->msg, SC_EINVAL, "%s: module %zu must have a type and a path in the folder", s->file,
                       i);
    const char *dot = strrchr(type, '.'), *name = dot ? dot + 1 : type;
    char *below = path[0] ? sc_path_in(dir, path) : strdup(dir);
    if (!below)
        return no_memory(dir, s->msg);
    int rc;
    if (i == 0 && strcmp(name, "Transformer") == 0) {
        m->transformer = below;
        return 0;
    }
    if (i == 1 && strcmp(name, "Pooling") == 0)
        rc = pooling(m, below, s->msg);
    else if (i > 1 && strcmp(name, "Dense") == 0 && !m->normalize)
        rc = dense(m, below, s->msg);
    else if (i > 1 && strcmp(name, "Normalize") == 0)
        rc = (m->normalize = true, 0);
    else
        rc = sc_fail(
            s->msg, SC_EUNSUPPORTED,
            "%s: module %zu is \"%.100s\"; supported are Transformer, Pooling, then Dense and at last "
            "Normalize",
            s->file, i, type);
    free(below);
    return rc;
}

static int read_modules(struct modules *m, const char *dir, struct sc_msg *msg)
{
    struct sc_json_file s;
    char *path = sc_path_in(dir, "modules.json");
    if (!path)
        return no_memory(dir, msg);
    int rc = sc_json_file_open(&s, path, true, msg);
    if (rc == 0) {
        size_t n = json_array_size(s.root);
        if (n < 2 || n > SC_ENCODER_MODULES_MAX)
            rc = sc_fail(msg, SC_EUNSUPPORTED, "%s: from 2 to %u modules are supported", path,
                         SC_ENCODER_MODULES_MAX);
        for (size_t i = 0; rc == 0 && i < n; i++)
            rc = module(m, i, dir, &s);
    } else if (rc == SC_ENOTFOUND) {
        rc = 0;
    }
    sc_json_file_free(&s);
    free(path);
    return rc;
}

/* max_seq_length of the Transformer module. */
static int max_length(struct sc_encoder_config *c, const char *dir, struct sc_msg *msg)
{
    struct sc_json_file s;
    char *path = sc_path_in(dir, "sentence_bert_config.json");
    if (!path)
        return no_memory(dir, msg);
    int rc = sc_json_file_open(&s, path, false, msg);
    if (rc == 0 && !json_is_null(json_object_get(s.root, "max_seq_length")) &&
        json_object_get(s.root, "max_seq_length"))
        rc = sc_json_count(&s, "max_seq_length", SC_ENCODER_POSITIONS_MAX, 0, &c->max_length);
    sc_json_file_free(&s);
    free(path);
    return rc == SC_ENOTFOUND ? 0 : rc;
}

/* What modules.json says goes over into the configuration, each module's size checked against the last. */
static int apply(struct sc_encoder_config *c, struct modules *m, const struct sc_encoder_choice *choice,
                 struct sc_msg *msg)
{
    if (!m->transformer)
        return 0;
    c->sentence_transformers = true;
    int rc = max_length(c, m->transformer, msg);
    if (rc < 0 || c->task != SC_TASK_EMBED)
        return rc;
    if (!choice || !choice->has_pooling)
        c->pooling = m->pooling;
    c->normalize = m->normalize;
    c->skip_prompt = m->skip_prompt;
    uint32_t size = c->hidden;
    for (uint32_t i = 0; i < m->dense_n; i++) {
        if (m->dense[i].in != size)
            return sc_fail(
                msg, SC_EINVAL,
                "%s: in_features is %u, but what comes before it gives %u: the modules do not belong "
                "together",
                m->dense[i].dir, m->dense[i].in, size);
        size = m->dense[i].out;
    }
    memcpy(c->dense, m->dense, sizeof c->dense);
    c->dense_n = m->dense_n;
    m->dense_n = 0; /* their folders' names went along */
    return 0;
}

static int read_config(struct sc_encoder_config *c, const char *dir, const struct sc_encoder_choice *choice,
                       struct sc_msg *msg)
{
    struct sc_json_file s;
    char *path;
    int rc = open_config(&s, &path, dir, msg);
    if (rc == SC_ENOTFOUND)
        rc = sc_fail(msg, rc,
                     "%s: No such file or directory; the folder must hold config.json, model.safetensors and "
                     "the tokenizer's files",
                     path);
    if (rc == 0)
        rc = sc_encoder_config_read(c, &s, choice);
    sc_json_file_free(&s);
    free(path);
    return rc;
}

int sc_encoder_folder_open(struct sc_encoder_folder *f, const char *dir,
                           const struct sc_encoder_choice *choice, struct sc_msg *msg)
{
    *f = (struct sc_encoder_folder){0};
    struct modules m = {0};
    struct sc_encoder_choice wanted = choice ? *choice : (struct sc_encoder_choice){0};
    int rc = read_modules(&m, dir, msg);
    if (rc == 0) {
        f->dir = strdup(m.transformer ? m.transformer : dir);
        /* Whatever class the Transformer was trained as, sentence-transformers takes its hidden states. */
        if (m.transformer && !wanted.has_task) {
            wanted.has_task = true;
            wanted.task = SC_TASK_EMBED;
        }
        rc = f->dir ? read_config(&f->config, f->dir, &wanted, msg) : no_memory(dir, msg);
    }
    if (rc == 0)
        rc = apply(&f->config, &m, choice, msg);
    if (rc == 0)
        rc = sc_encoder_weights_open(&f->weights, &f->config, f->dir, msg);
    modules_free(&m);
    if (rc < 0)
        sc_encoder_folder_close(f);
    return rc;
}

void sc_encoder_folder_close(struct sc_encoder_folder *f)
{
    sc_encoder_weights_close(&f->weights);
    sc_encoder_config_free(&f->config);
    free(f->dir);
    *f = (struct sc_encoder_folder){0};
}
