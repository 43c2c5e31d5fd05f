/*
 * Bodies of requests: from a file, a folder, the lines of a file, or made up. Blocks; the list belongs to the
 * object, which is freed with sc_payload_free.
 */
#ifndef SC_LOAD_PAYLOAD_H
#define SC_LOAD_PAYLOAD_H

#include "base/array.h"
#include "base/buf.h"
#include "base/error.h"

struct sc_payload {
    struct sc_span *bodies;
    size_t n;
    char **memory; /* what they lie in */
    size_t nmemory, used;
    const char *content_type; /* a guess; NULL: none */
};

/* One body out of a file; of a folder one out of each file (not of folders in it), by name. SC_ENOTFOUND,
 * SC_ELIMIT, SC_ESYS, SC_EINVAL (no file in it) with *msg. */
int sc_payload_path(struct sc_payload *p, const char *path, struct sc_msg *msg) SC_MUST_USE;
/* A body out of each line that is not empty (JSONL, texts). */
int sc_payload_lines(struct sc_payload *p, const char *path, struct sc_msg *msg) SC_MUST_USE;
/* One body, copied. */
void sc_payload_text(struct sc_payload *p, struct sc_span text);

/*
 * `n` texts of English words, the same for the same seed. lengths: how many words, "12", "5:40" (evenly),
 * "normal:30:10" (mean, deviation) or "lognormal:30:0.6" (median, sigma); at least 1 and at most
 * SC_LOAD_WORDS_MAX. around: the body, with the text in place of each "{text}" (words and blanks: nothing to
 * escape); NULL: the text alone.
 */
int sc_payload_made(struct sc_payload *p, size_t n, const char *lengths, const char *around, uint64_t seed,
                    struct sc_msg *msg) SC_MUST_USE;

void sc_payload_free(struct sc_payload *p);

#endif
