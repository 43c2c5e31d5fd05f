#include <unistd.h>

#include "worker/supervisor_parts.h"

static struct sc_kept *find(struct sc_super *s, const char *name)
{
    for (uint32_t i = 0; i < s->nkept; i++)
        if (strcmp(s->kept[i].name, name) == 0)
            return &s->kept[i];
    return NULL;
}

static void own(struct sc_kept *k, uint32_t number)
{
    k->owners[number / 64] |= UINT64_C(1) << number % 64;
    k->claims[number / 64] |= UINT64_C(1) << number % 64;
}

static void keep(struct sc_super *s, struct sc_slot *slot, const struct sc_ctl_kept *what,
                 struct sc_ctl_message *m)
{
    struct sc_kept *k = find(s, what->name);
    if (!k && s->nkept == SC_KEPT_MAX) {
        sc_super_log(s, SC_LOG_WARN, "Worker %.*s (slot %u) has nothing kept: %u descriptors are.",
                     SC_FMT(sc_slot_name(slot)), slot->number, SC_KEPT_MAX);
        return;
    }
    if (!k) {
        k = &s->kept[s->nkept++];
        *k = (struct sc_kept){.size = what->size, .fd = m->fds[0]};
        memcpy(k->name, what->name, sizeof k->name);
        m->fds[0] = -1;
    }
    own(k, slot->number);
}

static int fetch(struct sc_super *s, struct sc_slot *slot, uint32_t rank, const struct sc_ctl_kept *what)
{
    struct sc_kept *k = find(s, what->name);
    struct sc_ctl_kept answer = {.size = k ? k->size : 0};
    memcpy(answer.name, what->name, sizeof answer.name);
    if (k)
        own(k, slot->number);
    return sc_peer_send(s, &slot->ranks[rank].peer, SC_CTL_KEPT, sc_span(&answer, sizeof answer),
                        sc_span(NULL, 0), k ? &k->fd : NULL, k ? 1 : 0);
}

int sc_kept_take(struct sc_super *s, struct sc_slot *slot, uint32_t rank, struct sc_ctl_message *m)
{
    struct sc_ctl_kept what;
    bool keeps = m->type == SC_CTL_KEEP;
    if (sc_ctl_read_fixed(m->payload, &what, sizeof what) < 0 || m->nfds != (keeps ? 1u : 0u) ||
        what.name[0] == '\0' || !memchr(what.name, '\0', sizeof what.name))
        return SC_EPROTO;
    if (!keeps)
        return fetch(s, slot, rank, &what);
    keep(s, slot, &what, m);
    return SC_OK;
}

void sc_kept_new_life(struct sc_super *s, uint32_t number)
{
    for (uint32_t i = 0; i < s->nkept; i++)
        s->kept[i].claims[number / 64] &= ~(UINT64_C(1) << number % 64);
}

void sc_kept_forget(struct sc_super *s, uint32_t number)
{
    sc_kept_new_life(s, number);
    sc_kept_loaded(s, number);
}

void sc_kept_loaded(struct sc_super *s, uint32_t number)
{
    uint64_t bit = UINT64_C(1) << number % 64;
    for (uint32_t i = 0; i < s->nkept;) {
        struct sc_kept *k = &s->kept[i];
        uint64_t left = 0;
        if (!(k->claims[number / 64] & bit))
            k->owners[number / 64] &= ~bit;
        for (size_t w = 0; w < SC_COUNT(k->owners); w++)
            left |= k->owners[w];
        if (left) {
            i++;
            continue;
        }
        close(k->fd);
        *k = s->kept[--s->nkept];
    }
}
