/* Payloads of control messages, as the supervisor and the frontend read them. */
#include <stdlib.h>

#include "worker/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static bool inside(struct sc_span part, struct sc_span whole)
{
    return part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n);
}

static uint32_t count(struct sc_span area)
{
    uint32_t n = 0;
    while (sc_ctl_next_string(&area))
        n++;
    must(area.n == 0);
    return n;
}

/* What was read and is written again is the same bytes. */
static void check_start(struct sc_span payload)
{
    struct sc_ctl_start start;
    struct sc_span tag, argv, env;
    const char *dir;
    if (sc_ctl_read_start(payload, &start, &tag, &argv, &env, &dir) < 0)
        return;
    must(inside(tag, payload) && inside(argv, payload) && inside(env, payload));
    must(start.slot < SC_SLOTS_MAX && tag.n <= SC_CTL_TAG_MAX);
    must(count(argv) == start.argc && count(env) == start.envc && start.argc >= 2);

    const char **lists = calloc((size_t)start.argc + start.envc + 2, sizeof *lists);
    must(lists != NULL);
    for (uint32_t i = 0; i < start.argc; i++)
        lists[i] = sc_ctl_next_string(&argv);
    for (uint32_t i = 0; i < start.envc; i++)
        lists[start.argc + 1 + i] = sc_ctl_next_string(&env);
    struct sc_buf b;
    sc_buf_init(&b, SIZE_MAX / 2);
    sc_ctl_write_start(&b, start, tag, lists, lists + start.argc + 1, dir);
    must(b.failed || sc_span_eq(sc_buf_view(&b), payload));
    sc_buf_free(&b);
    free(lists);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sc_span payload = sc_span(data, size), tag, text;
    check_start(payload);

    struct sc_ctl_slot slot;
    if (sc_ctl_read_slot(payload, &slot, &tag, &text) == SC_OK)
        must(inside(tag, payload) && inside(text, payload) && sizeof slot + tag.n + text.n == size);
    struct sc_ctl_status status;
    if (sc_ctl_read_status(payload, &status, &text) == SC_OK)
        must(inside(text, payload) && text.n <= SC_STATUS_TEXT);
    struct sc_ctl_attach attach;
    must((sc_ctl_read_fixed(payload, &attach, sizeof attach) == SC_OK) == (size == sizeof attach));
    return 0;
}
