#include "api/answer.h"

#include <stdio.h>

#include "api/respond.h"
#include "worker/meta.h"

/* Headers that a worker set: all keys that are not ours. */
static unsigned collect_headers(struct sc_span meta, struct sc_http_header *h, unsigned max)
{
    size_t at = 0;
    unsigned n = 0;
    struct sc_span key, value;
    while (n < max && sc_meta_next(meta, &at, &key, &value))
        if (key.n && key.p[0] != ':')
            h[n++] = (struct sc_http_header){key, value};
    return n;
}

void sc_answer_head(int status, struct sc_span meta, struct sc_answer_head *h)
{
    struct sc_span reason = sc_span_sub(sc_meta_get(meta, SC_SPAN(":reason")), 0, sizeof h->reason - 1);
    if (reason.n)
        memcpy(h->reason, reason.p, reason.n);
    h->reason[reason.n] = '\0';
    h->r = (struct sc_http_response){
        .status = status,
        .reason = h->reason,
        .content_type = sc_meta_get(meta, SC_SPAN(":content-type")),
        .headers = h->headers,
        .nheaders = collect_headers(meta, h->headers, SC_COUNT(h->headers)),
    };
}

struct sc_span sc_answer_type(const struct sc_job_answer *a)
{
    return a->type.p ? a->type : sc_meta_get(a->meta, SC_SPAN(":type"));
}

void sc_answer_error(struct sc_http_exchange *x, const struct sc_job_answer *a, bool native)
{
    char name[64];
    int status = a->status < 400 ? 500 : a->status;
    if (status == 413 && !native)
        status = 507; /* a handler's 413 means that it ran out of something (docs/contract.md §4) */
    snprintf(name, sizeof name, "%.*s", SC_FMT(sc_answer_type(a)));
    sc_respond_error(x, status, name, a->body.p ? a->body : SC_SPAN(""));
}
