#include "model/spec.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "proto/yaml.h"

void sc_spec_init(struct sc_model_spec *s)
{
    *s = (struct sc_model_spec){
        .version = "1.0",
        .min_workers = 1,
        .max_workers = 1,
        .max_batch_delay = 100,
        .response_timeout = 120,
        .startup_timeout = 120,
        .max_retry = 300,
        .replay = true,
    };
}

void sc_spec_free(struct sc_model_spec *s)
{
    free(s->url);
    free(s->dir);
    for (unsigned i = 0; i < s->nextras; i++) {
        free(s->extras[i].key);
        free(s->extras[i].value);
    }
    s->url = s->dir = NULL;
    s->nextras = 0;
}

void sc_spec_copy(struct sc_model_spec *to, const struct sc_model_spec *from)
{
    *to = *from;
    to->url = from->url ? sc_strdup(from->url) : NULL;
    to->dir = from->dir ? sc_strdup(from->dir) : NULL;
    for (unsigned i = 0; i < from->nextras; i++) {
        to->extras[i].key = sc_strdup(from->extras[i].key);
        to->extras[i].value = sc_strdup(from->extras[i].value);
    }
}

static char *dup_span(struct sc_span s)
{
    char *p = sc_alloc(s.n + 1);
    if (s.n)
        memcpy(p, s.p, s.n);
    return p;
}

static bool is_plain(struct sc_span s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7F)
            return false;
    return sc_utf8_valid(s);
}

int sc_spec_set_extra(struct sc_model_spec *s, struct sc_span key, struct sc_span value, struct sc_msg *msg)
{
    size_t total = key.n + value.n;
    char **old = NULL;
    int shown = (int)SC_MIN(key.n, 64u);
    if (key.n == 0 || !is_plain(key) || memchr(key.p, '=', key.n))
        return sc_fail(msg, SC_EINVAL, "\"%.*s\" is no name for a setting", shown, key.n ? key.p : "");
    if (value.n && memchr(value.p, '\0', value.n))
        return sc_fail(msg, SC_EINVAL, "the setting %.*s holds a NUL", shown, key.p);
    if (total > SC_SPEC_EXTRA_BYTES)
        return sc_fail(msg, SC_ELIMIT, "the setting %.*s exceeds %d bytes", shown, key.p,
                       SC_SPEC_EXTRA_BYTES);
    for (unsigned i = 0; i < s->nextras; i++)
        if (sc_span_eq(key, sc_span_str(s->extras[i].key)))
            old = &s->extras[i].value;
        else
            total += strlen(s->extras[i].key) + strlen(s->extras[i].value);
    if (total > SC_SPEC_EXTRAS_BYTES)
        return sc_fail(msg, SC_ELIMIT, "the model's settings exceed %d bytes; %.*s does not fit any more",
                       SC_SPEC_EXTRAS_BYTES, shown, key.p);
    if (old) {
        free(*old);
        *old = dup_span(value);
        return 0;
    }
    if (s->nextras == SC_SPEC_EXTRAS_MAX)
        return sc_fail(msg, SC_ELIMIT, "more than %d settings; %.*s does not fit any more",
                       SC_SPEC_EXTRAS_MAX, shown, key.p);
    s->extras[s->nextras].key = dup_span(key);
    s->extras[s->nextras].value = dup_span(value);
    s->nextras++;
    return 0;
}

static int check_word(struct sc_span s, const char *what, size_t max, struct sc_msg *msg)
{
    if (s.n > 0 && s.n <= max && is_plain(s) && !memchr(s.p, '/', s.n) && !sc_span_eq(s, SC_SPAN(".")) &&
        !sc_span_eq(s, SC_SPAN("..")))
        return 0;
    return sc_fail(msg, SC_EINVAL,
                   "\"%.*s\" is no %s: use 1 to %zu bytes of UTF-8 without slashes and control characters",
                   (int)SC_MIN(s.n, 64u), s.p ? s.p : "", what, max);
}

int sc_spec_check_name(struct sc_span name, struct sc_msg *msg)
{
    return check_word(name, "name for a model", SC_MODEL_NAME_MAX, msg);
}

int sc_spec_check_version(struct sc_span version, struct sc_msg *msg)
{
    return check_word(version, "version of a model", sizeof((struct sc_model_spec){0}.version) - 1, msg);
}

/* ---- model-config.yaml ------------------------------------------------------------------------ */

static int read_int(struct sc_span key, struct sc_span value, int min, int max, int *out, struct sc_msg *msg)
{
    int32_t v;
    if (!sc_span_i32(value, &v) || v < min || v > max)
        return sc_fail(msg, SC_EINVAL,
                       "model-config.yaml: %.*s is \"%.*s\": it must be an integer from %d to %d",
                       SC_FMT(key), (int)SC_MIN(value.n, 64u), value.p, min, max);
    *out = v;
    return 0;
}

static int config_scalar(void *arg, struct sc_span key, struct sc_span value, struct sc_msg *msg)
{
    struct sc_model_spec *s = arg;
    const struct {
        struct sc_span key;
        int min, max;
        int *out;
    } numbers[] = {
        {SC_SPAN("minWorkers"), 0, SC_LANES_MAX, &s->min_workers},
        {SC_SPAN("maxWorkers"), 0, SC_LANES_MAX, &s->max_workers},
        {SC_SPAN("batchSize"), 1, SC_BATCH_SIZE_MAX, &s->batch_size},
        {SC_SPAN("maxBatchDelay"), 0, INT_MAX, &s->max_batch_delay},
        {SC_SPAN("responseTimeout"), 1, INT_MAX, &s->response_timeout},
        {SC_SPAN("startupTimeout"), 1, INT_MAX, &s->startup_timeout},
        {SC_SPAN("maxRetryTimeoutInSec"), 0, INT_MAX, &s->max_retry},
    };
    for (size_t i = 0; i < SC_COUNT(numbers); i++)
        if (sc_span_eq(key, numbers[i].key))
            return read_int(key, value, numbers[i].min, numbers[i].max, numbers[i].out, msg);
    if (sc_span_eq(key, SC_SPAN("batchPolicy"))) {
        s->fill = sc_span_eq(value, SC_SPAN("fill"));
        if (!s->fill && !sc_span_eq(value, SC_SPAN("eager")))
            return sc_fail(msg, SC_EINVAL,
                           "model-config.yaml: batchPolicy is \"%.*s\": it must be eager or fill",
                           (int)SC_MIN(value.n, 64u), value.p);
        return 0;
    }
    if (sc_span_eq(key, SC_SPAN("replay"))) {
        s->replay = !sc_span_eq(value, SC_SPAN("never"));
        if (s->replay && !sc_span_eq(value, SC_SPAN("always")))
            return sc_fail(msg, SC_EINVAL,
                           "model-config.yaml: replay is \"%.*s\": it must be always or never",
                           (int)SC_MIN(value.n, 64u), value.p);
        return 0;
    }
    if (sc_span_eq(key, SC_SPAN("backend"))) {
        if (value.n == 0 || value.n >= sizeof s->backend || memchr(value.p, '/', value.n))
            return sc_fail(msg, SC_EINVAL, "model-config.yaml: backend \"%.*s\" is not known",
                           (int)SC_MIN(value.n, 64u), value.p);
        memcpy(s->backend, value.p, value.n);
        s->backend[value.n] = '\0';
        return 0;
    }
    struct sc_msg why;
    int rc = sc_spec_set_extra(s, key, value, &why);
    return rc < 0 ? sc_fail(msg, rc, "model-config.yaml: %s", why.text) : 0;
}

/* The numbers that the file gave (-1: none) with those that hold without it. */
static int settle_workers(struct sc_model_spec *s, int min, int max, struct sc_msg *msg)
{
    if (s->min_workers >= 0 && s->max_workers >= 0 && s->max_workers < s->min_workers)
        return sc_fail(msg, SC_EINVAL, "model-config.yaml: maxWorkers is %d, less than minWorkers, %d",
                       s->max_workers, s->min_workers);
    if (s->min_workers < 0)
        s->min_workers = s->max_workers >= 0 ? SC_MIN(min, s->max_workers) : min;
    if (s->max_workers < 0)
        s->max_workers = SC_MAX(max, s->min_workers);
    return 0;
}

static int read_config(struct sc_model_spec *s, struct sc_msg *msg)
{
    char path[PATH_MAX];
    struct sc_buf b;
    if (snprintf(path, sizeof path, "%s/model-config.yaml", s->dir) >= (int)sizeof path)
        return 0;
    const int min = s->min_workers, max = s->max_workers;
    s->min_workers = s->max_workers = -1;
    sc_buf_init(&b, SC_SETTINGS_FILE_BYTES);
    int rc = sc_file_read(path, &b, msg);
    if (rc == 0)
        rc = sc_yaml_read(sc_buf_view(&b), "model-config.yaml", config_scalar, s, msg);
    else if (rc == SC_ENOTFOUND)
        rc = 0;
    sc_buf_free(&b);
    return rc < 0 ? rc : settle_workers(s, min, max, msg);
}

/* ---- where it lies --------------------------------------------------------------------------------- */

static bool is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool has_file(const char *dir, const char *name)
{
    char path[PATH_MAX];
    struct stat st;
    return snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path && stat(path, &st) == 0 &&
           S_ISREG(st.st_mode);
}

static void name_from_path(struct sc_model_spec *s)
{
    struct sc_span path = sc_span_str(s->dir);
    while (path.n > 1 && path.p[path.n - 1] == '/')
        path.n--;
    size_t at = path.n;
    while (at && path.p[at - 1] != '/')
        at--;
    snprintf(s->name, sizeof s->name, "%.*s", (int)(path.n - at), path.p + at);
}

int sc_spec_resolve(struct sc_model_spec *s, const char *store, struct sc_msg *msg)
{
    char joined[PATH_MAX], real[PATH_MAX];
    const char *url = s->url ? s->url : "";
    free(s->dir);
    s->dir = NULL;
    if (strcmp(url, "identity") == 0) {
        s->dir = sc_strdup("");
        snprintf(s->backend, sizeof s->backend, "identity");
        if (!s->name[0])
            snprintf(s->name, sizeof s->name, "identity");
        return 0;
    }
    const char *found = is_dir(url) ? url : NULL;
    if (!found && store && url[0] != '/' &&
        snprintf(joined, sizeof joined, "%s/%s", store, url) < (int)sizeof joined && is_dir(joined))
        found = joined;
    if (!found) {
        struct stat st;
        if (stat(url, &st) == 0 || (store && url[0] != '/' && stat(joined, &st) == 0))
            return sc_fail(msg, SC_EUNSUPPORTED,
                           "%s is a file: this version serves Hugging Face folders and \"identity\"", url);
        return sc_fail(msg, SC_ENOTFOUND, "Model not found at: %s", url);
    }
    if (!realpath(found, real))
        return sc_fail(msg, SC_ENOTFOUND, "Model not found at: %s (%s)", url, strerror(errno));
    s->dir = sc_strdup(real);
    if (!s->name[0]) {
        name_from_path(s);
        if (sc_spec_check_name(sc_span_str(s->name), msg) < 0)
            return SC_EINVAL;
    }
    int rc = read_config(s, msg);
    if (rc < 0)
        return rc;
    if (!s->backend[0]) {
        if (!has_file(real, "config.json"))
            return sc_fail(msg, SC_EINVAL,
                           "%s has no config.json: a folder in Hugging Face's layout (config.json, "
                           "model.safetensors, tokenizer.json "
                           "or vocab.txt) is expected",
                           url);
        snprintf(s->backend, sizeof s->backend, "encoder");
    }
    return 0;
}

/* ---- the journal's form ------------------------------------------------------------------------------- */

static void put(struct sc_buf *b, const char *key, const char *value)
{
    sc_buf_str(b, key);
    sc_buf_char(b, '=');
    for (const char *p = value ? value : ""; *p; p++) {
        if (*p == '\n' || *p == '\\')
            sc_buf_char(b, '\\');
        sc_buf_char(b, *p == '\n' ? 'n' : *p);
    }
    sc_buf_char(b, '\n');
}

static void put_int(struct sc_buf *b, const char *key, int value)
{
    sc_buf_printf(b, "%s=%d\n", key, value);
}

void sc_spec_write(const struct sc_model_spec *s, struct sc_buf *out)
{
    put(out, "name", s->name);
    put(out, "version", s->version);
    put(out, "url", s->url);
    put(out, "dir", s->dir);
    put(out, "backend", s->backend);
    put_int(out, "min", s->min_workers);
    put_int(out, "max", s->max_workers);
    put_int(out, "batch", s->batch_size);
    put_int(out, "delay", s->max_batch_delay);
    put_int(out, "response", s->response_timeout);
    put_int(out, "startup", s->startup_timeout);
    put_int(out, "retry", s->max_retry);
    put_int(out, "flags", s->fill | s->replay << 1 | s->at_startup << 2);
    for (unsigned i = 0; i < s->nextras; i++) {
        sc_buf_char(out, '+');
        put(out, s->extras[i].key, s->extras[i].value);
    }
}

/* One line: key up to the first '=', value unescaped into b. */
static bool take_line(struct sc_span *text, struct sc_span *key, struct sc_buf *b)
{
    size_t n = sc_span_find(*text, '\n');
    struct sc_span line = sc_span_sub(*text, 0, n);
    size_t eq = sc_span_find(line, '=');
    if (n == text->n || eq == line.n)
        return false;
    *key = sc_span_sub(line, 0, eq);
    sc_buf_clear(b);
    for (size_t i = eq + 1; i < line.n; i++) {
        char c = line.p[i];
        if (c == '\\' && ++i < line.n)
            c = line.p[i] == 'n' ? '\n' : line.p[i];
        sc_buf_char(b, c);
    }
    *text = sc_span_sub(*text, n + 1, text->n);
    return !b->failed;
}

int sc_spec_read(struct sc_model_spec *s, struct sc_span text)
{
    struct sc_buf value;
    struct sc_span key;
    sc_spec_init(s);
    s->dir = sc_strdup("");
    sc_buf_init(&value, SC_SETTINGS_FILE_BYTES);
    int flags = 2;
    bool good = true;
    while (good && text.n) {
        good = take_line(&text, &key, &value);
        if (!good)
            break;
        struct sc_span v = sc_buf_view(&value);
        const struct {
            struct sc_span key;
            char *out;
            size_t size;
        } texts[] = {{SC_SPAN("name"), s->name, sizeof s->name},
                     {SC_SPAN("version"), s->version, sizeof s->version},
                     {SC_SPAN("backend"), s->backend, sizeof s->backend}};
        const struct {
            struct sc_span key;
            int *out;
        } ints[] = {{SC_SPAN("min"), &s->min_workers},           {SC_SPAN("max"), &s->max_workers},
                    {SC_SPAN("batch"), &s->batch_size},          {SC_SPAN("delay"), &s->max_batch_delay},
                    {SC_SPAN("response"), &s->response_timeout}, {SC_SPAN("startup"), &s->startup_timeout},
                    {SC_SPAN("retry"), &s->max_retry},           {SC_SPAN("flags"), &flags}};
        for (size_t i = 0; i < SC_COUNT(texts); i++)
            if (sc_span_eq(key, texts[i].key)) {
                good &= v.n < texts[i].size;
                snprintf(texts[i].out, texts[i].size, "%.*s", SC_FMT(v));
            }
        for (size_t i = 0; i < SC_COUNT(ints); i++)
            if (sc_span_eq(key, ints[i].key)) {
                int32_t n = 0;
                good &= sc_span_i32(v, &n);
                *ints[i].out = n;
            }
        if (sc_span_eq(key, SC_SPAN("url"))) {
            free(s->url);
            s->url = dup_span(v);
        } else if (sc_span_eq(key, SC_SPAN("dir"))) {
            free(s->dir);
            s->dir = dup_span(v);
        } else if (sc_span_starts(key, SC_SPAN("+"))) {
            struct sc_msg unused;
            good &= sc_spec_set_extra(s, sc_span_sub(key, 1, key.n), v, &unused) == 0;
        }
    }
    s->fill = flags & 1;
    s->replay = flags & 2;
    s->at_startup = flags & 4;
    sc_buf_free(&value);
    if (good && s->name[0])
        return 0;
    sc_spec_free(s);
    return SC_EINVAL;
}
