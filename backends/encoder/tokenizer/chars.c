#include "tokenizer/chars.h"

#include <stdlib.h>

#include "tokenizer/unicode_data.h"

#define HANGUL_FIRST 0xAC00u
#define HANGUL_LAST 0xD7A3u

static bool in_ranges(const uint32_t (*r)[2], size_t n, uint32_t c)
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (r[mid][1] < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && r[lo][0] <= c;
}
#define IN(ranges, c) in_ranges(ranges, SC_COUNT(ranges), c)

bool sc_char_is_space(uint32_t c)
{
    return IN(space_ranges, c);
}

uint32_t sc_char_lower(uint32_t c)
{
    size_t lo = 0, hi = SC_COUNT(case_runs);
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if ((uint32_t)case_runs[mid][1] < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == SC_COUNT(case_runs) || (uint32_t)case_runs[lo][0] > c)
        return c;
    const int32_t *r = case_runs[lo];
    return ((int32_t)c - r[0]) % r[2] ? c : (uint32_t)((int32_t)c + r[3]);
}

static unsigned class_of(uint32_t c)
{
    for (size_t i = 0; i < SC_COUNT(kept_marks); i++)
        if (kept_marks[i][0] == c)
            return kept_marks[i][1];
    return 0;
}

/* What a character of the normalised text is to the split into words. */
static enum sc_char_act kind_of(uint32_t c)
{
    return IN(space_ranges, c) ? SC_CHAR_SPACE : IN(punct_ranges, c) ? SC_CHAR_PUNCT : SC_CHAR_WORD;
}

/* A block of `blocks` that is this one's own, so that it may be written to. */
static int own_block(struct sc_chars *t, uint16_t *shared, size_t at)
{
    if (!shared[at])
        return 0;
    if (t->blocks == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 64;
        uint32_t *p = realloc(t->entries, cap * SC_CHAR_BLOCK * sizeof(*p));
        if (!p)
            return SC_ENOMEM;
        t->entries = p;
        t->cap = cap;
    }
    memcpy(t->entries + t->blocks * SC_CHAR_BLOCK, t->entries + (size_t)t->index[at] * SC_CHAR_BLOCK,
           SC_CHAR_BLOCK * sizeof(*t->entries));
    t->index[at] = (uint16_t)t->blocks++;
    shared[at] = 0;
    return 0;
}

static int set(struct sc_chars *t, uint16_t *shared, uint32_t c, uint32_t entry)
{
    int rc = own_block(t, shared, c / SC_CHAR_BLOCK);
    if (!rc)
        t->entries[(size_t)t->index[c / SC_CHAR_BLOCK] * SC_CHAR_BLOCK + c % SC_CHAR_BLOCK] = entry;
    return rc;
}

/* Blocks that a range covers whole share one block of that act: planes of private use cost nothing. */
static int set_range(struct sc_chars *t, uint16_t *shared, uint32_t first, uint32_t last,
                     enum sc_char_act act)
{
    int rc = 0, uniform = -1;
    for (uint32_t c = first; c <= last && !rc; c++) {
        size_t at = c / SC_CHAR_BLOCK;
        if (c % SC_CHAR_BLOCK == 0 && last - c >= SC_CHAR_BLOCK - 1) {
            if (uniform < 0) {
                shared[at] = 1;
                rc = own_block(t, shared, at);
                if (rc)
                    break;
                uniform = t->index[at];
                for (unsigned i = 0; i < SC_CHAR_BLOCK; i++)
                    t->entries[(size_t)uniform * SC_CHAR_BLOCK + i] = act;
            }
            t->index[at] = (uint16_t)uniform;
            shared[at] = 1;
            c += SC_CHAR_BLOCK - 1;
        } else {
            rc = set(t, shared, c, act);
        }
    }
    return rc;
}

static int set_ranges(struct sc_chars *t, uint16_t *shared, const uint32_t (*r)[2], size_t n,
                      enum sc_char_act act)
{
    int rc = 0;
    for (size_t i = 0; i < n && !rc; i++)
        rc = set_range(t, shared, r[i][0], r[i][1], act);
    return rc;
}

/* The entry of a character that becomes the n characters of `to`. */
static uint32_t mapped(struct sc_chars *t, const uint32_t *to, unsigned n)
{
    enum sc_char_act kind = kind_of(to[0]);
    bool list = n > 1 && kind != SC_CHAR_WORD;
    for (unsigned i = 0; i < n; i++)
        list |= kind_of(to[i]) != kind || (t->options.strip_accents && class_of(to[i]));
    list |= kind == SC_CHAR_SPACE;

    uint32_t at = (uint32_t)t->pool.n;
    if (list) {
        sc_buf_char(&t->pool, (char)n);
        for (unsigned i = 0; i < n; i++) {
            struct sc_char_item item = {.act = (uint8_t)kind_of(to[i]), .class = (uint8_t)class_of(to[i])};
            if (item.class)
                item.act = SC_CHAR_MARK;
            item.n = (uint8_t)sc_utf8_put(item.utf8, to[i]);
            sc_buf_add(&t->pool, &item, sizeof(item));
        }
        return at << 4 | SC_CHAR_LIST;
    }
    char utf8[16];
    unsigned bytes = 0;
    for (unsigned i = 0; i < n; i++)
        bytes += sc_utf8_put(utf8 + bytes, to[i]);
    sc_buf_char(&t->pool, (char)bytes);
    sc_buf_char(&t->pool, (char)n);
    sc_buf_add(&t->pool, utf8, bytes);
    return at << 4 | (kind == SC_CHAR_PUNCT ? SC_CHAR_PUNCT_MAP : SC_CHAR_WORD_MAP);
}

static int add_case(struct sc_chars *t, uint16_t *shared)
{
    int rc = 0;
    for (size_t i = 0; i < SC_COUNT(case_runs) && !rc; i++)
        for (int32_t c = case_runs[i][0]; c <= case_runs[i][1] && !rc; c += case_runs[i][2]) {
            uint32_t to = (uint32_t)(c + case_runs[i][3]);
            rc = set(t, shared, (uint32_t)c, mapped(t, &to, 1));
        }
    static const uint32_t dotted_i[] = {'i', 0x307};
    return rc ? rc : set(t, shared, 0x130, mapped(t, dotted_i, 2));
}

static int add_strip(struct sc_chars *t, uint16_t *shared)
{
    int rc = set_ranges(t, shared, mark_ranges, SC_COUNT(mark_ranges), SC_CHAR_DROP);
    for (size_t i = 0; i < SC_COUNT(mark_ranges) && !rc; i++)
        for (uint32_t c = mark_ranges[i][0]; c <= mark_ranges[i][1] && !rc; c++)
            if (!IN(nonstarter_ranges, c))
                rc = set(t, shared, c, SC_CHAR_DROP_START);
    for (size_t i = 0; i < SC_COUNT(kept_marks) && !rc; i++)
        rc = set(t, shared, kept_marks[i][0], kept_marks[i][1] << 4 | SC_CHAR_MARK);

    const uint32_t *target = strip_targets;
    for (size_t i = 0; i < SC_COUNT(strip_runs) && !rc; i++)
        for (uint32_t k = 0; k < strip_runs[i][1] && !rc; k++, target++) {
            uint32_t to[4], n = 1;
            if (*target == 0 || *target == 1) {
                rc = set(t, shared, strip_runs[i][0] + k, *target ? SC_CHAR_DROP_START : SC_CHAR_DROP);
                continue;
            }
            if (*target & SC_SEQ(0)) {
                const uint32_t *from = strip_sequences + (*target & ~SC_SEQ(0));
                for (n = 0; n < SC_COUNT(to) && from[n]; n++)
                    to[n] = from[n];
            } else {
                to[0] = *target;
            }
            for (uint32_t m = 0; m < n && t->options.lowercase; m++)
                to[m] = sc_char_lower(to[m]);
            rc = set(t, shared, strip_runs[i][0] + k, mapped(t, to, n));
        }
    return rc ? rc : set_range(t, shared, HANGUL_FIRST, HANGUL_LAST, SC_CHAR_HANGUL);
}

static int add_cjk(struct sc_chars *t, uint16_t *shared)
{
    int rc = 0;
    for (size_t i = 0; i < SC_COUNT(cjk_ranges) && !rc; i++) {
        /* Compatibility ideographs decompose after they were set apart. */
        bool mixed = cjk_ranges[i][0] == 0xF900 || cjk_ranges[i][0] == 0x2F800;
        if (!mixed)
            rc = set_range(t, shared, cjk_ranges[i][0], cjk_ranges[i][1], SC_CHAR_ALONE);
        for (uint32_t c = cjk_ranges[i][0]; mixed && c <= cjk_ranges[i][1] && !rc; c++) {
            uint32_t entry = sc_chars_entry(t, c);
            rc = set(t, shared, c,
                     SC_CHAR_ACT(entry) == SC_CHAR_WORD_MAP ? SC_CHAR_ARG(entry) << 4 | SC_CHAR_ALONE_MAP
                                                            : SC_CHAR_ALONE);
        }
    }
    return rc;
}

static void fill_ascii(struct sc_chars *t)
{
    for (uint32_t c = 0; c < 128; c++) {
        uint32_t entry = sc_chars_entry(t, c);
        if (SC_CHAR_ACT(entry) == SC_CHAR_WORD)
            t->ascii[c] = (uint8_t)c;
        else if (SC_CHAR_ACT(entry) == SC_CHAR_WORD_MAP)
            t->ascii[c] = (uint8_t)t->pool.p[SC_CHAR_ARG(entry) + 2];
    }
}

int sc_chars_init(struct sc_chars *t, struct sc_chars_options options)
{
    memset(t, 0, sizeof(*t));
    t->options = options;
    sc_buf_init(&t->pool, 1u << 20);
    uint16_t *shared = calloc(SC_CHAR_BLOCKS, sizeof(*shared));
    t->entries = calloc((size_t)64 * SC_CHAR_BLOCK, sizeof(*t->entries));
    int rc = SC_ENOMEM;
    if (!shared || !t->entries)
        goto done;
    sc_buf_char(&t->pool, 0); /* the pool has an address, though no entry may need it */
    /* Block 0 stays what all others start as: parts of words. */
    t->cap = 64;
    t->blocks = 1;
    for (size_t i = 0; i < SC_CHAR_BLOCKS; i++)
        shared[i] = 1;

    /* Each step overrides those before it, which come later in the order that the package works in. */
    rc = set_ranges(t, shared, punct_ranges, SC_COUNT(punct_ranges), SC_CHAR_PUNCT);
    if (!rc)
        rc = set_ranges(t, shared, space_ranges, SC_COUNT(space_ranges), SC_CHAR_SPACE);
    if (!rc && options.lowercase)
        rc = add_case(t, shared);
    if (!rc && options.strip_accents)
        rc = add_strip(t, shared);
    if (!rc && options.handle_chinese_chars)
        rc = add_cjk(t, shared);
    if (!rc && options.clean_text)
        rc = set_ranges(t, shared, space_ranges, SC_COUNT(space_ranges), SC_CHAR_SPACE);
    if (!rc && options.clean_text)
        rc = set_ranges(t, shared, drop_ranges, SC_COUNT(drop_ranges), SC_CHAR_DROP);
    if (!rc)
        rc = t->pool.failed;
    if (!rc)
        fill_ascii(t);
done:
    free(shared);
    return rc;
}

void sc_chars_free(struct sc_chars *t)
{
    free(t->entries);
    sc_buf_free(&t->pool);
    memset(t, 0, sizeof(*t));
}
