/*
 * What computes an encoder: packed batches of token ids in, rows of numbers out. Two stand behind it, cpu/
 * and cuda/.
 *
 * A batch is one flat row of tokens with the places where sequences begin; nothing is padded and nothing is
 * computed for padding. An engine holds the packed weights and is read-only after it is made; a lane holds
 * the activations of one thread at a time.
 */
#ifndef SC_ENCODER_ENGINE_H
#define SC_ENCODER_ENGINE_H

#include <stdint.h>

#include "base/error.h"
#include "model/config.h"
#include "model/weights.h"

struct sc_batch {
    const uint32_t *ids;   /* tokens */
    const uint8_t *types;  /* their segments; NULL: all 0 */
    const uint32_t *begin; /* sequences + 1 places: sequence i is tokens begin[i] .. begin[i + 1) */
    uint32_t sequences;
    const uint32_t
        *keys; /* of each sequence, its first so many tokens are attended to: the others are padding
                  whose rows somebody wants all the same; NULL: all. Only SC_TASK_TOKEN and SC_TASK_QA. */
    const uint32_t *skip;  /* of each sequence, its first so many tokens are not pooled; NULL: none. Only
                              SC_TASK_EMBED. */
    const uint32_t *picks; /* SC_TASK_FILL_MASK: the tokens that are wanted, as places in ids, ascending */
    uint32_t picks_n;
};

struct sc_engine_ops;

/* What both engines begin with; filled by sc_engine_base. */
struct sc_engine {
    const struct sc_engine_ops *ops;
    enum sc_task task;
    uint32_t columns;
    uint32_t vocab, positions, types;
    uint32_t max_tokens;
    bool local; /* some layers see only their neighbourhood */
};

struct sc_engine_lane {
    const struct sc_engine *engine;
};

struct sc_engine_ahead; /* what a GPU's `new` needs first, under way in threads of its own */

struct sc_engine_options {
    uint32_t max_tokens;    /* of a batch */
    unsigned lanes;         /* that there will be */
    const char *dtype;      /* "fp32", "bf16", "fp16"; NULL or "auto": the engine's own default */
    const char *matmul;     /* CPU: "auto", "builtin", "onednn"; NULL: auto */
    const char *plugin_dir; /* where the backend's modules and kernels lie */
    int gpu;                /* GPU: the number of the device */
    bool high;              /* GPU: streams of the highest priority */
    /* GPU: descriptors of weights that outlive the process, as sconce_host_kept and _keep; NULL: none do. */
    int (*kept)(void *keeper, const char *name, uint64_t *size);
    void (*keep)(void *keeper, const char *name, int fd, uint64_t size);
    void *keeper;
    struct sc_engine_ahead *ahead;                 /* of this engine's ops.ahead, used up by `new`; or NULL */
    void (*tell)(void *keeper, const char *parts); /* GPU: what the parts of `new` took, in ms; or NULL */
};

struct sc_engine_ops {
    const char *name; /* "cpu", "cuda" */
    bool device;      /* it computes on one that a fault takes from this process */
    /*
     * Begins on GPU `gpu` what takes longest in `new`, while the caller reads the model's files; what becomes
     * of it `new` says. NULL: nothing is under way. drop waits for what no `new` will use; it ignores NULL.
     * Both are NULL where there is nothing to begin.
     */
    struct sc_engine_ahead *(*ahead)(int gpu);
    void (*drop)(struct sc_engine_ahead *a);
    /*
     * Packs the weights, which may be closed afterwards. *warning gets what the administrator should know
     * although all is well, or "". On failure *msg says why and what to do. Main thread.
     */
    int (*new)(struct sc_engine **out, const struct sc_encoder_config *c, const struct sc_encoder_weights *w,
               const struct sc_engine_options *o, struct sc_msg *warning, struct sc_msg *msg);
    void (*del)(struct sc_engine *e);
    /* Bytes on the device: the weights, each lane. NULL without a device. */
    void (*memory)(const struct sc_engine *e, uint64_t *weights, uint64_t *lane);
    /* How it computes, for the log: "oneDNN, bf16", written to text. */
    void (*describe)(const struct sc_engine *e, char *text, size_t size);
    /* Deleted before the engine. */
    int (*lane_new)(struct sc_engine_lane **out, const struct sc_engine *e, struct sc_msg *msg);
    void (*lane_del)(struct sc_engine_lane *l);
    /* The batch has passed sc_engine_check and is not empty. */
    int (*run)(struct sc_engine_lane *l, const struct sc_batch *b, float *out);
};

extern const struct sc_engine_ops sc_engine_cpu_ops;
/* Refuses by name in `new` where there is no GPU, driver or library to compute with. */
extern const struct sc_engine_ops sc_engine_cuda_ops;

/* Fills what both have in common. */
void sc_engine_base(struct sc_engine *e, const struct sc_engine_ops *ops, const struct sc_encoder_config *c,
                    const struct sc_engine_options *o);

/* Numbers in one row of results: labels, 2, the vocabulary, or the vector's size. */
uint32_t sc_engine_columns(const struct sc_engine *e);
/* Rows that a batch gives: one a sequence (SEQUENCE, EMBED), a token (TOKEN, QA) or a pick (FILL_MASK). */
uint32_t sc_engine_rows(const struct sc_engine *e, const struct sc_batch *b);

/*
 * 0, or SC_EINVAL if a token, segment, pick, length or number of keys is outside the model's tables, a
 * sequence is empty, or nothing of it is pooled, SC_EUNSUPPORTED for keys and skip where the task or local
 * layers have none, SC_ELIMIT if the batch has more than max_tokens.
 */
int sc_engine_check(const struct sc_engine *e, const struct sc_batch *b);

/*
 * Computes a batch: sc_engine_rows(e, b) rows of sc_engine_columns(e) floats to out. A vector of
 * SC_TASK_EMBED is what pooling and Dense modules give, neither normalised nor cut. One thread at a time.
 *
 * The codes of sc_engine_check, SC_ENOMEM if there is no memory for it, SC_ESYS if a library or device
 * failed.
 */
int sc_engine_run(struct sc_engine_lane *l, const struct sc_batch *b, float *out);

/* NULL is ignored by both. */
void sc_engine_del(struct sc_engine *e);
void sc_engine_lane_del(struct sc_engine_lane *l);

#endif
