/*
 * Times the engine alone: bench_encoder_cpu FOLDER [builtin|onednn] LENGTHS BATCH SECONDS [PLUGIN_DIR]
 *
 * LENGTHS is a list of sequence lengths (16,64,512), each timed alone, or mix: short texts from 5 to 40
 * tokens with a few of 150. Prints for each: sequences a second (best of the calls, and mean), GFLOP/s at
 * best. Tokens are random.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cpu/choose.h"
#include "cpu/engine.h"

static uint64_t seed = 88172645463325252u;

static uint32_t below(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed % n);
}

static int run(struct sc_engine *e, struct sc_engine_lane *l, uint32_t vocab, const uint32_t *length,
               uint32_t n, double seconds, const char *title)
{
    uint32_t tokens = 0;
    double flops = 0;
    for (uint32_t i = 0; i < n; i++) {
        tokens += length[i];
        flops += sc_engine_flops(e, length[i]);
    }
    uint32_t *ids = malloc(tokens * sizeof *ids), *begin = calloc(n + 1, sizeof *begin);
    uint8_t *types = calloc(tokens, 1);
    float *out = malloc((size_t)n * 16384 * sizeof *out);
    if (!ids || !begin || !types || !out)
        return 1;
    for (uint32_t t = 0; t < tokens; t++)
        ids[t] = below(vocab);
    for (uint32_t i = 0; i < n; i++)
        begin[i + 1] = begin[i] + length[i];
    struct sc_batch b = {.ids = ids, .types = types, .begin = begin, .sequences = n};
    int rc = sc_engine_run(l, &b, out);
    double best = 1e9, total = 0;
    int calls = 0;
    for (int64_t end = sc_clock_ns() + (int64_t)(seconds * 1e9);
         rc == 0 && (calls < 3 || sc_clock_ns() < end); calls++) {
        int64_t start = sc_clock_ns();
        rc = sc_engine_run(l, &b, out);
        double took = (double)(sc_clock_ns() - start) * 1e-9;
        total += took;
        best = took < best ? took : best;
    }
    if (rc < 0)
        fprintf(stderr, "%s\n", sc_strerror(rc));
    else
        printf("%s batch %u: best %.1f seq/s, mean %.1f, %.1f GFLOP/s\n", title, n, n / best,
               n * calls / total, flops / best * 1e-9);
    fflush(stdout);
    free(ids);
    free(begin);
    free(types);
    free(out);
    return rc < 0;
}

int main(int argc, char **argv)
{
    struct sc_msg msg, warning;
    struct sc_bert model;
    const struct sc_matmul_ops *ops;
    struct sc_engine *e;
    if (argc < 6) {
        fprintf(stderr, "usage: %s FOLDER auto|builtin|onednn LENGTHS|mix BATCH SECONDS [PLUGIN_DIR]\n",
                argv[0]);
        return 2;
    }
    uint32_t batch = (uint32_t)atoi(argv[4]), vocab;
    if (sc_matmul_choose(&ops, argv[2], argc > 6 ? argv[6] : ".", &warning, &msg) < 0 ||
        sc_bert_open(&model, argv[1], &msg) < 0) {
        fprintf(stderr, "%s\n", msg.text);
        return 1;
    }
    if (warning.text[0])
        fprintf(stderr, "%s\n", warning.text);
    vocab = model.config.vocab;
    int64_t start = sc_clock_ns();
    if (sc_engine_new(&e, &model, ops, batch * 512 > 65536 ? 65536 : batch * 512, &msg) < 0) {
        fprintf(stderr, "%s\n", msg.text);
        return 1;
    }
    sc_bert_close(&model);
    fprintf(stderr, "%s, kernels %s, packed in %.0f ms\n", ops->name, sc_kernels_best()->name,
            (double)(sc_clock_ns() - start) * 1e-6);
    struct sc_engine_lane *l = sc_engine_lane_new(e);
    uint32_t *length = malloc((batch + 1) * sizeof *length);
    int rc = !l || !length;
    if (!rc && strcmp(argv[3], "mix") == 0) {
        for (uint32_t i = 0; i < batch; i++)
            length[i] = i % 16 == 15 ? 150 : 5 + below(36);
        rc = run(e, l, vocab, length, batch, atof(argv[5]), "mix");
    }
    for (char *p = strcmp(argv[3], "mix") == 0 ? NULL : strtok(argv[3], ","); !rc && p;
         p = strtok(NULL, ",")) {
        for (uint32_t i = 0; i < batch; i++)
            length[i] = (uint32_t)atoi(p);
        char title[32];
        snprintf(title, sizeof title, "length %s", p);
        rc = run(e, l, vocab, length, batch, atof(argv[5]), title);
    }
    free(length);
    sc_engine_lane_del(l);
    sc_engine_del(e);
    return rc;
}
