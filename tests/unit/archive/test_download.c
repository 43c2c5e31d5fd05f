#include "test.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <sys/socket.h>

#include "archive/allowed.h"
#include "archive/curl.h"
#include "archive/download.h"
#include "build.h"

static struct sc_msg msg;
static int listener;
static pthread_t server;
static unsigned port;
static char last_request[4096]; /* read after the answer has come */
#define ALL SC_ALLOWED_URLS_DEFAULT
static const char *allowed = ALL;
static char to_home[256]; /* an answer: a redirection to another name of this machine */

static const struct {
    const char *path, *answer;
} answers[] = {
    {"/ok.mar", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nmodel"},
    {"/moved.mar", "HTTP/1.1 302 Found\r\nLocation: /ok.mar\r\nContent-Length: 0\r\n\r\n"},
    {"/loop.mar", "HTTP/1.1 302 Found\r\nLocation: /loop.mar\r\nContent-Length: 0\r\n\r\n"},
    {"/to-file.mar", "HTTP/1.1 302 Found\r\nLocation: file:///etc/hostname\r\nContent-Length: 0\r\n\r\n"},
    {"/to-ftp.mar", "HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1/x\r\nContent-Length: 0\r\n\r\n"},
    {"/to-home.mar", to_home},
    {"/to-metadata.mar",
     "HTTP/1.1 307 Elsewhere\r\nLocation: http://metadata.test/latest\r\nContent-Length: 0\r\n\r\n"},
    {"/to-nowhere.mar", "HTTP/1.1 302 Found\r\nContent-Length: 4\r\n\r\nbody"},
    {"/said.mar", "HTTP/1.1 302 Found\r\nLocation: /ok.mar\r\nContent-Length: 4\r\n\r\nbody"},
    {"/cut.mar", "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nmod"},
    {"/denied.mar", "HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\ndenied"},
    {"/junk.mar", "no HTTP at all\r\n\r\n"},
};

/* The names of these tests, which libcurl looks up here. */
__attribute__((visibility("default"))) int getaddrinfo(const char *node, const char *service,
                                                       const struct addrinfo *hints, struct addrinfo **out)
{
    static const struct {
        const char *name, *address;
    } names[] = {{"home.test", "127.0.0.1"}, {"metadata.test", "169.254.169.254"}};
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
        (int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))dlsym(
            RTLD_NEXT, "getaddrinfo");
    for (size_t i = 0; i < SC_COUNT(names); i++)
        if (node && strcmp(node, names[i].name) == 0)
            node = names[i].address;
    return real(node, service, hints, out);
}

static void *serve(void *arg)
{
    (void)arg;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            return NULL;
        size_t n = 0;
        ssize_t got;
        while (n < sizeof last_request - 1 &&
               (got = read(fd, last_request + n, sizeof last_request - 1 - n)) > 0) {
            n += (size_t)got;
            last_request[n] = '\0';
            if (strstr(last_request, "\r\n\r\n"))
                break;
        }
        for (size_t i = 0; i < SC_COUNT(answers); i++) {
            size_t len = strlen(answers[i].path);
            if (n > 4 + len && strncmp(last_request + 4, answers[i].path, len) == 0)
                assert_true(write(fd, answers[i].answer, strlen(answers[i].answer)) > 0);
        }
        close(fd);
    }
}

static int start(void **state)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    (void)state;
    unsetenv("http_proxy");
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&a, n) < 0 || listen(listener, 8) < 0 ||
        getsockname(listener, (struct sockaddr *)&a, &n) < 0)
        return -1;
    port = ntohs(a.sin_port);
    snprintf(to_home, sizeof to_home,
             "HTTP/1.1 301 Moved\r\nLocation: http://home.test:%u/ok.mar\r\nContent-Length: 0\r\n\r\n", port);
    return pthread_create(&server, NULL, serve, NULL);
}

static int stop(void **state)
{
    (void)state;
    shutdown(listener, SHUT_RDWR);
    pthread_join(server, NULL);
    return close(listener);
}

static bool have_curl(void)
{
    const struct sc_curl *curl;
    return sc_curl_get(&curl, &msg) == 0;
}

static int get(const char *path, bool sign)
{
    char url[128];
    snprintf(url, sizeof url, "http://127.0.0.1:%u%s", port, path);
    return sc_download(url, allowed, work, "x.mar", sign, &msg);
}

static unsigned files_in_work(void)
{
    unsigned n = 0;
    DIR *d = opendir(work);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

static void a_file_comes_whole(void **state)
{
    (void)state;
    if (!have_curl())
        skip();
    assert_int_equal(get("/ok.mar", false), 0);
    assert_string_equal(text_of(in_work("x.mar")), "model");
    assert_int_equal(get("/ok.mar", false), SC_EEXIST);
    assert_int_equal(unlink(in_work("x.mar")), 0);
    assert_int_equal(get("/moved.mar", false), 0);
    assert_string_equal(text_of(in_work("x.mar")), "model");
    assert_int_equal(files_in_work(), 1);
}

static void what_fails_leaves_nothing(void **state)
{
    static const char *const paths[] = {"/loop.mar",   "/to-file.mar", "/to-ftp.mar", "/cut.mar",
                                        "/denied.mar", "/junk.mar",    "/absent",     "/to-nowhere.mar"};
    (void)state;
    if (!have_curl())
        skip();
    for (size_t i = 0; i < SC_COUNT(paths); i++) {
        msg.text[0] = '\0';
        if (get(paths[i], false) == 0)
            fail_msg("%s came", paths[i]);
        assert_true(msg.text[0]);
        assert_int_equal(files_in_work(), 0);
    }
    assert_true(sc_download("gopher://127.0.0.1/x", ALL, work, "x.mar", false, &msg) < 0);
    assert_true(sc_download("http://127.0.0.1:1/x", ALL, work, "x.mar", false, &msg) < 0);
    assert_int_equal(files_in_work(), 0);
}

static void redirections_are_checked_like_the_url(void **state)
{
    (void)state;
    if (!have_curl())
        skip();
    assert_int_equal(get("/said.mar", false), 0);
    assert_string_equal(text_of(in_work("x.mar")), "model"); /* and nothing of what the redirection said */
    assert_int_equal(unlink(in_work("x.mar")), 0);
    allowed = "http://127\\.0\\.0\\.1:[0-9]+/.*";
    assert_true(get("/to-home.mar", false) < 0);
    assert_non_null(strstr(msg.text, "it redirects to http://home.test:"));
    assert_non_null(strstr(last_request, "/to-home.mar")); /* it was not asked for the next */
    assert_int_equal(get("/moved.mar", false), 0);
    assert_int_equal(unlink(in_work("x.mar")), 0);
    allowed = "http://(127\\.0\\.0\\.1|home\\.test):[0-9]+/.*";
    assert_int_equal(get("/to-home.mar", false), 0);
    assert_int_equal(unlink(in_work("x.mar")), 0);
    allowed = ALL;
    assert_true(get("/to-metadata.mar", false) < 0);
    assert_non_null(strstr(msg.text, "metadata.test is 169.254.169.254"));
    assert_int_equal(files_in_work(), 0);
}

static int get_from(const char *patterns, const char *host)
{
    char url[128];
    snprintf(url, sizeof url, "http://%s:%u/ok.mar", host, port);
    return sc_download(url, patterns, work, "x.mar", false, &msg);
}

static void names_are_checked_when_they_are_resolved(void **state)
{
    (void)state;
    if (!have_curl())
        skip();
    last_request[0] = '\0';
    assert_true(get_from("http://home\\.test:.*", "home.test") < 0);
    assert_non_null(strstr(msg.text, "home.test is 127.0.0.1, this machine"));
    assert_true(get_from("http://2130706433:.*", "2130706433") < 0);
    assert_true(get_from(ALL, "metadata.test") < 0);
    assert_true(get_from(ALL, "0xa9fea9fe") < 0);
    assert_non_null(strstr(msg.text, "169.254.169.254"));
    assert_string_equal(last_request, "");
    assert_int_equal(files_in_work(), 0);
    assert_int_equal(get_from(ALL, "home.test"), 0);
    assert_int_equal(unlink(in_work("x.mar")), 0);
    assert_int_equal(get_from("http://localhost:.*", "localhost"), 0);
}

/* A proxy on this machine is none of the places that a URL leads to. */
static void a_proxy_may_be_here(void **state)
{
    char proxy[64];
    (void)state;
    if (!have_curl())
        skip();
    snprintf(proxy, sizeof proxy, "http://127.0.0.1:%u/", port);
    setenv("http_proxy", proxy, 1);
    /* It is asked for the whole URL, and refuses. */
    assert_true(
        sc_download("http://models.test/ok.mar", "http://models\\.test/.*", work, "x.mar", false, &msg) < 0);
    assert_non_null(strstr(last_request, "GET http://models.test/ok.mar"));
    unsetenv("http_proxy");
}

/* The key's id and what is signed are in the request; the secret is not. */
static void a_signed_request_for_s3(void **state)
{
    const struct sc_curl *curl;
    (void)state;
    if (sc_curl_get(&curl, &msg) < 0)
        skip();
    unsetenv("AWS_ACCESS_KEY_ID");
    assert_true(get("/ok.mar", true) < 0);
    assert_non_null(strstr(msg.text, "AWS_ACCESS_KEY_ID"));
    setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "secret/with:signs", 1);
    setenv("AWS_DEFAULT_REGION", "eu-west-1", 1);
    int rc = get("/ok.mar", true);
    if (curl->version < SC_CURL_SIGNS_S3) {
        assert_int_equal(rc, SC_EUNSUPPORTED);
        return;
    }
    assert_int_equal(rc, 0);
    const char *line = strcasestr(last_request, "authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/");
    assert_non_null(line);
    assert_non_null(strstr(line, "/eu-west-1/s3/aws4_request"));
    assert_non_null(strstr(line, "x-amz-content-sha256"));
    assert_non_null(
        strcasestr(last_request, "x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4"));
    assert_null(strstr(last_request, "secret"));
}

static void a_file_url(void **state)
{
    char url[128];
    (void)state;
    assert_int_equal(mkdir(in_work("from"), 0755), 0);
    put_text(in_work("from/m"), "model");
    snprintf(url, sizeof url, "file://%s", in_work("from/m"));
    assert_int_equal(sc_download(url, ALL, work, "x.mar", false, &msg), 0);
    assert_string_equal(text_of(in_work("x.mar")), "model");
    assert_int_equal(sc_download(url, ALL, work, "x.mar", false, &msg), SC_EEXIST);
    snprintf(url, sizeof url, "FILE://localhost%s?x#y", in_work("from/m"));
    assert_int_equal(sc_download(url, ALL, work, "y.mar", false, &msg), 0);
    snprintf(url, sizeof url, "file://%s", in_work("from"));
    assert_true(sc_download(url, ALL, work, "z.mar", false, &msg) < 0);
    assert_true(sc_download("file://host/etc/hostname", ALL, work, "z.mar", false, &msg) < 0);
    assert_true(sc_download("file:///tmp/%2e%2e/etc/hostname", ALL, work, "z.mar", false, &msg) < 0);
    assert_true(sc_download("file:///etc/hostname%00.mar", ALL, work, "z.mar", false, &msg) < 0);
    assert_true(sc_download("file:///dev/zero", ALL, work, "z.mar", false, &msg) < 0);
    assert_int_equal(files_in_work(), 3);
}

int main(void)
{
#define FETCH(f) cmocka_unit_test_setup_teardown(f, make_work, remove_work)
    const struct CMUnitTest tests[] = {
        FETCH(a_file_comes_whole),
        FETCH(what_fails_leaves_nothing),
        FETCH(redirections_are_checked_like_the_url),
        FETCH(names_are_checked_when_they_are_resolved),
        FETCH(a_proxy_may_be_here),
        FETCH(a_signed_request_for_s3),
        FETCH(a_file_url),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
