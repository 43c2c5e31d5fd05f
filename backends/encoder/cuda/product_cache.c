#include "cuda/product_cache.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mix.h"

#define MAGIC 0x32544c43u /* grows with struct sc_product_entry */
#define STEP 64           /* entries that memory grows by */

struct head {
    uint32_t magic, n;
    uint64_t sum; /* of the entries */
    char identity[240];
};

static bool path_of(char *path, size_t size, const char *dir, const char *identity, const char *suffix)
{
    unsigned long long id = sc_mix_bytes(SC_MIX_START, identity, strlen(identity));
    int n = dir && *dir ? snprintf(path, size, "%s/cublaslt-%016llx%s", dir, id, suffix) : -1;
    return n > 0 && (size_t)n < size;
}

static bool believable(const struct head *h, const char *identity)
{
    return h->magic == MAGIC && h->n <= SC_ENCODER_ALGORITHMS_MAX &&
           memchr(h->identity, 0, sizeof h->identity) && strcmp(h->identity, identity) == 0;
}

void sc_product_cache_read(struct sc_product_cache *c, const char *dir, const char *identity)
{
    char path[4096];
    struct head h;
    *c = (struct sc_product_cache){0};
    FILE *f = path_of(path, sizeof path, dir, identity, "") ? fopen(path, "re") : NULL;
    if (!f)
        return;
    if (fread(&h, sizeof h, 1, f) == 1 && believable(&h, identity)) {
        size_t room = (h.n + STEP - 1) / STEP * STEP;
        c->entry = calloc(SC_MAX(room, (size_t)STEP), sizeof *c->entry);
        if (c->entry && fread(c->entry, sizeof *c->entry, h.n, f) == h.n &&
            sc_mix_bytes(SC_MIX_START, c->entry, h.n * sizeof *c->entry) == h.sum)
            c->n = h.n;
    }
    fclose(f);
    if (c->n == 0)
        sc_product_cache_free(c);
}

const struct sc_product_entry *sc_product_cache_find(const struct sc_product_cache *c,
                                                     const struct sc_product_kind *kind, uint32_t rows)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (c->entry[i].rows == rows && memcmp(&c->entry[i].kind, kind, sizeof *kind) == 0)
            return &c->entry[i];
    return NULL;
}

void sc_product_cache_add(struct sc_product_cache *c, const struct sc_product_entry *e)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (c->entry[i].rows == e->rows && memcmp(&c->entry[i].kind, &e->kind, sizeof e->kind) == 0) {
            c->entry[i] = *e;
            return;
        }
    if (c->n == SC_ENCODER_ALGORITHMS_MAX)
        return;
    if (c->n % STEP == 0) {
        struct sc_product_entry *more = realloc(c->entry, (c->n + STEP) * sizeof *more);
        if (!more)
            return;
        c->entry = more;
    }
    c->entry[c->n++] = *e;
}

static bool write_all(FILE *f, const struct sc_product_cache *c, const char *identity)
{
    struct head h = {
        .magic = MAGIC, .n = c->n, .sum = sc_mix_bytes(SC_MIX_START, c->entry, c->n * sizeof *c->entry)};
    snprintf(h.identity, sizeof h.identity, "%s", identity);
    return fwrite(&h, sizeof h, 1, f) == 1 && fwrite(c->entry, sizeof *c->entry, c->n, f) == c->n;
}

int sc_product_cache_write(const struct sc_product_cache *c, const char *dir, const char *identity)
{
    char path[4096], part[4096], suffix[32];
    snprintf(suffix, sizeof suffix, ".%ld", (long)getpid());
    if (c->n == 0 || !path_of(path, sizeof path, dir, identity, "") ||
        !path_of(part, sizeof part, dir, identity, suffix))
        return 0;
    if (mkdir(dir, 0755) < 0 && errno != EEXIST)
        return SC_ESYS;
    FILE *f = fopen(part, "we");
    if (!f)
        return SC_ESYS;
    bool good = write_all(f, c, identity);
    if (fclose(f) != 0)
        good = false;
    if (good && rename(part, path) == 0)
        return 0;
    int saved = errno;
    unlink(part);
    errno = saved;
    return SC_ESYS;
}

void sc_product_cache_free(struct sc_product_cache *c)
{
    free(c->entry);
    *c = (struct sc_product_cache){0};
}
