/* From what came back of a job to HTTP: heads and errors. The exchange's loop. */
#ifndef SC_API_ANSWER_H
#define SC_API_ANSWER_H

#include "base/limits.h"
#include "model/engine.h"
#include "net/http.h"

/* What a normal answer says before its body; `r` points into it and into the metadata that it was made of. */
struct sc_answer_head {
    char reason[256];
    struct sc_http_header headers[SC_HTTP_HEADERS_MAX];
    struct sc_http_response r; /* without a body */
};

/* Status, phrase, content type and headers as a worker's metadata has them. */
void sc_answer_head(int status, struct sc_span meta, struct sc_answer_head *h);

/* The type of what came in place of an answer; a NULL pointer if it is one. */
struct sc_span sc_answer_type(const struct sc_job_answer *a);
/* Sends an error (sc_job_failed). */
void sc_answer_error(struct sc_http_exchange *x, const struct sc_job_answer *a, bool native);

#endif
