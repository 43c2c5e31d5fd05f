/* Signals to workers. A client of MPS is taken off the GPU first, by the keeper of its daemon. */
#include "worker/supervisor_parts.h"

static void deliver(struct sc_slot *slot, int signal)
{
    slot->signal = 0;
    slot->answer_by = SC_NEVER;
    if (!slot->pid)
        return;
    sc_guests_broken(slot);
    /* A launcher that is told to end may cut off what its ranks have begun: they are told, and it follows. */
    if (!slot->launcher || signal == SIGKILL || slot->nconnected < slot->nranks)
        sc_super_kill(slot->pid, signal);
    sc_ranks_kill(slot, signal);
}

static bool ask(struct sc_super *s, struct sc_slot *keeper, const struct sc_slot *slot, pid_t pid)
{
    struct sc_ctl_client c = {.slot = slot->number, .pid = (int32_t)pid, .life = slot->life};
    return sc_peer_send(s, &keeper->ranks[0].peer, SC_CTL_END_CLIENT, sc_span(&c, sizeof c), sc_span(NULL, 0),
                        NULL, 0) == SC_OK;
}

/* Every process of the worker that may have a context. */
static unsigned ask_for_all(struct sc_super *s, struct sc_slot *keeper, const struct sc_slot *slot)
{
    unsigned n = ask(s, keeper, slot, slot->pid);
    for (uint32_t i = 0; i < slot->nranks; i++)
        if (slot->ranks[i].pid && slot->ranks[i].pid != slot->pid)
            n += ask(s, keeper, slot, slot->ranks[i].pid);
    return n;
}

void sc_slot_signal(struct sc_super *s, struct sc_slot *slot, int signal)
{
    struct sc_slot *keeper = slot->keeper ? s->slots[slot->keeper - 1] : NULL;
    if (slot->house && signal != SIGKILL) {
        sc_guests_end(s, slot);
        return;
    }
    if (slot->signal) {
        if (signal == SIGKILL)
            slot->signal = SIGKILL;
        return;
    }
    if (slot->pid && keeper && keeper->keeps && keeper->state == SC_SLOT_LOADED && !slot->off_gpu &&
        (slot->answers = ask_for_all(s, keeper, slot)) > 0) {
        slot->signal = signal;
        slot->answer_by = sc_clock_ms() + SC_MPS_END_MS;
        return;
    }
    deliver(slot, signal);
}

int sc_slot_client_ended(struct sc_super *s, const struct sc_slot *keeper, struct sc_span payload)
{
    struct sc_ctl_client c;
    if (sc_ctl_read_fixed(payload, &c, sizeof c) < 0 || c.slot >= SC_SLOTS_MAX)
        return SC_EPROTO;
    struct sc_slot *slot = s->slots[c.slot];
    if (!slot || slot->life != c.life || slot->keeper != keeper->number + 1 || !slot->signal)
        return SC_OK;
    if (slot->answers > 1) {
        slot->answers--;
        return SC_OK;
    }
    slot->off_gpu = true;
    deliver(slot, slot->signal);
    return SC_OK;
}

void sc_slot_keeper_gone(struct sc_super *s, const struct sc_slot *keeper)
{
    for (uint32_t i = 0; i < s->slots_top; i++) {
        struct sc_slot *slot = s->slots[i];
        if (slot && slot->signal && slot->keeper == keeper->number + 1)
            deliver(slot, slot->signal);
    }
}

void sc_slot_signal_tick(struct sc_super *s, struct sc_slot *slot, int64_t now)
{
    if (slot->answer_by > now)
        return;
    sc_super_log(
        s, SC_LOG_WARN,
        "Worker %.*s (slot %u): its MPS daemon has not taken it off the GPU in %d ms; it is signalled.",
        SC_FMT(sc_slot_name(slot)), slot->number, SC_MPS_END_MS);
    slot->off_gpu = true;
    deliver(slot, slot->signal);
}
