#include "test.h"

#include "archive/manifest.h"

static struct sc_manifest m;
static struct sc_msg msg, cause;

static int read_text(const char *json)
{
    sc_manifest_free(&m);
    msg.text[0] = cause.text[0] = '\0';
    return sc_manifest_read(&m, sc_span_str(json), &msg, &cause);
}

static int teardown(void **state)
{
    (void)state;
    sc_manifest_free(&m);
    return 0;
}

static void what_the_archiver_writes(void **state)
{
    (void)state;
    assert_int_equal(
        read_text("{\"createdOn\": \"22/11/2024 07:30:54\", \"runtime\": \"python3\", \"model\": {"
                  "\"modelName\": \"m\", \"serializedFile\": \"m.pt\", \"handler\": \"h:fn\","
                  "\"modelFile\": \"model.py\", \"modelVersion\": \"1.0\", \"requirementsFile\": \"r.txt\","
                  "\"configFile\": \"mc.yaml\"}, \"archiverVersion\": \"0.12.0\"}"),
        0);
    assert_string_equal(m.model_name, "m");
    assert_string_equal(m.serialized_file, "m.pt");
    assert_string_equal(m.handler, "h:fn");
    assert_string_equal(m.model_file, "model.py");
    assert_string_equal(m.model_version, "1.0");
    assert_string_equal(m.requirements_file, "r.txt");
    assert_string_equal(m.config_file, "mc.yaml");
    assert_string_equal(m.runtime, "python3");
    assert_string_equal(m.created_on, "22/11/2024 07:30:54");
    assert_string_equal(m.archiver_version, "0.12.0");
}

static void nothing_but_an_object_is_needed(void **state)
{
    (void)state;
    assert_int_equal(read_text("{}"), 0);
    assert_string_equal(m.runtime, "python");
    assert_null(m.model_name);
    assert_null(m.model_version);
    assert_int_equal(
        read_text("{\"model\": {\"extensions\": {\"a\": []}, \"x\": 1, \"handler\": null}, \"y\": 2}"), 0);
    assert_null(m.handler);
}

/* A hand-written 1.0 is a version. */
static void numbers_count_as_text(void **state)
{
    (void)state;
    assert_int_equal(read_text("{\"model\": {\"modelVersion\": 1.0, \"modelName\": 7, \"handler\": true}}"),
                     0);
    assert_string_equal(m.model_version, "1.0");
    assert_string_equal(m.model_name, "7");
    assert_string_equal(m.handler, "true");
    assert_int_equal(read_text("{\"model\": {\"modelVersion\": 1.1}}"), 0);
    assert_string_equal(m.model_version, "1.1");
}

static void what_cannot_be_read_is_named(void **state)
{
    static const char *const wrong[][2] = {
        {"", "line"},
        {"junk", "line 1"},
        {"{\"model\": {", "line 1"},
        {"[]", "object"},
        {"{\"model\": null}", "\"model\""},
        {"{\"model\": []}", "\"model\""},
        {"{\"model\": \"m\"}", "\"model\""},
        {"{\"model\": {\"handler\": {}}}", "\"handler\""},
        {"{\"model\": {\"modelName\": [\"a\"]}}", "\"modelName\""},
        {"{\"createdOn\": {}}", "\"createdOn\""},
        {"{\"runtime\": []}", "\"runtime\""},
        {"{} {}", "line 1"},
    };
    (void)state;
    for (size_t i = 0; i < SC_COUNT(wrong); i++) {
        assert_int_equal(read_text(wrong[i][0]), SC_EINVAL);
        assert_string_equal(msg.text, "Failed to parse signature.json.");
        assert_non_null(strstr(cause.text, wrong[i][1]));
        assert_null(m.runtime);
    }
}

static void an_unknown_runtime(void **state)
{
    static const char *const wrong[] = {"{\"runtime\": \"java\"}", "{\"runtime\": null}", "{\"runtime\": 3}",
                                        "{\"runtime\": \"PYTHON\"}"};
    (void)state;
    for (size_t i = 0; i < SC_COUNT(wrong); i++) {
        assert_int_equal(read_text(wrong[i]), SC_EINVAL);
        assert_string_equal(msg.text, "Runtime is not defined or invalid.");
    }
    assert_int_equal(read_text("{\"runtime\": \"LSP\"}"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_archiver_writes), cmocka_unit_test(nothing_but_an_object_is_needed),
        cmocka_unit_test(numbers_count_as_text),    cmocka_unit_test(what_cannot_be_read_is_named),
        cmocka_unit_test(an_unknown_runtime),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
