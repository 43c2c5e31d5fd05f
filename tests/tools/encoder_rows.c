/*
 * Runs an encoder's network alone, for comparisons from outside.
 *
 *     encoder_rows FOLDER [task=NAME] [pooling=NAME] [matmul=NAME] [dtype=NAME] [plugins=DIR] < batches >
 * rows
 *
 * stdin: for each batch three numbers (sequences, tokens, picks), then sequences + 1 places where sequences
 * begin, the ids, the picks (all of 32 bits, this machine's order) and the types (8 bits). stdout: for each
 * batch the numbers of rows and columns, then as many floats. A folder that is refused: its message to
 * stderr, status 1.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "model/folder.h"

#define MOST 65536 /* tokens of a batch */

struct batch {
    uint32_t n[3]; /* sequences, tokens, picks */
    uint32_t begin[MOST + 1], ids[MOST], picks[MOST];
    uint8_t types[MOST];
};

static int refused(const char *why)
{
    fprintf(stderr, "%s\n", why);
    return 1;
}

static bool take(void *to, size_t size, size_t n)
{
    return fread(to, size, n, stdin) == n;
}

static bool read_batch(struct batch *b)
{
    return take(b->n, sizeof *b->n, 3) && b->n[0] <= MOST && b->n[1] <= MOST && b->n[2] <= MOST &&
           take(b->begin, sizeof *b->begin, b->n[0] + 1) && take(b->ids, sizeof *b->ids, b->n[1]) &&
           take(b->picks, sizeof *b->picks, b->n[2]) && take(b->types, 1, b->n[1]);
}

static int run(struct sc_engine_lane *l)
{
    static struct batch in;
    while (read_batch(&in)) {
        struct sc_batch b = {.ids = in.ids,
                             .types = in.types,
                             .begin = in.begin,
                             .sequences = in.n[0],
                             .picks = in.picks,
                             .picks_n = in.n[2]};
        uint32_t size[2] = {sc_engine_rows(l->engine, &b), sc_engine_columns(l->engine)};
        size_t n = (size_t)size[0] * size[1];
        float *out = malloc((n + 1) * sizeof *out);
        int rc = out ? sc_engine_run(l, &b, out) : SC_ENOMEM;
        if (rc == 0) {
            fwrite(size, sizeof *size, 2, stdout);
            fwrite(out, sizeof *out, n, stdout);
        }
        free(out);
        if (rc < 0)
            return refused(sc_strerror(rc));
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct sc_encoder_choice choice = {0};
    struct sc_engine_options o = {.max_tokens = MOST, .lanes = 1, .matmul = "builtin", .plugin_dir = "."};
    struct sc_encoder_folder f;
    struct sc_engine *e = NULL;
    struct sc_engine_lane *l = NULL;
    struct sc_msg msg, warning = {""};
    if (argc < 2)
        return refused("usage: encoder_rows FOLDER [task=] [pooling=] [matmul=] [dtype=] [plugins=]");
    for (int i = 2; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (!value)
            return refused(argv[i]);
        *value++ = '\0';
        if (strcmp(argv[i], "task") == 0)
            choice.has_task = sc_task_named(value, &choice.task) == 0;
        else if (strcmp(argv[i], "pooling") == 0)
            choice.has_pooling = sc_pooling_named(value, &choice.pooling) == 0;
        else if (strcmp(argv[i], "matmul") == 0)
            o.matmul = value;
        else if (strcmp(argv[i], "dtype") == 0)
            o.dtype = value;
        else if (strcmp(argv[i], "plugins") == 0)
            o.plugin_dir = value;
        else
            return refused(argv[i]);
    }
    if (sc_encoder_folder_open(&f, argv[1], &choice, &msg) < 0)
        return refused(msg.text);
    int rc = sc_engine_cpu_ops.new(&e, &f.config, &f.weights, &o, &warning, &msg);
    sc_encoder_folder_close(&f);
    if (rc == 0)
        rc = sc_engine_cpu_ops.lane_new(&l, e, &msg);
    rc = rc < 0 ? refused(msg.text) : run(l);
    sc_engine_lane_del(l);
    sc_engine_del(e);
    return rc;
}
