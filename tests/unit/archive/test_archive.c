#include "test.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "archive/archive.h"
#include "archive/place.h"
#include "build.h"

static struct sc_archive a;
static struct sc_archive_error err;
static struct sc_buf b;
static char store[64], temp[64];

static int setup(void **state)
{
    sc_buf_init(&b, SIZE_MAX / 2);
    if (make_work(state) < 0)
        return -1;
    snprintf(store, sizeof store, "%s", in_work("store"));
    snprintf(temp, sizeof temp, "%s", in_work("temp"));
    return mkdir(store, 0755) < 0 || mkdir(temp, 0755) < 0 ? -1 : 0;
}

static int teardown(void **state)
{
    sc_buf_free(&b);
    sc_archive_free(&a);
    return remove_work(state);
}

static int fetch(const char *url)
{
    const struct sc_archive_want want = {.url = url, .store = store, .temp = temp};
    sc_archive_free(&a);
    return sc_archive_fetch(&a, &want, &err);
}

/* Names in temp/models that are not locks of servers. */
static unsigned left_in_temp(void)
{
    unsigned n = 0;
    const struct dirent *e;
    DIR *d = opendir(in_work("temp/models"));
    while (d && (e = readdir(d)))
        n += strncmp(e->d_name, ".server-", 8) != 0;
    if (d)
        closedir(d);
    return d ? n - 2 : 0;
}

static void refused(const char *url, int status, const char *type, const char *text)
{
    assert_true(fetch(url) < 0);
    assert_int_equal(err.status, status);
    assert_string_equal(err.type, type);
    assert_string_equal(err.msg.text, text);
    assert_null(a.dir);
    assert_int_equal(left_in_temp(), 0);
}

static void put_mar(const char *path, const char *manifest)
{
    sc_buf_clear(&b);
    zip_entry(&b, "handler.py", "code", ZIP_DEFLATE);
    if (manifest)
        zip_entry(&b, "MAR-INF/MANIFEST.json", manifest, ZIP_DEFLATE);
    zip_end(&b);
    put_bytes(path, b.p, b.n);
}

static void a_mar_of_the_store(void **state)
{
    (void)state;
    put_mar(in_work("store/m.mar"), "{\"model\": {\"modelName\": \"named\"}}");
    assert_int_equal(fetch("m.mar"), 0);
    assert_string_equal(a.name, "m.mar");
    assert_true(a.has_manifest);
    assert_string_equal(a.manifest.model_name, "named");
    assert_string_equal(a.dir, a.remove);
    assert_int_equal(strncmp(a.dir, in_work("temp/models/"), strlen(in_work("temp/models/"))), 0);
    assert_int_equal(strlen(strrchr(a.dir, '/') + 1), 32);
    char path[512];
    snprintf(path, sizeof path, "%s/handler.py", a.dir);
    assert_string_equal(text_of(path), "code");
    sc_archive_remove(a.remove, a.downloaded);
    assert_int_equal(left_in_temp(), 0);
    assert_int_equal(access(in_work("store/m.mar"), F_OK), 0);
}

static void folders_of_a_local_url_do_not_count(void **state)
{
    (void)state;
    put_mar(in_work("store/m.mar"), NULL);
    assert_int_equal(fetch("some/where/m.mar"), 0);
    assert_false(a.has_manifest);
    assert_string_equal(a.manifest.runtime, "python");
}

static void any_other_suffix_is_a_tar(void **state)
{
    (void)state;
    tar_entry(&b, "m/handler.py", '0', "", "code");
    put_gzip(in_work("store/m.tar.gz"), &b);
    assert_int_equal(fetch("m.tar.gz"), 0);
    char path[512];
    snprintf(path, sizeof path, "%s/handler.py", a.dir);
    assert_string_equal(text_of(path), "code");
    put_mar(in_work("store/m.zip"), NULL);
    assert_true(fetch("m.zip") < 0);
    assert_int_equal(err.status, 500);
    assert_string_equal(err.msg.text, "Failed to save model: m.zip");
    assert_non_null(strstr(err.cause.text, ".tar.gz"));
}

static void a_folder_is_linked_to(void **state)
{
    char target[512];
    struct stat st;
    (void)state;
    assert_int_equal(mkdir(in_work("store/folder"), 0755), 0);
    put_text(in_work("store/folder/handler.py"), "code");
    assert_int_equal(mkdir(in_work("store/folder/MAR-INF"), 0755), 0);
    put_text(in_work("store/folder/MAR-INF/MANIFEST.json"), "{\"model\": {\"modelName\": \"f\"}}");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fetch(i ? in_work("store/folder/") : "folder"), 0);
        assert_string_equal(strrchr(a.dir, '/'), "/folder");
        assert_int_equal(lstat(a.dir, &st), 0);
        assert_true(S_ISLNK(st.st_mode));
        ssize_t n = readlink(a.dir, target, sizeof target - 1);
        target[n] = '\0';
        assert_string_equal(target, in_work("store/folder"));
        assert_string_equal(a.manifest.model_name, "f");
        sc_archive_remove(a.remove, a.downloaded);
        assert_int_equal(left_in_temp(), 0);
    }
    assert_string_equal(text_of(in_work("store/folder/handler.py")), "code");
}

static void an_only_folder_within_is_meant(void **state)
{
    char target[512];
    (void)state;
    assert_int_equal(mkdir(in_work("store/outer"), 0755), 0);
    assert_int_equal(mkdir(in_work("store/outer/inner"), 0755), 0);
    assert_int_equal(fetch("outer"), 0);
    assert_string_equal(strrchr(a.dir, '/'), "/outer");
    ssize_t n = readlink(a.dir, target, sizeof target - 1);
    target[n] = '\0';
    assert_string_equal(target, in_work("store/outer/inner"));
    put_text(in_work("store/outer/x"), "");
    assert_int_equal(fetch("outer"), 0);
    n = readlink(a.dir, target, sizeof target - 1);
    target[n] = '\0';
    assert_string_equal(target, in_work("store/outer"));
}

static void what_is_refused_and_how(void **state)
{
    const struct sc_archive_want no_store = {.url = "m.mar", .temp = temp};
    (void)state;
    assert_true(sc_archive_fetch(&a, &no_store, &err) < 0);
    assert_int_equal(err.status, 404);
    assert_string_equal(err.msg.text, "Model store has not been configured.");
    refused("", 404, "ModelNotFoundException", "empty url");
    refused("../m.mar", 404, "ModelNotFoundException", "Relative path is not allowed in url: ../m.mar");
    refused("a..b", 404, "ModelNotFoundException", "Relative path is not allowed in url: a..b");
    refused("file:/x/m.mar", 404, "ModelNotFoundException",
            "Given URL file:/x/m.mar does not match any allowed URL(s)");
    refused("s3://b/m.mar", 404, "ModelNotFoundException",
            "Given URL s3://b/m.mar does not match any allowed URL(s)");
    refused("absent.mar", 404, "ModelNotFoundException", "Model not found at: absent.mar");
    refused("absent/", 404, "ModelNotFoundException", "Model not found at: absent/");
    refused("/", 404, "ModelNotFoundException", "Model not found at: /");
    refused("file:///absent/m.mar", 400, "DownloadArchiveException",
            "Failed to download archive from: file:///absent/m.mar");
    assert_int_equal(mkfifo(in_work("store/pipe.mar"), 0600), 0);
    refused("pipe.mar", 404, "ModelNotFoundException", "Model not found at: pipe.mar");
}

static void a_broken_archive_leaves_nothing(void **state)
{
    (void)state;
    put_mar(in_work("store/m.mar"), "{}");
    assert_int_equal(truncate(in_work("store/m.mar"), 40), 0);
    refused("m.mar", 500, "InternalServerException", "Failed to save model: m.mar");
    sc_buf_clear(&b);
    zip_entry(&b, "deep/down/file", "x", 0);
    zip_entry(&b, "../evil", "x", 0);
    put_bytes(in_work("store/m.mar"), b.p, b.n);
    refused("m.mar", 500, "InternalServerException", "Failed to save model: m.mar");
    assert_string_equal(err.cause.text, "Detected Zip Slip vulnerability: ../evil");
    put_mar(in_work("store/m.mar"), "{\"model\": null}");
    refused("m.mar", 400, "InvalidModelException", "Failed to parse signature.json.");
    put_mar(in_work("store/m.mar"), "");
    refused("m.mar", 400, "InvalidModelException", "Failed to parse signature.json.");
    put_mar(in_work("store/m.mar"), "{\"runtime\": \"ruby\"}");
    refused("m.mar", 400, "InvalidModelException", "Runtime is not defined or invalid.");
    put_text(in_work("store/m.mar"), "junk");
    assert_int_equal(fetch("m.mar"), 0);
    assert_false(a.has_manifest);
}

static void a_file_url_is_copied_into_the_store(void **state)
{
    char url[128], said[200];
    (void)state;
    put_mar(in_work("a b.mar"), "{}");
    snprintf(url, sizeof url, "file://%s", in_work("a%20b.mar"));
    assert_int_equal(fetch(url), 0);
    assert_string_equal(a.name, "a%20b.mar");
    assert_string_equal(a.downloaded, in_work("store/a%20b.mar"));
    char *again = a.remove;
    a.remove = NULL;
    assert_true(fetch(url) < 0);
    assert_int_equal(err.status, 500);
    assert_string_equal(err.type, "InternalServerException");
    assert_string_equal(err.msg.text, "Model file already exists a%20b.mar");
    assert_int_equal(access(in_work("store/a%20b.mar"), F_OK), 0);
    sc_archive_remove(again, in_work("store/a%20b.mar"));
    free(again);
    assert_int_equal(access(in_work("store/a%20b.mar"), F_OK), -1);
    assert_int_equal(left_in_temp(), 0);
    snprintf(url, sizeof url, "file://%s", in_work("%2e%2e/x.mar"));
    snprintf(said, sizeof said, "Failed to download archive from: %s", url);
    refused(url, 400, "DownloadArchiveException", said);
}

/* What was fetched and is no model goes, too. */
static void a_broken_download_leaves_nothing_in_the_store(void **state)
{
    char url[128];
    (void)state;
    put_mar(in_work("m.mar"), "[]");
    snprintf(url, sizeof url, "file://%s", in_work("m.mar"));
    refused(url, 400, "InvalidModelException", "Failed to parse signature.json.");
    assert_int_equal(access(in_work("store/m.mar"), F_OK), -1);
    assert_int_equal(rmdir(store), 0);
    assert_int_equal(mkdir(store, 0755), 0);
}

static void *fetch_it(void *arg)
{
    const struct sc_archive_want want = {.url = "m.mar", .store = store, .temp = temp};
    struct sc_archive mine;
    struct sc_archive_error why;
    for (int i = 0; i < 10; i++) {
        if (sc_archive_fetch(&mine, &want, &why) < 0)
            return arg;
        sc_archive_remove(mine.remove, NULL);
        sc_archive_free(&mine);
    }
    return NULL;
}

static void many_registrations_at_once(void **state)
{
    pthread_t threads[4];
    void *failed;
    (void)state;
    put_mar(in_work("store/m.mar"), "{}");
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fetch_it, store), 0);
    sc_archive_sweep(temp);
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(left_in_temp(), 0);
}

/* A server that fetches a model as `owner`, then waits to be killed. */
static pid_t server_that_fetches(int *pipe_fd)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int rc = fetch("m.mar");
        char ok = rc == 0 ? 'y' : 'n';
        (void)!write(fds[1], &ok, 1);
        pause();
        _exit(0);
    }
    close(fds[1]);
    *pipe_fd = fds[0];
    char ok;
    assert_int_equal(read(fds[0], &ok, 1), 1);
    assert_int_equal(ok, 'y');
    return pid;
}

static void a_sweep_takes_what_dead_servers_left(void **state)
{
    int fd;
    (void)state;
    put_mar(in_work("store/m.mar"), "{}");
    pid_t server = server_that_fetches(&fd);
    unsigned held = left_in_temp();
    assert_true(held > 0);
    sc_archive_sweep(temp);
    assert_int_equal(left_in_temp(), held);
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    close(fd);
    assert_int_equal(fetch("m.mar"), 0);
    assert_int_equal(mkdir(in_work("temp/models/0123456789abcdef0123456789abcdef"), 0700), 0);
    unsigned both = left_in_temp();
    sc_archive_sweep(temp);
    assert_int_equal(left_in_temp(), both - held);
    assert_int_equal(access(a.dir, F_OK), 0);
    sc_archive_remove(in_work("temp/models/0123456789abcdef0123456789abcdef"), NULL);
    assert_int_equal(access(in_work("temp/models/0123456789abcdef0123456789abcdef"), F_OK), 0);
}

/* The supervisor claims, its frontend fetches, dies, and the folder stays. */
static void an_owner_must_have_claimed(void **state)
{
    struct sc_archive_want want = {.url = "m.mar", .store = store, .temp = temp, .owner = getppid()};
    struct sc_msg msg;
    int status;
    (void)state;
    put_mar(in_work("store/m.mar"), "{}");
    assert_true(sc_archive_fetch(&a, &want, &err) < 0);
    assert_int_equal(err.status, 500);
    assert_non_null(strstr(err.cause.text, "claimed"));
    int claim = sc_archive_claim(temp, &msg);
    assert_true(claim >= 0);
    want.owner = getpid();
    pid_t frontend = fork();
    assert_true(frontend >= 0);
    if (frontend == 0) {
        close(claim);
        _exit(sc_archive_fetch(&a, &want, &err) == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(frontend, &status, 0), frontend);
    assert_int_equal(status, 0);
    unsigned held = left_in_temp();
    assert_true(held > 0);
    sc_archive_sweep(temp);
    assert_int_equal(left_in_temp(), held);
    close(claim);
    sc_archive_sweep(temp);
    assert_int_equal(left_in_temp(), 0);
}

static void a_folder_of_others_is_not_used(void **state)
{
    (void)state;
    put_mar(in_work("store/m.mar"), "{}");
    assert_int_equal(mkdir(in_work("temp/models"), 0700), 0);
    assert_int_equal(chmod(in_work("temp/models"), 0777), 0);
    assert_true(fetch("m.mar") < 0);
    assert_int_equal(err.status, 500);
    assert_non_null(strstr(err.cause.text, "other users"));
    assert_int_equal(rmdir(in_work("temp/models")), 0);
    assert_int_equal(symlink("/tmp", in_work("temp/models")), 0);
    assert_true(fetch("m.mar") < 0);
}

/* What a handler may leave in its folder: depth beyond any path, folders without permissions, links out. */
static void removing_copes_with_what_handlers_do(void **state)
{
    (void)state;
    put_mar(in_work("store/m.mar"), "{}");
    assert_int_equal(fetch("m.mar"), 0);
    put_text(in_work("precious"), "stays");
    int dir = open(a.dir, O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(symlinkat(in_work(""), dir, "link"), 0);
    char deep[201];
    memset(deep, 'd', sizeof deep - 1);
    deep[sizeof deep - 1] = '\0';
    for (int i = 0; i < 60; i++) {
        assert_int_equal(mkdirat(dir, deep, 0700), 0);
        int next = openat(dir, deep, O_DIRECTORY | O_CLOEXEC);
        close(openat(next, "f", O_CREAT | O_WRONLY | O_CLOEXEC, 0400));
        if (i % 10 == 0)
            assert_int_equal(fchmod(dir, 0500), 0);
        close(dir);
        dir = next;
    }
    close(dir);
    sc_archive_remove(a.remove, NULL);
    assert_int_equal(left_in_temp(), 0);
    assert_string_equal(text_of(in_work("precious")), "stays");
}

static void derived_names(void **state)
{
    static const char *const cases[][2] = {
        {"resnet-18.mar", "resnet_18"},
        {"foo.tar.gz", "foo_tar_gz"},
        {"https://host/a.b/squeezenet1_1.mar", "squeezenet1_1"},
        {"/abs/some.model", "some"},
        {"_x.mar", "_x"},
        {"folder", "folder"},
        {"a.mar?X-Sig=1.2", "a_mar_X_Sig_1"},
        {"gr\xc3\xb6\xc3\x9f.mar", "gr__"},
        {"x.mar/plain", "plain"},
        {"dir/", ""},
    };
    (void)state;
    for (size_t i = 0; i < SC_COUNT(cases); i++) {
        char *name = sc_archive_derived_name(cases[i][0]);
        assert_string_equal(name, cases[i][1]);
        free(name);
    }
}

int main(void)
{
#define FETCH(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        FETCH(a_mar_of_the_store),
        FETCH(folders_of_a_local_url_do_not_count),
        FETCH(any_other_suffix_is_a_tar),
        FETCH(a_folder_is_linked_to),
        FETCH(an_only_folder_within_is_meant),
        FETCH(what_is_refused_and_how),
        FETCH(a_broken_archive_leaves_nothing),
        FETCH(a_file_url_is_copied_into_the_store),
        FETCH(a_broken_download_leaves_nothing_in_the_store),
        FETCH(many_registrations_at_once),
        FETCH(a_sweep_takes_what_dead_servers_left),
        FETCH(an_owner_must_have_claimed),
        FETCH(a_folder_of_others_is_not_used),
        FETCH(removing_copes_with_what_handlers_do),
        cmocka_unit_test(derived_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
