#include "test.h"

#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/auth.h"
#include "api/auth_file.h"
#include "base/clock.h"
#include "base/file.h"

#define MINUTE INT64_C(60000000000)

static char folder[] = "/tmp/sc-auth-XXXXXX";
static char file[64];
static char saved[SC_AUTH_STATE_BYTES];
static unsigned saves;
static struct sc_msg msg;

static int setup(void **state)
{
    (void)state;
    strcpy(folder + sizeof folder - 7, "XXXXXX");
    saves = 0;
    snprintf(file, sizeof file, "%s/key_file.json", mkdtemp(folder) ? folder : "/nowhere");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(file);
    rmdir(file);
    return rmdir(folder); /* fails if a temporary file was left */
}

static void save(void *ctx, struct sc_span state)
{
    (void)ctx;
    assert_int_equal(state.n, sizeof saved);
    memcpy(saved, state.p, sizeof saved);
    saves++;
}

static struct sc_auth *make(double life_min, struct sc_span state)
{
    struct sc_auth *a = NULL;
    const struct sc_auth_config c = {.folder = folder, .life_min = life_min, .state = state, .save = save};
    assert_int_equal(sc_auth_new(&a, &c, &msg), 0);
    return a;
}

/* Text of the key file, NUL-terminated. */
static const char *text(void)
{
    static char out[SC_AUTH_FILE_BYTES];
    struct sc_buf b;
    sc_buf_init(&b, 8192);
    assert_int_equal(sc_file_read(file, &b, &msg), 0);
    assert_true(b.n < sizeof out);
    memcpy(out, b.p, b.n);
    out[b.n] = '\0';
    sc_buf_free(&b);
    return out;
}

/* "Bearer KEY" with the key of that section of the file. */
static struct sc_span bearer(const char *section)
{
    static char out[SC_AUTH_KINDS][32];
    static unsigned at;
    char name[32];
    snprintf(name, sizeof name, "\"%s\": {\n    \"key\": \"", section);
    const char *key = strstr(text(), name);
    assert_non_null(key);
    char *o = out[at++ % SC_AUTH_KINDS];
    snprintf(o, sizeof *out, "Bearer %.8s", key + strlen(name));
    return sc_span_str(o);
}

static void a_life_is_counted_in_whole_seconds(void **state)
{
    (void)state;
    assert_int_equal(sc_auth_expiry(5, 60), 5 + 60 * MINUTE);
    assert_int_equal(sc_auth_expiry(5, 1.999), 5 + 119 * MINUTE / 60);
    assert_int_equal(sc_auth_expiry(5, 0.01), 5);
    assert_int_equal(sc_auth_expiry(5, 0), 5);
    assert_int_equal(sc_auth_expiry(5, (double)NAN), 5);
    assert_true(sc_auth_expiry(5, -1) < 5);
    assert_true(sc_auth_expiry(5, -1e300) < 5);
    assert_true(sc_auth_expiry(sc_wall_ms() * 1000000, 1e300) > 250 * 365 * 24 * 60 * MINUTE / 2);
    assert_true(sc_auth_expiry(sc_wall_ms() * 1000000, (double)INFINITY) < SC_AUTH_NEVER);
}

static void a_header_is_the_scheme_blanks_and_one_word(void **state)
{
    (void)state;
    static const char *const good[] = {"Bearer key", "Bearer  key", "Bearer\tkey", "Bearer \t key"};
    static const char *const bad[] = {
        "",          "Bearer",      "Bearer ",        "Bearer\t",     "bearer key",
        "Bearerkey", "Bearer key ", "Bearer key two", " Bearer key",  "Basic key",
        "key",       "BEARER key",  "Bearer key\tx",  "Bearer\xa0key"};
    for (size_t i = 0; i < SC_COUNT(good); i++)
        assert_true(sc_span_eq(sc_auth_bearer(sc_span_str(good[i])), SC_SPAN("key")));
    for (size_t i = 0; i < SC_COUNT(bad); i++)
        assert_null(sc_auth_bearer(sc_span_str(bad[i])).p);
    assert_null(sc_auth_bearer(sc_span(NULL, 0)).p);
}

static void only_the_whole_key_is_equal(void **state)
{
    (void)state;
    assert_true(sc_auth_key_equal("abcdefgh", SC_SPAN("abcdefgh")));
    assert_false(sc_auth_key_equal("abcdefgh", SC_SPAN("abcdefgi")));
    assert_false(sc_auth_key_equal("abcdefgh", SC_SPAN("Abcdefgh")));
    assert_false(sc_auth_key_equal("abcdefgh", SC_SPAN("abcdefg")));
    assert_false(sc_auth_key_equal("abcdefgh", SC_SPAN("abcdefghi")));
    assert_false(sc_auth_key_equal("abcdefgh", SC_SPAN("")));
}

static void keys_are_random_and_safe_in_urls(void **state)
{
    (void)state;
    struct sc_auth_key a, b;
    for (int i = 0; i < 200; i++) {
        assert_int_equal(sc_auth_key_make(&a, 1), 0);
        assert_int_equal(sc_auth_key_make(&b, 1), 0);
        assert_memory_not_equal(a.text, b.text, sizeof a.text);
        for (size_t k = 0; k < sizeof a.text; k++)
            assert_non_null(
                strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", a.text[k]));
    }
}

static void the_file_is_torchserves(void **state)
{
    (void)state;
    struct sc_buf b;
    const struct sc_auth_keys k = {.of = {{"B-E5KSRM", INT64_C(1708117944801167000)},
                                          {"gNRuA7dS", INT64_C(1708117944801167001)},
                                          {"yv9uQajP", SC_AUTH_NEVER}}};
    struct sc_auth_keys c = k;
    sc_buf_init(&b, SC_AUTH_FILE_BYTES);
    sc_auth_keys_render(&k, &b);
    sc_buf_char(&b, '\0');
    assert_string_equal(b.p, "{\n"
                             "  \"management\": {\n"
                             "    \"key\": \"B-E5KSRM\",\n"
                             "    \"expiration time\": \"2024-02-16T21:12:24.801167Z\"\n"
                             "  },\n"
                             "  \"inference\": {\n"
                             "    \"key\": \"gNRuA7dS\",\n"
                             "    \"expiration time\": \"2024-02-16T21:12:24.801167001Z\"\n"
                             "  },\n"
                             "  \"API\": {\n"
                             "    \"key\": \"yv9uQajP\"\n"
                             "  }\n"
                             "}");
    sc_buf_clear(&b);
    c.of[0].expires_ns = INT64_C(1708117944000000000);
    c.of[1].expires_ns = INT64_C(1708117944801000000);
    sc_auth_keys_render(&c, &b);
    sc_buf_char(&b, '\0');
    assert_non_null(strstr(b.p, "\"2024-02-16T21:12:24Z\""));
    assert_non_null(strstr(b.p, "\"2024-02-16T21:12:24.801Z\""));
    sc_buf_free(&b);
}

static void each_key_opens_its_own_door(void **state)
{
    (void)state;
    struct stat st;
    struct sc_auth *a = make(60, sc_span(NULL, 0));
    static const char *const names[] = {"management", "inference", "API"};
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    for (unsigned i = 0; i < SC_AUTH_KINDS; i++)
        for (unsigned k = 0; k < SC_AUTH_KINDS; k++)
            assert_int_equal(sc_auth_allows(a, (enum sc_auth_kind)k, bearer(names[i])), i == k);
    assert_false(sc_auth_allows(a, SC_AUTH_INFERENCE, sc_span(NULL, 0)));
    sc_auth_del(a);
}

static void an_expired_key_opens_nothing_but_the_api_key_does(void **state)
{
    (void)state;
    struct sc_auth *a = make(0, sc_span(NULL, 0));
    assert_false(sc_auth_allows(a, SC_AUTH_INFERENCE, bearer("inference")));
    assert_false(sc_auth_allows(a, SC_AUTH_MANAGEMENT, bearer("management")));
    assert_true(sc_auth_allows(a, SC_AUTH_API, bearer("API")));
    sc_auth_del(a);
}

static void a_renewed_key_replaces_the_old_one_and_no_other(void **state)
{
    (void)state;
    struct sc_auth *a = make(60, sc_span(NULL, 0));
    struct sc_span old = bearer("inference");
    assert_int_equal(saves, 1);
    assert_int_equal(chmod(file, 0644), 0);
    assert_int_equal(sc_auth_renew(a, SC_AUTH_INFERENCE, &msg), 0);
    assert_int_equal(saves, 2);
    assert_false(sc_auth_allows(a, SC_AUTH_INFERENCE, old));
    assert_true(sc_auth_allows(a, SC_AUTH_INFERENCE, bearer("inference")));
    assert_true(sc_auth_allows(a, SC_AUTH_MANAGEMENT, bearer("management")));
    assert_true(sc_auth_allows(a, SC_AUTH_API, bearer("API")));
    struct stat st;
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    sc_auth_del(a);
}

static void the_next_process_has_the_same_keys_and_leaves_the_file(void **state)
{
    (void)state;
    struct sc_auth *a = make(60, sc_span(NULL, 0));
    assert_int_equal(sc_auth_renew(a, SC_AUTH_MANAGEMENT, &msg), 0);
    struct sc_span m = bearer("management"), i = bearer("inference"), api = bearer("API");
    sc_auth_del(a);
    assert_int_equal(unlink(file), 0);

    a = make(60, sc_span(saved, sizeof saved));
    assert_int_equal(access(file, F_OK), -1);
    assert_true(sc_auth_allows(a, SC_AUTH_MANAGEMENT, m));
    assert_true(sc_auth_allows(a, SC_AUTH_INFERENCE, i));
    assert_true(sc_auth_allows(a, SC_AUTH_API, api));
    /* A deleted file comes back with the next renewal, whole. */
    assert_int_equal(sc_auth_renew(a, SC_AUTH_MANAGEMENT, &msg), 0);
    assert_true(sc_span_eq(bearer("inference"), i));
    assert_true(sc_span_eq(bearer("API"), api));
    sc_auth_del(a);
}

static void state_of_another_form_is_as_none(void **state)
{
    (void)state;
    struct sc_auth *a = make(60, SC_SPAN("something else"));
    assert_true(sc_auth_allows(a, SC_AUTH_API, bearer("API")));
    sc_auth_del(a);
}

static void a_file_that_cannot_be_written_changes_nothing(void **state)
{
    (void)state;
    struct sc_auth *a = make(60, sc_span(NULL, 0));
    struct sc_span old = bearer("inference");
    assert_int_equal(unlink(file), 0);
    assert_int_equal(mkdir(file, 0700), 0);
    assert_int_equal(sc_auth_renew(a, SC_AUTH_INFERENCE, &msg), SC_ESYS);
    assert_non_null(strstr(msg.text, "key_file.json cannot be written: Is a directory"));
    assert_int_equal(saves, 1);
    assert_true(sc_auth_allows(a, SC_AUTH_INFERENCE, old));

    struct sc_auth *b = NULL;
    const struct sc_auth_config c = {.folder = folder, .life_min = 60, .save = save};
    assert_int_equal(sc_auth_new(&b, &c, &msg), SC_ESYS);
    const struct sc_auth_config nowhere = {.folder = "/tmp/sc-auth-nowhere", .life_min = 60, .save = save};
    assert_int_equal(sc_auth_new(&b, &nowhere, &msg), SC_ESYS);
    assert_non_null(strstr(msg.text, "No such file or directory"));
    assert_null(b);
    sc_auth_del(a);
}

static void a_link_is_replaced_not_followed(void **state)
{
    (void)state;
    char target[80];
    struct stat st;
    snprintf(target, sizeof target, "%s.target", folder);
    FILE *f = fopen(target, "w");
    assert_non_null(f);
    fputs("precious", f);
    fclose(f);
    assert_int_equal(symlink(target, file), 0);
    assert_int_equal(sc_auth_file_write(folder, SC_SPAN("new"), &msg), 0);
    assert_int_equal(stat(target, &st), 0);
    assert_int_equal(st.st_size, 8);
    assert_int_equal(lstat(file, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_string_equal(text(), "new");
    unlink(target);
}

/* What a process that died in the middle has left is in nobody's way. */
static void a_left_temporary_is_removed(void **state)
{
    (void)state;
    char left[80];
    snprintf(left, sizeof left, "%s/.key_file.json.new", folder);
    int fd = open(left, O_CREAT | O_WRONLY, 0666);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(sc_auth_file_write(folder, SC_SPAN("new"), &msg), 0);
    assert_int_equal(access(left, F_OK), -1);
}

static atomic_bool stop;

static void *knock(void *arg)
{
    struct sc_auth *a = arg;
    while (!atomic_load(&stop))
        if (sc_auth_allows(a, SC_AUTH_INFERENCE, SC_SPAN("Bearer 12345678")))
            return a;
    return NULL;
}

static void keys_are_checked_while_they_change(void **state)
{
    (void)state;
    pthread_t t;
    void *opened;
    struct sc_auth *a = make(60, sc_span(NULL, 0));
    atomic_store(&stop, false);
    assert_int_equal(pthread_create(&t, NULL, knock, a), 0);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(sc_auth_renew(a, SC_AUTH_INFERENCE, &msg), 0);
        assert_true(sc_auth_allows(a, SC_AUTH_INFERENCE, bearer("inference")));
    }
    atomic_store(&stop, true);
    pthread_join(t, &opened);
    assert_null(opened);
    sc_auth_del(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_life_is_counted_in_whole_seconds),
        cmocka_unit_test(a_header_is_the_scheme_blanks_and_one_word),
        cmocka_unit_test(only_the_whole_key_is_equal),
        cmocka_unit_test(keys_are_random_and_safe_in_urls),
        cmocka_unit_test(the_file_is_torchserves),
        cmocka_unit_test_setup_teardown(each_key_opens_its_own_door, setup, teardown),
        cmocka_unit_test_setup_teardown(an_expired_key_opens_nothing_but_the_api_key_does, setup, teardown),
        cmocka_unit_test_setup_teardown(a_renewed_key_replaces_the_old_one_and_no_other, setup, teardown),
        cmocka_unit_test_setup_teardown(the_next_process_has_the_same_keys_and_leaves_the_file, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(state_of_another_form_is_as_none, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_that_cannot_be_written_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_link_is_replaced_not_followed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_left_temporary_is_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(keys_are_checked_while_they_change, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
