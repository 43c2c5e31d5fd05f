/*
 * Chosen algorithms on disk: one file per library version, GPU and driver, so that a restart measures
 * nothing.
 *
 * A file is only ever a shortcut: one that is missing, damaged, of another version or too large is no
 * entries. Written whole under another name and then renamed, so that two executors never mix theirs.
 */
#ifndef SC_ENCODER_CUDA_PRODUCT_CACHE_H
#define SC_ENCODER_CUDA_PRODUCT_CACHE_H

#include "cuda/product.h"

struct sc_product_entry {
    struct sc_product_kind kind;
    uint32_t rows; /* bucket */
    uint64_t workspace;
    cublasLtMatmulAlgo_t algo;
};

struct sc_product_cache {
    struct sc_product_entry *entry;
    uint32_t n;
};

/* Reads what folder `dir` has for `identity`; empty if dir is NULL or "". The caller frees. */
void sc_product_cache_read(struct sc_product_cache *c, const char *dir, const char *identity);
/* The entry for a bucket, NULL if there is none. */
const struct sc_product_entry *sc_product_cache_find(const struct sc_product_cache *c,
                                                     const struct sc_product_kind *kind, uint32_t rows);
/* Adds or replaces an entry; dropped when there is no memory or SC_ENCODER_ALGORITHMS_MAX are there. */
void sc_product_cache_add(struct sc_product_cache *c, const struct sc_product_entry *e);
/* Writes the file, making dir (not its parents) if need be. 0, or SC_ESYS with errno. */
int sc_product_cache_write(const struct sc_product_cache *c, const char *dir, const char *identity);
void sc_product_cache_free(struct sc_product_cache *c);

#endif
