/*
 * Tokenises texts for comparisons from outside.
 *
 *     tokenize_lines FOLDER MAX_POSITIONS [--bench ROUNDS] < texts > ids
 *
 * stdin: for each case the length of the text (32 bits, this machine's order), the text, the length of its
 * pair or 0xFFFFFFFF, the pair. stdout: for each case the number of ids, or 0xFFFFFFFF where encoding failed,
 * the ids (32 bits each), the type ids (8 bits each). With --bench nothing of that: one line with the best
 * round's seconds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tokenizer/tokenizer.h"

#define NONE UINT32_MAX

struct input {
    const char *p;
    size_t n;
};

static bool take(struct input *in, void *to, size_t n)
{
    if (in->n < n)
        return false;
    memcpy(to, in->p, n);
    in->p += n;
    in->n -= n;
    return true;
}

static bool take_span(struct input *in, struct sc_span *s)
{
    uint32_t n;
    if (!take(in, &n, sizeof(n)))
        return false;
    if (n == NONE) {
        *s = sc_span(NULL, 0);
        return true;
    }
    if (n > in->n)
        return false;
    *s = sc_span(in->p, n);
    in->p += n;
    in->n -= n;
    return true;
}

static char *read_all(FILE *f, size_t *n)
{
    size_t cap = 1 << 20;
    char *p = malloc(cap);
    *n = 0;
    while (p) {
        *n += fread(p + *n, 1, cap - *n, f);
        if (*n < cap)
            return p;
        char *more = realloc(p, cap *= 2);
        if (!more)
            free(p);
        p = more;
    }
    return NULL;
}

/* Encodes every case; with `out` writes what came of it. The number of cases, -1 if stdin breaks off. */
static long run(const struct sc_tokenizer *t, struct input in, struct sc_encoding *e, FILE *out,
                uint64_t *ids)
{
    long cases = 0;
    struct sc_span text, pair;
    while (in.n) {
        if (!take_span(&in, &text) || !text.p || !take_span(&in, &pair))
            return -1;
        uint32_t n = sc_tokenizer_encode(t, text, pair, e) < 0 ? NONE : e->n;
        *ids += n == NONE ? 0 : n;
        if (out) {
            fwrite(&n, sizeof(n), 1, out);
            if (n != NONE) {
                fwrite(e->ids, sizeof(*e->ids), n, out);
                fwrite(e->type_ids, 1, n, out);
            }
        }
        cases++;
    }
    return cases;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: %s FOLDER MAX_POSITIONS [--bench ROUNDS] < texts\n", argv[0]);
        return 2;
    }
    struct sc_msg msg = {""};
    struct sc_tokenizer *t;
    if (sc_tokenizer_load(&t, argv[1], (uint32_t)strtoul(argv[2], NULL, 10), &msg) < 0) {
        fprintf(stderr, "%s\n", msg.text);
        return 1;
    }
    struct input in;
    char *all = read_all(stdin, &in.n);
    in.p = all;
    struct sc_encoding e = {0};
    uint64_t ids = 0;
    int rc = all ? 0 : 1;
    if (all && argc == 5 && strcmp(argv[3], "--bench") == 0) {
        int64_t best = INT64_MAX;
        long cases = 0;
        for (long round = strtol(argv[4], NULL, 10); round > 0; round--) {
            ids = 0;
            int64_t start = sc_clock_ns();
            cases = run(t, in, &e, NULL, &ids);
            int64_t took = sc_clock_ns() - start;
            best = took < best ? took : best;
        }
        printf("%.6f seconds %ld cases %llu ids %zu bytes\n", (double)best / 1e9, cases,
               (unsigned long long)ids, in.n);
    } else if (all && run(t, in, &e, stdout, &ids) < 0) {
        fprintf(stderr, "the input breaks off inside a case\n");
        rc = 1;
    }
    sc_encoding_free(&e);
    sc_tokenizer_del(t);
    free(all);
    return rc;
}
