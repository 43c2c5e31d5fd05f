/*
 * Times the engine alone: bench_encoder_cpu FOLDER auto|builtin|onednn LENGTHS BATCH SECONDS [PLUGIN_DIR
 * [DTYPE]]
 *
 * LENGTHS is a list of sequence lengths (16,64,512), each timed alone, or mix: short texts from 5 to 40
 * tokens with a few of 150. Prints for each: sequences a second (best of the calls, and mean), GFLOP/s at
 * best. Tokens are random.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine.h"
#include "model/folder.h"

static uint64_t seed = 88172645463325252u;

static uint32_t below(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed % n);
}

static int run(const struct sc_encoder_config *c, struct sc_engine_lane *l, const uint32_t *length,
               uint32_t n, double seconds, const char *title)
{
    uint32_t tokens = 0;
    double flops = 0;
    for (uint32_t i = 0; i < n; i++) {
        tokens += length[i];
        flops += sc_encoder_flops(c, length[i]);
    }
    uint32_t *ids = malloc(tokens * sizeof *ids), *begin = calloc(n + 1, sizeof *begin);
    uint8_t *types = calloc(tokens, 1);
    if (!ids || !begin || !types)
        return 1;
    for (uint32_t t = 0; t < tokens; t++)
        ids[t] = below(c->vocab);
    for (uint32_t i = 0; i < n; i++)
        begin[i + 1] = begin[i] + length[i];
    struct sc_batch b = {.ids = ids, .types = types, .begin = begin, .sequences = n};
    if (c->task == SC_TASK_FILL_MASK) { /* one a text */
        b.picks = begin;
        b.picks_n = n;
    }
    float *out = malloc((size_t)sc_engine_rows(l->engine, &b) * sc_engine_columns(l->engine) * sizeof *out);
    if (!out)
        return 1;
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
    struct sc_msg msg, warning = {""};
    struct sc_encoder_folder model;
    struct sc_engine *e;
    struct sc_engine_lane *l;
    if (argc < 6) {
        fprintf(stderr,
                "usage: %s FOLDER auto|builtin|onednn LENGTHS|mix BATCH SECONDS [PLUGIN_DIR [DTYPE]]\n",
                argv[0]);
        return 2;
    }
    uint32_t batch = (uint32_t)atoi(argv[4]);
    const struct sc_engine_options o = {
        .max_tokens = batch * 512 > 65536 ? 65536 : batch * 512,
        .matmul = argv[2],
        .plugin_dir = argc > 6 ? argv[6] : ".",
        .dtype = argc > 7 ? argv[7] : NULL,
    };
    if (sc_encoder_folder_open(&model, argv[1], NULL, &msg) < 0) {
        fprintf(stderr, "%s\n", msg.text);
        return 1;
    }
    const struct sc_encoder_config *c = &model.config;
    int64_t start = sc_clock_ns();
    if (sc_engine_cpu_ops.new(&e, c, &model.weights, &o, &warning, &msg) < 0 ||
        sc_engine_cpu_ops.lane_new(&l, e, &msg) < 0) {
        fprintf(stderr, "%s\n", msg.text);
        return 1;
    }
    if (warning.text[0])
        fprintf(stderr, "%s\n", warning.text);
    char how[128];
    e->ops->describe(e, how, sizeof how);
    fprintf(stderr, "%s, packed in %.0f ms\n", how, (double)(sc_clock_ns() - start) * 1e-6);
    uint32_t *length = malloc((batch + 1) * sizeof *length);
    int rc = !length;
    if (!rc && strcmp(argv[3], "mix") == 0) {
        for (uint32_t i = 0; i < batch; i++)
            length[i] = i % 16 == 15 ? 150 : 5 + below(36);
        rc = run(c, l, length, batch, atof(argv[5]), "mix");
    }
    for (char *p = strcmp(argv[3], "mix") == 0 ? NULL : strtok(argv[3], ","); !rc && p;
         p = strtok(NULL, ",")) {
        for (uint32_t i = 0; i < batch; i++)
            length[i] = (uint32_t)atoi(p);
        char title[32];
        snprintf(title, sizeof title, "length %s", p);
        rc = run(c, l, length, batch, atof(argv[5]), title);
    }
    free(length);
    sc_engine_lane_del(l);
    sc_engine_del(e);
    sc_encoder_folder_close(&model);
    return rc;
}
