/*
 * What a BERT tokenizer does with each code point: normalisation (clean_text, handle_chinese_chars,
 * strip_accents, lowercase) and the split into words, put together once at load into one table look-up per
 * character.
 *
 * A table is built for one combination of switches and read-only afterwards.
 */
#ifndef SC_ENCODER_TOKENIZER_CHARS_H
#define SC_ENCODER_TOKENIZER_CHARS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/array.h"
#include "base/buf.h"
#include "base/utf8.h"

struct sc_chars_options {
    bool clean_text;
    bool handle_chinese_chars;
    bool strip_accents;
    bool lowercase;
};

/* An entry's low four bits; what the rest holds is said behind each. */
enum sc_char_act {
    SC_CHAR_WORD,       /* part of a word as it is */
    SC_CHAR_WORD_MAP,   /* part of a word as the string at the offset */
    SC_CHAR_SPACE,      /* ends a word */
    SC_CHAR_PUNCT,      /* a word of its own */
    SC_CHAR_PUNCT_MAP,  /* the same as the string at the offset */
    SC_CHAR_ALONE,      /* a word of its own: an ideograph set between spaces */
    SC_CHAR_ALONE_MAP,  /* the same as the string at the offset */
    SC_CHAR_DROP,       /* vanishes */
    SC_CHAR_DROP_START, /* vanishes, but sorted marks do not pass it */
    SC_CHAR_MARK,       /* part of a word, sorted with its neighbours by the combining class */
    SC_CHAR_LIST,       /* several, as the list at the offset */
    SC_CHAR_HANGUL,     /* a syllable that falls into its letters */
};

#define SC_CHAR_ACT(entry) ((enum sc_char_act)((entry) & 15))
#define SC_CHAR_ARG(entry) ((entry) >> 4)
#define SC_CHAR_BLOCK 128
#define SC_CHAR_BLOCKS (0x110000 / SC_CHAR_BLOCK)

/* One of a SC_CHAR_LIST: what it is (WORD, SPACE, PUNCT or MARK), its combining class, the character. */
struct sc_char_item {
    uint8_t act;
    uint8_t class;
    uint8_t n;
    char utf8[4];
};

struct sc_chars {
    uint16_t index[SC_CHAR_BLOCKS]; /* block of entries, counted in blocks */
    uint32_t *entries;
    size_t blocks, cap;
    /* At an offset: for a string its length in bytes, in characters, its bytes; for a list the count, then
     * items. */
    struct sc_buf pool;
    /* The byte that an ASCII character becomes in a word; 0 where it is anything but a plain part of one. */
    uint8_t ascii[256];
    struct sc_chars_options options;
};

/* SC_ENOMEM if memory is gone; free in any case. */
SC_MUST_USE int sc_chars_init(struct sc_chars *t, struct sc_chars_options options);
void sc_chars_free(struct sc_chars *t);

static inline uint32_t sc_chars_entry(const struct sc_chars *t, uint32_t c)
{
    return t->entries[(size_t)t->index[c / SC_CHAR_BLOCK] * SC_CHAR_BLOCK + c % SC_CHAR_BLOCK];
}

/* True for the characters that split words and vanish (White_Space). */
bool sc_char_is_space(uint32_t c);
/* The lower case of c, itself if it has none; U+0130, which has two characters, stays. */
uint32_t sc_char_lower(uint32_t c);

/* Reads the character at p of well-formed UTF-8, its length to *n. */
static inline uint32_t sc_utf8_get(const unsigned char *p, unsigned *n)
{
    if (p[0] < 0x80) {
        *n = 1;
        return p[0];
    }
    if (p[0] < 0xE0) {
        *n = 2;
        return (p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu);
    }
    if (p[0] < 0xF0) {
        *n = 3;
        return (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
    }
    *n = 4;
    return (p[0] & 0x07u) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
}

#endif
