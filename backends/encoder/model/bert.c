#include "model/bert.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/array.h"
#include "base/buf.h"

static char *path_of(const char *dir, const char *name)
{
    char *path;
    return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

/* A small file as a whole. */
static int read_file(struct sc_buf *b, const char *path, struct sc_msg *msg)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return sc_fail(
            msg, errno == ENOENT ? SC_ENOTFOUND : SC_ESYS,
            "%s: %s; the folder must hold config.json, model.safetensors and the tokenizer's files", path,
            strerror(errno));
    char piece[16384];
    size_t n;
    while ((n = fread(piece, 1, sizeof piece, f)) > 0)
        sc_buf_add(b, piece, n);
    int rc = 0;
    if (ferror(f))
        rc = sc_fail(msg, SC_ESYS, "%s: %s", path, strerror(errno));
    else if (b->failed)
        rc = sc_fail(msg, b->failed, "%s: larger than %u bytes", path, SC_ENCODER_CONFIG_BYTES);
    fclose(f);
    return rc;
}

static int open_config(struct sc_bert *b, const char *dir, struct sc_msg *msg)
{
    struct sc_buf text;
    sc_buf_init(&text, SC_ENCODER_CONFIG_BYTES);
    char *path = path_of(dir, "config.json");
    int rc = path ? read_file(&text, path, msg) : sc_fail(msg, SC_ENOMEM, "%s: no memory", dir);
    if (rc == 0)
        rc = sc_bert_config_parse(&b->config, sc_buf_view(&text), path, msg);
    sc_buf_free(&text);
    free(path);
    return rc;
}

/* What people have instead of model.safetensors, and what to do about it. */
static int no_weights(const char *dir, struct sc_msg *msg)
{
    static const char *const others[][2] = {
        {"model.safetensors.index.json",
         "is split into shards; save the model with max_shard_size=\"100GB\""},
        {"pytorch_model.bin",
         "is in PyTorch's format; save the model with save_pretrained(..., safe_serialization=True)"},
        {"tf_model.h5", "is in TensorFlow's format; load it in transformers with from_tf=True and save it "
                        "with save_pretrained"},
    };
    for (size_t i = 0; i < SC_COUNT(others); i++) {
        char *path = path_of(dir, others[i][0]);
        bool there = path && access(path, F_OK) == 0;
        free(path);
        if (there)
            return sc_fail(msg, SC_ENOTFOUND, "%s: model.safetensors is missing; %s %s", dir, others[i][0],
                           others[i][1]);
    }
    return sc_fail(msg, SC_ENOTFOUND, "%s: model.safetensors is missing; save the model with save_pretrained",
                   dir);
}

int sc_bert_open(struct sc_bert *b, const char *dir, struct sc_msg *msg)
{
    *b = (struct sc_bert){0};
    int rc = open_config(b, dir, msg);
    if (rc < 0)
        return rc;
    b->weights_file = path_of(dir, "model.safetensors");
    rc = b->weights_file ? sc_safetensors_open(&b->weights, b->weights_file, msg)
                         : sc_fail(msg, SC_ENOMEM, "%s: no memory", dir);
    if (rc == SC_ENOTFOUND)
        rc = no_weights(dir, msg);
    if (rc < 0) {
        sc_bert_close(b);
        return rc;
    }
    b->prefixed = sc_safetensors_find(b->weights, SC_SPAN("bert.embeddings.word_embeddings.weight")) != NULL;
    return 0;
}

void sc_bert_close(struct sc_bert *b)
{
    sc_safetensors_close(b->weights);
    sc_bert_config_free(&b->config);
    free(b->weights_file);
    *b = (struct sc_bert){0};
}

static const struct sc_tensor *find(const struct sc_bert *b, const char *name)
{
    char full[256];
    bool head = strncmp(name, "classifier.", 11) == 0;
    int n = snprintf(full, sizeof full, "%s%s", b->prefixed && !head ? "bert." : "", name);
    const struct sc_tensor *t = sc_safetensors_find(b->weights, sc_span(full, (size_t)n));
    if (t)
        return t;
    /* Models converted from TensorFlow before 2019 have these names; transformers reads them, too. */
    static const char *const old[][2] = {{".LayerNorm.weight", ".LayerNorm.gamma"},
                                         {".LayerNorm.bias", ".LayerNorm.beta"}};
    for (size_t i = 0; i < SC_COUNT(old); i++) {
        size_t tail = strlen(old[i][0]), length = strlen(full);
        if (length <= tail || strcmp(full + length - tail, old[i][0]) != 0)
            continue;
        snprintf(full + length - tail, sizeof full - (length - tail), "%s", old[i][1]);
        return sc_safetensors_find(b->weights, sc_span_str(full));
    }
    return NULL;
}

int sc_bert_tensor(const struct sc_bert *b, const char *name, uint64_t rows, uint64_t columns,
                   const struct sc_tensor **out, struct sc_msg *msg)
{
    const struct sc_tensor *t = find(b, name);
    if (!t)
        return sc_fail(msg, SC_ENOTFOUND,
                       "%s: tensor %s is missing, which config.json calls for; save the model again with "
                       "save_pretrained",
                       b->weights_file, name);
    if (t->dtype == SC_DTYPE_OTHER)
        return sc_fail(msg, SC_EUNSUPPORTED,
                       "%s: tensor %s is of dtype %.*s; save the model in F32, F16 or BF16", b->weights_file,
                       name, SC_FMT(t->dtype_name));
    bool fits = columns ? t->dims == 2 && t->shape[0] == rows && t->shape[1] == columns
                        : t->dims == 1 && t->shape[0] == rows;
    if (!fits) {
        char want[64];
        snprintf(want, sizeof want, columns ? "[%llu, %llu]" : "[%llu]", (unsigned long long)rows,
                 (unsigned long long)columns);
        return sc_fail(msg, SC_EINVAL,
                       "%s: tensor %s has %u dimensions (%llu, %llu), config.json calls for %s: the two "
                       "files do not belong together",
                       b->weights_file, name, t->dims, (unsigned long long)(t->dims > 0 ? t->shape[0] : 0),
                       (unsigned long long)(t->dims > 1 ? t->shape[1] : 0), want);
    }
    *out = t;
    return 0;
}
