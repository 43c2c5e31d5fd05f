/* Listening sockets: the address grammar of docs/contract.md §1, and errors people can act on. */
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "net/http.h"

#define BACKLOG 1024

static int refuse_address(struct sc_span address, struct sc_msg *msg)
{
    return sc_fail(
        msg, SC_EINVAL,
        "Invalid binding address: %.*s (want http://HOST[:PORT], https://HOST[:PORT] or unix:/ABSOLUTE/PATH)",
        SC_FMT(address));
}

static int bind_failed(int fd, int err, const char *what, struct sc_msg *msg)
{
    close(fd);
    errno = err;
    switch (err) {
    case EADDRINUSE:
        return sc_fail(
            msg, SC_EEXIST,
            "cannot listen on %s: the port is in use; stop the program that has it or choose another port",
            what);
    case EACCES:
        return sc_fail(msg, SC_ESYS,
                       "cannot listen on %s: permission denied; ports below 1024 need CAP_NET_BIND_SERVICE, "
                       "choose a higher one",
                       what);
    case EADDRNOTAVAIL:
        return sc_fail(
            msg, SC_ESYS,
            "cannot listen on %s: this machine has no such address; use 0.0.0.0 for all of its addresses",
            what);
    default: return sc_fail(msg, SC_ESYS, "cannot listen on %s: %s", what, strerror(err));
    }
}

/* ---- TCP ------------------------------------------------------------------------------ */

static int open_tcp(const struct addrinfo *a, const char *what, struct sc_msg *msg)
{
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return sc_fail(msg, SC_ESYS, "cannot make a socket for %s: %s", what, strerror(errno));
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    /* Linux hands these on to accepted sockets: no system call per connection. */
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
        return bind_failed(fd, errno, what, msg);
    return fd;
}

static int listen_tcp(struct sc_span address, const char *scheme, struct sc_span rest, uint16_t default_port,
                      struct sc_msg *msg)
{
    size_t colon = sc_span_find(rest, ':');
    struct sc_span host = sc_span(rest.p, colon);
    uint64_t port = default_port;
    char name[256], service[8], what[300];
    if (host.n == 0 || host.n >= sizeof name || sc_span_find(rest, '/') < rest.n ||
        sc_span_find(rest, '^') < rest.n || sc_span_find(rest, '\0') < rest.n)
        return refuse_address(address, msg);
    if (colon < rest.n) {
        struct sc_span digits = sc_span_sub(rest, colon + 1, rest.n);
        for (size_t i = 0; i < digits.n; i++)
            if (digits.p[i] < '0' || digits.p[i] > '9')
                return refuse_address(address, msg);
        if (digits.n == 0)
            return refuse_address(address, msg);
        if (!sc_span_u64(digits, 65534, &port))
            return sc_fail(msg, SC_EINVAL, "Invalid port number: %.*s (want 1 to 65534)", SC_FMT(address));
    }
    memcpy(name, host.p, host.n);
    name[host.n] = '\0';
    snprintf(service, sizeof service, "%u", (unsigned)port);
    snprintf(what, sizeof what, "%s://%s:%s", scheme, name, service);

    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(name, service, &hints, &list);
    if (rc)
        return sc_fail(msg, SC_EINVAL, "cannot listen on %s: the host name is unknown (%s); use an address",
                       what, gai_strerror(rc));
    /* "localhost" may have an IPv6 address first; clients that were told 127.0.0.1 want the other. */
    const struct addrinfo *best = list;
    for (const struct addrinfo *a = list; a; a = a->ai_next)
        if (a->ai_family == AF_INET) {
            best = a;
            break;
        }
    rc = open_tcp(best, what, msg);
    freeaddrinfo(list);
    return rc;
}

/* ---- unix ----------------------------------------------------------------------------- */

/* Removes what a dead server left at the address; anything else there is somebody's. */
static int clear_stale(const struct sockaddr_un *a, struct sc_msg *msg)
{
    struct stat st;
    if (lstat(a->sun_path, &st) < 0)
        return 0; /* bind tells what is wrong, if anything */
    if (!S_ISSOCK(st.st_mode))
        return sc_fail(
            msg, SC_EEXIST,
            "cannot listen on unix:%s: the path is in use by something that is not a socket; remove it "
            "or choose another path",
            a->sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return sc_fail(msg, SC_ESYS, "cannot make a socket for unix:%s: %s", a->sun_path, strerror(errno));
    int rc = connect(fd, (const struct sockaddr *)a, sizeof *a), err = errno;
    close(fd);
    /* EAGAIN: its backlog is full, so somebody is there. */
    if (rc == 0 || err == EAGAIN)
        return sc_fail(
            msg, SC_EEXIST,
            "cannot listen on unix:%s: the socket is in use; stop the server that has it or choose "
            "another path",
            a->sun_path);
    if (err == ECONNREFUSED && unlink(a->sun_path) == 0)
        return 0;
    return sc_fail(msg, SC_ESYS,
                   "cannot listen on unix:%s: the old socket cannot be removed (%s); remove it by hand",
                   a->sun_path, strerror(err == ECONNREFUSED ? errno : err));
}

static int unix_failed(int fd, int err, const char *path, struct sc_msg *msg)
{
    close(fd);
    errno = err;
    switch (err) {
    case ENOENT:
    case ENOTDIR:
        return sc_fail(msg, SC_ESYS, "cannot listen on unix:%s: the folder does not exist; make it first",
                       path);
    case EACCES:
    case EROFS:
        return sc_fail(
            msg, SC_ESYS,
            "cannot listen on unix:%s: permission denied; the folder must be writable for this user", path);
    case EADDRINUSE:
        return sc_fail(msg, SC_EEXIST, "cannot listen on unix:%s: the path is in use; choose another one",
                       path);
    default: return sc_fail(msg, SC_ESYS, "cannot listen on unix:%s: %s", path, strerror(err));
    }
}

static int listen_unix(struct sc_span address, struct sc_span path, struct sc_msg *msg)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (path.n == 0 || path.p[0] != '/' || sc_span_find(path, '\0') < path.n)
        return refuse_address(address, msg);
    if (path.n >= sizeof a.sun_path)
        return sc_fail(msg, SC_EINVAL,
                       "%.*s: the path has %zu bytes, the system allows %zu; choose a shorter one",
                       SC_FMT(address), path.n, sizeof a.sun_path - 1);
    memcpy(a.sun_path, path.p, path.n);
    int rc = clear_stale(&a, msg);
    if (rc < 0)
        return rc;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return sc_fail(msg, SC_ESYS, "cannot make a socket for unix:%s: %s", a.sun_path, strerror(errno));
    if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, BACKLOG) < 0)
        return unix_failed(fd, errno, a.sun_path, msg);
    return fd;
}

static bool take_scheme(struct sc_span address, struct sc_span scheme, struct sc_span *rest)
{
    if (!sc_span_eq_nocase(sc_span_sub(address, 0, scheme.n), scheme))
        return false;
    *rest = sc_span_sub(address, scheme.n, address.n);
    return true;
}

int sc_listen(struct sc_span address, uint16_t default_port, struct sc_msg *msg)
{
    struct sc_span rest;
    if (take_scheme(address, SC_SPAN("http://"), &rest))
        return listen_tcp(address, "http", rest, default_port, msg);
    if (take_scheme(address, SC_SPAN("https://"), &rest))
        return listen_tcp(address, "https", rest, default_port, msg);
    if (take_scheme(address, SC_SPAN("unix:"), &rest))
        return listen_unix(address, rest, msg);
    return refuse_address(address, msg);
}
