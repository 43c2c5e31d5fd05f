/* Batches: sequences are packed one behind the other, computed, and given back to their requests. */
#include <stdlib.h>
#include <string.h>

#include "backend_parts.h"
#include "base/array.h"

/* Where a sequence of the batch comes from. */
struct source {
    struct sc_run *work;
    uint32_t sequence;
};

struct sconce_lane {
    struct sconce_model *m;
    struct sc_engine_lane *engine;
    /* The batch that is being filled: batch_tokens, and one more place where one begins. */
    uint32_t *ids, *begin, *picks, *keys, *skip;
    bool padded, prompted; /* keys count: there are sequences with padding; skip counts */
    uint8_t *types;
    struct source *from;
    uint32_t tokens, sequences, picks_n;
    float *rows; /* of the batch */
    size_t rows_room;
    struct sc_buf out;
};

void sc_lane_destroy(struct sconce_lane *l)
{
    sc_engine_lane_del(l->engine);
    free(l->ids);
    free(l->types);
    free(l->begin);
    free(l->picks);
    free(l->keys);
    free(l->skip);
    free(l->from);
    free(l->rows);
    sc_buf_free(&l->out);
    free(l);
}

struct sconce_error *sc_lane_create(struct sconce_model *m, unsigned index, struct sconce_lane **out)
{
    (void)index;
    struct sc_msg msg;
    struct sconce_lane *l = calloc(1, sizeof *l);
    if (!l)
        return sconce_error_new(SCONCE_OUT_OF_MEMORY, "No memory for a lane");
    size_t tokens = m->batch_tokens;
    l->m = m;
    sc_buf_init(&l->out, SC_ENCODER_ANSWER_BYTES);
    if (m->engine->ops->lane_new(&l->engine, m->engine, &msg) < 0) {
        sc_lane_destroy(l);
        return sconce_error_new(SCONCE_OUT_OF_MEMORY, "%s", msg.text);
    }
    l->ids = malloc(tokens * sizeof *l->ids);
    l->types = malloc(tokens);
    l->begin = calloc(tokens + 1, sizeof *l->begin);
    l->picks = malloc(tokens * sizeof *l->picks);
    l->keys = malloc(tokens * sizeof *l->keys);
    l->skip = malloc(tokens * sizeof *l->skip);
    l->from = malloc(tokens * sizeof *l->from);
    if (!l->ids || !l->types || !l->begin || !l->picks || !l->keys || !l->skip || !l->from) {
        sc_lane_destroy(l);
        return sconce_error_new(SCONCE_OUT_OF_MEMORY, "No memory for a lane of %zu tokens", tokens);
    }
    *out = l;
    return NULL;
}

/* ---- answers ------------------------------------------------------------------------------------- */

#define KEPT_BYTES (1u << 20) /* of an answer's room, from one to the next */

static struct sconce_error *too_large(const struct sc_run *w)
{
    return sc_encoder_error(SC_ELIMIT, w->form,
                            "The answer would exceed max_response_size: send fewer texts or ask for less");
}

/* The handler's own words for whatever went wrong, and a form that cannot be read. */
static void fail_as_example(struct sconce_request *r, const struct sc_run *w, int rc)
{
    if (rc == SC_EPROTO)
        sconce_response_fail_as(r, 500, "ErrorDataDecoderException", w->refused.text);
    else if (rc == SC_ENOMEM)
        sconce_response_fail_as(r, 507, "InternalServerException", "Out of resources");
    else
        sconce_response_fail_as(r, 503, "InternalServerException", "Prediction failed");
}

static void respond_as_example(struct sconce_lane *l, struct sconce_request *r, struct sc_run *w, int rc)
{
    if (rc == 0)
        rc = sc_heads_write(&l->m->heads, w, &l->out);
    char *to = rc == 0 ? sconce_response_reserve(r, l->out.n) : NULL;
    if (to && l->out.n)
        memcpy(to, l->out.p, l->out.n);
    if (to)
        sconce_response_send(r, NULL, l->out.n);
    else
        fail_as_example(r, w, rc);
    sc_buf_clear(&l->out);
}

/* Sends what the head writes. */
static void respond(struct sconce_lane *l, struct sconce_request *r, struct sc_run *w)
{
    int rc = sc_heads_write(&l->m->heads, w, &l->out);
    char *to = rc == 0 ? sconce_response_reserve(r, l->out.n) : NULL;
    if (to) {
        memcpy(to, l->out.p, l->out.n);
        sconce_response_send(r, "application/json", l->out.n);
    } else if (rc == SC_ENOMEM) {
        sconce_response_fail(r, sc_encoder_error(rc, w->form, "No memory for the answer to this request"));
    } else if (rc == 0 || rc == SC_ELIMIT) {
        sconce_response_fail(r, too_large(w));
    } else {
        sconce_response_fail(r, sc_encoder_error(SC_ESYS, w->form, "The answer cannot be written"));
    }
    if (l->out.cap > KEPT_BYTES)
        sc_buf_free(&l->out);
    sc_buf_clear(&l->out);
}

void sc_lane_answer(struct sconce_lane *l, struct sconce_request *r)
{
    struct sc_run *w = sconce_request_data(r);
    int failed = atomic_load(&w->failed);
    sconce_request_set_data(r, NULL);
    if (sc_run_is_example(&l->m->heads, w))
        respond_as_example(l, r, w, failed);
    else if (failed)
        sconce_response_fail(r, sc_encoder_error(failed, w->form,
                                                 failed == SC_ENOMEM
                                                     ? "No memory to compute this request"
                                                     : "The computation of this request failed"));
    else
        respond(l, r, w);
    sc_run_del(w);
}

/* ---- batches ------------------------------------------------------------------------------------- */

static int room_for_rows(struct sconce_lane *l, size_t rows)
{
    size_t floats;
    if (__builtin_mul_overflow(rows, (size_t)l->m->heads.columns, &floats))
        return SC_ENOMEM;
    if (floats <= l->rows_room)
        return 0;
    free(l->rows);
    l->rows = malloc(floats * sizeof *l->rows);
    l->rows_room = l->rows ? floats : 0;
    return l->rows ? 0 : SC_ENOMEM;
}

/* Computes what was filled in and hands the rows to those whose they are. */
static void compute(struct sconce_lane *l)
{
    const struct sc_heads *h = &l->m->heads;
    struct sc_batch b = {.ids = l->ids,
                         .types = l->types,
                         .begin = l->begin,
                         .sequences = l->sequences,
                         .keys = l->padded ? l->keys : NULL,
                         .skip = l->prompted ? l->skip : NULL,
                         .picks = l->picks,
                         .picks_n = l->picks_n};
    int rc = room_for_rows(l, sc_engine_rows(l->m->engine, &b));
    if (rc == 0)
        rc = sc_engine_run(l->engine, &b, l->rows);
    /* After a fault every later call on that GPU fails: a new process is the only cure. */
    if (sc_error_ends_worker(rc) && l->m->engine->ops->device)
        sconce_host_lost(l->m->host, "the GPU's context is lost");
    float *rows = l->rows;
    for (uint32_t i = 0; i < b.sequences; i++) {
        struct sc_run *w = l->from[i].work;
        uint32_t s = l->from[i].sequence;
        int taken = rc;
        if (rc == 0) {
            taken = sc_heads_take(h, w, s, rows);
            rows += (size_t)sc_heads_rows(h, w, s) * h->columns;
        }
        /* A code that blames the client cannot be right here: what it sent was checked. */
        if (taken < 0)
            atomic_store(&w->failed, taken == SC_ENOMEM ? taken : SC_ESYS);
    }
    l->tokens = l->sequences = l->picks_n = 0;
    l->padded = l->prompted = false;
}

static void fill(struct sconce_lane *l, struct sc_run *w, uint32_t i)
{
    uint32_t from = w->begin[i], length = w->begin[i + 1] - from, picks = sc_run_picks(w, i);
    memcpy(l->ids + l->tokens, w->ids + from, length * sizeof *l->ids);
    memcpy(l->types + l->tokens, w->types + from, length);
    for (uint32_t k = 0; k < picks; k++)
        l->picks[l->picks_n++] = w->picks[w->sequence[i].picks + k] - from + l->tokens;
    l->keys[l->sequences] = w->sequence[i].keys ? w->sequence[i].keys : length;
    l->padded |= w->sequence[i].keys != 0;
    l->skip[l->sequences] = w->sequence[i].skip;
    l->prompted |= w->sequence[i].skip != 0;
    l->from[l->sequences] = (struct source){w, i};
    l->tokens += length;
    l->begin[++l->sequences] = l->tokens;
}

void sc_lane_compute(struct sconce_lane *l, const struct sconce_slice *slices, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct sc_run *w = sconce_request_data(slices[i].request);
        for (uint32_t k = 0; k < slices[i].n; k++) {
            uint32_t s = slices[i].items[k].index;
            if (l->tokens + (w->begin[s + 1] - w->begin[s]) > l->m->batch_tokens)
                compute(l);
            fill(l, w, s);
        }
    }
    if (l->sequences > 0)
        compute(l);
}
