/*
 * The processes of a worker. Below a launcher they are no children of ours, and in sessions of their own
 * (torchrun gives each one): a pidfd taken when they connect names them, whatever becomes of their numbers.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "worker/supervisor_parts.h"

int sc_ranks_init(struct sc_slot *slot, uint32_t n)
{
    slot->ranks = calloc(n, sizeof *slot->ranks);
    if (!slot->ranks)
        return SC_ENOMEM;
    slot->nranks = n;
    slot->first_ended = SC_RANK_NONE;
    for (uint32_t i = 0; i < n; i++) {
        sc_peer_init(&slot->ranks[i].peer);
        slot->ranks[i].pidfd = -1;
    }
    return SC_OK;
}

bool sc_ranks_awaits(const struct sc_slot *slot, uint32_t rank)
{
    return rank < slot->nranks && slot->ranks[rank].pid == 0;
}

/* A process that is dead does not hold its end of the connection: as long as that is open, the number is its
 * own. */
static bool hangs_up(int fd)
{
    char c;
    return recv(fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static void identify(struct sc_slot *slot, struct sc_rank *r)
{
    struct ucred who;
    socklen_t size = sizeof who;
    if (getsockopt(r->peer.fd, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0)
        return;
    r->pid = who.pid;
    if (r->pid <= 0 || r->pid == slot->pid)
        return;
    r->pidfd = (int)syscall(SYS_pidfd_open, r->pid, 0u);
    r->leads = getpgid(r->pid) == r->pid;
    if (r->pidfd >= 0 && hangs_up(r->peer.fd)) {
        close(r->pidfd);
        r->pidfd = -1;
    }
}

int sc_ranks_connect(struct sc_super *s, struct sc_slot *slot, uint32_t rank, int fd)
{
    struct sc_rank *r = &slot->ranks[rank];
    if (sc_peer_open(s, &r->peer, fd, sc_event(SC_ON_SLOT, sc_ranks_index(slot, rank))) < 0)
        return SC_ESYS;
    identify(slot, r);
    if (r->pid <= 0)
        r->pid = slot->pid; /* of a namespace that we do not see into */
    slot->nconnected++;
    return SC_OK;
}

int sc_ranks_introduce(struct sc_super *s, struct sc_slot *slot)
{
    int ends[SC_RANKS_MAX], rc = SC_OK;
    unsigned n = 0;
    for (uint32_t i = 1; rc == SC_OK && i < slot->nranks; i++) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
            rc = SC_ESYS;
            break;
        }
        ends[n++] = pair[0];
        struct sc_ctl_ranks to = {.ranks = slot->nranks, .rank = i};
        rc = sc_peer_send(s, &slot->ranks[i].peer, SC_CTL_RANKS, sc_span(&to, sizeof to), sc_span(NULL, 0),
                          &pair[1], 1);
        close(pair[1]);
        if (rc == SC_ECLOSED)
            rc = SC_OK; /* noticed where it is read */
    }
    struct sc_ctl_ranks first = {.ranks = slot->nranks};
    if (rc == SC_OK)
        rc = sc_peer_send(s, &slot->ranks[0].peer, SC_CTL_RANKS, sc_span(&first, sizeof first),
                          sc_span(NULL, 0), ends, n);
    while (n > 0)
        close(ends[--n]);
    return rc == SC_ECLOSED ? SC_OK : rc;
}

static void kill_rank(const struct sc_rank *r, int signal)
{
    if (r->pidfd < 0 || syscall(SYS_pidfd_send_signal, r->pidfd, 0, NULL, 0u) < 0)
        return;
    /* Not reaped yet, so the number is still its own, and its group's. */
    if (r->leads)
        sc_super_kill(r->pid, signal);
    else
        (void)syscall(SYS_pidfd_send_signal, r->pidfd, signal, NULL, 0u);
}

void sc_ranks_kill(const struct sc_slot *slot, int signal)
{
    for (uint32_t i = 0; i < slot->nranks; i++)
        kill_rank(&slot->ranks[i], signal);
}

void sc_ranks_ended(struct sc_super *s, struct sc_slot *slot, uint32_t rank)
{
    struct sc_rank *r = &slot->ranks[rank];
    sc_peer_close(s, &r->peer);
    r->ended = true;
    if (slot->first_ended == SC_RANK_NONE)
        slot->first_ended = (int)rank;
    kill_rank(r, SIGKILL);
}

void sc_ranks_explain(const struct sc_slot *slot, char *out, size_t size)
{
    out[0] = '\0';
    if (slot->first_ended >= 0) {
        const struct sc_rank *r = &slot->ranks[slot->first_ended];
        snprintf(out, size, "its rank %d (process %d) ended first", slot->first_ended, (int)r->pid);
        return;
    }
    bool connecting = slot->nconnected < slot->nranks;
    size_t n = 0;
    for (uint32_t i = 0; i < slot->nranks && n < size; i++) {
        if (connecting ? slot->ranks[i].pid == 0 : !slot->ranks[i].loaded)
            n += (size_t)snprintf(out + n, size - n, "%s %u", n ? "," : "rank", i);
    }
    if (n > 0 && n < size)
        snprintf(out + n, size - n, " of %u has not %s", slot->nranks, connecting ? "connected" : "loaded");
}

void sc_ranks_over(struct sc_super *s, struct sc_slot *slot)
{
    for (uint32_t i = 0; i < slot->nranks; i++) {
        struct sc_rank *r = &slot->ranks[i];
        kill_rank(r, SIGKILL);
        sc_peer_close(s, &r->peer);
        if (r->pidfd >= 0)
            close(r->pidfd);
        *r = (struct sc_rank){.pidfd = -1};
        sc_peer_init(&r->peer);
    }
    slot->nconnected = slot->nloaded = 0;
    slot->first_ended = SC_RANK_NONE;
}

void sc_ranks_free(struct sc_super *s, struct sc_slot *slot)
{
    if (!slot->ranks)
        return;
    sc_ranks_over(s, slot);
    free(slot->ranks);
    slot->ranks = NULL;
}
