/* A spec as the journal keeps it: a line per field, a table for both directions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "model/spec_parts.h"

enum form { WORD, TEXT, INT, FLAG };

struct field {
    const char *key;
    enum form form;
    size_t offset, size; /* size: of a WORD's array */
};

#define AT(f) offsetof(struct sc_model_spec, f)
#define A_WORD(k, f) {k, WORD, AT(f), sizeof(((struct sc_model_spec *)0)->f)}
#define A_TEXT(k, f) {k, TEXT, AT(f), 0}
#define AN_INT(k, f) {k, INT, AT(f), 0}
#define A_FLAG(k, f) {k, FLAG, AT(f), 0}

static const struct field fields[] = {
    A_WORD("name", name),
    A_WORD("version", version),
    A_WORD("backend", backend),
    A_WORD("runtime", runtime),
    A_WORD("parallel", parallel_type),
    A_TEXT("url", url),
    A_TEXT("dir", dir),
    A_TEXT("handler", handler),
    A_TEXT("archive", archive),
    A_TEXT("remove", remove),
    A_TEXT("downloaded", downloaded),
    A_TEXT("workflow", workflow),
    A_TEXT("requirements", requirements),
    A_TEXT("config", config_file),
    A_TEXT("config_json", config_json),
    A_TEXT("rdzv_backend", torchrun.rdzv_backend),
    A_TEXT("rdzv_endpoint", torchrun.rdzv_endpoint),
    A_WORD("mps_percentage", mps.percentage),
    A_WORD("mps_memory", mps.memory),
    A_WORD("group", mps.group),
    A_WORD("content", content),
    AN_INT("mps_priority", mps.priority),
    AN_INT("shared_weights", shared_weights),
    A_FLAG("process", mps.process),
    A_FLAG("standby", mps.standby),
    A_FLAG("kind_said", mps.kind_said),
    AN_INT("min", min_workers),
    AN_INT("max", max_workers),
    AN_INT("batch", batch_size),
    AN_INT("delay", max_batch_delay),
    AN_INT("response", response_timeout),
    AN_INT("startup", startup_timeout),
    AN_INT("retry", max_retry),
    AN_INT("queue", job_queue_size),
    AN_INT("client", client_timeout),
    AN_INT("device", device),
    AN_INT("level", parallel_level),
    AN_INT("idle", sequence_max_idle),
    AN_INT("lifetime", sequence_timeout),
    AN_INT("sequence_queue", sequence_queue),
    AN_INT("sequences", sequences),
    AN_INT("nnodes", torchrun.nnodes),
    AN_INT("nproc", torchrun.nproc),
    AN_INT("omp", torchrun.omp_threads),
    A_FLAG("fill", fill),
    A_FLAG("replay", replay),
    A_FLAG("at_startup", at_startup),
    A_FLAG("backend_asked", backend_asked),
    A_FLAG("ticket", use_job_ticket),
    A_FLAG("venv", use_venv),
    A_FLAG("sequence", sequence_batching),
    A_FLAG("continuous", continuous_batching),
    A_FLAG("async", async_communication),
    A_FLAG("torchrun", torchrun.given),
};

/* ---- out --------------------------------------------------------------------------------------------- */

void sc_spec_put_setting(struct sc_buf *b, const char *key, const char *value)
{
    sc_buf_str(b, key);
    sc_buf_char(b, '=');
    for (;;) {
        size_t n = strcspn(value, "\n\\");
        sc_buf_add(b, value, n);
        value += n;
        if (!*value)
            break;
        sc_buf_add(b, *value == '\n' ? "\\n" : "\\\\", 2);
        value++;
    }
    sc_buf_char(b, '\n');
}

/* Defaults are left out: the journal of a thousand models is written at each change. */
void sc_spec_write(const struct sc_model_spec *s, struct sc_buf *out)
{
    struct sc_model_spec plain;
    sc_spec_init(&plain);
    for (size_t i = 0; i < SC_COUNT(fields); i++) {
        const void *at = (const char *)s + fields[i].offset;
        const void *fallback = (const char *)&plain + fields[i].offset;
        switch (fields[i].form) {
        case WORD: sc_spec_put_setting(out, fields[i].key, at); break;
        case TEXT:
            if (*(char *const *)at)
                sc_spec_put_setting(out, fields[i].key, *(char *const *)at);
            break;
        case INT:
            if (*(const int *)at != *(const int *)fallback)
                sc_buf_printf(out, "%s=%d\n", fields[i].key, *(const int *)at);
            break;
        case FLAG:
            if (*(const bool *)at != *(const bool *)fallback)
                sc_buf_printf(out, "%s=%d\n", fields[i].key, *(const bool *)at);
            break;
        }
    }
    for (unsigned i = 0; i < s->ndevices; i++)
        sc_buf_printf(out, "gpu=%d\n", s->devices[i]);
    for (unsigned i = 0; i < s->nextras; i++) {
        sc_buf_char(out, s->extras[i].asked ? '*' : '+');
        sc_spec_put_setting(out, s->extras[i].key, s->extras[i].value);
    }
}

/* ---- in ---------------------------------------------------------------------------------------------- */

bool sc_spec_take_setting(struct sc_span *text, struct sc_span *key, struct sc_buf *b)
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

static bool take_field(struct sc_model_spec *s, const struct field *f, struct sc_span v)
{
    void *at = (char *)s + f->offset;
    int32_t n = 0;
    switch (f->form) {
    case WORD:
        if (v.n >= f->size)
            return false;
        snprintf(at, f->size, "%.*s", SC_FMT(v));
        return true;
    case TEXT:
        free(*(char **)at);
        *(char **)at = sc_span_dup(v);
        return *(char **)at != NULL;
    case INT:
        if (!sc_span_i32(v, &n))
            return false;
        *(int *)at = n;
        return true;
    case FLAG:
        if (!sc_span_i32(v, &n) || n < 0 || n > 1)
            return false;
        *(bool *)at = n;
        return true;
    }
    return false;
}

static bool take_value(struct sc_model_spec *s, struct sc_span key, struct sc_span v)
{
    struct sc_msg unused;
    for (size_t i = 0; i < SC_COUNT(fields); i++)
        if (sc_span_eq(key, sc_span_str(fields[i].key)))
            return take_field(s, &fields[i], v);
    if (sc_span_eq(key, SC_SPAN("gpu")))
        return s->ndevices < SC_DEVICES_MAX && sc_span_i32(v, &s->devices[s->ndevices++]);
    if (sc_span_starts(key, SC_SPAN("*")))
        return sc_spec_ask_extra(s, sc_span_sub(key, 1, key.n), v, &unused) == 0;
    return sc_span_starts(key, SC_SPAN("+")) &&
           sc_spec_set_extra(s, sc_span_sub(key, 1, key.n), v, &unused) == 0;
}

int sc_spec_ask_settings(struct sc_model_spec *s, struct sc_span lines, struct sc_msg *msg)
{
    struct sc_buf value;
    struct sc_span key;
    int rc = 0;
    sc_buf_init(&value, SC_SETTINGS_FILE_BYTES);
    while (rc == 0 && lines.n)
        rc = sc_spec_take_setting(&lines, &key, &value)
                 ? sc_spec_ask_extra(s, key, sc_buf_view(&value), msg)
                 : sc_fail(msg, SC_EINVAL, "the settings cannot be read");
    sc_buf_free(&value);
    return rc;
}

int sc_spec_read(struct sc_model_spec *s, struct sc_span text)
{
    struct sc_buf value;
    struct sc_span key;
    sc_spec_init(s);
    s->dir = sc_strdup("");
    sc_buf_init(&value, SC_SETTINGS_FILE_BYTES);
    bool good = true;
    while (good && text.n)
        good = sc_spec_take_setting(&text, &key, &value) && take_value(s, key, sc_buf_view(&value));
    sc_buf_free(&value);
    if (good && s->name[0] && s->device >= SC_DEVICE_AUTO && s->device <= SC_DEVICE_GPU)
        return 0;
    sc_spec_free(s);
    return SC_EINVAL;
}
