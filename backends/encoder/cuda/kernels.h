/*
 * The encoder's GPU kernels as the host sees them: names, parameters, launch geometry.
 *
 * Plain C, included by the engine, by the kernels and by the lab (bench/kernels). Every kernel takes one
 * structure by value: `void *params[] = {&args}`. Pointers in it are device pointers. Rows are row-major and
 * lie one behind the other without gaps unless a stride is given. Buffers are aligned to 16 bytes.
 *
 * A batch is flat: the tokens of all sequences one after the other, nothing padded. Counts are read from
 * device memory (struct sc_cu_counts) when a kernel runs, and every kernel walks its work with the stride of
 * its grid: a graph captured for many rows is right for fewer, and a grid that is too small only slow.
 * Work of zero rows writes nothing.
 *
 * Types: T is the type of a kernel's name (_f16, _bf16, _f32). Activations, weights of linears, embeddings
 * and biases of linears are T; gamma and beta of norms are float; all sums are float.
 *
 * Programmatic dependent launch: every kernel waits for the one before it (griddepcontrol.wait) before it
 * reads or writes anything but weights, so on compute capability 9.0 each may be launched with
 * CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION, whatever ran before it. In the generic image the
 * instruction is absent: launch that one without the attribute.
 */
#ifndef SC_ENCODER_CUDA_KERNELS_H
#define SC_ENCODER_CUDA_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum sc_cu_type { SC_CU_F16, SC_CU_BF16, SC_CU_F32 };
enum sc_cu_act { SC_CU_NONE, SC_CU_GELU_ERF, SC_CU_GELU_TANH, SC_CU_RELU, SC_CU_SILU, SC_CU_TANH };
enum sc_cu_pooling { SC_CU_POOL_CLS, SC_CU_POOL_MEAN, SC_CU_POOL_MAX, SC_CU_POOL_LAST };

/* ---- a batch on the device ---- */

/* One token. at: row of the position table (RoBERTa's offset already in it) | segment << 24. Rotary takes the
 * low 24 bits as the place in the sequence. The host has checked both and id against the tables. */
struct sc_cu_token {
    uint32_t id;
    uint32_t at;
};

/* A piece of work of attention: `rows` queries from `row` on, of the sequence that begins at token `begin`
 * and whose first `length` tokens are keys. Queries beyond them are padding that is computed and that no
 * query sees; only without a window. */
struct sc_cu_tile {
    uint32_t begin, length;
    uint32_t row, rows;
};

/* Uploaded with each batch. A kernel's `rows` points to the field that counts its rows. */
struct sc_cu_counts {
    uint32_t tokens, sequences, picks;
    uint32_t small, large; /* tiles */
};

/* In a batch of up to so many tokens all tiles are small. */
#define SC_CU_FEW_TOKENS 512u
/* In a batch of so many tokens sequences up to this length are cut into small tiles, of 16 rows, longer ones
 * into large tiles. */
uint32_t sc_cu_small_length(uint32_t tokens);
/* Rows of a large tile at most. */
#define SC_CU_TILE_ROWS 192u
/* Upper bounds of the tiles of a batch, for allocation. */
#define SC_CU_SMALL_TILES(tokens, sequences) ((tokens) / 16u + (sequences))
#define SC_CU_LARGE_TILES(tokens, sequences) ((tokens) / SC_CU_TILE_ROWS + (sequences))

/*
 * Writes the tiles of a batch (begin: sequences + 1 places, ascending; an empty sequence has none; keys: of
 * each sequence the tokens that are attended to, NULL: all) and sets counts->small and ->large. The bits of a
 * sequence's attention depend on its length and on the kernel that had its tiles (small, large, or few: small
 * ones of a batch too small to fill a GPU), not on where it lies. Any thread.
 */
void sc_cu_tiles(const uint32_t *begin, const uint32_t *keys, uint32_t sequences, struct sc_cu_tile *small,
                 struct sc_cu_tile *large, struct sc_cu_counts *counts);

/* ---- parameters ---- */

/* out[r] = LayerNorm(word[id] + position[at] + type[segment]). position, type: NULL if the model has none.
 * gamma NULL: no norm; beta NULL: norm without bias. */
struct sc_cu_embed {
    const struct sc_cu_token *tokens;
    const void *word, *position, *type;
    const float *gamma, *beta;
    void *out;
    const uint32_t *rows;
    uint32_t hidden;
    float eps;
};

/* s = x + bias + residual; sum = s; out = LayerNorm(s). bias, residual, sum, out, beta may be NULL; gamma may
 * be when out is. out and sum may be x or residual. */
struct sc_cu_norm {
    const void *x, *bias, *residual;
    const float *gamma, *beta;
    void *sum, *out;
    const uint32_t *rows;
    uint32_t hidden;
    float eps;
};

/* out[r][c] = act(x[r][c] + bias[c]). bias may be NULL, out may be x. */
struct sc_cu_activate {
    const void *x, *bias;
    void *out;
    const uint32_t *rows;
    uint32_t cols;
    uint32_t act; /* enum sc_cu_act */
};

/* x has 2 * cols columns: out[r][c] = act(x[r][c] + bias[c]) * (x[r][cols + c] + bias[cols + c]), as
 * ModernBERT's Wi. out may not overlap x. */
struct sc_cu_glu {
    const void *x, *bias;
    void *out;
    const uint32_t *rows;
    uint32_t cols;
    uint32_t act;
};

/* Turns q and k of packed rows [q | k | v] in place by Hugging Face's rotate_half. table[place * head_dim / 2
 * + i] holds cos and sin of place / theta^(2 i / head_dim). */
struct sc_cu_rotary {
    const struct sc_cu_token *tokens;
    void *qkv;
    const float *table; /* pairs (cos, sin) */
    const uint32_t *rows;
    uint32_t heads, head_dim;
};

/*
 * out[r] = softmax(q k' * scale) v for each head, over the keys of r's sequence that are at most `window`
 * places away (window 0: all). qkv: rows of 3 * heads * head_dim, first all heads' q, then k, then v; out:
 * rows of heads * head_dim. tiles and count: the small ones or the large ones. multiprocessors: of the GPU,
 * if the image is the one for 9.0; 0: only kernels that every image has.
 */
struct sc_cu_attention {
    const void *qkv;
    void *out;
    const struct sc_cu_tile *tiles;
    const uint32_t *count;
    uint32_t heads, head_dim;
    uint32_t window;
    float scale;
    uint32_t multiprocessors;
};

/* out[s] from the rows first[s] .. begin[s + 1) of x; first NULL: from begin[s] on. out_f32: out is float,
 * else T. An empty sequence gives zeros. */
struct sc_cu_pool {
    const void *x;
    const uint32_t *begin;
    void *out;
    const uint32_t *rows; /* sequences */
    uint32_t hidden;
    uint32_t pooling; /* enum sc_cu_pooling */
    uint32_t out_f32;
    const uint32_t *first;
};

/* out[i] = x[index[i]], cols columns. With index = begin these are the first tokens of the sequences. */
struct sc_cu_gather {
    const void *x;
    const uint32_t *index;
    void *out;
    const uint32_t *rows; /* of out */
    uint32_t cols;
    uint32_t out_f32; /* out is float, else T */
};

/* out[r][o] = act(x[r] . w[o] + bias[o]) for few outputs (labels). w: [outs, ins]; bias may be NULL. */
struct sc_cu_linear {
    const void *x, *w, *bias;
    void *out;
    const uint32_t *rows;
    uint32_t ins, outs;
    uint32_t act;
    uint32_t out_f32;
};

/*
 * The product of few rows: out[r][o] = act(f(x[r]) . w[o] + bias[o]) + residual[r][o], the weights read
 * before the kernel before it has ended. f is the identity, or LayerNorm over x's row if gamma is given; the
 * rows so normalised are then written to `normed` too, unless that is NULL. bias, residual may be NULL. out
 * may be residual, not x. Only where sc_cu_skinny_fits.
 */
struct sc_cu_skinny {
    const void *x, *w, *bias, *residual;
    const float *gamma, *beta;
    void *normed, *out;
    const uint32_t *rows;
    uint32_t n, k;
    uint32_t act;
    float eps;
};

/* ---- kernels and their launches ---- */

#define SC_CU_KERNELS_OF(X, T) \
    X(embed, T)                \
    X(embed_wide, T)           \
    X(embed_plain, T)          \
    X(norm, T)                 \
    X(norm_wide, T)            \
    X(norm_plain, T)           \
    X(activate, T)             \
    X(glu, T)                  \
    X(rotary, T)               \
    X(attention_plain, T)      \
    X(pool, T)                 \
    X(gather, T)               \
    X(linear, T)
#define SC_CU_KERNELS_OF_HALF(X, T) \
    X(attention_small_32, T)        \
    X(attention_small_64, T)        \
    X(attention_small_96, T)        \
    X(attention_small_128, T)       \
    X(attention_large_32, T)        \
    X(attention_large_64, T)        \
    X(attention_large_96, T)        \
    X(attention_large_128, T)       \
    X(attention_few_32, T)          \
    X(attention_few_64, T)          \
    X(attention_few_96, T)          \
    X(attention_few_128, T)         \
    X(attention_hopper_32, T)       \
    X(attention_hopper_64, T)       \
    X(attention_hopper_96, T)       \
    X(attention_hopper_128, T)      \
    X(skinny, T)                    \
    X(skinny_deep, T)               \
    X(skinny_wide, T)               \
    X(skinny_norm, T)
#define SC_CU_KERNELS(X)          \
    SC_CU_KERNELS_OF(X, f16)      \
    SC_CU_KERNELS_OF(X, bf16)     \
    SC_CU_KERNELS_OF(X, f32)      \
    SC_CU_KERNELS_OF_HALF(X, f16) \
    SC_CU_KERNELS_OF_HALF(X, bf16)

#define SC_CU_ID(name, T) SC_CU_K_##name##_##T,
enum sc_cu_kernel { SC_CU_KERNELS(SC_CU_ID) SC_CU_KERNEL_COUNT };
#undef SC_CU_ID

/* "sc_embed_f16": the symbol in the image. */
const char *sc_cu_kernel_name(enum sc_cu_kernel k);

struct sc_cu_launch {
    enum sc_cu_kernel kernel;
    uint32_t grid[3], block; /* block: threads, one-dimensional */
    uint32_t shared;         /* dynamic shared memory, bytes; above 48 KiB only SC_CU_SHARED_MOST */
};

/* Of kernels of the image for 9.0, which have to be allowed as much (sc_cu_wants_much). */
#define SC_CU_SHARED_MOST (226u << 10)
bool sc_cu_wants_much(enum sc_cu_kernel k);

/*
 * The launch of a kernel for at most `rows` rows (tokens, sequences, picks: what its count counts). The shape
 * fields of *a must be set, pointers need not be: alignment is taken as promised above. rows 0 is answered
 * as 1.
 */
struct sc_cu_launch sc_cu_launch_embed(enum sc_cu_type t, const struct sc_cu_embed *a, uint32_t rows);
struct sc_cu_launch sc_cu_launch_norm(enum sc_cu_type t, const struct sc_cu_norm *a, uint32_t rows);
struct sc_cu_launch sc_cu_launch_activate(enum sc_cu_type t, const struct sc_cu_activate *a, uint32_t rows);
struct sc_cu_launch sc_cu_launch_glu(enum sc_cu_type t, const struct sc_cu_glu *a, uint32_t rows);
struct sc_cu_launch sc_cu_launch_rotary(enum sc_cu_type t, const struct sc_cu_rotary *a, uint32_t rows);
struct sc_cu_launch sc_cu_launch_pool(enum sc_cu_type t, const struct sc_cu_pool *a, uint32_t rows);
struct sc_cu_launch sc_cu_launch_gather(enum sc_cu_type t, const struct sc_cu_gather *a, uint32_t rows);
struct sc_cu_launch sc_cu_launch_linear(enum sc_cu_type t, const struct sc_cu_linear *a, uint32_t rows);
/* tiles: how many of the kind there are at most. Head sizes other than 32, 64, 96, 128, and f32, take
 * attention_plain (head_dim up to 256) for both kinds. */
struct sc_cu_launch sc_cu_launch_attention(enum sc_cu_type t, const struct sc_cu_attention *a, bool large,
                                           uint32_t tiles);

/* f16 and bf16, n and k multiples of 8, k up to 4096, or 1024 with gamma. It pays up to about
 * SC_CU_SKINNY_ROWS rows. */
#define SC_CU_SKINNY_ROWS 32u
bool sc_cu_skinny_fits(enum sc_cu_type t, const struct sc_cu_skinny *a);
struct sc_cu_launch sc_cu_launch_skinny(enum sc_cu_type t, const struct sc_cu_skinny *a, uint32_t rows);

/* ---- images ---- */

/*
 * Fat binaries for cuModuleLoadData. sm_90: for compute capability 9.0 alone. generic: machine code for 7.5
 * and 8.x (bf16 from 8.0 on), and code that the driver compiles for everything later: also for 9.0, to try it
 * there. *size 0 and NULL if the program was built without nvcc.
 */
const void *sc_cu_image_sm90(size_t *size);
const void *sc_cu_image_generic(size_t *size);

#ifdef __cplusplus
}
#endif

#endif
