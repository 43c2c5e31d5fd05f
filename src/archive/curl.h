/*
 * The few things that are used of libcurl, which is looked for at run time: a server without it loads models
 * from its disk all the same. Declared after libcurl's documentation (curl_easy_setopt(3), libcurl-symbols):
 * numbers and types are its stable ABI, soname 4.
 */
#ifndef SC_ARCHIVE_CURL_H
#define SC_ARCHIVE_CURL_H

#include <stddef.h>
#include <sys/socket.h>

#include "base/array.h"
#include "base/error.h"

enum {
    SC_CURLOPT_NOPROGRESS = 43,
    SC_CURLOPT_FAILONERROR = 45,
    SC_CURLOPT_POSTFIELDSIZE = 60,
    SC_CURLOPT_LOW_SPEED_LIMIT = 19,
    SC_CURLOPT_LOW_SPEED_TIME = 20,
    SC_CURLOPT_CONNECTTIMEOUT = 78,
    SC_CURLOPT_NOSIGNAL = 99,
    SC_CURLOPT_TIMEOUT_MS = 155,
    SC_CURLOPT_PROTOCOLS = 181,
    SC_CURLOPT_WRITEDATA = 10001,
    SC_CURLOPT_URL = 10002,
    SC_CURLOPT_ERRORBUFFER = 10010,
    SC_CURLOPT_POSTFIELDS = 10015,
    SC_CURLOPT_USERAGENT = 10018,
    SC_CURLOPT_HTTPHEADER = 10023,
    SC_CURLOPT_HEADERDATA = 10029,
    SC_CURLOPT_XFERINFODATA = 10057,
    SC_CURLOPT_OPENSOCKETDATA = 10164,
    SC_CURLOPT_USERNAME = 10173,
    SC_CURLOPT_PASSWORD = 10174,
    SC_CURLOPT_AWS_SIGV4 = 10305,
    SC_CURLOPT_WRITEFUNCTION = 20011,
    SC_CURLOPT_HEADERFUNCTION = 20079,
    SC_CURLOPT_OPENSOCKETFUNCTION = 20163,
    SC_CURLOPT_XFERINFOFUNCTION = 20219,
};
enum { SC_CURLINFO_RESPONSE_CODE = 0x200002, SC_CURLINFO_REDIRECT_URL = 0x10001f };
#define SC_CURLPROTO_HTTP 1L
#define SC_CURLPROTO_HTTPS 2L
#define SC_CURL_ERROR_SIZE 256
#define SC_CURL_SIGNS_S3 0x075700 /* from 7.87.0 on AWS_SIGV4 signs what S3 wants signed */

/* What an OPENSOCKETFUNCTION is given; `addr` is longer where its family needs it. */
struct sc_curl_sockaddr {
    int family, socktype, protocol;
    unsigned addrlen;
    struct sockaddr addr;
};

struct sc_curl {
    void *(*init)(void);
    int (*setopt)(void *easy, int option, ...);
    int (*perform)(void *easy);
    int (*getinfo)(void *easy, int info, ...);
    void (*cleanup)(void *easy);
    const char *(*strerror)(int code);
    void *(*slist_append)(void *list, const char *text);
    void (*slist_free)(void *list);
    unsigned version; /* 0x075800 is 7.88.0 */
};

/* The library, loaded by the first call; SC_EUNSUPPORTED with *msg where there is none. Any thread. */
int sc_curl_get(const struct sc_curl **curl, struct sc_msg *msg) SC_MUST_USE;

#endif
