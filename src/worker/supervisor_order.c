/* What a slot is to run: taken from SLOT_START, and changed. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/supervisor_parts.h"

static void close_output(struct sc_slot *slot)
{
    for (int i = 0; i < SC_OUTPUT_FDS; i++) {
        for (int k = 0; k < 2; k++) {
            if (slot->output[i][k] >= 0)
                close(slot->output[i][k]);
            slot->output[i][k] = -1;
        }
    }
}

/* Only the reader is to find out that there is nothing: workers wait when nobody reads. */
static int open_output(struct sc_slot *slot)
{
    for (int i = 0; i < SC_OUTPUT_FDS; i++) {
        if (pipe2(slot->output[i], O_CLOEXEC) < 0 || fcntl(slot->output[i][0], F_SETFL, O_NONBLOCK) < 0)
            return SC_ESYS;
        (void)fcntl(slot->output[i][1], F_SETPIPE_SZ,
                    SC_OUTPUT_PIPE_BYTES); /* as large as the system allows */
    }
    return SC_OK;
}

static void free_order(struct sc_slot *slot)
{
    free(slot->order);
    free(slot->argv);
    free(slot->env);
}

void sc_slot_free(struct sc_super *s, struct sc_slot *slot)
{
    sc_kept_forget(s, slot->number);
    close_output(slot);
    sc_ranks_free(s, slot);
    free_order(slot);
    free(slot->text);
    free(slot);
}

/* Takes a copy of what SLOT_START says is run. False if there is no memory. */
static bool take_order(struct sc_slot *slot, struct sc_span payload, struct sc_ctl_start *start)
{
    struct sc_span argv, env;
    slot->order = malloc(payload.n);
    if (!slot->order)
        return false;
    memcpy(slot->order, payload.p, payload.n);
    if (sc_ctl_read_start(sc_span(slot->order, payload.n), start, &slot->tag, &argv, &env, &slot->dir) < 0)
        return false;
    slot->argv = calloc(start->argc, sizeof *slot->argv);
    slot->env = calloc((size_t)start->envc + 1, sizeof *slot->env);
    if (!slot->argv || !slot->env)
        return false;
    slot->exe = sc_ctl_next_string(&argv);
    for (uint32_t i = 0; i + 1 < start->argc; i++)
        slot->argv[i] = (char *)(uintptr_t)sc_ctl_next_string(&argv);
    for (uint32_t i = 0; i < start->envc; i++)
        slot->env[i] = sc_ctl_next_string(&env);
    return true;
}

struct sc_slot *sc_slot_new(struct sc_super *s, struct sc_span payload)
{
    struct sc_ctl_start start;
    struct sc_slot *slot = calloc(1, sizeof *slot);
    if (!slot)
        return NULL;
    for (int i = 0; i < SC_OUTPUT_FDS; i++)
        slot->output[i][0] = slot->output[i][1] = -1;
    slot->text = malloc(SC_STATUS_TEXT);
    if (!slot->text || !take_order(slot, payload, &start))
        goto fail;
    if (sc_ranks_init(slot, SC_MAX(start.ranks, 1u)) < 0)
        goto fail;
    slot->captures = start.flags & SC_START_OUTPUT;
    if (slot->captures && open_output(slot) < 0)
        goto fail;
    slot->number = start.slot;
    slot->once = start.flags & SC_START_ONCE;
    slot->stubborn = start.flags & SC_START_STUBBORN;
    slot->launcher = start.flags & SC_START_LAUNCHER;
    slot->keeps = start.flags & SC_START_KEEPER;
    slot->guest = start.flags & SC_START_GUEST;
    slot->keeper = start.keeper;
    slot->answer_by = slot->connect_by = slot->kill_at = slot->restart_at = SC_NEVER;
    sc_backoff_init(&slot->backoff, start.retry_window_ms);
    return slot;
fail:
    sc_slot_free(s, slot);
    return NULL;
}

int sc_slot_change(struct sc_slot *slot, struct sc_span payload)
{
    struct sc_slot fresh = {0};
    struct sc_ctl_start start;
    if (!take_order(&fresh, payload, &start)) {
        free_order(&fresh);
        return SC_ENOMEM;
    }
    free_order(slot);
    slot->order = fresh.order;
    slot->argv = fresh.argv;
    slot->env = fresh.env;
    slot->tag = fresh.tag;
    slot->exe = fresh.exe;
    slot->dir = fresh.dir;
    slot->guest = start.flags & SC_START_GUEST;
    return SC_OK;
}
