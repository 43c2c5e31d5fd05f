/* benchmark-ab.py's report: what the server's log says of a run, and ab_report.csv. */
#ifndef SC_CLI_BENCH_AB_H
#define SC_CLI_BENCH_AB_H

#include "cli/bench_options.h"
#include "load/report.h"

enum sc_log_metric {
    SC_LOG_PREDICTION,
    SC_LOG_QUEUE,
    SC_LOG_HANDLER,
    SC_LOG_WORKER_THREAD,
    SC_LOG_PREPROCESS,
    SC_LOG_INFERENCE,
    SC_LOG_POSTPROCESS,
    SC_LOG_METRICS
};

struct sc_log_values {
    double *list; /* sorted */
    unsigned n;
};

struct sc_log_metrics {
    struct sc_log_values of[SC_LOG_METRICS];
};

/* Reads the metric lines of a server's output from byte `from` on (one line a value: copies that a worker's
 * own print makes are left out). Free it in every case. */
int sc_log_metrics_read(struct sc_log_metrics *m, const char *path, int64_t from,
                        struct sc_msg *msg) SC_MUST_USE;
void sc_log_metrics_free(struct sc_log_metrics *m);
/* 0 without values. */
double sc_log_at(const struct sc_log_values *v, double q);
double sc_log_mean(const struct sc_log_values *v);

/* Two lines: names, values; 30 columns, with handler profiling 33, in benchmark-ab.py's order. Percentiles
 * are true ones; processor, memory and GPU are means of our own samples. */
void sc_ab_report(const struct sc_bench_options *o, const struct sc_report *r, const struct sc_log_metrics *m,
                  struct sc_buf *out);

#endif
