/*
 * What characters are, as the `tokenizers` package sees them: classes, lower case, normal forms.
 *
 * One table look-up per character.
 */
#ifndef SC_ENCODER_TOKENIZER_UNICODE_H
#define SC_ENCODER_TOKENIZER_UNICODE_H

#include <stdint.h>

#include "base/array.h"

/* What a character is: bits of its entry. */
enum sc_char_is {
    SC_IS_LETTER = 1 << 0,      /* \p{L} */
    SC_IS_NUMBER = 1 << 1,      /* \p{N} */
    SC_IS_REGEX_SPACE = 1 << 2, /* \s of regular expressions */
    SC_IS_SPACE = 1 << 3,       /* White_Space */
    SC_IS_WORD = 1 << 4,        /* \w */
    SC_IS_DIGIT = 1 << 5,       /* of the Digits pre-tokenizer */
    SC_IS_PUNCT = 1 << 6,
    SC_IS_MARK = 1 << 7,        /* removed by StripAccents */
    SC_IS_EXTEND = 1 << 8,      /* grapheme clusters: belongs to what is before it */
    SC_IS_PREPEND = 1 << 9,     /* ... what is behind belongs to it */
    SC_IS_CONTROL = 1 << 10,    /* ... a cluster of its own */
    SC_IS_PICTURE = 1 << 11,    /* ... belongs to a picture and a joiner before it */
    SC_IS_CASED = 1 << 12,      /* has another lower case */
    SC_IS_CHINESE = 1 << 13,    /* set apart by BertNormalizer */
    SC_IS_UNCLEAN = 1 << 14,    /* removed by BertNormalizer's clean_text */
    SC_IS_COMPOSED = 1 << 15,   /* has a canonical decomposition */
    SC_IS_COMPATIBLE = 1 << 16, /* has another compatibility decomposition */
    SC_IS_SECOND = 1 << 17,     /* may compose with what is before it */
    SC_IS_BERT_MARK = 1 << 19,  /* removed by BertNormalizer's strip_accents, which keeps spacing marks */
    SC_IS_NOT_NFC = 1 << 18,    /* does not stay as it is in NFC */
};
/* Any of these, or a combining class: the character may change in the form. */
#define SC_NFD_MAYBE (SC_IS_COMPOSED | SC_CHAR_CLASS_MASK)
#define SC_NFKD_MAYBE (SC_NFD_MAYBE | SC_IS_COMPATIBLE)
#define SC_NFC_MAYBE (SC_IS_NOT_NFC | SC_IS_SECOND | SC_CHAR_CLASS_MASK)
#define SC_NFKC_MAYBE (SC_NFC_MAYBE | SC_IS_COMPATIBLE)

/* The top byte of an entry is the canonical combining class. */
#define SC_CHAR_CLASS_MASK 0xFF000000u
#define SC_CHAR_CLASS(entry) ((entry) >> 24)

#define SC_UNICODE_BLOCK 256u

struct sc_unicode {
    uint16_t index[0x110000 / SC_UNICODE_BLOCK];
    uint32_t *entries;
};

/* The process's one table, which is made when it is first asked for and stays; NULL if there was no memory.
 * Any thread. */
const struct sc_unicode *sc_unicode_get(void);

static inline uint32_t sc_unicode_entry(const struct sc_unicode *u, uint32_t c)
{
    return u->entries[u->index[c / SC_UNICODE_BLOCK] * SC_UNICODE_BLOCK + c % SC_UNICODE_BLOCK];
}

/* The lower case of c, up to two characters; returns how many. */
unsigned sc_unicode_lower(uint32_t c, uint32_t to[2]);

#define SC_FORM_MAX 18 /* characters of the longest decomposition */

/* The full decomposition of c, itself if it has none; returns how many characters. */
unsigned sc_unicode_decompose(uint32_t entry, uint32_t c, int compatible, uint32_t to[SC_FORM_MAX]);
/* What a and b compose to, 0 if they do not. */
uint32_t sc_unicode_compose(uint32_t a, uint32_t b);

#endif
