/* The functions that a backend calls: include/sconce/backend.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "worker/executor.h"
#include "worker/executor_private.h"
#include "worker/meta.h"

#define SC_EXPORT __attribute__((visibility("default")))

struct sconce_error {
    enum sconce_code code;
    char text[512];
};

static struct sconce_error no_memory = {SCONCE_OUT_OF_MEMORY, "out of memory"};

SC_EXPORT struct sconce_error *sconce_error_new(enum sconce_code code, const char *fmt, ...)
{
    struct sconce_error *e = malloc(sizeof *e);
    if (!e)
        return &no_memory;
    e->code = code;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    return e;
}

SC_EXPORT enum sconce_code sconce_error_code(const struct sconce_error *e)
{
    return e->code;
}
SC_EXPORT const char *sconce_error_text(const struct sconce_error *e)
{
    return e->text;
}

SC_EXPORT void sconce_error_free(struct sconce_error *e)
{
    if (e != &no_memory)
        free(e);
}

SC_EXPORT void sconce_log(struct sconce_host *h, enum sconce_log_level level, const char *fmt, ...)
{
    static const enum sc_log_level levels[] = {SC_LOG_DEBUG, SC_LOG_INFO, SC_LOG_WARN, SC_LOG_ERROR};
    char line[1024];
    (void)h;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    if ((size_t)level >= SC_COUNT(levels))
        level = SCONCE_ERROR;
    sc_log_line(SC_LOGGER_MODEL, levels[level], NULL, sc_span(line, SC_MIN((size_t)n, sizeof line - 1)));
}

const char *sc_host_variable(const struct sconce_host *h, const char *name)
{
    size_t n = strlen(name);
    if (!h->env)
        return getenv(name);
    for (char *const *e = h->env; *e; e++)
        if (strncmp(*e, name, n) == 0 && (*e)[n] == '=')
            return *e + n + 1;
    return NULL;
}

SC_EXPORT const char *sconce_host_model_name(const struct sconce_host *h)
{
    return h->model;
}
SC_EXPORT const char *sconce_host_model_version(const struct sconce_host *h)
{
    return h->version;
}
SC_EXPORT const char *sconce_host_model_dir(const struct sconce_host *h)
{
    return h->dir;
}
SC_EXPORT const char *sconce_host_backend_dir(const struct sconce_host *h)
{
    return h->backend_dir;
}
SC_EXPORT unsigned sconce_host_lanes(const struct sconce_host *h)
{
    return h->lanes;
}

SC_EXPORT void sconce_host_spread(struct sconce_host *h, uint32_t n, void (*fn)(void *arg, uint32_t i),
                                  void *arg)
{
    sc_spread(h->ex, n, fn, arg);
}

SC_EXPORT int sconce_host_gpu(const struct sconce_host *h)
{
    const char *text = sc_host_variable(h, SC_ENV_GPU_ID);
    int32_t id;
    return text && sc_span_i32(sc_span_str(text), &id) && id >= 0 ? id : -1;
}

SC_EXPORT const char *sconce_host_setting(const struct sconce_host *h, const char *key)
{
    char name[128];
    int n = snprintf(name, sizeof name, SC_ENV_SETTING "%s", key);
    return n > 0 && (size_t)n < sizeof name ? sc_host_variable(h, name) : NULL;
}

SC_EXPORT const char *sconce_host_setting_key(const struct sconce_host *h, unsigned i)
{
    static const char prefix[] = SC_ENV_SETTING;
    static _Thread_local char key[128];
    for (char *const *e = h->env ? h->env : environ; *e; e++) {
        if (strncmp(*e, prefix, sizeof prefix - 1) != 0 || i-- > 0)
            continue;
        const char *name = *e + sizeof prefix - 1;
        snprintf(key, sizeof key, "%.*s", (int)SC_MIN(strcspn(name, "="), sizeof key - 1), name);
        return key;
    }
    return NULL;
}

SC_EXPORT struct sconce_error *sconce_host_setting_int(const struct sconce_host *h, const char *key,
                                                       int64_t min, int64_t max, int64_t fallback,
                                                       int64_t *out)
{
    const char *text = sconce_host_setting(h, key);
    *out = fallback;
    if (!text)
        return NULL;
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno || end == text || *end || v < min || v > max)
        return sconce_error_new(SCONCE_BAD_REQUEST,
                                "setting %s is \"%s\": it must be an integer from %lld to %lld", key, text,
                                (long long)min, (long long)max);
    *out = v;
    return NULL;
}

SC_EXPORT void sconce_host_lost(struct sconce_host *h, const char *why)
{
    sc_log(SC_LOG_ERROR, "model %s: this worker cannot go on and is replaced: %s", h->model, why);
    sc_log_close();
    _exit(1);
}

SC_EXPORT const void *sconce_request_body(const struct sconce_request *r, size_t *size)
{
    *size = r->work.body.n;
    return r->work.body.p;
}

SC_EXPORT const char *sconce_request_content_type(const struct sconce_request *r)
{
    return r->content_type;
}
SC_EXPORT const char *sconce_request_interface(const struct sconce_request *r)
{
    return r->interface;
}
SC_EXPORT const char *sconce_request_sent_type(const struct sconce_request *r, size_t *size)
{
    struct sc_span type = sc_meta_get(r->work.meta, SC_SPAN(":content-type"));
    *size = type.n;
    return type.p;
}
SC_EXPORT void sconce_request_set_data(struct sconce_request *r, void *data)
{
    r->data = data;
}
SC_EXPORT void *sconce_request_data(const struct sconce_request *r)
{
    return r->data;
}

SC_EXPORT bool sconce_request_set_items(struct sconce_request *r, uint32_t n, const uint32_t *costs)
{
    static const uint32_t none;
    return sc_items_set(r, n, costs ? costs : &none);
}

SC_EXPORT void *sconce_response_reserve(struct sconce_request *r, size_t size)
{
    if (r->reserved)
        sc_port_cancel(r->ref->port, &r->answer);
    r->reserved = false;
    void *p = sc_port_reserve(r->ref->port, &r->work, size, &r->answer);
    r->reserved = p != NULL;
    return p;
}

static void send_answer(struct sconce_request *r, unsigned status, struct sc_span key, struct sc_span value,
                        struct sc_span body, bool with_reserved)
{
    char room[1024];
    struct sc_buf meta = {.p = room, .cap = sizeof room, .max = sizeof room};
    struct sc_meta_writer w;
    sc_meta_begin(&w, &meta);
    if (value.p)
        sc_meta_add(&w, key, value);
    sc_meta_end(&w);
    r->answered = true;
    r->work.taken_ns = atomic_load(&r->taken_ns);
    if (r->work.body_map)
        sc_port_done(r->ref->port, &r->work);
    if (sc_port_send(r->ref->port, &r->work, status, sc_buf_view(&meta), with_reserved ? &r->answer : NULL,
                     body) < 0)
        sc_log(SC_LOG_DEBUG, "an answer was dropped: the frontend is gone");
    r->reserved = false;
}

SC_EXPORT void sconce_response_send(struct sconce_request *r, const char *content_type, size_t size)
{
    if (r->answered)
        return;
    struct sc_span body = {NULL, 0};
    bool reserved = r->reserved;
    if (reserved)
        body = sc_span(r->answer.p, SC_MIN(size, r->answer.size));
    struct sc_span type = sc_span_str(content_type);
    type.n = SC_MIN(type.n, 512);
    send_answer(r, 200, SC_SPAN(":content-type"), type, body, reserved);
}

void sc_request_fail(struct sconce_request *r, unsigned status, const char *type, const char *text)
{
    if (r->answered)
        return;
    if (r->reserved)
        sc_port_cancel(r->ref->port, &r->answer);
    r->reserved = false;
    send_answer(r, status, SC_SPAN(":type"), sc_span_str(type), sc_span_str(text), false);
}

SC_EXPORT void sconce_response_fail_as(struct sconce_request *r, unsigned status, const char *type,
                                       const char *text)
{
    sc_request_fail(r, status, type, text);
}

SC_EXPORT void sconce_response_fail(struct sconce_request *r, struct sconce_error *e)
{
    const char *type = "InternalServerException";
    switch (e->code) {
    case SCONCE_BAD_REQUEST:
    case SCONCE_TOO_LARGE: type = "BadRequestException"; break;
    case SCONCE_UNAVAILABLE: type = "ServiceUnavailableException"; break;
    case SCONCE_INTERNAL:
    case SCONCE_OUT_OF_MEMORY: break;
    }
    sc_request_fail(r, e->code, type, e->text);
    sconce_error_free(e);
}
