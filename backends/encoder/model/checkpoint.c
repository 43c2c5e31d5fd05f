#include "model/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/mix.h"
#include "model/json.h"

struct sc_checkpoint {
    char *name;
    struct sc_safetensors **file;
    size_t n;
};

/* What people have instead, and what to do about it. */
static int no_weights(const char *dir, struct sc_msg *msg)
{
    static const char *const others[][2] = {
        {"pytorch_model.bin",
         "is in PyTorch's format; save the model with save_pretrained(..., safe_serialization=True)"},
        {"pytorch_model.bin.index.json",
         "is in PyTorch's format; save the model with save_pretrained(..., safe_serialization=True)"},
        {"tf_model.h5", "is in TensorFlow's format; load it in transformers with from_tf=True and save it "
                        "with save_pretrained"},
    };
    for (size_t i = 0; i < SC_COUNT(others); i++) {
        char *path = sc_path_in(dir, others[i][0]);
        bool there = path && access(path, F_OK) == 0;
        free(path);
        if (there)
            return sc_fail(msg, SC_ENOTFOUND, "%s: model.safetensors is missing; %s %s", dir, others[i][0],
                           others[i][1]);
    }
    return sc_fail(msg, SC_ENOTFOUND, "%s: model.safetensors is missing; save the model with save_pretrained",
                   dir);
}

static int add_file(struct sc_checkpoint *c, const char *dir, const char *name, struct sc_msg *msg)
{
    struct sc_safetensors **more = realloc(c->file, (c->n + 1) * sizeof(*more));
    if (more)
        c->file = more;
    char *path = more ? sc_path_in(dir, name) : NULL;
    if (!path)
        return sc_fail(msg, SC_ENOMEM, "%s: no memory", dir);
    int rc = sc_safetensors_open(&c->file[c->n], path, msg);
    if (rc == 0)
        c->n++;
    free(path);
    return rc;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The different files that weight_map names, each once. They lie beside the index: no path leads elsewhere.
 */
static int add_shards(struct sc_checkpoint *c, const char *dir, const struct sc_json_file *s)
{
    json_t *map = json_object_get(s->root, "weight_map"), *v;
    const char *key;
    size_t n = 0;
    if (!json_is_object(map) || json_object_size(map) == 0)
        return sc_fail(s->msg, SC_EINVAL, "%s: weight_map must say in which file each tensor is", s->file);
    const char **names = malloc(json_object_size(map) * sizeof(*names));
    if (!names)
        return sc_fail(s->msg, SC_ENOMEM, "%s: no memory", s->file);
    int rc = 0;
    json_object_foreach(map, key, v)
    {
        const char *name = json_string_value(v);
        if (!name || !*name || strchr(name, '/') || name[0] == '.') {
            rc = sc_fail(s->msg, SC_EINVAL,
                         "%s: weight_map: the file of %.100s must be a plain name in the folder", s->file,
                         key);
            break;
        }
        names[n++] = name;
    }
    if (rc == 0)
        qsort(names, n, sizeof(*names), by_text);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (i > 0 && strcmp(names[i], names[i - 1]) == 0)
            continue;
        if (c->n == SC_ENCODER_SHARDS_MAX)
            rc = sc_fail(s->msg, SC_ELIMIT, "%s: more than %u files; save the model in larger shards",
                         s->file, SC_ENCODER_SHARDS_MAX);
        else
            rc = add_file(c, dir, names[i], s->msg);
        if (rc == SC_ENOTFOUND)
            rc = sc_fail(s->msg, SC_ENOTFOUND, "%s names %.100s, which is missing: fetch it, too", s->file,
                         names[i]);
    }
    free(names);
    return rc;
}

static int open_index(struct sc_checkpoint *c, const char *dir, struct sc_msg *msg)
{
    struct sc_json_file s;
    c->name = sc_path_in(dir, "model.safetensors.index.json");
    if (!c->name)
        return sc_fail(msg, SC_ENOMEM, "%s: no memory", dir);
    int rc = sc_json_file_open(&s, c->name, false, msg);
    if (rc == SC_ENOTFOUND)
        return no_weights(dir, msg);
    if (rc == 0)
        rc = add_shards(c, dir, &s);
    sc_json_file_free(&s);
    return rc;
}

int sc_checkpoint_open(struct sc_checkpoint **out, const char *dir, struct sc_msg *msg)
{
    struct sc_checkpoint *c = calloc(1, sizeof *c);
    if (!c)
        return sc_fail(msg, SC_ENOMEM, "%s: no memory", dir);
    int rc = add_file(c, dir, "model.safetensors", msg);
    if (rc == SC_ENOTFOUND)
        rc = open_index(c, dir, msg);
    else if (rc == 0 && !(c->name = sc_path_in(dir, "model.safetensors")))
        rc = sc_fail(msg, SC_ENOMEM, "%s: no memory", dir);
    if (rc < 0) {
        sc_checkpoint_close(c);
        return rc;
    }
    *out = c;
    return 0;
}

void sc_checkpoint_close(struct sc_checkpoint *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n; i++)
        sc_safetensors_close(c->file[i]);
    free(c->file);
    free(c->name);
    free(c);
}

const struct sc_tensor *sc_checkpoint_find(const struct sc_checkpoint *c, struct sc_span name)
{
    const struct sc_tensor *t = NULL;
    for (size_t i = 0; !t && i < c->n; i++)
        t = sc_safetensors_find(c->file[i], name);
    return t;
}

const char *sc_checkpoint_name(const struct sc_checkpoint *c)
{
    return c->name;
}

uint64_t sc_checkpoint_identity(const struct sc_checkpoint *c)
{
    uint64_t h = SC_MIX_START;
    for (size_t i = 0; i < c->n; i++) {
        uint64_t one = sc_safetensors_identity(c->file[i]);
        h = sc_mix_bytes(h, &one, sizeof one);
    }
    return h;
}
