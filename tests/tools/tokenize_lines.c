/*
 * Tokenises texts for comparisons from outside.
 *
 *     tokenize_lines FOLDER MAX_POSITIONS [--origins] [--windows STRIDE MAX_LENGTH first|second] [--decode]
 *                    [--bench ROUNDS] < texts > ids
 *
 * stdin: for each case the length of the text (32 bits, this machine's order), the text, the length of its
 * pair or 0xFFFFFFFF, the pair. stdout: for each case the number of ids, or 0xFFFFFFFF where encoding failed,
 * the ids (32 bits each), the type ids (8 bits each); with --origins behind them for each id its place in
 * characters and in bytes, its word and its sequence (six numbers of 32 bits); with --decode behind that the
 * length of the text that the ids become and the text, twice: with and without special tokens. With --windows
 * each case begins with the number of windows, and each window is an encoding. With --bench nothing of that:
 * one line with the best round's seconds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

struct options {
    struct sc_encode_options encode;
    bool windows, decode;
    long bench;
};

/* Time that this process computed: what others do on the machine is not in it. */
static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void put(FILE *out, uint32_t n)
{
    fwrite(&n, sizeof(n), 1, out);
}

static void put_decoded(const struct sc_tokenizer *t, const struct sc_encoding *e, bool skip, FILE *out)
{
    struct sc_buf text;
    sc_buf_init(&text, 1 << 28);
    if (sc_tokenizer_decode(t, e->ids, e->n, skip, &text) < 0) {
        put(out, NONE);
    } else {
        put(out, (uint32_t)text.n);
        if (text.n)
            fwrite(text.p, 1, text.n, out);
    }
    sc_buf_free(&text);
}

static void put_encoding(const struct sc_tokenizer *t, const struct sc_encoding *e, const struct options *o,
                         FILE *out)
{
    put(out, e->n);
    fwrite(e->ids, sizeof(*e->ids), e->n, out);
    fwrite(e->type_ids, 1, e->n, out);
    for (uint32_t i = 0; i < e->n && o->encode.origins; i++) {
        const struct sc_origin *from = &e->origins[i];
        put(out, from->chars.start);
        put(out, from->chars.end);
        put(out, from->bytes.start);
        put(out, from->bytes.end);
        put(out, from->word);
        put(out, from->sequence);
    }
    if (o->decode) {
        put_decoded(t, e, false, out);
        put_decoded(t, e, true, out);
    }
}

/* Encodes every case; with `out` writes what came of it. The number of cases, -1 if stdin breaks off. */
static long run(const struct sc_tokenizer *t, struct input in, struct sc_encoding *e, const struct options *o,
                FILE *out, uint64_t *ids)
{
    long cases = 0;
    struct sc_span text, pair;
    for (; in.n; cases++) {
        uint32_t n = 1;
        if (!take_span(&in, &text) || !text.p || !take_span(&in, &pair))
            return -1;
        int rc = o->windows ? sc_tokenizer_windows(t, text, pair, &o->encode, e, &n)
                            : sc_tokenizer_encode_with(t, text, pair, &o->encode, e);
        *ids += rc < 0 ? 0 : e->n;
        if (!out)
            continue;
        if (rc < 0) {
            put(out, NONE);
            continue;
        }
        if (o->windows)
            put(out, n);
        for (uint32_t k = 0; k < n; k++) {
            if (k)
                sc_tokenizer_window(t, e, k);
            put_encoding(t, e, o, out);
        }
    }
    return cases;
}

static bool parse_options(int argc, char **argv, struct options *o)
{
    for (int i = 3; i < argc; i++) {
        if (strcmp(argv[i], "--origins") == 0) {
            o->encode.origins = true;
        } else if (strcmp(argv[i], "--decode") == 0) {
            o->decode = true;
        } else if (strcmp(argv[i], "--bench") == 0 && i + 1 < argc) {
            o->bench = strtol(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--windows") == 0 && i + 3 < argc) {
            o->windows = true;
            o->encode.stride = (uint32_t)strtoul(argv[++i], NULL, 10);
            o->encode.max_length = (uint32_t)strtoul(argv[++i], NULL, 10);
            o->encode.truncation = strcmp(argv[++i], "first") == 0 ? SC_TRUNCATE_FIRST : SC_TRUNCATE_SECOND;
        } else {
            return false;
        }
    }
    return argc >= 3;
}

int main(int argc, char **argv)
{
    struct options o = {0};
    if (!parse_options(argc, argv, &o)) {
        fprintf(stderr,
                "usage: %s FOLDER MAX_POSITIONS [--origins] [--windows STRIDE MAX_LENGTH first|second] "
                "[--decode] "
                "[--bench ROUNDS] < texts\n",
                argv[0]);
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
    if (all && o.bench > 0) {
        int64_t best = INT64_MAX;
        long cases = 0;
        for (long round = o.bench; round > 0; round--) {
            ids = 0;
            int64_t start = cpu_ns();
            cases = run(t, in, &e, &o, NULL, &ids);
            int64_t took = cpu_ns() - start;
            best = took < best ? took : best;
        }
        printf("%.6f seconds %ld cases %llu ids %zu bytes\n", (double)best / 1e9, cases,
               (unsigned long long)ids, in.n);
    } else if (all && run(t, in, &e, &o, stdout, &ids) < 0) {
        fprintf(stderr, "the input breaks off inside a case\n");
        rc = 1;
    }
    sc_encoding_free(&e);
    sc_tokenizer_del(t);
    free(all);
    return rc;
}
