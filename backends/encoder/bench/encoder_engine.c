/*
 * The engines alone, without server and tokenizer:
 *
 *   encoder_engine rows FOLDER cpu|cuda DTYPE MAX_TOKENS IN OUT [task=NAME] [pooling=NAME] [matmul=NAME]
 *   encoder_engine time FOLDER cpu|cuda DTYPE MAX_TOKENS LANES SECONDS SHAPE...
 *   encoder_engine shell FOLDER cpu|cuda DTYPE MAX_TOKENS LANES
 *   encoder_engine again FOLDER cuda DTYPE MAX_TOKENS SHAPE
 *
 * rows computes the batches of file IN and writes their results to OUT: for each the numbers of rows and
 * columns, then as many floats. A batch is words of 32 bits: sequences, picks, keys (0, or as many as
 * sequences), the places where sequences begin (one more than sequences), the ids, the segments, the picks,
 * the keys. A folder that is refused: its message to stderr, status 1. time runs random batches of each SHAPE
 * (LENGTHxTEXTS; mixxTEXTS: 5 to 40 tokens with some of 150; squadxTEXTS: 85 to 384 tokens, 180 in the mean)
 * for SECONDS on LANES threads and prints a line of JSON for each; shell takes lines "SECONDS SHAPE" from
 * standard input, so that other programs can be timed in between.
 */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine.h"
#include "model/folder.h"

#define POOL 16      /* different batches of a shape */
#define TIMES 100000 /* calls whose times are kept */

struct model {
    struct sc_encoder_config config; /* its numbers */
    struct sc_engine *engine;
    unsigned lanes;
    struct sc_engine_lane *lane[SC_LANES_MAX];
};

static int complain(const struct sc_msg *msg)
{
    fprintf(stderr, "%s\n", msg->text);
    return 1;
}

/* What a server keeps for its executors: one block here. */
struct keeper {
    char name[SC_KEPT_NAME_MAX];
    int fd;
    uint64_t size;
};

static int kept(void *arg, const char *name, uint64_t *size)
{
    struct keeper *k = arg;
    *size = k->size;
    return k->fd >= 0 && strcmp(name, k->name) == 0 ? dup(k->fd) : -1;
}

static void keep(void *arg, const char *name, int fd, uint64_t size)
{
    struct keeper *k = arg;
    snprintf(k->name, sizeof k->name, "%s", name);
    k->fd = dup(fd);
    k->size = size;
}

/* NAME=VALUE of `rows`. */
static int option(const char *text, struct sc_encoder_choice *c, const char **matmul)
{
    if (strncmp(text, "task=", 5) == 0) {
        c->has_task = true;
        return sc_task_named(text + 5, &c->task);
    }
    if (strncmp(text, "pooling=", 8) == 0) {
        c->has_pooling = true;
        return sc_pooling_named(text + 8, &c->pooling);
    }
    *matmul = text + 7;
    return strncmp(text, "matmul=", 7) == 0 ? 0 : SC_EINVAL;
}

static int load(struct model *m, char **argv, unsigned lanes, struct keeper *k, char **options)
{
    struct sc_msg msg, warning;
    struct sc_encoder_folder f;
    struct sc_encoder_choice choice = {0};
    struct sc_engine_options o = {.max_tokens = (uint32_t)atoi(argv[5]),
                                  .lanes = lanes,
                                  .dtype = argv[4],
                                  .plugin_dir = getenv("SCONCE_BUILD"),
                                  .kept = k ? kept : NULL,
                                  .keep = k ? keep : NULL,
                                  .keeper = k};
    const struct sc_engine_ops *ops = strcmp(argv[3], "cuda") == 0 ? &sc_engine_cuda_ops : &sc_engine_cpu_ops;
    if (!o.plugin_dir)
        o.plugin_dir = ".";
    for (; *options; options++)
        if (option(*options, &choice, &o.matmul) < 0)
            return complain(&(struct sc_msg){"an option is not known"});
    if (sc_encoder_folder_open(&f, argv[2], &choice, &msg) < 0)
        return complain(&msg);
    int64_t start = sc_clock_ms();
    int rc = ops->new(&m->engine, &f.config, &f.weights, &o, &warning, &msg);
    m->config = f.config;
    sc_encoder_folder_close(&f);
    if (rc < 0)
        return complain(&msg);
    if (warning.text[0])
        fprintf(stderr, "%s\n", warning.text);
    char text[512];
    ops->describe(m->engine, text, sizeof text);
    fprintf(stderr, "%s; loaded in %lld ms\n", text, (long long)(sc_clock_ms() - start));
    for (; m->lanes < lanes; m->lanes++)
        if (ops->lane_new(&m->lane[m->lanes], m->engine, &msg) < 0)
            return complain(&msg);
    return 0;
}

static void unload(struct model *m)
{
    while (m->lanes > 0)
        sc_engine_lane_del(m->lane[--m->lanes]);
    sc_engine_del(m->engine);
}

/* ---- rows -------------------------------------------------------------------------------------- */

static int compute(struct model *m, const uint32_t *words, size_t n, FILE *out)
{
    for (size_t at = 0; at < n;) {
        uint32_t keys = words[at + 2];
        struct sc_batch b = {.sequences = words[at], .picks_n = words[at + 1], .begin = words + at + 3};
        uint32_t tokens = b.begin[b.sequences];
        b.ids = b.begin + b.sequences + 1;
        const uint32_t *types = b.ids + tokens;
        b.picks = types + tokens;
        b.keys = keys ? b.picks + b.picks_n : NULL;
        at = (size_t)(b.picks + b.picks_n + keys - words);
        if (at > n)
            return complain(&(struct sc_msg){"a batch is cut short"});
        uint8_t *segments = malloc(tokens + 1);
        const uint32_t size[2] = {sc_engine_rows(m->engine, &b), sc_engine_columns(m->engine)};
        size_t count = (size_t)size[0] * size[1];
        float *rows = malloc(count * sizeof *rows + 1);
        if (!segments || !rows)
            return 1;
        for (uint32_t i = 0; i < tokens; i++)
            segments[i] = (uint8_t)types[i];
        for (size_t i = 0; i < count; i++)
            rows[i] = NAN; /* what is not written shall show */
        b.types = segments;
        int rc = sc_engine_run(m->lane[0], &b, rows);
        if (rc < 0)
            fprintf(stderr, "batch of %u sequences, %u tokens: %s\n", b.sequences, tokens, sc_strerror(rc));
        if (rc < 0 || fwrite(size, sizeof *size, 2, out) != 2 ||
            fwrite(rows, sizeof *rows, count, out) != count)
            return 1;
        free(segments);
        free(rows);
    }
    return 0;
}

static int rows(struct model *m, const char *in, const char *out)
{
    FILE *f = fopen(in, "re");
    if (!f || fseek(f, 0, SEEK_END) < 0)
        return 1;
    size_t n = (size_t)ftell(f) / sizeof(uint32_t);
    uint32_t *words = malloc(n * sizeof *words + 1);
    rewind(f);
    if (!words || fread(words, sizeof *words, n, f) != n)
        return 1;
    fclose(f);
    f = fopen(out, "we");
    int rc = f ? compute(m, words, n, f) : 1;
    if (f && fclose(f) != 0)
        rc = 1;
    free(words);
    return rc;
}

/* ---- time -------------------------------------------------------------------------------------- */

static uint64_t seed = 88172645463325252u;

static uint32_t below(uint32_t n)
{
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return (uint32_t)(seed % n);
}

static int make(const struct model *m, const char *shape, struct sc_batch *b)
{
    bool squad = strncmp(shape, "squad", 5) == 0;
    const char *count = squad ? shape + 5 : strncmp(shape, "mix", 3) == 0 ? shape + 3 : strchr(shape, 'x');
    uint32_t n = count && *count == 'x' ? (uint32_t)atoi(count + 1) : 0, length = (uint32_t)atoi(shape);
    if (n == 0 || n > (1u << 20))
        return 1;
    uint32_t *begin = calloc(n + 1, sizeof *begin);
    for (uint32_t i = 0; begin && i < n; i++)
        begin[i + 1] = begin[i] + (length         ? length
                                   : squad        ? i % 8 == 7 ? 260 + below(125) : 85 + below(150)
                                          : i % 16 == 15 ? 150
                                                  : 5 + below(36));
    uint32_t *ids = begin ? malloc((begin[n] + 1) * sizeof *ids) : NULL;
    if (!ids)
        return 1;
    for (uint32_t i = 0; i < begin[n]; i++)
        ids[i] = below(m->config.vocab);
    *b = (struct sc_batch){.ids = ids, .begin = begin, .sequences = n};
    if (m->config.task == SC_TASK_FILL_MASK) {
        b->picks = begin;
        b->picks_n = n;
    }
    return 0;
}

struct runner {
    const struct model *m;
    struct sc_engine_lane *lane;
    const struct sc_batch *pool;
    int64_t end;
    float *out, *ms;
    uint32_t calls, first;
    int rc;
    pthread_t thread;
};

static void *run(void *arg)
{
    struct runner *r = arg;
    for (uint32_t i = 0; r->rc == 0 && (i < 3 || sc_clock_ns() < r->end); i++) {
        int64_t start = sc_clock_ns();
        r->rc = sc_engine_run(r->lane, &r->pool[(i + r->first) % POOL], r->out);
        if (r->calls < TIMES)
            r->ms[r->calls] = (float)(sc_clock_ns() - start) * 1e-6f;
        r->calls++;
    }
    return NULL;
}

static int compare(const void *a, const void *b)
{
    const float *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static void report(const char *shape, const struct runner *r, unsigned lanes, const struct sc_batch *b,
                   double s)
{
    double calls = 0, texts = b->sequences, tokens = b->begin[b->sequences];
    float *ms = r[0].ms;
    uint32_t n = r[0].calls < TIMES ? r[0].calls : TIMES;
    for (unsigned i = 0; i < lanes; i++)
        calls += r[i].calls;
    qsort(ms, n, sizeof *ms, compare);
    printf(
        "{\"shape\": \"%s\", \"lanes\": %u, \"texts_s\": %.1f, \"tokens_s\": %.0f, \"batch_tokens\": %.0f, "
        "\"min_ms\": %.4f, \"p50_ms\": %.4f, \"p99_ms\": %.4f}\n",
        shape, lanes, calls * texts / s, calls * tokens / s, tokens, ms[0], ms[n / 2], ms[n * 99 / 100]);
    fflush(stdout);
}

static int time_shape(struct model *m, const char *shape, double seconds)
{
    struct sc_batch pool[POOL] = {0};
    struct runner r[SC_LANES_MAX] = {0};
    int rc = 0;
    for (int i = 0; rc == 0 && i < POOL; i++)
        rc = make(m, shape, &pool[i]);
    size_t most = 0;
    for (int i = 0; rc == 0 && i < POOL; i++) {
        size_t n = sc_engine_rows(m->engine, &pool[i]);
        most = n > most ? n : most;
    }
    for (unsigned i = 0; rc == 0 && i < m->lanes; i++) {
        r[i] = (struct runner){.m = m,
                               .lane = m->lane[i],
                               .pool = pool,
                               .out = malloc((most + 1) * sc_engine_columns(m->engine) * sizeof(float)),
                               .ms = malloc(TIMES * sizeof(float)),
                               .first = i};
        rc = !r[i].out || !r[i].ms;
    }
    /* A short run before: graphs are captured, clocks go up. */
    for (int turn = 0; rc == 0 && turn < 2; turn++) {
        double length = turn ? seconds : 0.2;
        int64_t start = sc_clock_ns();
        for (unsigned i = 0; i < m->lanes; i++) {
            r[i].calls = 0;
            r[i].end = start + (int64_t)(length * 1e9);
            if (i > 0)
                pthread_create(&r[i].thread, NULL, run, &r[i]);
        }
        run(&r[0]);
        for (unsigned i = 1; i < m->lanes; i++)
            pthread_join(r[i].thread, NULL);
        for (unsigned i = 0; i < m->lanes; i++)
            rc = rc ? rc : r[i].rc;
        if (turn && rc == 0)
            report(shape, r, m->lanes, &pool[0], (double)(sc_clock_ns() - start) * 1e-9);
    }
    if (rc)
        fprintf(stderr, "%s: %s\n", shape, rc < 0 ? sc_strerror(rc) : "not a shape, or no memory");
    for (int i = 0; i < POOL; i++) {
        free((void *)(uintptr_t)pool[i].ids);
        free((void *)(uintptr_t)pool[i].begin);
    }
    for (unsigned i = 0; i < m->lanes; i++) {
        free(r[i].out);
        free(r[i].ms);
    }
    return rc;
}

static int shell(struct model *m)
{
    char line[256], shape[128];
    double seconds;
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin))
        if (sscanf(line, "%lf %127s", &seconds, shape) != 2 || time_shape(m, shape, seconds)) {
            printf("failed\n");
            fflush(stdout);
        }
    return 0;
}

static int again(char **argv)
{
    struct keeper k = {.fd = -1};
    char *none[] = {NULL};
    float *answer[2] = {0};
    size_t bytes = 0;
    struct sc_batch b = {0};
    for (int turn = 0; turn < 2; turn++) {
        struct model m = {0};
        int64_t start = sc_clock_ns();
        if (load(&m, argv, 1, &k, none) || (turn == 0 && make(&m, argv[6], &b)))
            return 1;
        bytes = (size_t)sc_engine_rows(m.engine, &b) * sc_engine_columns(m.engine) * sizeof(float);
        answer[turn] = malloc(bytes + 1);
        if (!answer[turn] || sc_engine_run(m.lane[0], &b, answer[turn]) < 0)
            return 1;
        printf("%s: first answer after %.0f ms\n", turn ? "weights there already" : "weights from the file",
               (double)(sc_clock_ns() - start) * 1e-6);
        unload(&m);
    }
    int differ = k.fd < 0 || memcmp(answer[0], answer[1], bytes) != 0;
    printf(k.fd < 0 ? "nothing was kept\n" : differ ? "the answers differ\n" : "the answers are the same\n");
    free(answer[0]);
    free(answer[1]);
    return differ;
}

int main(int argc, char **argv)
{
    struct model m = {0};
    const char *mode = argc > 1 ? argv[1] : "";
    bool is_rows = strcmp(mode, "rows") == 0, is_time = strcmp(mode, "time") == 0;
    if ((is_rows && argc < 8) || (is_time && argc < 9) || (!is_rows && !is_time && argc != 7)) {
        fprintf(stderr, "usage: %s rows|time|shell FOLDER cpu|cuda DTYPE MAX_TOKENS ...\n", argv[0]);
        return 2;
    }
    if (strcmp(mode, "again") == 0)
        return again(argv);
    unsigned lanes = is_rows ? 1 : (unsigned)atoi(argv[6]);
    if (lanes < 1 || lanes > SC_LANES_MAX)
        return 2;
    int rc = load(&m, argv, lanes, NULL, is_rows ? argv + 8 : argv + argc);
    if (rc == 0 && is_rows)
        rc = rows(&m, argv[6], argv[7]);
    else if (rc == 0 && !is_time)
        rc = shell(&m);
    for (int i = 8; rc == 0 && is_time && i < argc; i++)
        rc = time_shape(&m, argv[i], atof(argv[7]));
    unload(&m);
    return rc ? 1 : 0;
}
