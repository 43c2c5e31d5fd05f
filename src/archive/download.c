#include "archive/download.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "archive/allowed.h"
#include "archive/curl.h"
#include "archive/place.h"
#include "archive/reach.h"
#include "base/alloc.h"
#include "base/limits.h"
#include "base/span.h"

#define BLOCK (128u << 10)
#define DISK_CHECK_BYTES (16u << 20)
#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* The file that is being written. */
struct target {
    int store, fd;
    char part[64]; /* its name so far; empty: it has none yet (O_TMPFILE) */
    uint64_t bytes, disk_checked;
    struct sc_msg *msg;
    int failed;
};

static int open_target(struct target *t, const char *store, struct sc_msg *msg)
{
    char id[SC_PLACE_ID + 1];
    *t = (struct target){.store = -1, .fd = -1, .msg = msg};
    t->store = open(store, O_DIRECTORY | O_CLOEXEC);
    if (t->store < 0)
        return sc_fail(msg, SC_ESYS, "cannot open the model store %.300s: %s", store, strerror(errno));
    t->fd = openat(t->store, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0644);
    if (t->fd < 0) {
        sc_place_random(id);
        snprintf(t->part, sizeof t->part, ".%s.part", id);
        t->fd = openat(t->store, t->part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    }
    if (t->fd < 0)
        return sc_fail(msg, SC_ESYS, "cannot write to the model store %.300s: %s", store, strerror(errno));
    return 0;
}

static void close_target(struct target *t)
{
    if (t->fd >= 0)
        close(t->fd);
    if (t->part[0])
        (void)unlinkat(t->store, t->part, 0);
    if (t->store >= 0)
        close(t->store);
}

static int append(struct target *t, const char *p, size_t n)
{
    struct statvfs disk;
    t->bytes += n;
    if (t->bytes > SC_ARCHIVE_BYTES_MAX)
        return sc_fail(t->msg, SC_ELIMIT, "it is too large");
    if (t->bytes - t->disk_checked >= DISK_CHECK_BYTES) {
        t->disk_checked = t->bytes;
        if (fstatvfs(t->fd, &disk) == 0 && (uint64_t)disk.f_bavail * disk.f_frsize < SC_ARCHIVE_DISK_RESERVE)
            return sc_fail(t->msg, SC_ELIMIT, "the disk of the model store is full");
    }
    while (n > 0) {
        ssize_t w = write(t->fd, p, n);
        if (w < 0 && errno != EINTR)
            return sc_fail(t->msg, SC_ESYS, "cannot write to the model store: %s", strerror(errno));
        p += w > 0 ? w : 0;
        n -= w > 0 ? (size_t)w : 0;
    }
    return 0;
}

/* Gives the file its name, unless there is one of that name. */
static int publish(struct target *t, const char *name)
{
    char link[48];
    int rc;
    if (t->part[0]) {
        rc = linkat(t->store, t->part, t->store, name, 0);
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", t->fd);
        rc = linkat(AT_FDCWD, link, t->store, name, AT_SYMLINK_FOLLOW);
    }
    if (rc < 0 && errno == EEXIST)
        return sc_fail(t->msg, SC_EEXIST, "the model store has a file %.255s", name);
    if (rc < 0)
        return sc_fail(t->msg, SC_ESYS, "cannot name the file %.255s in the model store: %s", name,
                       strerror(errno));
    return 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The path of a file URL, its escapes resolved. NULL with *msg. */
static char *path_of_url(const char *url, struct sc_msg *msg)
{
    const char *at = url + strlen("file:");
    if (strncmp(at, "//", 2) == 0)
        at += 2;
    if (strncasecmp(at, "localhost/", 10) == 0)
        at += 9;
    size_t n = strcspn(at, "?#"), out = 0;
    char *path = sc_alloc(n + 1);
    for (size_t i = 0; i < n; i++) {
        if (at[i] == '%' && i + 2 < n && hex_digit(at[i + 1]) >= 0 && hex_digit(at[i + 2]) >= 0) {
            path[out++] = (char)(hex_digit(at[i + 1]) * 16 + hex_digit(at[i + 2]));
            i += 2;
        } else {
            path[out++] = at[i];
        }
    }
    /* What was escaped was not seen when the url was checked. */
    if (path[0] != '/' || strlen(path) != out || strstr(path, "..")) {
        free(path);
        (void)sc_fail(msg, SC_EINVAL, "a file URL must be file:///<absolute path>, without \"..\"");
        return NULL;
    }
    return path;
}

static int copy_file(struct target *t, const char *url)
{
    struct stat st;
    int rc = 0, in = -1;
    char *path = path_of_url(url, t->msg), *block = malloc(BLOCK);
    if (!path || !block) {
        rc = SC_EINVAL;
        goto done;
    }
    in = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (in < 0 || fstat(in, &st) < 0 || !S_ISREG(st.st_mode)) {
        rc = sc_fail(t->msg, SC_ENOTFOUND, "%.300s: %s", path, in < 0 ? strerror(errno) : "it is no file");
        goto done;
    }
    while (rc == 0) {
        ssize_t n = read(in, block, BLOCK);
        if (n == 0)
            break;
        if (n > 0)
            rc = append(t, block, (size_t)n);
        else if (errno != EINTR)
            rc = sc_fail(t->msg, SC_ESYS, "%.300s: %s", path, strerror(errno));
    }
done:
    if (in >= 0)
        close(in);
    free(block);
    free(path);
    return rc;
}

/* One request: of the URL that was asked for, or of one that it was redirected to. */
struct request {
    const struct sc_curl *curl;
    void *easy;
    const char *url, *allowed_urls;
    struct target *target;
    struct sc_msg refused; /* an address that may not be reached */
};

static bool is_redirect(const struct request *r)
{
    long status = 0;
    return r->curl->getinfo(r->easy, SC_CURLINFO_RESPONSE_CODE, &status) == 0 && status / 100 == 3;
}

static size_t on_data(char *p, size_t size, size_t count, void *context)
{
    const struct request *r = context;
    if (!is_redirect(r))
        r->target->failed = append(r->target, p, size * count);
    return r->target->failed < 0 ? 0 : size * count;
}

/* Whether it is a proxy on this machine: behind it names are the proxy's to resolve. */
static bool is_proxy(const struct sockaddr_storage *a)
{
    static const char *const names[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};
    const struct sockaddr_in *v4 = (const void *)a;
    const struct sockaddr_in6 *v6 = (const void *)a;
    bool is_v4 = a->ss_family == AF_INET;
    if (is_v4 ? ntohl(v4->sin_addr.s_addr) >> 24 != 127 : !IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr))
        return false;
    for (size_t i = 0; i < SC_COUNT(names); i++) {
        const char *proxy = getenv(names[i]), *colon = proxy ? strrchr(proxy, ':') : NULL;
        int32_t n = 1080; /* libcurl's */
        if (!proxy || !*proxy)
            continue;
        if (colon && colon[1] != '/')
            (void)sc_span_i32(sc_span(colon + 1, strspn(colon + 1, "0123456789")), &n);
        if (n == ntohs(is_v4 ? v4->sin_port : v6->sin6_port))
            return true;
    }
    return false;
}

/* Opens the socket for an address that the host was resolved to, unless it may not be reached. */
static int on_socket(void *context, int purpose, struct sc_curl_sockaddr *to)
{
    struct request *r = context;
    struct sockaddr_storage a = {0};
    struct sc_msg why = {""};
    (void)purpose;
    if (to->addrlen > sizeof a)
        return -1;
    memcpy(&a, (const char *)to + offsetof(struct sc_curl_sockaddr, addr), to->addrlen);
    if (!is_proxy(&a) && !sc_reach_allowed(r->allowed_urls, r->url, &a, &why)) {
        r->refused = why;
        return -1;
    }
    return socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
}

/* Has the request signed. *headers is freed by the caller after the transfer. */
static int sign_for_s3(const struct sc_curl *curl, void *easy, void **headers, struct sc_msg *msg)
{
    const char *key = getenv("AWS_ACCESS_KEY_ID"), *secret = getenv("AWS_SECRET_ACCESS_KEY");
    const char *region = getenv("AWS_DEFAULT_REGION");
    char scheme[128];
    if (!key || !secret || !region)
        return sc_fail(
            msg, SC_EINVAL,
            "s3_sse_kms needs AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_DEFAULT_REGION in the "
            "server's environment");
    if (curl->version < SC_CURL_SIGNS_S3)
        return sc_fail(msg, SC_EUNSUPPORTED, "s3_sse_kms needs libcurl 7.87 or newer");
    snprintf(scheme, sizeof scheme, "aws:amz:%.64s:s3", region);
    *headers = curl->slist_append(NULL, "x-amz-content-sha256: " EMPTY_SHA256);
    int rc = curl->setopt(easy, SC_CURLOPT_AWS_SIGV4, scheme);
    rc |= curl->setopt(easy, SC_CURLOPT_USERNAME, key);
    rc |= curl->setopt(easy, SC_CURLOPT_PASSWORD, secret);
    rc |= curl->setopt(easy, SC_CURLOPT_HTTPHEADER, *headers);
    return rc ? sc_fail(msg, SC_EUNSUPPORTED, "this libcurl cannot sign requests for S3") : 0;
}

static int set_options(struct request *r, char *why)
{
    const struct sc_curl *curl = r->curl;
    int rc = curl->setopt(r->easy, SC_CURLOPT_ERRORBUFFER, why);
    rc |= curl->setopt(r->easy, SC_CURLOPT_URL, r->url);
    rc |= curl->setopt(r->easy, SC_CURLOPT_WRITEFUNCTION, on_data);
    rc |= curl->setopt(r->easy, SC_CURLOPT_WRITEDATA, (void *)r);
    rc |= curl->setopt(r->easy, SC_CURLOPT_OPENSOCKETFUNCTION, on_socket);
    rc |= curl->setopt(r->easy, SC_CURLOPT_OPENSOCKETDATA, (void *)r);
    rc |= curl->setopt(r->easy, SC_CURLOPT_USERAGENT, "sconce/" SCONCE_VERSION);
    rc |= curl->setopt(r->easy, SC_CURLOPT_NOSIGNAL, 1L);
    rc |= curl->setopt(r->easy, SC_CURLOPT_FAILONERROR, 1L);
    rc |= curl->setopt(r->easy, SC_CURLOPT_PROTOCOLS, SC_CURLPROTO_HTTP | SC_CURLPROTO_HTTPS);
    rc |= curl->setopt(r->easy, SC_CURLOPT_CONNECTTIMEOUT, (long)SC_ARCHIVE_CONNECT_S);
    rc |= curl->setopt(r->easy, SC_CURLOPT_LOW_SPEED_LIMIT, 1L);
    rc |= curl->setopt(r->easy, SC_CURLOPT_LOW_SPEED_TIME, (long)SC_ARCHIVE_STALL_S);
    return rc ? sc_fail(r->target->msg, SC_EUNSUPPORTED,
                        "this libcurl does not know an option that is needed")
              : 0;
}

/* *next: where it is redirected to, NULL if it is not; the caller frees it. */
static int perform(struct request *r, bool sign, char **next)
{
    struct sc_msg *msg = r->target->msg;
    char why[SC_CURL_ERROR_SIZE] = "";
    const char *to = NULL;
    void *headers = NULL;
    r->easy = r->curl->init();
    if (!r->easy)
        return sc_fail(msg, SC_ENOMEM, "libcurl has no memory");
    int rc = set_options(r, why);
    if (rc == 0 && sign)
        rc = sign_for_s3(r->curl, r->easy, &headers, msg);
    if (rc == 0) {
        int code = r->curl->perform(r->easy);
        if (r->target->failed < 0)
            rc = r->target->failed;
        else if (code)
            rc = sc_fail(msg, SC_ECLOSED, "%s",
                         *r->refused.text ? r->refused.text
                         : *why           ? why
                                          : r->curl->strerror(code));
        else if (is_redirect(r) && (r->curl->getinfo(r->easy, SC_CURLINFO_REDIRECT_URL, &to) != 0 || !to))
            rc = sc_fail(msg, SC_ECLOSED, "it is a redirection to nowhere");
    }
    *next = to ? sc_strdup(to) : NULL;
    r->curl->cleanup(r->easy);
    r->curl->slist_free(headers);
    return rc;
}

/* Redirections are followed here and not by libcurl: each is checked like the URL that was asked for. */
static int transfer(struct target *t, const char *url, const char *allowed_urls, bool sign)
{
    const struct sc_curl *curl;
    char *at = NULL, *next = NULL;
    int rc = sc_curl_get(&curl, t->msg);
    for (unsigned hops = 0; rc == 0; hops++) {
        struct request r = {.curl = curl, .url = at ? at : url, .allowed_urls = allowed_urls, .target = t};
        /* A signature is for the host that was asked for. */
        rc = perform(&r, sign && hops == 0, &next);
        free(at);
        at = next;
        if (rc < 0 || !at)
            break;
        if (hops == SC_ARCHIVE_REDIRECTS_MAX)
            rc = sc_fail(t->msg, SC_ELIMIT, "more than %d redirections", SC_ARCHIVE_REDIRECTS_MAX);
        else if (!sc_allowed_url(allowed_urls, at))
            rc = sc_fail(t->msg, SC_EINVAL, "it redirects to %.300s, which does not match any allowed URL(s)",
                         at);
    }
    free(at);
    return rc;
}

int sc_download(const char *url, const char *allowed_urls, const char *store, const char *name, bool sign,
                struct sc_msg *msg)
{
    struct target t;
    struct stat st;
    int rc = open_target(&t, store, msg);
    if (rc < 0 || t.store < 0)
        goto done;
    if (fstatat(t.store, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        rc = sc_fail(msg, SC_EEXIST, "the model store has a file %.255s", name);
    if (rc == 0)
        rc = strncasecmp(url, "file:", 5) == 0 ? copy_file(&t, url) : transfer(&t, url, allowed_urls, sign);
    if (rc == 0)
        rc = publish(&t, name);
done:
    close_target(&t);
    return rc;
}
