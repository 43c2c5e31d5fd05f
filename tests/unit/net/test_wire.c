/*
 * Replays tests/wire/http1_*.txt against a server with the echo application: each case whole and
 * byte by byte, each on a connection of its own.
 *
 * A case: "== name", then lines
 *   > text     request bytes and CRLF          >> text    without the CRLF
 *   >* N text  text N times                    < text     expected bytes and CRLF
 *   << text    without the CRLF                <CACHE     the three cache headers
 *   <eof       the server ends orderly         (no <eof: a /ping on the same connection is answered)
 * with \r \n \t \0 \\ \xNN in texts, and {uuid} in expected ones.
 */
#include "test.h"

#include <ctype.h>
#include <dirent.h>

#include "echo_app.h"

#define TEXT_MAX 200000

struct text {
    char p[TEXT_MAX];
    size_t n;
};

static struct text sent, expected, got;
static struct echo server;
static unsigned cases;

static void append(struct text *t, const char *p, size_t n)
{
    assert_true(t->n + n < TEXT_MAX);
    memcpy(t->p + t->n, p, n);
    t->n += n;
}

/* Appends s with its escapes resolved. */
static void append_escaped(struct text *t, const char *s)
{
    for (; *s; s++) {
        char c = *s;
        if (c == '\\') {
            switch (*++s) {
            case 'r': c = '\r'; break;
            case 'n': c = '\n'; break;
            case 't': c = '\t'; break;
            case '0': c = '\0'; break;
            case 'x': {
                char hex[3] = {s[1], s[2], 0};
                c = (char)strtol(hex, NULL, 16);
                s += 2;
                break;
            }
            default: c = *s;
            }
        }
        append(t, &c, 1);
    }
}

/* got against expected, where {uuid} stands for any. */
static bool matches(void)
{
    static const char mark[] = "{uuid}";
    size_t i = 0, j = 0;
    while (i < expected.n) {
        if (expected.n - i >= 6 && memcmp(expected.p + i, mark, 6) == 0) {
            if (got.n - j < 36)
                return false;
            for (int k = 0; k < 36; k++) {
                char c = got.p[j + (size_t)k];
                bool dash = k == 8 || k == 13 || k == 18 || k == 23;
                if (dash ? c != '-' : !isxdigit((unsigned char)c) || isupper((unsigned char)c))
                    return false;
            }
            i += 6;
            j += 36;
        } else if (j == got.n || expected.p[i++] != got.p[j++]) {
            return false;
        }
    }
    return j == got.n;
}

static size_t expected_length(void)
{
    size_t n = expected.n;
    for (size_t i = 0; i + 6 <= expected.n; i++)
        if (memcmp(expected.p + i, "{uuid}", 6) == 0)
            n += 30;
    return n;
}

static void receive(int fd, size_t want)
{
    while (got.n < want) {
        ssize_t n = echo_recv(fd, got.p + got.n, want - got.n, 3000);
        if (n <= 0)
            return;
        got.n += (size_t)n;
    }
}

static void complain(const char *name, const char *how, const char *what)
{
    fail_msg("%s (%s): %s\n--- expected\n%.*s\n--- got\n%.*s\n---", name, how, what, (int)expected.n,
             expected.p, (int)got.n, got.p);
}

static void replay(const char *name, bool eof, bool bytewise)
{
    const char *how = bytewise ? "byte by byte" : "whole";
    int fd = echo_connect(&server);
    assert_true(fd >= 0);
    got.n = 0;
    for (size_t i = 0; i < sent.n; i += bytewise ? 1 : sent.n)
        echo_send(fd, sent.p + i, bytewise ? 1 : sent.n);
    receive(fd, expected_length());
    if (!matches())
        complain(name, how, "another answer");
    char more[512];
    if (eof) {
        if (echo_recv(fd, more, sizeof more, 3000) != 0)
            complain(name, how, "no orderly end");
    } else {
        size_t n = 0;
        echo_send(fd, "GET /ping HTTP/1.1\r\n\r\n", 22);
        if (!echo_until(fd, more, sizeof more, &n, "Healthy") ||
            strncmp(more, "HTTP/1.1 200 OK\r\n", 17) != 0)
            complain(name, how, "the connection cannot be used any more");
    }
    close(fd);
}

static void run_case(const char *name, bool eof)
{
    if (!*name)
        return;
    cases++;
    replay(name, eof, false);
    replay(name, eof, true);
}

static void repeat(const char *s)
{
    char *text;
    long n = strtol(s, &text, 10);
    while (n-- > 0)
        append_escaped(&sent, text + 1);
}

static void run_file(const char *path)
{
    char line[8192], name[256] = "";
    bool eof = false;
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "== ", 3) == 0) {
            run_case(name, eof);
            snprintf(name, sizeof name, "%.200s", line + 3);
            sent.n = expected.n = 0;
            eof = false;
        } else if (strcmp(line, "<eof") == 0) {
            eof = true;
        } else if (strcmp(line, "<CACHE") == 0) {
            append_escaped(&expected, "Pragma: no-cache\\r\\n"
                                      "Cache-Control: no-cache; no-store, must-revalidate, private\\r\\n"
                                      "Expires: Thu, 01 Jan 1970 00:00:00 UTC\\r\\n");
        } else if (strncmp(line, ">* ", 3) == 0) {
            repeat(line + 3);
        } else if (line[0] == '>' || line[0] == '<') {
            struct text *t = line[0] == '>' ? &sent : &expected;
            bool raw = line[1] == line[0];
            const char *s = line + 1 + raw;
            append_escaped(t, s + (*s == ' '));
            if (!raw)
                append(t, "\r\n", 2);
        } else if (line[0] && line[0] != '#') {
            fail_msg("%s: no such line: %s", path, line);
        }
    }
    run_case(name, eof);
    fclose(f);
}

static void every_case_is_answered_as_written(void **state)
{
    (void)state;
    const char *dir = SC_SOURCE_DIR "/tests/wire";
    DIR *d = opendir(dir);
    assert_non_null(d);
    struct sc_http_config config = echo_config;
    config.max_request_size = 1000;
    echo_start(&server, 2, &config);
    struct dirent *e;
    while ((e = readdir(d)))
        if (strncmp(e->d_name, "http1_", 6) == 0) {
            char path[512];
            snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
            run_file(path);
        }
    closedir(d);
    echo_stop(&server);
    assert_true(cases > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_case_is_answered_as_written)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
