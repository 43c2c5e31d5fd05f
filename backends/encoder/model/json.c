#include "model/json.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/buf.h"
#include "base/limits.h"

char *sc_path_in(const char *dir, const char *name)
{
    char *path;
    return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

static int parse(struct sc_json_file *s, struct sc_span text, const char *file, bool list, struct sc_msg *msg)
{
    json_error_t error;
    *s = (struct sc_json_file){.file = file, .msg = msg};
    s->root = json_loadb(text.p ? text.p : "", text.n, JSON_REJECT_DUPLICATES, &error);
    if (!s->root)
        return sc_fail(msg, SC_EINVAL, "%s: line %d: %s", file, error.line, error.text);
    if (list ? json_is_array(s->root) : json_is_object(s->root))
        return 0;
    sc_json_file_free(s);
    return sc_fail(msg, SC_EINVAL, "%s: must be a JSON %s", file, list ? "list" : "object");
}

int sc_json_file_parse(struct sc_json_file *s, struct sc_span text, const char *file, struct sc_msg *msg)
{
    return parse(s, text, file, false, msg);
}

int sc_json_list_parse(struct sc_json_file *s, struct sc_span text, const char *file, struct sc_msg *msg)
{
    return parse(s, text, file, true, msg);
}

int sc_json_file_open(struct sc_json_file *s, const char *path, bool list, struct sc_msg *msg)
{
    *s = (struct sc_json_file){0};
    FILE *f = fopen(path, "re");
    if (!f)
        return sc_fail(msg, errno == ENOENT ? SC_ENOTFOUND : SC_ESYS, "%s: %s", path, strerror(errno));
    struct sc_buf b;
    sc_buf_init(&b, SC_ENCODER_CONFIG_BYTES);
    char piece[16384];
    size_t n;
    while ((n = fread(piece, 1, sizeof piece, f)) > 0)
        sc_buf_add(&b, piece, n);
    int rc = 0;
    if (ferror(f))
        rc = sc_fail(msg, SC_ESYS, "%s: %s", path, strerror(errno));
    else if (b.failed)
        rc = sc_fail(msg, b.failed, "%s: larger than %u bytes", path, SC_ENCODER_CONFIG_BYTES);
    else
        rc = parse(s, sc_buf_view(&b), path, list, msg);
    fclose(f);
    sc_buf_free(&b);
    return rc;
}

void sc_json_file_free(struct sc_json_file *s)
{
    json_decref(s->root);
    s->root = NULL;
}

static const json_t *get(const struct sc_json_file *s, const char *key)
{
    const json_t *v = json_object_get(s->root, key);
    return json_is_null(v) ? NULL : v;
}

int sc_json_count(const struct sc_json_file *s, const char *key, uint32_t max, uint32_t fallback,
                  uint32_t *out)
{
    const json_t *v = get(s, key);
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

int sc_json_id(const struct sc_json_file *s, const char *key, bool *has, uint32_t *out)
{
    const json_t *v = get(s, key);
    *has = false;
    if (!v)
        return 0;
    if (!json_is_integer(v) || json_integer_value(v) < 0 ||
        json_integer_value(v) >= (json_int_t)SC_ENCODER_VOCAB_MAX)
        return sc_fail(s->msg, SC_EINVAL, "%s: %s must be a whole number from 0 to %u", s->file, key,
                       SC_ENCODER_VOCAB_MAX - 1);
    *out = (uint32_t)json_integer_value(v);
    *has = true;
    return 0;
}

int sc_json_real(const struct sc_json_file *s, const char *key, double min, double max, double *out)
{
    const json_t *v = get(s, key);
    if (!v)
        return 0;
    double value = json_number_value(v);
    if (!json_is_number(v) || !(value >= min && value <= max))
        return sc_fail(s->msg, SC_EINVAL, "%s: %s must be a number from %g to %g", s->file, key, min, max);
    *out = value;
    return 0;
}

int sc_json_flag(const struct sc_json_file *s, const char *key, bool fallback, bool *out)
{
    const json_t *v = get(s, key);
    if (v && !json_is_boolean(v))
        return sc_fail(s->msg, SC_EINVAL, "%s: %s must be true or false", s->file, key);
    *out = v ? json_is_true(v) : fallback;
    return 0;
}
