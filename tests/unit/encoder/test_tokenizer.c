/* Ids against the golden file (tests/data/make_tokenizer_cases.py), and what the golden file cannot say. */
#include "test.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "tokenizer/internal.h"

#define DATA SC_SOURCE_DIR "/tests/data/tokenizer/"
#define POSITIONS 512

static char *slurp(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *p = malloc(1 << 20);
    *n = fread(p, 1, (1 << 20) - 1, f);
    p[*n] = '\0';
    fclose(f);
    return p;
}

static struct sc_tokenizer *parse(const char *json, size_t n)
{
    struct sc_msg msg = {""};
    struct sc_tokenizer *t = NULL;
    if (sc_tokenizer_parse(&t, &(struct sc_tokenizer_files){.json = sc_span(json, n)}, POSITIONS, &msg) < 0)
        fail_msg("%s", msg.text);
    return t;
}

/* The committed vocabulary with the first `from` replaced by `to`. */
static struct sc_tokenizer *variant(const char *from, const char *to)
{
    size_t n;
    char *json = slurp(DATA "wordpiece/tokenizer.json", &n);
    char *at = from ? strstr(json, from) : NULL;
    char *text = malloc(n + (to ? strlen(to) : 0) + 1);
    if (at) {
        size_t before = (size_t)(at - json);
        memcpy(text, json, before);
        memcpy(text + before, to, strlen(to));
        memcpy(text + before + strlen(to), at + strlen(from), n - before - strlen(from) + 1);
    } else {
        assert_null(from);
        memcpy(text, json, n + 1);
    }
    struct sc_tokenizer *t = parse(text, strlen(text));
    free(text);
    free(json);
    return t;
}

static struct sc_tokenizer *load(const char *dir)
{
    struct sc_msg msg = {""};
    struct sc_tokenizer *t = NULL;
    if (sc_tokenizer_load(&t, dir, POSITIONS, &msg) < 0)
        fail_msg("%s", msg.text);
    return t;
}

static uint32_t checksum(const struct sc_encoding *e)
{
    uint32_t h = 0x811C9DC5;
    for (uint32_t i = 0; i < e->n; i++)
        for (unsigned k = 0; k < 4; k++)
            h = (h ^ (e->ids[i] >> 8 * k & 0xFF)) * 0x01000193;
    for (uint32_t i = 0; i < e->n; i++)
        h = (h ^ e->type_ids[i]) * 0x01000193;
    return h;
}

/* The next field of a line, cut off at the tab. */
static char *field(char **line)
{
    char *start = *line, *tab = start ? strchr(start, '\t') : NULL;
    if (tab)
        *tab++ = '\0';
    *line = tab;
    return start;
}

static void golden_ids(void **state)
{
    (void)state;
    size_t n;
    char *file = slurp(DATA "golden.txt", &n), *next = file;
    struct sc_tokenizer *t = NULL;
    struct sc_encoding e = {0};
    int cases = 0, variants = 0, number = 0;
    for (char *line; (line = next) && *line;) {
        number++;
        char *end = strchr(line, '\n');
        next = end ? end + 1 : NULL;
        if (end)
            *end = '\0';
        if (*line == '#')
            continue;
        char *first = field(&line), *second = field(&line), *third = field(&line), *fourth = field(&line);
        if (*first == '=') {
            sc_tokenizer_del(t);
            t = strcmp(first, "= vocab") == 0 ? load(DATA "vocab") : variant(second, third);
            variants++;
            continue;
        }
        json_t *text = json_loads(first, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        json_t *pair =
            strcmp(second, "-") ? json_loads(second, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL;
        assert_non_null(text);
        struct sc_span a = sc_span(json_string_value(text), json_string_length(text));
        struct sc_span b =
            pair ? sc_span(json_string_value(pair), json_string_length(pair)) : sc_span(NULL, 0);
        assert_int_equal(sc_tokenizer_encode(t, a, b, &e), 0);
        if (e.n != strtoul(third, NULL, 10) || checksum(&e) != strtoul(fourth, NULL, 16))
            fail_msg("golden.txt:%d: other ids than tokenizers: %s", number, first);
        json_decref(text);
        json_decref(pair);
        cases++;
    }
    assert_true(cases > 2000);
    assert_int_equal(variants, 13);
    sc_encoding_free(&e);
    sc_tokenizer_del(t);
    free(file);
}

static void ids_name_their_tokens(void **state)
{
    (void)state;
    struct sc_tokenizer *t = load(DATA "wordpiece");
    struct sc_encoding e = {0};
    assert_int_equal(sc_tokenizer_encode(t, SC_SPAN("The[SEP]!"), sc_span(NULL, 0), &e), 0);
    const char *want[] = {"[CLS]", "the", "[SEP]", "!", "[SEP]"};
    assert_int_equal(e.n, SC_COUNT(want));
    for (uint32_t i = 0; i < e.n; i++)
        assert_true(sc_span_eq(sc_tokenizer_token(t, e.ids[i]), sc_span_str(want[i])));
    assert_int_equal(sc_tokenizer_vocab_size(t), 3643);
    assert_int_equal(sc_tokenizer_max_length(t), POSITIONS);
    assert_null(sc_tokenizer_token(t, 3643).p);
    assert_null(sc_tokenizer_token(t, UINT32_MAX).p);
    sc_encoding_free(&e);
    sc_tokenizer_del(t);
}

static void an_empty_pair_is_a_pair(void **state)
{
    (void)state;
    struct sc_tokenizer *t = load(DATA "wordpiece");
    struct sc_encoding e = {0};
    assert_int_equal(sc_tokenizer_encode(t, sc_span(NULL, 0), sc_span(NULL, 0), &e), 0);
    assert_int_equal(e.n, 2);
    assert_int_equal(sc_tokenizer_encode(t, sc_span(NULL, 0), sc_span("", 0), &e), 0);
    assert_int_equal(e.n, 3);
    sc_encoding_free(&e);
    sc_tokenizer_del(t);
}

static void bad_utf8_is_refused_and_leaves_nothing(void **state)
{
    (void)state;
    static const char *const bad[] = {"\x80",     "ok \xC3",          "\xED\xA0\x80",
                                      "\xC0\xAF", "\xF5\x80\x80\x80", "a\xE2\x82 b"};
    struct sc_tokenizer *t = load(DATA "wordpiece");
    struct sc_encoding e = {0};
    for (size_t i = 0; i < SC_COUNT(bad); i++) {
        assert_int_equal(sc_tokenizer_encode(t, sc_span_str(bad[i]), sc_span(NULL, 0), &e), SC_EINVAL);
        assert_int_equal(sc_tokenizer_encode(t, SC_SPAN("fine"), sc_span_str(bad[i]), &e), SC_EINVAL);
        assert_int_equal(e.n, 0);
    }
    sc_encoding_free(&e);
    sc_tokenizer_del(t);
}

/* One sc_encoding for tokenizers of different sizes, as a server with several models has it. */
static void buffers_serve_several_tokenizers(void **state)
{
    (void)state;
    struct sc_tokenizer *small = variant("\"truncation\":null", "\"truncation\":{\"max_length\":8}");
    struct sc_tokenizer *big = load(DATA "wordpiece");
    struct sc_encoding e = {0};
    for (int i = 0; i < 4; i++) {
        struct sc_span text = SC_SPAN("one two three four five six seven eight nine ten eleven twelve");
        assert_int_equal(sc_tokenizer_encode(i % 2 ? big : small, text, text, &e), 0);
        assert_true(i % 2 ? e.n > 26 : e.n == 8);
    }
    sc_encoding_free(&e);
    sc_tokenizer_del(small);
    sc_tokenizer_del(big);
}

/* Ten megabytes of what could be slow: repeated `unit`; a quadratic step would take hours. */
static void encode_repeated(const struct sc_tokenizer *t, const char *unit, size_t bytes)
{
    size_t n = strlen(unit), total = bytes / n * n;
    char *text = malloc(total);
    for (size_t i = 0; i < total; i += n)
        memcpy(text + i, unit, n);
    struct sc_encoding e = {0};
    int64_t start = sc_clock_ms();
    assert_int_equal(sc_tokenizer_encode(t, sc_span(text, total), sc_span(text, total), &e), 0);
    if (sc_clock_ms() - start > 20000)
        fail_msg("%zu bytes of \"%s\" took %lld ms", total, unit, (long long)(sc_clock_ms() - start));
    assert_true(e.n >= 3 && e.n <= POSITIONS);
    sc_encoding_free(&e);
    free(text);
}

static void time_is_linear_in_the_text(void **state)
{
    (void)state;
    static const char *const units[] = {
        "a",      "word ",        " ",      "[",      "[CLS",   "\u302e",     "\u0301",
        "\uac01", "\u00c9\u0301", "<x>   ", "\u3000", "\u4e2d", "Stra\u00dfe"};
    static const char added[] =
        "\"added_tokens\":[{\"id\":3643,\"content\":\"Stra\u00dfe\",\"normalized\":true,\"lstrip\":true,"
        "\"special\":false},"
        "{\"id\":3644,\"content\":\"<x>\",\"lstrip\":true,\"rstrip\":true,\"special\":true},"
        "{\"id\":3645,\"content\":\" \",\"rstrip\":true,\"special\":true},";
    struct sc_tokenizer *plain = load(DATA "wordpiece"), *odd = variant("\"added_tokens\":[", added);
    struct sc_tokenizer *left =
        variant("\"truncation\":null", "\"truncation\":{\"max_length\":500,\"direction\":\"Left\"}");
    for (size_t i = 0; i < SC_COUNT(units); i++) {
        encode_repeated(plain, units[i], i ? 60000 : 10 << 20);
        encode_repeated(odd, units[i], 60000);
        encode_repeated(left, units[i], 60000);
    }
    sc_tokenizer_del(plain);
    sc_tokenizer_del(odd);
    sc_tokenizer_del(left);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_ids),
        cmocka_unit_test(ids_name_their_tokens),
        cmocka_unit_test(an_empty_pair_is_a_pair),
        cmocka_unit_test(bad_utf8_is_refused_and_leaves_nothing),
        cmocka_unit_test(buffers_serve_several_tokenizers),
        cmocka_unit_test(time_is_linear_in_the_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
