#include "model/spec.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"

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
        .runtime = "python",
        .sequence_queue = 1,
        .sequences = 1,
    };
}

/* Every string that belongs to a spec, so that none is forgotten. */
static const size_t strings[] = {
    offsetof(struct sc_model_spec, url),
    offsetof(struct sc_model_spec, dir),
    offsetof(struct sc_model_spec, handler),
    offsetof(struct sc_model_spec, archive),
    offsetof(struct sc_model_spec, remove),
    offsetof(struct sc_model_spec, downloaded),
    offsetof(struct sc_model_spec, workflow),
    offsetof(struct sc_model_spec, requirements),
    offsetof(struct sc_model_spec, config_file),
    offsetof(struct sc_model_spec, config_json),
    offsetof(struct sc_model_spec, torchrun.rdzv_backend),
    offsetof(struct sc_model_spec, torchrun.rdzv_endpoint),
};

static char **string_at(struct sc_model_spec *s, size_t i)
{
    return (char **)(void *)((char *)s + strings[i]);
}

void sc_spec_free(struct sc_model_spec *s)
{
    for (size_t i = 0; i < SC_COUNT(strings); i++) {
        free(*string_at(s, i));
        *string_at(s, i) = NULL;
    }
    for (unsigned i = 0; i < s->nextras; i++) {
        free(s->extras[i].key);
        free(s->extras[i].value);
    }
    s->nextras = 0;
}

void sc_spec_copy(struct sc_model_spec *to, const struct sc_model_spec *from)
{
    *to = *from;
    for (size_t i = 0; i < SC_COUNT(strings); i++)
        if (*string_at(to, i))
            *string_at(to, i) = sc_strdup(*string_at(to, i));
    for (unsigned i = 0; i < from->nextras; i++) {
        to->extras[i].key = sc_strdup(from->extras[i].key);
        to->extras[i].value = sc_strdup(from->extras[i].value);
    }
}

bool sc_spec_is_native(const struct sc_model_spec *s)
{
    return strcmp(s->backend, "python") != 0;
}

bool sc_spec_has_lanes(const struct sc_model_spec *s)
{
    return sc_spec_is_native(s) && !s->mps.process;
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
    s->extras[s->nextras].asked = false;
    s->nextras++;
    return 0;
}

int sc_spec_ask_extra(struct sc_model_spec *s, struct sc_span key, struct sc_span value, struct sc_msg *msg)
{
    int rc = sc_spec_set_extra(s, key, value, msg);
    for (unsigned i = 0; rc == 0 && i < s->nextras; i++)
        if (sc_span_eq(key, sc_span_str(s->extras[i].key)))
            s->extras[i].asked = true;
    return rc;
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
