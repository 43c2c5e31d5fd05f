/* Python literals, as ast.literal_eval reads them. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/limits.h"
#include "heads/literal.h"

static const struct sc_span keys[] = {SC_SPAN("text"), SC_SPAN("pair")};

/* The value of "text" as it is found: its characters, or a word between angle brackets. */
static const char *text_of(const char *literal)
{
    static char found[256];
    struct sc_literal_value v[2];
    struct sc_buf texts;
    sc_buf_init(&texts, strlen(literal) + 1);
    int rc = sc_literal_dict(sc_span_str(literal), keys, 2, v, &texts);
    if (rc < 0)
        snprintf(found, sizeof found, "<%d>", rc == SC_EINVAL ? 0 : rc);
    else if (v[0].kind == SC_LITERAL_TEXT)
        snprintf(found, sizeof found, "%.*s", (int)v[0].n, texts.p ? texts.p + v[0].at : "");
    else
        snprintf(found, sizeof found, "<%s>",
                 v[0].kind == SC_LITERAL_NONE     ? "none"
                 : v[0].kind == SC_LITERAL_ABSENT ? "absent"
                                                  : "other");
    sc_buf_free(&texts);
    return found;
}

static void literals_that_python_takes(void **state)
{
    (void)state;
    static const struct {
        const char *literal, *text;
    } good[] = {
        {"{\"text\": \"a cat\"}", "a cat"},
        {"{'text':'a \"cat\"', 'target':1}", "a \"cat\""},
        {"  {'text': 'x',}\n\n", "x"},
        {"{'text': '''a\n'b'\r\nc'''}", "a\n'b'\nc"},
        {"{'text': \"\"\"\"a\"\"\"}", "\"a"},
        {"{'text': 'a' \"b\"\n u'c' r'\\d'}", "abc\\d"},
        {"{'text': r'a\\'b'}", "a\\'b"},
        {"{'text': 'a\\\nb\\x41\\u00e9\\U0001F600\\101\\7z\\q'}", "abA\xc3\xa9\xf0\x9f\x98\x80"
                                                                  "A\az\\q"},
        {"{'text': ''}", ""},
        {"{1: 2, 'text': 'x', (1, 'a', b'c'): [1, [2], {}, {3}, set()], None: True, 2.5: ...}", "x"},
        {"{'a': -1, 'b': +2.5e-3, 'c': 1_000, 'd': 0x_fF, 'e': 0b10, 'f': 0o17, 'g': 00, 'h': 1., 'i': .5j, "
         "'j': 3-4j, "
         "'k': 09.5, 'l': 01e1, 'text': 'x'}",
         "x"},
        {"{'text': 'a', 'text': 'b'}", "b"},
        {"{'text': 'a', b'text': 'b'}", "a"},
        {"{'te' 'xt': 'joined'}", "joined"},
        {"(({'text': 'x'}))", "x"},
        {"{ # comment }\n'text' # other\n: 'x' #}\n}", "x"},
        {"{'text': {'text': 'inner'}}", "<other>"},
        {"{'a': {'text': 'inner'}}", "<absent>"},
        {"{'text': None}", "<none>"},
        {"{'text': 1}", "<other>"},
        {"{'text': b'x'}", "<other>"},
        {"{'text': '\\ud800'}", "<other>"},
        {"{'text': ('x')}", "x"},
        {"{'text': ('x',)}", "<other>"},
        {"{}", "<absent>"},
        {"{'text': 'x'} # the end", "x"},
    };
    for (size_t i = 0; i < SC_COUNT(good); i++)
        if (strcmp(text_of(good[i].literal), good[i].text) != 0)
            fail_msg("%s gives \"%s\"", good[i].literal, text_of(good[i].literal));
}

static void what_is_none_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      " ",
                                      "text",
                                      "'text'",
                                      "['text']",
                                      "{'text'}",
                                      "{'text': 'x'},",
                                      "{'text': 'x'} {}",
                                      "{'text': 'x'",
                                      "{'text': 'x}",
                                      "{'text': 'a\nb'}",
                                      "{'text': '''a''}",
                                      "{'text' 'x'}",
                                      "{'text': }",
                                      "{'text': 'x', 'y'}",
                                      "{'y', 'text': 'x'}",
                                      "{,}",
                                      "{'text': 'x',,}",
                                      "{'text': [,]}",
                                      "{'text': (,)}",
                                      "{'text': 'x')}",
                                      "{[1]: 2, 'text': 'x'}",
                                      "{{}: 2, 'text': 'x'}",
                                      "{'text': {[]}}",
                                      "{([],): 2, 'text': 'x'}",
                                      "{'text': true}",
                                      "{'text': null}",
                                      "{'text': x}",
                                      "{'text': str('x')}",
                                      "{'text': f'x'}",
                                      "{'text': ur'x'}",
                                      "{'text': 'x' b'y'}",
                                      "{'text': b'\xc3\xa9'}",
                                      "{'text': '\\x4'}",
                                      "{'text': '\\u12'}",
                                      "{'text': '\\U00110000'}",
                                      "{'text': 'x', 'a': 1__0}",
                                      "{'text': 'x', 'a': 1_}",
                                      "{'text': 'x', 'a': 012}",
                                      "{'text': 'x', 'a': 0x}",
                                      "{'text': 'x', 'a': 0b2}",
                                      "{'text': 'x', 'a': 1e}",
                                      "{'text': 'x', 'a': .}",
                                      "{'text': 'x', 'a': --1}",
                                      "{'text': 'x', 'a': 1+1}",
                                      "{'text': 'x', 'a': 1j+1j}",
                                      "{'text': 'x', 'a': 1x}",
                                      "{'text': 'x', 'a': -True}",
                                      "{'text': 'x', 'a': ..}",
                                      "{'text': 'x', 'a': set}",
                                      "{'text': 'x', 'a': set(1)}",
                                      "{**{'text': 'x'}}",
                                      "{'text': '\xff'}",
                                      "{'text': 'x' if True else 'y'}",
                                      "{'text': 'x' + 'y'}"};
    for (size_t i = 0; i < SC_COUNT(bad); i++)
        if (strcmp(text_of(bad[i]), "<0>") != 0)
            fail_msg("%s is taken: %s", bad[i], text_of(bad[i]));
    struct sc_literal_value v[1];
    struct sc_buf texts;
    sc_buf_init(&texts, 100);
    assert_int_equal(sc_literal_dict(sc_span("{'text': '\0'}", 13), keys, 1, v, &texts), SC_EINVAL);
    sc_buf_free(&texts);
}

static void nesting_has_a_bound(void **state)
{
    (void)state;
    for (unsigned depth = SC_LITERAL_DEPTH_MAX - 1; depth <= SC_LITERAL_DEPTH_MAX; depth++) {
        char *literal = calloc(1, 2 * depth + 64), *to = literal + sprintf(literal, "{'text': 'x', 'a': ");
        memset(to, '[', depth);
        memset(to + depth, ']', depth);
        to[2 * depth] = '}';
        assert_string_equal(text_of(literal), depth < SC_LITERAL_DEPTH_MAX ? "x" : "<0>");
        free(literal);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(literals_that_python_takes),
        cmocka_unit_test(what_is_none_is_refused),
        cmocka_unit_test(nesting_has_a_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
