#include "test.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "backend.h"

/* ---- an executor small enough to look into ------------------------------------------------------ */

struct sconce_error {
    enum sconce_code code;
    char text[600];
};

struct sconce_host {
    const char *dir;
    const char *settings[8][2]; /* key, value */
    char log[4096];
    unsigned pieces; /* of bodies whose tokenisation was spread */
};

struct sconce_request {
    char *body;
    const char *type, *interface;
    size_t size;
    void *data;
    uint32_t items, costs[128];
    char *out;
    size_t max;
    int answers;
    struct sconce_error *error;
};

struct sconce_error *sconce_error_new(enum sconce_code code, const char *fmt, ...)
{
    struct sconce_error *e = calloc(1, sizeof *e);
    e->code = code;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    return e;
}

void sconce_log(struct sconce_host *h, enum sconce_log_level level, const char *fmt, ...)
{
    (void)level;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(h->log, sizeof h->log, fmt, ap);
    va_end(ap);
}

const char *sconce_host_model_dir(const struct sconce_host *h)
{
    return h->dir;
}

const char *sconce_host_backend_dir(const struct sconce_host *h)
{
    (void)h;
    return "/nowhere";
}

const char *sconce_host_setting(const struct sconce_host *h, const char *key)
{
    for (unsigned i = 0; i < 8 && h->settings[i][0]; i++)
        if (strcmp(h->settings[i][0], key) == 0)
            return h->settings[i][1];
    return NULL;
}

const char *sconce_host_setting_key(const struct sconce_host *h, unsigned i)
{
    return i < 8 ? h->settings[i][0] : NULL;
}

const char *sconce_host_model_name(const struct sconce_host *h)
{
    (void)h;
    return "tiny";
}

int sconce_host_gpu(const struct sconce_host *h)
{
    (void)h;
    return -1;
}

int sconce_host_kept(struct sconce_host *h, const char *name, uint64_t *size)
{
    (void)h;
    (void)name;
    (void)size;
    return -1;
}

void sconce_host_lost(struct sconce_host *h, const char *why)
{
    (void)h;
    fail_msg("the executor ends: %s", why);
    abort();
}

void sconce_host_keep(struct sconce_host *h, const char *name, int fd, uint64_t size)
{
    (void)h;
    (void)name;
    (void)fd;
    (void)size;
}

unsigned sconce_host_lanes(const struct sconce_host *h)
{
    (void)h;
    return 1;
}

struct sconce_error *sconce_host_setting_int(const struct sconce_host *h, const char *key, int64_t min,
                                             int64_t max, int64_t fallback, int64_t *out)
{
    const char *v = sconce_host_setting(h, key);
    *out = v ? atoll(v) : fallback;
    return *out < min || *out > max ? sconce_error_new(SCONCE_BAD_REQUEST, "%s", key) : NULL;
}

const void *sconce_request_body(const struct sconce_request *r, size_t *size)
{
    *size = r->size;
    return r->body;
}

const char *sconce_request_content_type(const struct sconce_request *r)
{
    return r->type;
}

const char *sconce_request_interface(const struct sconce_request *r)
{
    return r->interface ? r->interface : "";
}

const char *sconce_request_sent_type(const struct sconce_request *r, size_t *size)
{
    *size = r->type ? strlen(r->type) : 0;
    return r->type;
}

/* The last piece first: what comes of it must not depend on the order. */
void sconce_host_spread(struct sconce_host *h, uint32_t n, void (*fn)(void *arg, uint32_t i), void *arg)
{
    h->pieces += n;
    while (n-- > 0)
        fn(arg, n);
}

void sconce_response_fail_as(struct sconce_request *r, unsigned status, const char *type, const char *text)
{
    (void)type;
    r->error = sconce_error_new((enum sconce_code)status, "%s", text);
    r->answers++;
}

bool sconce_request_set_items(struct sconce_request *r, uint32_t n, const uint32_t *costs)
{
    assert_true(n <= 128);
    r->items = n;
    memcpy(r->costs, costs, n * sizeof *costs);
    return true;
}

void sconce_request_set_data(struct sconce_request *r, void *data)
{
    r->data = data;
}

void *sconce_request_data(const struct sconce_request *r)
{
    return r->data;
}

void *sconce_response_reserve(struct sconce_request *r, size_t size)
{
    if (r->max && size > r->max)
        return NULL;
    return r->out = calloc(1, size + 1);
}

void sconce_response_send(struct sconce_request *r, const char *content_type, size_t size)
{
    assert_string_equal(content_type, "application/json");
    assert_true(strlen(r->out) == size);
    r->answers++;
}

void sconce_response_fail(struct sconce_request *r, struct sconce_error *e)
{
    r->error = e;
    r->answers++;
}

static struct sconce_request request(const char *type, const char *body)
{
    return (struct sconce_request){.body = strdup(body), .size = strlen(body), .type = type};
}

static void request_free(struct sconce_request *r)
{
    free(r->body);
    free(r->out);
    free(r->error);
}

/* ---- tests --------------------------------------------------------------------------------------- */

#define TINY SC_SOURCE_DIR "/tests/data/bert-tiny"

struct loaded {
    struct sconce_host host;
    struct sconce_model *model;
    struct sconce_lane *lane;
};

static void load(struct loaded *l)
{
    const struct sconce_backend_ops *ops = sc_encoder_ops();
    struct sconce_model_info info = {.size = sizeof info};
    struct sconce_error *e = ops->model_load(&l->host, &l->model, &info);
    if (e)
        fail_msg("%s", e->text);
    assert_true(info.max_batch_cost > 0 && info.bytes_per_cost > 0);
    assert_null(ops->lane_create(l->model, 0, &l->lane));
}

static void unload(struct loaded *l)
{
    sc_encoder_ops()->lane_destroy(l->lane);
    sc_encoder_ops()->model_unload(l->model);
}

/* Prepares all, computes their items in batches of `limit` tokens, of several requests each, and answers. */
static void serve_in(struct loaded *l, struct sconce_request *r, size_t n, uint32_t limit)
{
    const struct sconce_backend_ops *ops = sc_encoder_ops();
    struct sconce_item items[64][128];
    uint32_t given[64] = {0};
    for (size_t i = 0; i < n; i++) {
        uint64_t cost = 0;
        struct sconce_error *e = ops->request_prepare(l->model, &r[i], &cost);
        if (e)
            fail_msg("%s", e->text);
        for (uint32_t k = 0; k < r[i].items; k++)
            items[i][k] = (struct sconce_item){k, r[i].costs[k]};
    }
    for (bool more = true; more;) {
        struct sconce_slice batch[64];
        uint32_t tokens = 0;
        size_t slices = 0;
        more = false;
        for (size_t i = 0; i < n; i++) {
            struct sconce_slice s = {&r[i], items[i] + given[i], 0};
            while (given[i] < r[i].items && tokens + r[i].costs[given[i]] <= limit) {
                tokens += r[i].costs[given[i]++];
                s.n++;
            }
            more |= given[i] < r[i].items;
            if (s.n)
                batch[slices++] = s;
        }
        if (slices)
            ops->lane_compute(l->lane, batch, slices);
    }
    for (size_t i = 0; i < n; i++) {
        ops->lane_answer(l->lane, &r[i]);
        assert_int_equal(r[i].answers, 1);
        assert_null(r[i].data);
    }
}

static void serve(struct loaded *l, struct sconce_request *r, size_t n)
{
    serve_in(l, r, n, 1024);
}

static void same_ranking(const json_t *got, const json_t *want)
{
    assert_int_equal(json_array_size(got), json_array_size(want));
    for (size_t i = 0; i < json_array_size(want); i++) {
        const json_t *g = json_array_get(got, i), *w = json_array_get(want, i);
        assert_string_equal(json_string_value(json_object_get(g, "label")),
                            json_string_value(json_object_get(w, "label")));
        assert_true(fabs(json_number_value(json_object_get(g, "score")) -
                         json_number_value(json_object_get(w, "score"))) < 1e-5);
    }
}

static void compare_with_pipeline(const char *dir)
{
    char path[512];
    snprintf(path, sizeof path, "%s/expected.json", dir);
    json_t *root = json_load_file(path, 0, NULL), *texts = json_object_get(root, "texts");
    assert_true(json_array_size(texts) > 3);
    struct loaded l = {.host = {.dir = dir}};
    load(&l);
    for (size_t i = 0; i < json_array_size(texts); i++) {
        const json_t *t = json_array_get(texts, i);
        json_t *body = json_pack("{s:O, s:O*}", "text", json_object_get(t, "text"), "text_pair",
                                 json_object_get(t, "text_pair"));
        char *best = json_dumps(body, 0), *all;
        json_object_set_new(body, "parameters", json_pack("{s:n}", "top_k"));
        all = json_dumps(body, 0);
        struct sconce_request r[2] = {request("application/json", best), request("application/json", all)};
        serve(&l, r, 2);
        for (int k = 0; k < 2; k++) {
            json_t *got = json_loads(r[k].out, 0, NULL);
            assert_non_null(got);
            same_ranking(got, json_object_get(t, k ? "all" : "best"));
            json_decref(got);
            request_free(&r[k]);
        }
        free(best);
        free(all);
        json_decref(body);
    }
    unload(&l);
    json_decref(root);
}

static void answers_are_those_of_the_pipeline(void **state)
{
    (void)state;
    compare_with_pipeline(TINY);
    compare_with_pipeline(SC_SOURCE_DIR "/tests/data/bert-tiny-half");
}

/* Lists longer than a batch, among single texts and an empty list: each gets its own, in order. */
static void a_list_larger_than_a_batch_is_cut_and_put_together(void **state)
{
    (void)state;
    struct loaded l = {.host = {.dir = TINY, .settings = {{"maxBatchTokens", "48"}}}};
    load(&l);
    char list[8000] = "[";
    for (int i = 0; i < 60; i++)
        strcat(list, i % 3 == 0   ? "\"the cat\","
                     : i % 3 == 1 ? "\"der und die und das und ein und\","
                                  : "\"la\",");
    list[strlen(list) - 1] = ']';
    struct sconce_request r[6] = {request("text/plain", "the cat"),  request("application/json", list),
                                  request("application/json", "[]"), request("text/plain", "la"),
                                  request("application/json", list), request("text/plain", "the cat")};
    serve_in(&l, r, 6, 48);
    json_t *one = json_loads(r[0].out, 0, NULL), *la = json_loads(r[3].out, 0, NULL),
           *many = json_loads(r[1].out, 0, NULL);
    assert_int_equal(json_array_size(many), 60);
    for (size_t i = 0; i < 60; i += 3) {
        json_t *a = json_pack("[O]", json_array_get(many, i)),
               *c = json_pack("[O]", json_array_get(many, i + 2));
        same_ranking(a, one);
        same_ranking(c, la);
        json_decref(a);
        json_decref(c);
    }
    assert_string_equal(r[1].out, r[4].out);
    assert_string_equal(r[2].out, "[]");
    assert_string_equal(r[0].out, r[5].out);
    json_decref(one);
    json_decref(la);
    json_decref(many);
    for (int i = 0; i < 6; i++)
        request_free(&r[i]);
    unload(&l);
}

static void bad_requests_are_answered_in_prepare(void **state)
{
    (void)state;
    struct loaded l = {.host = {.dir = TINY, .settings = {{"maxTexts", "2"}}}};
    load(&l);
    static const char *const bad[][2] = {{"", ""},
                                         {"text/plain", "\xff"},
                                         {"application/json", "{"},
                                         {"application/json", "[\"a\",\"b\",\"c\"]"}};
    for (size_t i = 0; i < 4; i++) {
        struct sconce_request r = request(bad[i][0], bad[i][1]);
        uint64_t cost;
        struct sconce_error *e = sc_encoder_ops()->request_prepare(l.model, &r, &cost);
        assert_non_null(e);
        assert_int_equal(e->code, SCONCE_BAD_REQUEST);
        assert_null(r.data);
        free(e);
        request_free(&r);
    }
    struct sconce_request r = request("text/plain", "not wanted any more");
    uint64_t cost = 0;
    assert_null(sc_encoder_ops()->request_prepare(l.model, &r, &cost));
    assert_true(cost > 2);
    sc_encoder_ops()->request_discard(l.model, &r);
    request_free(&r);
    unload(&l);
}

static void ten_megabytes_of_text_are_truncated(void **state)
{
    (void)state;
    struct loaded l = {.host = {.dir = TINY}};
    load(&l);
    size_t n = 10u << 20;
    char *text = malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        text[i] = i % 4 == 3 ? ' ' : 'a';
    text[n] = '\0';
    struct sconce_request r = request("text/plain", text);
    uint64_t cost = 0;
    assert_null(sc_encoder_ops()->request_prepare(l.model, &r, &cost));
    assert_int_equal(cost, 48);
    sc_encoder_ops()->request_discard(l.model, &r);
    request_free(&r);
    free(text);
    unload(&l);
}

static void an_answer_too_large_to_send_says_so(void **state)
{
    (void)state;
    struct loaded l = {.host = {.dir = TINY}};
    load(&l);
    struct sconce_request r = request("text/plain", "yes");
    r.max = 10;
    serve(&l, &r, 1);
    assert_non_null(r.error);
    assert_non_null(strstr(r.error->text, "max_response_size"));
    request_free(&r);
    unload(&l);
}

static void a_wrong_folder_or_setting_is_an_error(void **state)
{
    (void)state;
    static const struct sconce_host hosts[] = {{.dir = ""},
                                               {.dir = "/nowhere"},
                                               {.dir = TINY, .settings = {{"matmul", "mkl"}}},
                                               {.dir = TINY, .settings = {{"maxBatchTokens", "47"}}},
                                               {.dir = TINY, .settings = {{"maxTexts", "0"}}},
                                               {.dir = TINY, .settings = {{"task", "chat"}}},
                                               {.dir = TINY, .settings = {{"pooling", "sum"}}},
                                               {.dir = TINY, .settings = {{"truncate", "perhaps"}}},
                                               {.dir = TINY, .settings = {{"scoring", "max"}}},
                                               {.dir = TINY, .settings = {{"aggregationStrategy", "best"}}},
                                               {.dir = TINY, .settings = {{"device", "tpu"}}},
                                               {.dir = TINY, .settings = {{"streamPriority", "low"}}},
                                               {.dir = TINY, .settings = {{"streamPriority", "high"}}},
                                               {.dir = TINY, .settings = {{"labels", "a"}}},
                                               {.dir = TINY, .settings = {{"labels.3", "a"}}}};
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        struct sconce_host h = hosts[i];
        struct sconce_model *m = NULL;
        struct sconce_model_info info = {.size = sizeof info};
        struct sconce_error *e = sc_encoder_ops()->model_load(&h, &m, &info);
        assert_non_null(e);
        assert_null(m);
        free(e);
    }
}

/* 100 texts of 400 bytes: tokenised in parts, answered as if each had come alone. */
static void long_list_is_tokenised_in_parts(void **state)
{
    (void)state;
    struct loaded l = {.host = {.dir = TINY}};
    load(&l);
    char *body = calloc(1, 100 * 420), *want = calloc(1, 100 * 200), *to = body, *end = want;
    for (int i = 0; i < 100; i++) {
        char text[404] = "";
        for (int k = 0; k < 100; k++)
            memcpy(text + 4 * (size_t)k, (i + k) % 7 < 3 ? "cat " : (i * k) % 5 ? "the " : "mat ", 4);
        to += sprintf(to, "%c\"%s\"", i ? ',' : '[', text);
        struct sconce_request one = request("text/plain", text);
        serve(&l, &one, 1);
        end += sprintf(end, "%s%.*s", i ? ", " : "[", (int)strlen(one.out) - 2, one.out + 1);
        request_free(&one);
    }
    strcpy(to, "]");
    strcpy(end, "]");
    assert_int_equal(l.host.pieces, 0);
    struct sconce_request all = request("application/json", body);
    serve(&l, &all, 1);
    assert_true(l.host.pieces > 3);
    assert_string_equal(all.out, want);
    request_free(&all);
    /* A text that is wrong is told by its number in the whole. */
    struct sconce_error *e;
    uint64_t cost;
    memcpy(to - 20, "\xff", 1);
    all = request("text/plain", "x");
    free(all.body);
    all.body = strdup(body);
    all.size = strlen(body);
    all.type = "application/json";
    e = sc_encoder_ops()->request_prepare(l.model, &all, &cost);
    assert_non_null(e);
    free(e);
    request_free(&all);
    free(body);
    free(want);
    unload(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_those_of_the_pipeline),
        cmocka_unit_test(a_list_larger_than_a_batch_is_cut_and_put_together),
        cmocka_unit_test(bad_requests_are_answered_in_prepare),
        cmocka_unit_test(ten_megabytes_of_text_are_truncated),
        cmocka_unit_test(an_answer_too_large_to_send_says_so),
        cmocka_unit_test(a_wrong_folder_or_setting_is_an_error),
        cmocka_unit_test(long_list_is_tokenised_in_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
