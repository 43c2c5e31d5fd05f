#include "model/oom.h"

#include <limits.h>
#include <stdint.h>
#include <stdio.h>

#include "base/file.h"

static uint64_t seen;

/* The value of `oom_kill` in memory.events of our cgroup (Linux Documentation/admin-guide/cgroup-v2), 0 if it
 * cannot be read. A container sees its own group as the root. */
static uint64_t kills(void)
{
    char room[4096], path[PATH_MAX];
    struct sc_buf b = {.p = room, .cap = sizeof room, .max = sizeof room};
    uint64_t n = 0;
    if (sc_file_read("/proc/self/cgroup", &b, NULL) < 0)
        return 0;
    struct sc_span text = sc_buf_view(&b);
    struct sc_span v2 = SC_SPAN("0::");
    while (text.n && !sc_span_starts(text, v2))
        text = sc_span_sub(text, sc_span_find(text, '\n') + 1, text.n);
    if (!text.n)
        return 0;
    text = sc_span_sub(text, v2.n, sc_span_find(text, '\n') - v2.n);
    int len = snprintf(path, sizeof path, "/sys/fs/cgroup%.*s/memory.events", SC_FMT(text));
    sc_buf_clear(&b);
    if (len < 0 || (size_t)len >= sizeof path ||
        (sc_file_read(path, &b, NULL) < 0 && sc_file_read("/sys/fs/cgroup/memory.events", &b, NULL) < 0))
        return 0;
    for (text = sc_buf_view(&b); text.n; text = sc_span_sub(text, sc_span_find(text, '\n') + 1, text.n))
        if (sc_span_starts(text, SC_SPAN("oom_kill ")))
            (void)sc_span_u64(sc_span_sub(text, 9, sc_span_find(text, '\n') - 9), UINT64_MAX, &n);
    return n;
}

void sc_oom_look(void)
{
    seen = kills();
}

bool sc_oom_killed(void)
{
    uint64_t now = kills();
    bool grown = now > seen;
    seen = now;
    return grown;
}
