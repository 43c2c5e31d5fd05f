/* Payloads of control messages: nothing in them is believed before it has been measured. */
#include "worker/control.h"

const char *sc_ctl_next_string(struct sc_span *area)
{
    size_t n = sc_span_find(*area, '\0');
    if (n == area->n)
        return NULL;
    const char *s = area->p;
    *area = sc_span_sub(*area, n + 1, area->n);
    return s;
}

int sc_ctl_read_fixed(struct sc_span payload, void *out, size_t size)
{
    if (payload.n != size)
        return SC_EPROTO;
    memcpy(out, payload.p, size);
    return SC_OK;
}

/* Copies the structure at the head of the payload and leaves what follows it in *rest. */
static int read_head(struct sc_span payload, void *out, size_t size, struct sc_span *rest)
{
    if (payload.n < size)
        return SC_EPROTO;
    *rest = sc_span_sub(payload, size, payload.n);
    return sc_ctl_read_fixed(sc_span(payload.p, size), out, size);
}

int sc_ctl_read_slot(struct sc_span payload, struct sc_ctl_slot *out, struct sc_span *tag,
                     struct sc_span *text)
{
    struct sc_span rest;
    if (read_head(payload, out, sizeof *out, &rest) < 0 || out->tag_len > rest.n || out->slot >= SC_SLOTS_MAX)
        return SC_EPROTO;
    *tag = sc_span_sub(rest, 0, out->tag_len);
    *text = sc_span_sub(rest, out->tag_len, rest.n);
    return SC_OK;
}

/* The first `count` NUL-terminated strings of *rest, which shrinks by them. */
static int read_strings(struct sc_span *rest, uint32_t count, struct sc_span *out)
{
    const char *begin = rest->p;
    for (uint32_t i = 0; i < count; i++) {
        if (!sc_ctl_next_string(rest))
            return SC_EPROTO;
    }
    *out = sc_span(begin, (size_t)(rest->p - begin));
    return SC_OK;
}

int sc_ctl_read_start(struct sc_span payload, struct sc_ctl_start *out, struct sc_span *tag,
                      struct sc_span *argv, struct sc_span *env, const char **dir)
{
    struct sc_span rest;
    *dir = NULL;
    if (read_head(payload, out, sizeof *out, &rest) < 0)
        return SC_EPROTO;
    if (out->slot >= SC_SLOTS_MAX || out->flags & ~SC_START_FLAGS || out->argc < 2 ||
        out->ranks > SC_RANKS_MAX || out->keeper > SC_SLOTS_MAX)
        return SC_EPROTO;
    if (out->tag_len > rest.n || out->tag_len > SC_CTL_TAG_MAX)
        return SC_EPROTO;
    *tag = sc_span_sub(rest, 0, out->tag_len);
    rest = sc_span_sub(rest, out->tag_len, rest.n);
    if (read_strings(&rest, out->argc, argv) < 0 || argv->p[0] == '\0' ||
        read_strings(&rest, out->envc, env) < 0)
        return SC_EPROTO;
    if (out->flags & SC_START_DIR) {
        *dir = sc_ctl_next_string(&rest);
        if (!*dir || **dir != '/')
            return SC_EPROTO;
    }
    if (rest.n)
        return SC_EPROTO;

    struct sc_span area = *env;
    for (const char *s; (s = sc_ctl_next_string(&area));) {
        if (*s == '\0' || *s == '=')
            return SC_EPROTO;
    }
    return SC_OK;
}

int sc_ctl_read_status(struct sc_span payload, struct sc_ctl_status *out, struct sc_span *text)
{
    if (read_head(payload, out, sizeof *out, text) < 0 || out->text_len != text->n ||
        out->text_len > SC_STATUS_TEXT)
        return SC_EPROTO;
    return out->state == SC_SLOT_LOADED || out->state == SC_SLOT_FAILED ? SC_OK : SC_EPROTO;
}

static uint32_t count_strings(const char *const *list)
{
    uint32_t n = 0;
    while (list && list[n])
        n++;
    return n;
}

void sc_ctl_write_start(struct sc_buf *b, struct sc_ctl_start head, struct sc_span tag,
                        const char *const *argv, const char *const *env, const char *dir)
{
    if (dir)
        head.flags |= SC_START_DIR;
    head.tag_len = (uint32_t)tag.n;
    head.argc = count_strings(argv);
    head.envc = count_strings(env);
    sc_buf_add(b, &head, sizeof head);
    sc_buf_span(b, tag);
    for (uint32_t i = 0; i < head.argc; i++)
        sc_buf_add(b, argv[i], strlen(argv[i]) + 1);
    for (uint32_t i = 0; i < head.envc; i++)
        sc_buf_add(b, env[i], strlen(env[i]) + 1);
    if (dir)
        sc_buf_add(b, dir, strlen(dir) + 1);
}
