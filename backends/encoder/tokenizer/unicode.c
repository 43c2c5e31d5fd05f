#include "tokenizer/unicode.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer/chars.h"
#include "tokenizer/unicode_data.h"
#include "tokenizer/unicode_text.h"

#define POINTS 0x110000u
#define BLOCKS (POINTS / SC_UNICODE_BLOCK)
#define HANGUL 0xAC00u
#define HANGUL_N 11172u
#define LEAD 0x1100u
#define LEAD_N 19u
#define VOWEL 0x1161u
#define VOWEL_N 21u
#define TAIL 0x11A7u /* one before the first */
#define TAIL_N 28u

static void mark(uint32_t *all, const uint32_t (*r)[2], size_t n, uint32_t bit)
{
    for (size_t i = 0; i < n; i++)
        for (uint32_t c = r[i][0]; c <= r[i][1]; c++)
            all[c] |= bit;
}
#define MARK(all, ranges, bit) mark(all, ranges, SC_COUNT(ranges), bit)

static void mark_all(uint32_t *all)
{
    MARK(all, letter_ranges, SC_IS_LETTER);
    MARK(all, number_ranges, SC_IS_NUMBER);
    MARK(all, regex_space_ranges, SC_IS_REGEX_SPACE);
    MARK(all, whitespace_ranges, SC_IS_SPACE);
    MARK(all, word_ranges, SC_IS_WORD);
    MARK(all, digit_ranges, SC_IS_DIGIT);
    MARK(all, punctuation_ranges, SC_IS_PUNCT);
    MARK(all, combining_ranges, SC_IS_MARK);
    MARK(all, mark_ranges, SC_IS_BERT_MARK);
    MARK(all, extend_ranges, SC_IS_EXTEND);
    MARK(all, prepend_ranges, SC_IS_PREPEND);
    MARK(all, control_ranges, SC_IS_CONTROL);
    MARK(all, picture_ranges, SC_IS_PICTURE);
    MARK(all, cjk_ranges, SC_IS_CHINESE);
    MARK(all, drop_ranges, SC_IS_UNCLEAN);
    for (size_t i = 0; i < SC_COUNT(case_runs); i++)
        for (int32_t c = case_runs[i][0]; c <= case_runs[i][1]; c += case_runs[i][2])
            all[c] |= SC_IS_CASED;
    all[0x130] |= SC_IS_CASED;
    for (size_t i = 0; i < SC_COUNT(class_ranges); i++)
        for (uint32_t c = class_ranges[i][0]; c <= class_ranges[i][1]; c++)
            all[c] |= class_ranges[i][2] << 24;
    for (size_t i = 0; i < SC_COUNT(canonical_forms); i++)
        all[canonical_forms[i][0]] |= SC_IS_COMPOSED | SC_IS_NOT_NFC;
    for (size_t i = 0; i < SC_COUNT(compatible_forms); i++)
        all[compatible_forms[i][0]] |= SC_IS_COMPATIBLE;
    for (size_t i = 0; i < SC_COUNT(composed_forms); i++) {
        all[composed_forms[i][2]] &= ~(uint32_t)SC_IS_NOT_NFC;
        all[composed_forms[i][1]] |= SC_IS_SECOND;
    }
    for (uint32_t i = 0; i < HANGUL_N; i++)
        all[HANGUL + i] |= SC_IS_COMPOSED;
    for (uint32_t i = 0; i < VOWEL_N; i++)
        all[VOWEL + i] |= SC_IS_SECOND;
    for (uint32_t i = 1; i < TAIL_N; i++)
        all[TAIL + i] |= SC_IS_SECOND;
}

static bool fill(struct sc_unicode *u)
{
    uint32_t *all = calloc(POINTS, sizeof(*all));
    if (!all)
        return false;
    mark_all(all);
    /* Equal blocks are kept once: the distinct ones are moved to the front. */
    size_t kept = 0;
    for (uint32_t b = 0; b < BLOCKS; b++) {
        const uint32_t *block = all + (size_t)b * SC_UNICODE_BLOCK;
        size_t same = 0;
        while (same < kept &&
               memcmp(all + same * SC_UNICODE_BLOCK, block, SC_UNICODE_BLOCK * sizeof(*all)) != 0)
            same++;
        if (same == kept)
            memmove(all + kept++ * SC_UNICODE_BLOCK, block, SC_UNICODE_BLOCK * sizeof(*all));
        u->index[b] = (uint16_t)same;
    }
    u->entries = realloc(all, kept * SC_UNICODE_BLOCK * sizeof(*all));
    if (!u->entries)
        u->entries = all;
    return true;
}

const struct sc_unicode *sc_unicode_get(void)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct sc_unicode table;
    pthread_mutex_lock(&lock);
    bool there = table.entries || fill(&table);
    pthread_mutex_unlock(&lock);
    return there ? &table : NULL;
}

unsigned sc_unicode_lower(uint32_t c, uint32_t to[2])
{
    to[0] = sc_char_lower(c);
    to[1] = 0x307;
    if (c != 0x130)
        return 1;
    to[0] = 'i';
    return 2;
}

static bool find_form(const uint32_t (*forms)[2], size_t n, uint32_t c, const uint32_t **form)
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (forms[mid][0] < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == n || forms[lo][0] != c)
        return false;
    *form = form_pool + forms[lo][1];
    return true;
}

unsigned sc_unicode_decompose(uint32_t entry, uint32_t c, int compatible, uint32_t to[SC_FORM_MAX])
{
    const uint32_t *form = NULL;
    bool found = compatible && entry & SC_IS_COMPATIBLE &&
                 find_form(compatible_forms, SC_COUNT(compatible_forms), c, &form);
    if (!found && entry & SC_IS_COMPOSED) {
        if (c - HANGUL < HANGUL_N) {
            uint32_t i = c - HANGUL, t = i % TAIL_N;
            to[0] = LEAD + i / (VOWEL_N * TAIL_N);
            to[1] = VOWEL + i % (VOWEL_N * TAIL_N) / TAIL_N;
            to[2] = TAIL + t;
            return t ? 3 : 2;
        }
        found = find_form(canonical_forms, SC_COUNT(canonical_forms), c, &form);
    }
    if (!found) {
        to[0] = c;
        return 1;
    }
    unsigned n = SC_MIN(form[0], (uint32_t)SC_FORM_MAX);
    memcpy(to, form + 1, n * sizeof(*to));
    return n;
}

uint32_t sc_unicode_compose(uint32_t a, uint32_t b)
{
    if (a - LEAD < LEAD_N && b - VOWEL < VOWEL_N)
        return HANGUL + ((a - LEAD) * VOWEL_N + (b - VOWEL)) * TAIL_N;
    if (a - HANGUL < HANGUL_N && (a - HANGUL) % TAIL_N == 0 && b - TAIL - 1 < TAIL_N - 1)
        return a + (b - TAIL);
    size_t lo = 0, hi = SC_COUNT(composed_forms);
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const uint32_t *f = composed_forms[mid];
        if (f[0] < a || (f[0] == a && f[1] < b))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < SC_COUNT(composed_forms) && composed_forms[lo][0] == a && composed_forms[lo][1] == b
               ? composed_forms[lo][2]
               : 0;
}
