/* The door: whoever connects has a moment to say the token of a worker that is awaited. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "worker/supervisor_parts.h"

#define PAUSE_MS 100
#define REFUSAL_GAP_MS 1000

static int watch_listener(struct sc_super *s, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.u64 = sc_event(SC_ON_LISTENER, 0)};
    return epoll_ctl(s->epoll, EPOLL_CTL_MOD, s->listener, &e) < 0 ? SC_ESYS : SC_OK;
}

int sc_strangers_listen(struct sc_super *s)
{
    unsigned char name[10];
    if (getrandom(name, sizeof name, GRND_NONBLOCK) != (ssize_t)sizeof name)
        return SC_ESYS;
    int n = snprintf(s->address, sizeof s->address, "@sconce-");
    for (size_t i = 0; i < sizeof name; i++)
        n += snprintf(s->address + n, sizeof s->address - (size_t)n, "%02x", name[i]);

    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, s->address, (size_t)n);
    address.sun_path[0] = '\0';
    s->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->listener < 0)
        return SC_ESYS;
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n);
    struct epoll_event e = {.events = EPOLLIN, .data.u64 = sc_event(SC_ON_LISTENER, 0)};
    if (bind(s->listener, (struct sockaddr *)&address, size) < 0 || listen(s->listener, SOMAXCONN) < 0 ||
        epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->listener, &e) < 0)
        return SC_ESYS;
    return SC_OK;
}

static void say_refused(struct sc_super *s, const char *why)
{
    int64_t now = sc_clock_ms();
    if (now - s->refusal_said < REFUSAL_GAP_MS)
        return;
    s->refusal_said = now;
    sc_super_log(s, SC_LOG_WARN, "A connection to the workers' socket is refused: %s.", why);
}

/* A free place; if there is none, that of whoever has been silent longest. */
static uint32_t find_place(struct sc_super *s)
{
    uint32_t oldest = 0;
    for (uint32_t i = 0; i < SC_COUNT(s->strangers); i++) {
        if (s->strangers[i].peer.fd < 0)
            return i;
        if (s->strangers[i].hello_by < s->strangers[oldest].hello_by)
            oldest = i;
    }
    sc_peer_close(s, &s->strangers[oldest].peer);
    return oldest;
}

void sc_strangers_accept(struct sc_super *s)
{
    int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        /* Without a free descriptor the event would come again at once, for ever. */
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED && watch_listener(s, 0) == SC_OK)
            s->listener_pause = sc_clock_ms() + PAUSE_MS;
        return;
    }
    struct ucred who;
    socklen_t size = sizeof who;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0 || who.uid != geteuid()) {
        say_refused(s, "another user's");
        close(fd);
        return;
    }
    uint32_t i = find_place(s);
    if (sc_peer_open(s, &s->strangers[i].peer, fd, sc_event(SC_ON_STRANGER, i)) == SC_OK)
        s->strangers[i].hello_by = sc_clock_ms() + s->hello_ms;
}

void sc_strangers_event(struct sc_super *s, uint32_t index)
{
    struct sc_peer *p = &s->strangers[index].peer;
    if (p->fd < 0)
        return;
    struct sc_ctl_message *m = &s->message;
    int rc = sc_ctl_receive(p->fd, m);
    if (rc == 0)
        return;
    struct sc_ctl_hello hello;
    struct sc_slot *slot = NULL;
    if (rc > 0 && m->type == SC_CTL_HELLO && sc_ctl_read_fixed(m->payload, &hello, sizeof hello) == SC_OK)
        slot = sc_slots_by_token(s, hello.token);
    if (rc > 0)
        sc_ctl_close_fds(m);
    if (!slot || !sc_ranks_awaits(slot, hello.rank)) {
        say_refused(s, slot ? "its rank is not awaited" : "no worker with its token is awaited");
        sc_peer_close(s, p);
        return;
    }
    int fd = p->fd;
    (void)epoll_ctl(s->epoll, EPOLL_CTL_DEL, fd, NULL);
    sc_peer_init(p);
    sc_slots_connected(s, slot, fd, &hello);
}

void sc_strangers_hear(struct sc_super *s)
{
    for (size_t i = 0; i < SC_COUNT(s->strangers); i++)
        sc_strangers_accept(s);
    for (uint32_t i = 0; i < SC_COUNT(s->strangers); i++)
        sc_strangers_event(s, i);
}

int64_t sc_strangers_tick(struct sc_super *s, int64_t now)
{
    int64_t next = SC_NEVER;
    for (uint32_t i = 0; i < SC_COUNT(s->strangers); i++) {
        struct sc_stranger *x = &s->strangers[i];
        if (x->peer.fd < 0)
            continue;
        if (x->hello_by <= now)
            sc_peer_close(s, &x->peer);
        else
            next = SC_MIN(next, x->hello_by);
    }
    if (s->listener_pause <= now && watch_listener(s, EPOLLIN) == SC_OK)
        s->listener_pause = SC_NEVER;
    return SC_MIN(next, s->listener_pause);
}

void sc_strangers_free(struct sc_super *s)
{
    for (uint32_t i = 0; i < SC_COUNT(s->strangers); i++)
        sc_peer_close(s, &s->strangers[i].peer);
    if (s->listener >= 0)
        close(s->listener);
    s->listener = -1;
}
