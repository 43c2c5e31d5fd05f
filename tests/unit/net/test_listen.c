#include "test.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "net/http.h"

static struct sc_msg msg;
static char dir[] = "/tmp/sc-listen-XXXXXX";

static int open_at(const char *address)
{
    msg.text[0] = '\0';
    return sc_listen(sc_span_str(address), 80, &msg);
}

static int open_path(const char *name)
{
    char address[300];
    snprintf(address, sizeof address, "unix:%s/%s", dir, name);
    return open_at(address);
}

static void assert_says(const char *part)
{
    if (!strstr(msg.text, part))
        fail_msg("\"%s\" does not say \"%s\"", msg.text, part);
}

static void odd_addresses_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "8080",
        "127.0.0.1:8080",
        "ftp://127.0.0.1:8080",
        "http://",
        "http://:80",
        "http://127.0.0.1:",
        "http://127.0.0.1:80x",
        "http://127.0.0.1:-1",
        "http://127.0.0.1:80/",
        "http://127.0.0.1/path",
        "http://[::1]:80",
        "http://a^b:80",
        "unix:relative",
        "unix:",
    };
    for (size_t i = 0; i < SC_COUNT(bad); i++) {
        char want[100];
        snprintf(want, sizeof want, "Invalid binding address: %s", bad[i]);
        assert_int_equal(open_at(bad[i]), SC_EINVAL);
        assert_says(want);
    }
    assert_int_equal(open_at("http://127.0.0.1:65535"), SC_EINVAL);
    assert_says("Invalid port number: http://127.0.0.1:65535");
    assert_int_equal(open_at("http://127.0.0.1:99999999999999999999"), SC_EINVAL);
    assert_says("Invalid port number");
    int secure = open_at("https://127.0.0.1:0");
    assert_true(secure >= 0);
    close(secure);
    assert_int_equal(open_at("http://no.such.host.invalid:1"), SC_EINVAL);
    assert_says("host name is unknown");
}

static void a_port_in_use_is_named_with_the_remedy(void **state)
{
    (void)state;
    int fd = open_at("HTTP://127.0.0.1:0");
    assert_true(fd >= 0);
    struct sockaddr_in a;
    socklen_t n = sizeof a;
    getsockname(fd, (struct sockaddr *)&a, &n);
    char address[64], want[200];
    snprintf(address, sizeof address, "http://127.0.0.1:%d", ntohs(a.sin_port));
    snprintf(want, sizeof want, "cannot listen on %s: the port is in use; stop the program", address);
    assert_int_equal(open_at(address), SC_EEXIST);
    assert_says(want);
    close(fd);
    assert_int_equal(open_at("http://192.0.2.1:1234"), SC_ESYS);
    assert_says("no such address; use 0.0.0.0");
}

static void a_dead_server_leaves_its_path_to_the_next(void **state)
{
    (void)state;
    int fd = open_path("socket");
    assert_true(fd >= 0);
    close(fd); /* the file stays */
    fd = open_path("socket");
    assert_true(fd >= 0);
    assert_int_equal(open_path("socket"), SC_EEXIST);
    assert_says("/socket: the socket is in use; stop the server that has it");
    /* Asking did no harm. */
    assert_int_equal(open_path("socket"), SC_EEXIST);
    close(fd);
}

static void what_is_not_a_socket_is_not_removed(void **state)
{
    (void)state;
    char path[300];
    snprintf(path, sizeof path, "%s/file", dir);
    fclose(fopen(path, "w"));
    assert_int_equal(open_path("file"), SC_EEXIST);
    assert_says("/file: the path is in use by something that is not a socket");
    assert_int_equal(access(path, F_OK), 0);
    unlink(path);
}

static void unix_errors_name_the_remedy(void **state)
{
    (void)state;
    assert_int_equal(open_path("none/socket"), SC_ESYS);
    assert_says("the folder does not exist; make it first");
    char name[200];
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(open_path(name), SC_EINVAL);
    assert_says("the system allows 107; choose a shorter one");
}

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    char path[300];
    snprintf(path, sizeof path, "%s/socket", dir);
    unlink(path);
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(odd_addresses_are_refused),
        cmocka_unit_test(a_port_in_use_is_named_with_the_remedy),
        cmocka_unit_test(a_dead_server_leaves_its_path_to_the_next),
        cmocka_unit_test(what_is_not_a_socket_is_not_removed),
        cmocka_unit_test(unix_errors_name_the_remedy),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
