#include "worker/control.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

union control_space {
    char bytes[CMSG_SPACE(SC_CTL_FDS * sizeof(int))];
    struct cmsghdr align;
};

static int send_error(void)
{
    switch (errno) {
    case EAGAIN:
    case EINTR: return SC_AGAIN;
    case EMSGSIZE: return SC_ELIMIT;
    case EPIPE:
    case ECONNRESET:
    case ENOTCONN: return SC_ECLOSED;
    default: return SC_ESYS;
    }
}

int sc_ctl_send(int sock, uint16_t type, struct sc_span a, struct sc_span b, const int *fds, unsigned nfds)
{
    if (a.n > SC_CTL_BYTES || b.n > SC_CTL_BYTES - a.n || nfds > SC_CTL_FDS)
        return SC_ELIMIT;
    struct sc_ctl_header head = {.version = SC_CTL_VERSION, .type = type, .length = (uint32_t)(a.n + b.n)};
    struct iovec parts[] = {
        {&head, sizeof head}, {(void *)(uintptr_t)a.p, a.n}, {(void *)(uintptr_t)b.p, b.n}};
    struct msghdr msg = {.msg_iov = parts, .msg_iovlen = SC_COUNT(parts)};
    union control_space space;
    if (nfds) {
        memset(&space, 0, sizeof space);
        msg.msg_control = space.bytes;
        msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
    }
    return sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? send_error() : SC_OK;
}

static void take_fds(struct sc_ctl_message *m, struct msghdr *msg)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        unsigned n = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (unsigned i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (m->nfds < SC_CTL_FDS)
                m->fds[m->nfds++] = fd;
            else
                close(fd);
        }
    }
}

int sc_ctl_receive(int sock, struct sc_ctl_message *m)
{
    m->nfds = 0;
    m->type = 0;
    m->payload = sc_span(m->bytes, 0);

    struct sc_ctl_header head;
    struct iovec parts[] = {{&head, sizeof head}, {m->bytes, sizeof m->bytes}};
    union control_space space;
    struct msghdr msg = {.msg_iov = parts,
                         .msg_iovlen = SC_COUNT(parts),
                         .msg_control = space.bytes,
                         .msg_controllen = sizeof space.bytes};
    ssize_t n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    /* A peer that left with our messages unread shows as a reset once; what it sent before is still there. */
    if (n < 0 && errno == ECONNRESET)
        n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0) {
        if (errno == EAGAIN || errno == EINTR)
            return 0;
        return errno == ECONNRESET ? SC_ECLOSED : SC_ESYS;
    }
    take_fds(m, &msg);
    int rc = 1;
    if (n == 0)
        rc = SC_ECLOSED;
    else if ((size_t)n < sizeof head || msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
        rc = SC_EPROTO;
    else if (head.version != SC_CTL_VERSION)
        rc = SC_EVERSION;
    else if (head.length != (size_t)n - sizeof head)
        rc = SC_EPROTO;
    if (rc < 0) {
        sc_ctl_close_fds(m);
        return rc;
    }
    m->type = head.type;
    m->payload = sc_span(m->bytes, head.length);
    return 1;
}

void sc_ctl_close_fds(struct sc_ctl_message *m)
{
    for (unsigned i = 0; i < m->nfds; i++) {
        if (m->fds[i] >= 0)
            close(m->fds[i]);
    }
    m->nfds = 0;
}

/* ---- the worker's way in --------------------------------------------------------------- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

static int read_token(const char *hex, uint8_t token[16])
{
    if (strlen(hex) != 32)
        return SC_EINVAL;
    for (int i = 0; i < 16; i++) {
        int hi = hex_digit(hex[2 * i]), lo = hex_digit(hex[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return SC_EINVAL;
        token[i] = (uint8_t)(hi << 4 | lo);
    }
    return SC_OK;
}

/* "@name" is abstract, anything else a path. */
static int read_address(const char *text, struct sockaddr_un *address, socklen_t *size)
{
    size_t n = strlen(text);
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (n < 2 || n >= sizeof address->sun_path)
        return SC_EINVAL;
    memcpy(address->sun_path, text, n);
    if (text[0] == '@')
        address->sun_path[0] = '\0';
    *size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (text[0] != '@'));
    return SC_OK;
}

static int connect_and_greet(int sock, const struct sockaddr_un *address, socklen_t size,
                             const struct sc_ctl_hello *hello)
{
    /* A unix connect waits only while the backlog is full; the send time-out bounds that. */
    struct timeval limit = {.tv_sec = SC_CONNECT_BACK_MS / 1000};
    if (setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0)
        return SC_ESYS;
    while (connect(sock, (const struct sockaddr *)address, size) < 0) {
        if (errno != EINTR)
            return errno == EAGAIN ? SC_ETIMEOUT : SC_ESYS;
    }
    return sc_ctl_send(sock, SC_CTL_HELLO, sc_span(hello, sizeof *hello), sc_span(NULL, 0), NULL, 0);
}

int sc_ctl_connect_back(struct sc_msg *msg)
{
    return sc_ctl_connect_back_as(getenv(SC_ENV_SOCKET), getenv(SC_ENV_TOKEN), getenv(SC_ENV_RANK), msg);
}

int sc_ctl_connect_back_as(const char *where, const char *token, const char *rank, struct sc_msg *msg)
{
    if (!where || !token)
        return sc_fail(msg, SC_EINVAL, "%s is not set: a worker is started by sconce, not by hand",
                       where ? SC_ENV_TOKEN : SC_ENV_SOCKET);
    struct sockaddr_un address;
    socklen_t size;
    if (read_address(where, &address, &size) < 0)
        return sc_fail(msg, SC_EINVAL, "%s is not an address: \"%.100s\"", SC_ENV_SOCKET, where);
    struct sc_ctl_hello hello = {.pid = (int32_t)getpid()};
    if (read_token(token, hello.token) < 0)
        return sc_fail(msg, SC_EINVAL, "%s is not 32 hexadecimal digits", SC_ENV_TOKEN);
    uint64_t number;
    if (!sc_span_u64(sc_span_str(rank ? rank : "0"), INT32_MAX, &number))
        return sc_fail(msg, SC_EINVAL, "%s is not a number: \"%.20s\"", SC_ENV_RANK, rank);
    hello.rank = (uint32_t)number;

    int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (sock < 0)
        return sc_fail(msg, SC_ESYS, "no socket to reach the supervisor: %s", strerror(errno));
    int rc = connect_and_greet(sock, &address, size, &hello);
    if (rc == SC_OK) {
        int flags = fcntl(sock, F_GETFL);
        if (flags >= 0 && fcntl(sock, F_SETFL, flags | O_NONBLOCK) == 0)
            return sock;
        rc = SC_ESYS;
    }
    const char *why = rc == SC_ESYS ? strerror(errno) : sc_strerror(rc);
    close(sock);
    return sc_fail(msg, rc, "the supervisor does not answer at %s: %s", where, why);
}

int sc_ctl_send_status(int sock, enum sc_slot_state state, struct sc_span text)
{
    size_t n = text.n;
    if (n > SC_STATUS_TEXT)
        for (n = SC_STATUS_TEXT; n > 0 && ((unsigned char)text.p[n] & 0xC0) == 0x80;)
            n--;
    struct sc_ctl_status s = {.state = state, .text_len = (uint32_t)n};
    return sc_ctl_send(sock, SC_CTL_STATUS, sc_span(&s, sizeof s), sc_span(text.p, n), NULL, 0);
}

int sc_ctl_open_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}
