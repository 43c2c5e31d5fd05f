/*
 * What the backend's files share.
 *
 *   backend.c   a model: folder, settings, tokenizer, engine, heads
 *   request.c   what arrives: bodies become sequences, on any thread
 *   pace.c      what batches cost, and how many threads tokenise
 *   lane.c      batches: sequences are packed, computed, and their requests answered
 */
#ifndef SC_ENCODER_BACKEND_PARTS_H
#define SC_ENCODER_BACKEND_PARTS_H

#include <pthread.h>

#include "base/limits.h"
#include "engine.h"
#include "heads/heads.h"
#include "sconce/backend.h"

struct sconce_model {
    struct sc_tokenizer *tokenizer;
    struct sconce_host *host;
    struct sc_engine *engine;
    struct sc_engine_ahead *ahead; /* while it is loaded on a GPU, until the engine is made */
    struct sc_heads heads;
    uint32_t max_texts, batch_tokens;
    /* The tokenizer's buffers, lent to whoever prepares a request. */
    pthread_mutex_t lock;
    struct sc_encoding kept[SC_LANES_MAX];
    unsigned kept_n;
};

/* The code of a failure as the client sees it. */
struct sconce_error *sc_encoder_error(int code, enum sc_form form, const char *text);

/* request.c: encodings for whoever tokenises; ctx is the model. */
struct sc_encoding sc_encoding_take(void *model);
void sc_encoding_give(void *model, struct sc_encoding e);

/* pace.c: what a batch costs beside its tokens, in tokens, as measured; 0 if it cannot be. Computes batches.
 */
uint32_t sc_pace_overhead(const struct sconce_model *m);
/* The setting tokenizerThreads: threads that tokenise while all lanes compute. */
struct sconce_error *sc_pace_threads(struct sconce_host *h, const struct sconce_model *m, uint32_t *out);

/* request.c, lane.c: functions of struct sconce_backend_ops. */
struct sconce_error *sc_request_prepare(struct sconce_model *m, struct sconce_request *r, uint64_t *cost);
void sc_request_discard(struct sconce_model *m, struct sconce_request *r);
struct sconce_error *sc_lane_create(struct sconce_model *m, unsigned index, struct sconce_lane **out);
void sc_lane_destroy(struct sconce_lane *l);
void sc_lane_compute(struct sconce_lane *l, const struct sconce_slice *slices, size_t n);
void sc_lane_answer(struct sconce_lane *l, struct sconce_request *r);

#endif
