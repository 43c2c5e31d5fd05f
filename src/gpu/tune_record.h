/*
 * What was measured of ways to share a GPU: the file that `tune` leaves and mps=auto obeys
 * (docs/gpu-sharing.md, "What was measured"). Its form is JSON:
 *
 *     {"version": 1, "measured": [
 *       {"gpu": "NVIDIA H100 80GB HBM3", "driver": "580.159.04", "content": "91c0f3...", "workers": 4,
 *        "gpuSharing": "mps", "batchSize": 8, "model": "bert", "at": "2026-11-23T09:00:00Z",
 *        "workerMemory": 1375731712, "perSecond": {"timeslice": 1341, "mps": 1717}}]}
 *
 * The key is gpu, driver, content, workers and batchSize (0, or left out: whatever it is); gpuSharing is the
 * verdict: timeslice, mps or lanes. These but batchSize must be there; the rest is for people. A file that
 * breaks this is refused whole. Blocks on the disk. Any thread, one at a time for a record.
 */
#ifndef SC_GPU_TUNE_RECORD_H
#define SC_GPU_TUNE_RECORD_H

#include <stdint.h>

#include "base/array.h"
#include "base/error.h"

#define SC_TUNE_CONTENT 17 /* a content's name, 16 hexadecimal digits, with the NUL */

enum sc_tune_way { SC_TUNE_TIMESLICE, SC_TUNE_MPS, SC_TUNE_LANES, SC_TUNE_WAYS };

struct sc_tune_entry {
    char gpu[96], driver[80], content[SC_TUNE_CONTENT];
    int workers, batch_size;
    enum sc_tune_way best;
    char model[256], at[32];         /* "": not said */
    int64_t worker_memory;           /* bytes that one worker's process took; 0: not said */
    double per_second[SC_TUNE_WAYS]; /* requests; 0: not measured */
};

struct sc_tune_record {
    struct sc_tune_entry *entries;
    unsigned n;
};

/* SC_ENOTFOUND: there is no such file; SC_EINVAL, SC_ELIMIT: it is no record; SC_ESYS. All with *msg, which
 * names the file, and *r empty. Else r is to be freed. */
int sc_tune_record_read(struct sc_tune_record *r, const char *path, struct sc_msg *msg) SC_MUST_USE;
void sc_tune_record_free(struct sc_tune_record *r);

/* Replaces the file as a whole: who reads meanwhile sees the old one or the new one. SC_ESYS with *msg. */
int sc_tune_record_write(const struct sc_tune_record *r, const char *path, struct sc_msg *msg) SC_MUST_USE;

/* Adds the entry, or replaces that of the same key; with SC_TUNE_ENTRIES_MAX of them the first goes. */
void sc_tune_record_put(struct sc_tune_record *r, const struct sc_tune_entry *e);

/* The entry of that key; one with the very batch size before one without. NULL: none. */
const struct sc_tune_entry *sc_tune_record_find(const struct sc_tune_record *r, const char *gpu,
                                                const char *driver, const char *content, int workers,
                                                int batch_size);

/*
 * Names a model's content: of every file below dir the path, the size and both ends (64 KiB each). Left out
 * is what says how a model is run and not what it is: model-config.yaml, MAR-INF, hidden files, what Python
 * compiles, a virtual environment. SC_ESYS with *msg. "" for a model without files (dir "").
 */
int sc_tune_content(const char *dir, char out[SC_TUNE_CONTENT], struct sc_msg *msg) SC_MUST_USE;

#endif
