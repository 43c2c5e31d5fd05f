/* The GPU engine without a GPU: what it says then, and its parts that need none. */
#include "test.h"

#include <fcntl.h>
#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cuda/half.h"
#include "cuda/product_cache.h"
#include "engine.h"
#include "model/folder.h"

#define FAKE SC_BUILD_DIR "/libfake_cuda.so"

static void assert_says(const struct sc_msg *msg, const char *words)
{
    if (!strstr(msg->text, words))
        fail_msg("\"%s\" does not say \"%s\"", msg->text, words);
}

/* What the engine says on a machine with that driver. */
static int refuse(const char *library, const char *fake, struct sc_msg *msg)
{
    struct sc_encoder_folder f;
    struct sc_engine *e;
    struct sc_msg warning;
    struct sc_engine_options o = {.max_tokens = 128, .lanes = 1};
    setenv(SC_ENV_CUDA, library, 1);
    setenv("FAKE_CUDA", fake, 1);
    assert_int_equal(sc_encoder_folder_open(&f, SC_SOURCE_DIR "/tests/data/bert-tiny", NULL, msg), 0);
    int rc = sc_engine_cuda_ops.new(&e, &f.config, &f.weights, &o, &warning, msg);
    sc_encoder_folder_close(&f);
    assert_true(rc < 0);
    return rc;
}

static void what_is_missing_is_named(void **state)
{
    (void)state;
    struct sc_msg msg;
    assert_int_equal(refuse("/nowhere/libcuda.so.1", "", &msg), SC_ENOTFOUND);
    assert_says(&msg, "no NVIDIA driver");
    assert_says(&msg, "CUDA 13.0");
    assert_int_equal(refuse(FAKE, "version=12080", &msg), SC_EUNSUPPORTED);
    assert_says(&msg, "too old (CUDA 12.8)");
    assert_says(&msg, "driver 580");
    assert_int_equal(refuse(SC_BUILD_DIR "/libfake_nvml.so", "", &msg), SC_EUNSUPPORTED);
    assert_says(&msg, "it has no cu");
    assert_int_equal(refuse(FAKE, "gpus=0", &msg), SC_ENOTFOUND);
    assert_says(&msg, "sees no GPU");
    assert_int_equal(refuse(FAKE, "fail=100", &msg), SC_ENOTFOUND);
    assert_says(&msg, "sees no GPU");
    assert_int_equal(refuse(FAKE, "fail=999", &msg), SC_ESYS);
    assert_says(&msg, "CUDA_ERROR_UNKNOWN (999) as the test wants it");
    assert_int_equal(refuse(FAKE, "capability=70", &msg), SC_EUNSUPPORTED);
    assert_says(&msg, "Paper GPU 0");
    assert_says(&msg, "needs 7.5");
}

static void without_the_library_of_products_the_line_that_installs_it_is_said(void **state)
{
    (void)state;
    struct sc_lt lt;
    struct sc_msg msg;
    char *path = strdup(getenv("PATH")), *home = strdup(getenv("HOME") ? getenv("HOME") : "");
    setenv("PATH", "/nowhere/bin", 1);
    setenv("HOME", "/nowhere", 1);
    unsetenv("VIRTUAL_ENV");
    unsetenv(SC_ENV_CUBLASLT);
    int rc = sc_lt_load(&lt, &msg);
    setenv("PATH", path, 1);
    setenv("HOME", home, 1);
    free(path);
    free(home);
    if (rc == 0)
        skip(); /* this machine has a toolkit */
    assert_says(&msg, "pip install \"nvidia-cublas>=13,<14\"");
    assert_says(&msg, SC_ENV_CUBLASLT);
    setenv(SC_ENV_CUBLASLT, "/nowhere", 1);
    assert_int_equal(sc_lt_load(&lt, &msg), SC_ENOTFOUND);
    assert_says(&msg, "/nowhere");
    setenv(SC_ENV_CUBLASLT, FAKE, 1);
    assert_int_equal(sc_lt_load(&lt, &msg), SC_EUNSUPPORTED);
    assert_says(&msg, "cublasLtCreate");
}

/* ---- rounding -------------------------------------------------------------------------------- */

static double value_of_half(uint16_t h)
{
    int exponent = h >> 10 & 31, mantissa = h & 1023;
    double v = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);
    return h & 0x8000 ? -v : v;
}

static void fp16_is_the_nearest_and_even_between_two(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7c00; h++) {
        double low = value_of_half((uint16_t)h),
               high = h == 0x7bff ? 65536 : value_of_half((uint16_t)(h + 1));
        float half = (float)((low + high) / 2);
        assert_int_equal(sc_half((float)low), h);
        assert_int_equal(sc_half((float)-low), h | 0x8000);
        assert_int_equal(sc_half(half), h & 1 ? h + 1 : h);
        assert_int_equal(sc_half(nextafterf(half, 0)), h);
        assert_int_equal(sc_half(nextafterf(half, INFINITY)), h + 1);
    }
    assert_int_equal(sc_half(INFINITY), 0x7c00);
    assert_int_equal(sc_half(-1e30f), 0xfc00);
    assert_int_equal(sc_half(1e-30f), 0);
    assert_true((sc_half(NAN) & 0x7fff) > 0x7c00);
}

static void bf16_is_the_nearest_and_even_between_two(void **state)
{
    (void)state;
    assert_int_equal(sc_bf16(1.0f), 0x3f80);
    assert_int_equal(sc_bf16(1.0f + 1.0f / 256), 0x3f80);
    assert_int_equal(sc_bf16(1.0f + 3.0f / 256), 0x3f82);
    assert_int_equal(sc_bf16(nextafterf(1.0f + 1.0f / 256, 2)), 0x3f81);
    assert_int_equal(sc_bf16(-INFINITY), 0xff80);
    assert_true((sc_bf16(NAN) & 0x7fff) > 0x7f80);
}

/* ---- chosen algorithms ------------------------------------------------------------------------- */

static char folder[64];

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/sconce-cache-XXXXXX");
    return mkdtemp(folder) == NULL;
}

/* The only file there. */
static const char *file(void)
{
    static char path[256];
    char pattern[80];
    glob_t found;
    snprintf(pattern, sizeof pattern, "%s/*", folder);
    path[0] = '\0';
    if (glob(pattern, 0, NULL, &found) == 0 && found.gl_pathc == 1)
        snprintf(path, sizeof path, "%s", found.gl_pathv[0]);
    globfree(&found);
    return path;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(file());
    return rmdir(folder);
}

static struct sc_product_entry entry(uint32_t n, uint32_t rows)
{
    return (struct sc_product_entry){.kind = {.n = n, .k = 768}, .rows = rows, .workspace = n + rows};
}

static void fill(struct sc_product_cache *c, uint32_t n)
{
    *c = (struct sc_product_cache){0};
    for (uint32_t i = 0; i < n; i++) {
        struct sc_product_entry e = entry(i, 16);
        sc_product_cache_add(c, &e);
    }
}

static void choices_are_found_again(void **state)
{
    (void)state;
    struct sc_product_cache c, d;
    fill(&c, 100);
    struct sc_product_entry again = entry(7, 16);
    again.workspace = 1;
    sc_product_cache_add(&c, &again);
    assert_int_equal(c.n, 100);
    assert_int_equal(sc_product_cache_write(&c, folder, "this GPU"), 0);
    sc_product_cache_read(&d, folder, "this GPU");
    assert_int_equal(d.n, 100);
    const struct sc_product_entry *e = sc_product_cache_find(&d, &again.kind, 16);
    assert_non_null(e);
    assert_int_equal(e->workspace, 1);
    assert_null(sc_product_cache_find(&d, &again.kind, 32));
    sc_product_cache_free(&d);
    sc_product_cache_read(&d, folder, "another GPU");
    assert_int_equal(d.n, 0);
    sc_product_cache_free(&d);
    sc_product_cache_free(&c);
}

/* Byte `at` changed or, if at is -1, cut by a byte. */
static void damage(long at)
{
    struct stat st;
    int fd = open(file(), O_RDWR | O_CLOEXEC);
    unsigned char byte;
    assert_int_equal(fstat(fd, &st), 0);
    if (at < 0) {
        assert_int_equal(ftruncate(fd, st.st_size - 1), 0);
    } else {
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 0xff;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    }
    close(fd);
}

static void a_damaged_file_is_no_choices(void **state)
{
    (void)state;
    struct sc_product_cache c, d;
    for (int i = 0; i < 4; i++) {
        fill(&c, 10);
        assert_int_equal(sc_product_cache_write(&c, folder, "this GPU"), 0);
        damage((long[]){-1, 0, 5, 300}[i]);
        sc_product_cache_read(&d, folder, "this GPU");
        assert_int_equal(d.n, 0);
        sc_product_cache_free(&d);
        sc_product_cache_free(&c);
    }
}

static void there_is_an_end_to_what_is_kept(void **state)
{
    (void)state;
    struct sc_product_cache c;
    fill(&c, SC_ENCODER_ALGORITHMS_MAX + 10);
    assert_int_equal(c.n, SC_ENCODER_ALGORITHMS_MAX);
    sc_product_cache_free(&c);
    fill(&c, 1);
    assert_int_equal(sc_product_cache_write(&c, "", "this GPU"), 0);
    assert_int_equal(sc_product_cache_write(&c, "/nowhere/at/all", "this GPU"), SC_ESYS);
    sc_product_cache_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(without_the_library_of_products_the_line_that_installs_it_is_said),
        cmocka_unit_test(fp16_is_the_nearest_and_even_between_two),
        cmocka_unit_test(bf16_is_the_nearest_and_even_between_two),
        cmocka_unit_test_setup_teardown(choices_are_found_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_file_is_no_choices, set_up, tear_down),
        cmocka_unit_test_setup_teardown(there_is_an_end_to_what_is_kept, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
