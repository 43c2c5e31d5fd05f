/* What each part of a load took, for the log: "folder 3, tokenizer 21, engine 402". One thread. */
#ifndef SC_ENCODER_LAPS_H
#define SC_ENCODER_LAPS_H

#include <stdint.h>
#include <stdio.h>

#include "base/clock.h"

struct sc_laps {
    int64_t at; /* sc_clock_ns of the latest */
    size_t n;
    char text[400];
};

static inline void sc_laps_start(struct sc_laps *l)
{
    l->at = sc_clock_ns();
    l->n = 0;
    l->text[0] = '\0';
}

/* `what` has ended now. What does not fit is left out. */
static inline void sc_lap(struct sc_laps *l, const char *what)
{
    int64_t now = sc_clock_ns();
    int n = snprintf(l->text + l->n, sizeof l->text - l->n, "%s%s %.1f", l->n ? ", " : "", what,
                     (double)(now - l->at) * 1e-6);
    if (n > 0 && (size_t)n < sizeof l->text - l->n)
        l->n += (size_t)n;
    l->text[l->n] = '\0';
    l->at = now;
}

#endif
