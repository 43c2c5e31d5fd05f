/* From the rings to requests that are ready: taken, prepared, given back. */
#include <stdlib.h>

#include "base/log.h"
#include "worker/executor_private.h"
#include "worker/meta.h"

/* A body that may take longer to tokenise than a batch to compute: bytes. */
#define BULK_BYTES (32u << 10)

void sc_port_ref_put(struct sc_port_ref *ref)
{
    if (ref && atomic_fetch_sub(&ref->refs, 1) == 1) {
        sc_port_del(ref->port);
        free(ref);
    }
}

void sc_intake_init(struct sc_executor *ex)
{
    sc_requests_init(&ex->raw);
    sc_requests_init(&ex->bulk);
    sc_ready_init(&ex->ready);
}

void sc_intake_recycle(struct sc_executor *ex, struct sconce_request *r)
{
    sc_items_free(r);
    if (r->work.body_map)
        sc_port_done(r->ref->port, &r->work);
    sc_port_ref_put(r->ref);
    r->next = ex->pool;
    ex->pool = r;
}

static void copy_content_type(struct sconce_request *r)
{
    struct sc_span type = sc_meta_get(r->work.meta, SC_SPAN(":content-type"));
    size_t n = 0;
    while (n < type.n && n + 1 < sizeof r->content_type && type.p[n] != ';') {
        char c = type.p[n];
        r->content_type[n++] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    }
    while (n && (r->content_type[n - 1] == ' ' || r->content_type[n - 1] == '\t'))
        n--;
    r->content_type[n] = '\0';
}

static void copy_interface(struct sconce_request *r)
{
    struct sc_span name = sc_meta_get(r->work.meta, SC_SPAN(":interface"));
    size_t n = SC_MIN(name.n, sizeof r->interface - 1);
    if (n)
        memcpy(r->interface, name.p, n);
    r->interface[n] = '\0';
}

void sc_intake(struct sc_executor *ex)
{
    struct sc_port_ref *ref = ex->port;
    if (!ref || sc_port_closed(ref->port))
        return;
    for (;;) {
        struct sconce_request *r = ex->pool;
        if (r)
            ex->pool = r->next;
        else if (!(r = malloc(sizeof *r)))
            return; /* what is in the rings stays there; the next batch frees requests */
        /* Field by field: a request is mostly its content type's buffer. */
        r->ref = ref;
        r->reserved = r->answered = r->dropped = false;
        r->data = NULL;
        r->items = NULL;
        r->nitems = r->given = 0;
        atomic_store(&r->taken_ns, 0);
        r->cost = 0;
        r->turn = 0;
        r->work.body_map = NULL;
        int rc;
        do /* an answer of the executor's is never far: nothing is given up half-way */
            rc = sc_port_next(ref->port, &r->work);
        while (rc == 1 && r->work.flags & SC_SUBMIT_CANCEL);
        if (rc != 1) {
            r->next = ex->pool;
            ex->pool = r;
            if (rc < 0 && rc != SC_AGAIN)
                sc_log(SC_LOG_ERROR, "the frontend's ring cannot be read: %s", sc_strerror(rc));
            return;
        }
        atomic_fetch_add_explicit(&ref->refs, 1, memory_order_relaxed);
        copy_content_type(r);
        copy_interface(r);
        bool bulk = ex->helpers && r->work.body.n >= BULK_BYTES;
        sc_requests_push(bulk ? &ex->bulk : &ex->raw, r);
        if (bulk && ex->resting)
            pthread_cond_signal(&ex->help);
    }
}

/* Whether `word` is one of `words`, which are separated by blanks; NULL: there are none. */
static bool word_in(const char *word, const char *words)
{
    size_t n = strlen(word);
    for (const char *at = words; at && (at = strstr(at, word)); at += n)
        if ((at == words || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0'))
            return true;
    return false;
}

/* False if it was answered with an error, or nobody waits for it. */
static bool prepare(struct sc_executor *ex, struct sconce_request *r)
{
    if (sc_port_closed(r->ref->port))
        return false;
    struct sconce_error *e = NULL;
    if (r->interface[0] && !word_in(r->interface, ex->info.interfaces))
        e = sconce_error_new(SCONCE_BAD_REQUEST, "The model does not have the interface %s, but: %.160s",
                             r->interface,
                             ex->info.interfaces ? ex->info.interfaces : "none beside /predictions");
    else if (ex->ops->request_prepare)
        e = ex->ops->request_prepare(ex->model, r, &r->cost);
    if (!e)
        return r->items || sc_items_set(r, 1, NULL);
    sconce_response_fail(r, e);
    sc_port_flush(r->ref->port);
    return false;
}

void sc_intake_prepare(struct sc_executor *ex, struct sc_request_list *from)
{
    struct sconce_request *r = sc_requests_pop(from);
    if (!r)
        return;
    pthread_mutex_unlock(&ex->lock);
    bool good = prepare(ex, r);
    pthread_mutex_lock(&ex->lock);
    if (good)
        sc_ready_push(&ex->ready, r);
    else
        sc_intake_recycle(ex, r);
}

void sc_intake_drop(struct sc_executor *ex)
{
    struct sconce_request *r;
    while ((r = sc_requests_pop(&ex->raw)) || (r = sc_requests_pop(&ex->bulk)))
        sc_intake_recycle(ex, r);
    while ((r = sc_ready_pop(&ex->ready))) {
        uint32_t rest = r->nitems - r->given;
        r->dropped = true;
        if (atomic_fetch_sub(&r->left, rest) != rest)
            continue; /* the lane that computes the last of it lets go */
        if (ex->ops->request_discard)
            ex->ops->request_discard(ex->model, r);
        sc_intake_recycle(ex, r);
    }
}
