/* What arrives: bodies become sequences of tokens, on whichever lane's thread has time. */
#include <stdlib.h>

#include "backend_parts.h"
#include "base/array.h"

struct sc_encoding sc_encoding_take(void *model)
{
    struct sconce_model *m = model;
    struct sc_encoding e = {0};
    pthread_mutex_lock(&m->lock);
    if (m->kept_n > 0)
        e = m->kept[--m->kept_n];
    pthread_mutex_unlock(&m->lock);
    return e;
}

void sc_encoding_give(void *model, struct sc_encoding e)
{
    struct sconce_model *m = model;
    pthread_mutex_lock(&m->lock);
    bool keep = m->kept_n < SC_COUNT(m->kept);
    if (keep)
        m->kept[m->kept_n++] = e;
    pthread_mutex_unlock(&m->lock);
    if (!keep)
        sc_encoding_free(&e);
}

/* Each sequence may be computed apart. */
static bool set_items(struct sconce_request *r, const struct sc_run *w)
{
    uint32_t few[16] = {0}, *costs = w->n <= SC_COUNT(few) ? few : malloc(w->n * sizeof *costs);
    if (!costs)
        return false;
    for (uint32_t i = 0; i < w->n; i++)
        costs[i] = w->begin[i + 1] - w->begin[i];
    bool good = sconce_request_set_items(r, w->n, costs);
    if (costs != few)
        free(costs);
    return good;
}

/* The example's failures are answers like others: in the words of its server, which the executor does not
 * know. */
static int refuse_later(struct sconce_request *r, struct sc_run *w, int rc, const struct sc_msg *msg)
{
    atomic_store(&w->failed, rc);
    w->refused = *msg;
    w->n = 0;
    return set_items(r, w) ? 0 : rc;
}

struct sconce_error *sc_request_prepare(struct sconce_model *m, struct sconce_request *r, uint64_t *cost)
{
    struct sc_msg msg = {"The texts of this request cannot be tokenised"};
    enum sc_form form;
    size_t size;
    const void *body = sconce_request_body(r, &size);
    if (sc_form_named(sconce_request_interface(r), &form) < 0)
        return sconce_error_new(SCONCE_BAD_REQUEST, "The encoder does not know the interface %s",
                                sconce_request_interface(r));
    struct sc_run *w = sc_run_new(form);
    if (!w)
        return sc_encoder_error(SC_ENOMEM, form, "No memory for this request");
    w->type.p = sconce_request_sent_type(r, &w->type.n);
    struct sc_encoding e = sc_encoding_take(m);
    int rc = sc_heads_prepare(&m->heads, w, sc_span(body, size), sconce_request_content_type(r), &e, &msg);
    sc_encoding_give(m, e);
    if (rc == 0)
        rc = sc_heads_begin(&m->heads, w);
    if (rc == 0 && !set_items(r, w))
        rc = SC_ENOMEM;
    if (rc < 0 && sc_run_is_example(&m->heads, w))
        rc = refuse_later(r, w, rc, &msg);
    if (rc < 0) {
        sc_run_del(w);
        return sc_encoder_error(rc, form,
                                rc == SC_ENOMEM ? "No memory for the texts of this request" : msg.text);
    }
    *cost = sc_run_tokens(w);
    sconce_request_set_data(r, w);
    return NULL;
}

void sc_request_discard(struct sconce_model *m, struct sconce_request *r)
{
    (void)m;
    sc_run_del(sconce_request_data(r));
    sconce_request_set_data(r, NULL);
}
