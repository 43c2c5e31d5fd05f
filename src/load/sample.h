/*
 * What machine and server do while they are measured: a thread of its own that looks at the host (/proc), at
 * the GPUs (the gpu agent, where there is NVML) and at the server's Prometheus page, if it is told one.
 */
#ifndef SC_LOAD_SAMPLE_H
#define SC_LOAD_SAMPLE_H

#include "base/array.h"
#include "gpu/report.h"

#define SC_SAMPLE_GPUS 8 /* of which samples are kept */

struct sc_gpu_sample {
    float busy, memory_mib, watts, memory; /* percent, MiB, W, percent; below 0: not known */
};

struct sc_sample {
    float seconds;     /* since the start of the sampler */
    float cpu, memory; /* percent of the whole host */
    struct sc_gpu_sample gpu[SC_SAMPLE_GPUS];
};

/* One line of the server's page. */
struct sc_metric_seen {
    char *name; /* with its labels */
    bool counter;
    double first, last, min, max, sum;
    unsigned n;
};

struct sc_samples {
    struct sc_sample *list;
    unsigned n;
    int64_t interval_ms;
    unsigned ngpus; /* at most SC_SAMPLE_GPUS */
    char gpu_name[SC_SAMPLE_GPUS][96];
    char driver[80];
    struct sc_metric_seen *metrics;
    unsigned nmetrics;
    unsigned scrapes, scrapes_failed;
    char trouble[256]; /* of the first scrape that failed */
};

struct sc_sampler;

/* exe: whose --role=gpu-agent is asked for the GPUs (NULL: nobody); metrics: "http://HOST:PORT/PATH" (NULL:
 * none). Never fails: what cannot be had is not sampled. */
struct sc_sampler *sc_sampler_start(const char *exe, const char *metrics);
/* Ends it and fills *out, which sc_samples_free frees. */
void sc_sampler_stop(struct sc_sampler *s, struct sc_samples *out);
void sc_samples_free(struct sc_samples *s);

/* Means over the samples; below 0: there is none. gpu < 0: the host's cpu (which == 0) and memory (1); else
 * of that GPU busy (0), MiB (1), W (2), percent of its memory (3). */
double sc_samples_mean(const struct sc_samples *s, int gpu, unsigned which);
double sc_samples_value(const struct sc_sample *s, int gpu, unsigned which);

#endif
