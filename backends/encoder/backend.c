#include "backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend_parts.h"
#include "base/array.h"
#include "base/clock.h"
#include "heads/example.h"
#include "laps.h"
#include "model/folder.h"

/* Bytes of text for one token, for the frontend's guess: English has about 4.5, Chinese 3. */
#define BYTES_PER_TOKEN 4

struct sconce_error *sc_encoder_error(int code, enum sc_form form, const char *text)
{
    bool tei = form != SC_FORM_PIPELINE && strncmp(sc_form_name(form), "tei/", 4) == 0;
    enum sconce_code status = code == SC_ENOMEM                        ? SCONCE_OUT_OF_MEMORY
                              : code == SC_ELIMIT && tei               ? SCONCE_TOO_LARGE
                              : code == SC_EINVAL || code == SC_ELIMIT ? SCONCE_BAD_REQUEST
                                                                       : SCONCE_INTERNAL;
    return sconce_error_new(status, "%s", text);
}

static struct sconce_error *load_error(int code, const char *text)
{
    return sconce_error_new(code == SC_ENOMEM ? SCONCE_OUT_OF_MEMORY : SCONCE_INTERNAL, "%s", text);
}

static void model_unload(struct sconce_model *m)
{
    sc_engine_cuda_ops.drop(m->ahead);
    sc_engine_del(m->engine);
    sc_heads_free(&m->heads);
    sc_tokenizer_del(m->tokenizer);
    for (unsigned i = 0; i < m->kept_n; i++)
        sc_encoding_free(&m->kept[i]);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

/* ---- settings ------------------------------------------------------------------------------------ */

static const char *setting(void *host, const char *key)
{
    return sconce_host_setting(host, key);
}

static const char *setting_key(void *host, unsigned i)
{
    return sconce_host_setting_key(host, i);
}

/* task and pooling, over what the folder says. */
static struct sconce_error *load_choice(struct sconce_host *h, struct sc_encoder_choice *c)
{
    const char *task = sconce_host_setting(h, "task"), *pooling = sconce_host_setting(h, "pooling");
    struct sc_msg msg;
    *c = (struct sc_encoder_choice){.has_task = task != NULL, .has_pooling = pooling != NULL};
    if (sc_example_is(setting, h)) {
        c->has_task = true;
        return sc_example_task(setting, h, &c->task, &msg) < 0
                   ? sconce_error_new(SCONCE_BAD_REQUEST, "%s", msg.text)
                   : NULL;
    }
    if (task && sc_task_named(task, &c->task) < 0) {
        char known[200] = "";
        for (int t = 0, n = 0; t <= SC_TASK_EMBED && n >= 0 && (size_t)n < sizeof known; t++)
            n += snprintf(known + n, sizeof known - (size_t)n, "%s%s", t ? ", " : "",
                          sc_task_name((enum sc_task)t));
        return sconce_error_new(SCONCE_BAD_REQUEST, "setting task is \"%.60s\": it must be one of %s", task,
                                known);
    }
    if (pooling && sc_pooling_named(pooling, &c->pooling) < 0)
        return sconce_error_new(SCONCE_BAD_REQUEST,
                                "setting pooling is \"%.60s\": it must be cls, mean, max or last", pooling);
    return NULL;
}

/* labels, a list or numbers with names, in place of config.json's. */
static struct sconce_error *load_labels(struct sconce_host *h, struct sc_encoder_config *c)
{
    const char *key;
    if (sconce_host_setting(h, "labels"))
        return sconce_error_new(SCONCE_BAD_REQUEST, "setting labels must be a list of names");
    for (unsigned i = 0; (key = sconce_host_setting_key(h, i)); i++) {
        uint64_t at;
        if (strncmp(key, "labels.", 7) != 0)
            continue;
        if (!c->label || !sc_span_u64(sc_span_str(key + 7), UINT32_MAX, &at) || at >= c->labels)
            return sconce_error_new(SCONCE_BAD_REQUEST, "setting %.60s: the model has %u labels", key,
                                    c->labels);
        char *name = strdup(sconce_host_setting(h, key));
        if (!name)
            return sconce_error_new(SCONCE_OUT_OF_MEMORY, "No memory for the labels");
        free(c->label[at]);
        c->label[at] = name;
    }
    return NULL;
}

/* Of the folder, else of the one that the setting `tokenizer` names, from the model's folder on. `said`: the
 * length is the operator's or sentence-transformers', which heed no truncation of tokenizer.json either. */
static int load_tokenizer(struct sconce_host *h, struct sconce_model *m, const char *dir, uint32_t length,
                          bool said, struct sc_msg *msg)
{
    const char *other = sconce_host_setting(h, "tokenizer");
    struct sc_tokenizer_choice choice = {.any_length = said};
    char path[4096];
    bool lower = false;
    int rc = sc_example_is(setting, h) ? sc_example_lower_case(setting, h, &lower, msg) : 0;
    if (rc < 0)
        return rc;
    if (sc_example_is(setting, h))
        choice =
            (struct sc_tokenizer_choice){.casing = lower ? SC_CASE_LOWER : SC_CASE_KEPT, .any_length = true};
    rc = sc_tokenizer_load_with(&m->tokenizer, dir, length, &choice, msg);
    if (rc != SC_ENOTFOUND)
        return rc;
    if (!other)
        return sc_fail(
            msg, rc,
            "%.200s has no tokenizer (tokenizer.json, vocab.txt, or vocab.json with merges.txt), and no "
            "setting tokenizer names a folder that has one",
            dir);
    int n = snprintf(path, sizeof path, "%s%s%s", *other == '/' ? "" : dir, *other == '/' ? "" : "/", other);
    if (n < 0 || (size_t)n >= sizeof path)
        return sc_fail(msg, SC_EINVAL, "setting tokenizer: the path is too long");
    return sc_tokenizer_load_with(&m->tokenizer, path, length, &choice, msg);
}

/* Which engines to try, by the setting `device`, and on which GPU. */
static struct sconce_error *load_device(struct sconce_host *h, bool *gpu, bool *cpu, int64_t *number)
{
    const char *device = sconce_host_setting(h, "device");
    int given = sconce_host_gpu(h);
    bool any = !device || strcmp(device, "auto") == 0;
    *gpu = any ? given >= 0 : strcmp(device, "gpu") == 0;
    *cpu = any || strcmp(device, "cpu") == 0;
    if (!*gpu && !*cpu)
        return sconce_error_new(SCONCE_BAD_REQUEST,
                                "setting device is \"%.60s\": it must be auto, gpu or cpu", device);
    return sconce_host_setting_int(h, "gpu", 0, INT32_MAX, SC_MAX(given, 0), number);
}

/* Of the streams on a GPU; what has none is refused. */
static struct sconce_error *load_priority(struct sconce_host *h, bool no_gpu, bool *high)
{
    const char *priority = sconce_host_setting(h, "streamPriority");
    *high = priority && strcmp(priority, "high") == 0;
    if (priority && !*high && strcmp(priority, "normal") != 0)
        return sconce_error_new(SCONCE_BAD_REQUEST,
                                "setting streamPriority is \"%.60s\": it must be normal or high", priority);
    if (priority && no_gpu)
        return sconce_error_new(SCONCE_BAD_REQUEST,
                                "setting streamPriority is for a GPU, and the model is computed on the CPU: "
                                "take it out");
    return NULL;
}

/* Numbers and the tokenizer, which the model's configuration bounds. */
static struct sconce_error *load_sizes(struct sconce_host *h, struct sconce_model *m,
                                       const struct sc_encoder_folder *f)
{
    const struct sc_encoder_config *c = &f->config;
    struct sc_msg msg;
    int64_t length, texts, tokens;
    uint32_t own = c->max_length ? SC_MIN(c->max_length, c->positions) : c->positions;
    struct sconce_error *e = sconce_host_setting_int(h, "maxLength", 2, c->positions, own, &length);
    if (e)
        return e;
    bool said = c->max_length > 0 || sconce_host_setting(h, "maxLength");
    int rc = load_tokenizer(h, m, f->dir, (uint32_t)length, said, &msg);
    if (rc < 0)
        return load_error(rc, msg.text);
    if (sc_tokenizer_vocab_size(m->tokenizer) > c->vocab)
        return sconce_error_new(SCONCE_INTERNAL,
                                "%s: the tokenizer has %u tokens, config.json's vocab_size is %u: the files "
                                "do not belong together",
                                f->dir, sc_tokenizer_vocab_size(m->tokenizer), c->vocab);
    e = sconce_host_setting_int(h, "maxTexts", 1, SC_ENCODER_TEXTS_MAX, SC_ENCODER_TEXTS, &texts);
    if (e)
        return e;
    /* A batch must hold the longest text. */
    int64_t least = sc_tokenizer_max_length(m->tokenizer), usual;
    bool gpu, cpu;
    e = load_device(h, &gpu, &cpu, &usual);
    if (e)
        return e;
    usual = gpu ? SC_ENCODER_BATCH_TOKENS_GPU : SC_ENCODER_BATCH_TOKENS;
    e = sconce_host_setting_int(h, "maxBatchTokens", least,
                                SC_MAX(least, (int64_t)SC_ENCODER_BATCH_TOKENS_MAX), SC_MAX(least, usual),
                                &tokens);
    if (e)
        return e;
    m->max_texts = (uint32_t)texts;
    m->batch_tokens = (uint32_t)tokens;
    return NULL;
}

/* ---- engine and heads ---------------------------------------------------------------------------- */

static int kept(void *host, const char *name, uint64_t *size)
{
    return sconce_host_kept(host, name, size);
}

static void keep(void *host, const char *name, int fd, uint64_t size)
{
    sconce_host_keep(host, name, fd, size);
}

static void tell(void *host, const char *parts)
{
    sconce_log(host, SCONCE_DEBUG, "encoder: the GPU's parts in ms: %s", parts);
}

static struct sconce_error *load_engine(struct sconce_host *h, struct sconce_model *m,
                                        const struct sc_encoder_folder *f)
{
    struct sc_msg msg, warning = {""};
    bool gpu, cpu;
    int64_t number;
    struct sconce_error *e = load_device(h, &gpu, &cpu, &number);
    bool high;
    if (!e)
        e = load_priority(h, cpu && !gpu, &high);
    if (e)
        return e;
    struct sc_engine_options o = {
        .high = high,
        .max_tokens = m->batch_tokens,
        .lanes = sconce_host_lanes(h),
        .dtype = sconce_host_setting(h, "dtype"),
        .matmul = sconce_host_setting(h, "matmul"),
        .plugin_dir = sconce_host_backend_dir(h),
        .gpu = (int)number,
        .kept = kept,
        .keep = keep,
        .keeper = h,
        .ahead = m->ahead,
        .tell = tell,
    };
    int rc = SC_EUNSUPPORTED;
    m->ahead = NULL;
    if (gpu)
        rc = sc_engine_cuda_ops.new(&m->engine, &f->config, &f->weights, &o, &warning, &msg);
    if (gpu && cpu && rc < 0)
        sconce_log(h, SCONCE_WARN, "no GPU engine, the CPU is used: %s", msg.text);
    if (cpu && rc < 0 && !sconce_host_setting(h, "maxBatchTokens")) {
        uint32_t least = sc_tokenizer_max_length(m->tokenizer);
        o.max_tokens = m->batch_tokens = SC_MAX(least, SC_ENCODER_BATCH_TOKENS);
    }
    if (cpu && rc < 0)
        rc = sc_engine_cpu_ops.new(&m->engine, &f->config, &f->weights, &o, &warning, &msg);
    if (rc < 0)
        return load_error(rc, msg.text);
    if (warning.text[0])
        sconce_log(h, SCONCE_WARN, "%s", warning.text);
    return NULL;
}

static const char *dtype_of(const struct sc_engine *e, const char *name)
{
    bool half = strcmp(e->ops->name, "cpu") != 0; /* the GPU's own default */
    if (!name || strcmp(name, "auto") == 0)
        return half ? "float16" : "float32";
    return strcmp(name, "bf16") == 0 ? "bfloat16" : strcmp(name, "fp16") == 0 ? "float16" : "float32";
}

static struct sconce_error *load(struct sconce_host *h, struct sconce_model *m, struct sc_encoder_folder *f,
                                 struct sc_laps *laps)
{
    struct sc_msg msg;
    char what[128], how[320];
    int64_t start = sc_clock_ms();
    struct sconce_error *e = load_labels(h, &f->config);
    if (!e)
        e = load_sizes(h, m, f);
    sc_lap(laps, "tokenizer");
    if (!e)
        e = load_engine(h, m, f);
    sc_lap(laps, "engine");
    if (e)
        return e;
    const struct sc_heads_spec spec = {
        .config = &f->config,
        .tokenizer = m->tokenizer,
        .dir = f->dir,
        .root = sconce_host_model_dir(h),
        .model = sconce_host_model_name(h),
        .dtype = dtype_of(m->engine, sconce_host_setting(h, "dtype")),
        .max_texts = m->max_texts,
        .batch_tokens = m->batch_tokens,
        .setting = setting,
        .setting_key = setting_key,
        .ctx = h,
    };
    int rc = sc_heads_init(&m->heads, &spec, &msg);
    if (rc < 0)
        return load_error(rc, msg.text);
    sc_heads_describe(&m->heads, what, sizeof what);
    m->engine->ops->describe(m->engine, how, sizeof how);
    sconce_log(h, SCONCE_INFO, "encoder: %u layers of %u, %s; %s; batches of up to %u tokens; %lld ms",
               f->config.layers, f->config.hidden, what, how, m->batch_tokens,
               (long long)(sc_clock_ms() - start));
    return NULL;
}

static void spread(void *model, uint32_t n, void (*piece)(void *arg, uint32_t i), void *arg)
{
    struct sconce_model *m = model;
    sconce_host_spread(m->host, n, piece, arg);
}

static struct sconce_error *model_load(struct sconce_host *h, struct sconce_model **out,
                                       struct sconce_model_info *info)
{
    struct sc_encoder_choice choice;
    struct sc_encoder_folder f;
    struct sc_msg msg;
    struct sc_laps laps;
    bool gpu, cpu;
    int64_t number;
    sc_laps_start(&laps);
    if (sconce_host_model_dir(h)[0] == '\0')
        return sconce_error_new(
            SCONCE_INTERNAL,
            "The encoder needs a model folder: name it, as in --models name=/path/to/folder");
    struct sconce_error *e = load_choice(h, &choice);
    if (!e)
        e = load_device(h, &gpu, &cpu, &number);
    if (e)
        return e;
    struct sconce_model *m = calloc(1, sizeof *m);
    if (!m)
        return sconce_error_new(SCONCE_OUT_OF_MEMORY, "No memory for the model");
    pthread_mutex_init(&m->lock, NULL);
    if (gpu)
        m->ahead = sc_engine_cuda_ops.ahead((int)number);
    int rc = sc_encoder_folder_open(&f, sconce_host_model_dir(h), &choice, &msg);
    if (rc < 0) {
        model_unload(m);
        return load_error(rc, msg.text);
    }
    sc_lap(&laps, "folder");
    e = load(h, m, &f, &laps);
    sc_encoder_folder_close(&f);
    if (!e)
        e = sc_pace_threads(h, m, &info->prepare_threads);
    sc_lap(&laps, "heads");
    if (e) {
        model_unload(m);
        return e;
    }
    info->batch_overhead = sc_pace_overhead(m);
    sc_lap(&laps, "what batches cost");
    sconce_log(h, SCONCE_DEBUG, "encoder: loaded in ms: %s", laps.text);
    info->max_batch_cost = m->batch_tokens;
    info->bytes_per_cost = BYTES_PER_TOKEN;
    info->interfaces = m->heads.interfaces;
    if (m->engine->ops->memory)
        m->engine->ops->memory(m->engine, &info->gpu_weights, &info->gpu_lane);
    m->host = h;
    m->heads.spread =
        (struct sc_spread_by){.fn = spread, .take = sc_encoding_take, .give = sc_encoding_give, .ctx = m};
    *out = m;
    return NULL;
}

const struct sconce_backend_ops *sc_encoder_ops(void)
{
    static const struct sconce_backend_ops ops = {
        .major = SCONCE_BACKEND_MAJOR,
        .minor = SCONCE_BACKEND_MINOR,
        .name = "encoder",
        .model_load = model_load,
        .model_unload = model_unload,
        .lane_create = sc_lane_create,
        .lane_destroy = sc_lane_destroy,
        .request_prepare = sc_request_prepare,
        .request_discard = sc_request_discard,
        .lane_compute = sc_lane_compute,
        .lane_answer = sc_lane_answer,
    };
    return &ops;
}
