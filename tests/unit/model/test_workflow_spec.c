/* Specifications of workflows: numbers, graphs, and what is none. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "model/workflow_spec.h"

static struct sc_workflow_spec s;
static struct sc_archive_error err;

static int read_text(const char *text)
{
    return sc_workflow_spec_read(&s, sc_span_str(text), "s.yaml", &err);
}

static const struct sc_workflow_node *node(const char *name)
{
    for (unsigned i = 0; i < s.n; i++)
        if (strcmp(s.nodes[i].name, name) == 0)
            return &s.nodes[i];
    fail_msg("there is no node %s", name);
    return NULL;
}

static void refused(const char *text, const char *type, const char *message)
{
    assert_true(read_text(text) < 0);
    assert_string_equal(err.type, type);
    assert_int_equal(err.status, strcmp(type, "InvalidDAGException") == 0 ? 400 : 500);
    if (!strstr(err.msg.text, message))
        fail_msg("%s: \"%s\" was expected", err.msg.text, message);
    assert_int_equal(s.n, 0);
}

static void a_number_counts_for_the_models_behind_it(void **state)
{
    (void)state;
    assert_int_equal(read_text("models:\n"
                               "  a: {url: a.mar}\n"
                               "  batch-size: 3\n"
                               "  timeout-ms: 500\n"
                               "  b: {url: b.mar, retry-attempts: 7, max-workers: 4}\n"
                               "  max-batch-delay: 9\n"
                               "dag:\n"
                               "  a: [b]\n"
                               "  b: [f]\n"),
                     0);
    assert_int_equal(s.n, 3);
    assert_int_equal(node("a")->numbers.batch_size, 1);
    assert_int_equal(node("a")->numbers.timeout_ms, 10000);
    assert_int_equal(node("a")->numbers.max_batch_delay, 50);
    assert_int_equal(node("b")->numbers.batch_size, 3);
    assert_int_equal(node("b")->numbers.timeout_ms, 500);
    assert_int_equal(node("b")->numbers.retry_attempts, 7);
    assert_int_equal(node("b")->numbers.max_workers, 4);
    assert_int_equal(s.numbers.max_batch_delay, 9);
    assert_string_equal(node("b")->url, "b.mar");
    sc_workflow_spec_free(&s);
}

static void what_is_no_model_is_a_function(void **state)
{
    (void)state;
    assert_int_equal(read_text("models: {batch-size: 8, timeout-ms: 70, max-workers: 5}\ndag: {f: []}\n"), 0);
    assert_null(node("f")->url);
    assert_int_equal(node("f")->numbers.batch_size, 1);
    assert_int_equal(node("f")->numbers.max_workers, 1);
    assert_int_equal(node("f")->numbers.max_batch_delay, 0);
    assert_int_equal(node("f")->numbers.timeout_ms, 70);
    sc_workflow_spec_free(&s);
}

static void a_graph_knows_its_ends(void **state)
{
    (void)state;
    assert_int_equal(
        read_text("dag:\n  join: [end]\n  pre: [l, r, l]\n  l: [join]\n  r: [join]\n  'l.l': []\n"
                  "  x: ['l.l']\n  end: [x]\n"
                  "models: {unused: {url: u.mar}}\n"),
        0);
    assert_string_equal(s.nodes[s.start].name, "pre");
    assert_int_equal(__builtin_popcountll(node("join")->before), 2);
    assert_int_equal(__builtin_popcountll(node("pre")->next), 2);
    assert_int_equal(__builtin_popcountll(s.leaves), 1);
    assert_int_equal(node("l.l")->next, 0);
    assert_string_equal(s.dag, "{join=[end], pre=[l, r, l], l=[join], r=[join], l.l=[], x=[l.l], end=[x]}");
    sc_workflow_spec_free(&s);
}

static void no_graph(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"a: [a]", "Self loop exception"},
        {"a: [b], b: [a]", "DAG should have only one start node"},
        {"s: [a], a: [b], b: [a]", "Not a valid DAG"},
        {"a: [b], c: [b]", "DAG should have only one start node"},
        {"", "DAG should have only one start node"},
        {"s: [a], a: [b], b: [c], c: [a]", "Not a valid DAG"},
        {"a: ['b/c']", "is no name"},
        {"a: ['']", "is no name"},
        {"a: [..]", "is no name"},
        {"a: [\"b\\0c\"]", "is no name"},
    };
    char text[256];
    for (size_t i = 0; i < SC_COUNT(cases); i++) {
        snprintf(text, sizeof text, "models: {}\ndag: {%s}\n", cases[i][0]);
        refused(text, "InvalidDAGException", cases[i][1]);
    }
}

static void no_specification(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", "no map called models"},
        {"- a\n", "no map called models"},
        {"models: {}\n", "no map called dag"},
        {"models: []\ndag: {a: []}\n", "no map called models"},
        {"models: {}\ndag: [a]\n", "no map called dag"},
        {"models: {}\ndag: {a: b}\n", "should be a list"},
        {"models: {}\ndag: {a: [[b]]}\n", "should be the name of a node"},
        {"models: {}\ndag: {a: [1]}\n", "should be the name of a node"},
        {"models: {batch-size: '1'}\ndag: {a: []}\n", "should be an integer"},
        {"models: {batch-size: 0}\ndag: {a: []}\n", "from 1 to"},
        {"models: {batch-size: 99999999999999999999}\ndag: {a: []}\n", "should be an integer"},
        {"models: {retry-attempts: 1000000}\ndag: {a: []}\n", "from 0 to 100"},
        {"models: {timeout-ms: -1}\ndag: {a: []}\n", "should be an integer"},
        {"models: {a: a.mar}\ndag: {a: []}\n", "a map with its url"},
        {"models: {a: {url: ''}}\ndag: {a: []}\n", "should be a url"},
        {"models: {a: {url: [b]}}\ndag: {a: []}\n", "should be a url"},
        {"models: {a: {}}\ndag: {a: []}\n", "has no url"},
        {"models: {\"a\\0b\": {url: x}}\ndag: {a: []}\n", "a model's name"},
        {"models: {a: {url: x}, a: {url: y}}\ndag: {a: []}\n", "given once"},
        {"models: &x {}\ndag: {a: *x}\n", "aliases"},
        {"models: [1\n", "s.yaml:2"},
    };
    for (size_t i = 0; i < SC_COUNT(cases); i++)
        refused(cases[i][0], "InvalidWorkflowException", cases[i][1]);
}

static void a_graph_has_a_bound(void **state)
{
    (void)state;
    for (unsigned n = SC_WORKFLOW_NODES_MAX; n <= SC_WORKFLOW_NODES_MAX + 1; n++) {
        struct sc_buf text;
        sc_buf_init(&text, 1 << 16);
        sc_buf_str(&text, "models: {}\ndag:\n  n0: []\n");
        for (unsigned i = 1; i < n; i++)
            sc_buf_printf(&text, "  n%u: [n%u]\n", i, i - 1);
        sc_buf_char(&text, '\0');
        if (n > SC_WORKFLOW_NODES_MAX) {
            refused(text.p, "InvalidDAGException", "at most 64 nodes");
        } else {
            assert_int_equal(read_text(text.p), 0);
            assert_int_equal(s.leaves, 1);
            assert_int_equal(s.start, n - 1);
            sc_workflow_spec_free(&s);
        }
        sc_buf_free(&text);
    }
}

static void a_models_name_has_a_bound(void **state)
{
    (void)state;
    char name[SC_MODEL_NAME_MAX + 1], longest[SC_MODEL_NAME_MAX];
    struct sc_msg msg;
    assert_int_equal(sc_workflow_model_name(name, "w", "n", &msg), 0);
    assert_string_equal(name, "w__n");
    memset(longest, 'n', sizeof longest);
    longest[SC_MODEL_NAME_MAX - 3] = '\0';
    assert_int_equal(sc_workflow_model_name(name, "w", longest, &msg), 0);
    assert_true(sc_workflow_model_name(name, "ww", longest, &msg) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_counts_for_the_models_behind_it),
        cmocka_unit_test(what_is_no_model_is_a_function),
        cmocka_unit_test(a_graph_knows_its_ends),
        cmocka_unit_test(no_graph),
        cmocka_unit_test(no_specification),
        cmocka_unit_test(a_graph_has_a_bound),
        cmocka_unit_test(a_models_name_has_a_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
