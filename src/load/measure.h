/*
 * A measurement: the same load several times, with what machine and server did meanwhile. What `sconce bench`
 * prints once and `sconce tune` asks for again and again.
 */
#ifndef SC_LOAD_MEASURE_H
#define SC_LOAD_MEASURE_H

#include "load/load.h"
#include "load/sample.h"

struct sc_measure {
    const struct sc_load_config *load; /* of each run */
    unsigned runs;                     /* at least 1 */
    uint64_t warmup_count; /* above 0: so many requests before the first run, in place of seconds */
    const char *exe;       /* sc_sampler_start's */
    const char *metrics;
    const atomic_bool *stop; /* NULL: nobody ends it early */
    void (*progress)(void *ctx, unsigned run, const struct sc_load_progress *p); /* NULL: not told */
    /* The warm-up by requests is over, the first run begins (NULL: not told). */
    void (*warm)(void *ctx);
    void *ctx;
};

struct sc_measured {
    struct sc_load_result *runs; /* as many as were begun */
    unsigned nruns;
    struct sc_load_result all; /* merged; its seconds are the sum */
    enum sc_load_end ended;    /* of the last one: a measurement that is not complete is partial */
    struct sc_samples samples;
    int64_t began_ms; /* since 1970 */
};

/*
 * Measures. Blocks. SC_EINVAL, SC_ESYS, SC_ELIMIT as sc_load_run; then *out is empty. Whatever requests do is
 * no error. A run that was stopped, or whose server is gone, is the last. Free *out with sc_measured_free.
 */
int sc_measure(const struct sc_measure *m, struct sc_measured *out, struct sc_msg *msg) SC_MUST_USE;
void sc_measured_free(struct sc_measured *m);

/* Of the runs: median, lowest and highest of a value; 0 without runs. */
struct sc_spread {
    double median, low, high;
};
struct sc_spread sc_measured_rate(const struct sc_measured *m);
struct sc_spread sc_measured_latency(const struct sc_measured *m, double q); /* ns; q < 0: the mean */

/* One thing of the machine or the versions, for the record. */
struct sc_fact {
    const char *name;
    char value[160];
};
#define SC_FACTS_MAX 16
/* Fills facts with what this machine is: processor, clocks, memory, kernel, load. Their number. */
unsigned sc_machine_facts(struct sc_fact facts[SC_FACTS_MAX]);

#endif
