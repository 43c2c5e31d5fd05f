/*
 * Reads one HTTP/1.1 answer after the other from a connection, bytes in, verdict out; no I/O. Bodies go where
 * they are told to go. One object per connection.
 */
#ifndef SC_LOAD_ANSWER_H
#define SC_LOAD_ANSWER_H

#include <stdbool.h>

#include "load/body.h"

#define SC_ANSWER_HEAD_MAX 65536

struct sc_answer {
    /* Of the answer being read; valid once feed has returned 1. */
    unsigned status;
    bool close; /* the server will not take another request on this connection */

    /* private */
    struct sc_body *body;
    int stage;
    uint64_t left; /* of the body or the chunk */
    char *partial; /* a head or chunk line that came in pieces */
    size_t partial_n;
};

/* A zeroed object is ready; free releases what it holds. */
void sc_answer_free(struct sc_answer *a);
/* Expects a new answer; its body, on which the caller has called sc_body_begin, must live until the answer is
 * complete, and is ended then. */
void sc_answer_begin(struct sc_answer *a, struct sc_body *body);
/*
 * Reads n bytes. 1: the answer is complete and these bytes end with it; 0: it goes on; SC_EPROTO: these are
 * no answer, or more than one; SC_ELIMIT: its head is too large.
 */
int sc_answer_feed(struct sc_answer *a, const char *p, size_t n);
/* The server closed the connection. 1: that was the end of the body; SC_ECLOSED: the answer is cut short. */
int sc_answer_eof(struct sc_answer *a);
/* True if some bytes of the answer have been seen. */
bool sc_answer_begun(const struct sc_answer *a);

#endif
