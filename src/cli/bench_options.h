/*
 * What `sconce bench` and `sconce tune` are told: their own options, and those of TorchServe's
 * benchmark-ab.py, which may also stand in a JSON file (config.json), under the same names. One table says
 * what there is.
 *
 * A test plan is overruled by the file, the file by an option, wherever they stand on the line.
 */
#ifndef SC_CLI_BENCH_OPTIONS_H
#define SC_CLI_BENCH_OPTIONS_H

#include <stdint.h>
#include <stdio.h>

#include "base/array.h"
#include "base/buf.h"
#include "base/error.h"

#define SC_BENCH_NOTES_MAX 16

struct sc_bench_options {
    char *address; /* measured as it stands; NULL: a server is started for `url` */
    /* benchmark-ab.py's */
    char *url, *exec_env, *gpus, *input, *content_type, *image, *docker_runtime, *config_properties,
        *inference_model_url, *report_location, *tmp_dir, *benchmark_backend;
    uint64_t concurrency, requests, batch_size, batch_delay, workers;
    bool backend_profiling, handler_profiling, generate_graphs;
    /* ours */
    char *out, *body, *lines, *random, *texts, *around, *method, *expect, *regex, *metrics, *server;
    uint64_t threads, connections, status, seed, repeat;
    double rate, duration, warmup, timeout;
    bool constant, http2, echo, same, json, quiet;
    struct sc_buf headers; /* lines, each with its CRLF */
    /* tune's */
    bool tune, resume, apply;
    char *budget, *p99, *memory, *batches, *worker_list, *thread_list, *sharing, *record;
    double precision; /* percent */
    uint64_t most;    /* requests at once */

    unsigned level[64]; /* per entry of the table: who set it */
    char *notes[SC_BENCH_NOTES_MAX];
    unsigned nnotes;
};

/* 0; 1: help was printed; SC_EINVAL and others with *msg. Free *o in every case. */
int sc_bench_options_read(struct sc_bench_options *o, bool tune, int argc, char **argv,
                          struct sc_msg *msg) SC_MUST_USE;
void sc_bench_options_free(struct sc_bench_options *o);
/* True if that option was given somewhere: by plan, file or command line. */
bool sc_bench_given(const struct sc_bench_options *o, const void *member);
/* Adds a note for the report; cut when there are too many. */
void sc_bench_note(struct sc_bench_options *o, const char *fmt, ...) SC_PRINTF(2, 3);

#endif
