#include "worker/backoff.h"

#include "base/array.h"
#include "base/error.h"
#include "base/limits.h"

/* Seconds; the last one repeats. */
static const int16_t delays[] = {1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597};

void sc_backoff_init(struct sc_backoff *b, int64_t window_ms)
{
    *b = (struct sc_backoff){.window_ms = window_ms, .outage_start = -1, .loaded_at = -1};
}

int64_t sc_backoff_failed(struct sc_backoff *b, int64_t now_ms)
{
    int64_t loaded_at = b->loaded_at;
    b->loaded_at = -1;
    if (b->outage_start < 0)
        b->outage_start = now_ms;
    /* The window is looked at when a worker fails, not when its timer fires: a long
     * delay that was granted is also served. */
    if (b->window_ms >= 0 && now_ms - b->outage_start >= b->window_ms)
        return SC_EGIVEUP;
    if (loaded_at >= 0 && now_ms - loaded_at >= SC_BACKOFF_SETTLED_MS)
        return 0;

    int64_t delay = delays[b->step] * INT64_C(1000);
    if (b->step + 1 < SC_COUNT(delays))
        b->step++;
    return delay;
}

void sc_backoff_loaded(struct sc_backoff *b, int64_t now_ms)
{
    b->outage_start = -1;
    b->loaded_at = now_ms;
    b->step = 0;
}
