#include "gpu/health.h"

#include <stdio.h>

#define EVENTS_AT_ONCE 64 /* of one look: a GPU in trouble may tell the same without end */

bool sc_gpu_xid_is_harmless(unsigned long long xid)
{
    /* 8, 13, 31, 32, 43, 45, 68, 69, 109: what a program did, or what was done to it. 63: a row of memory
     * was replaced. 92: many corrected errors. 94: an uncorrected one that only its program saw. */
    static const unsigned harmless[] = {8, 13, 31, 32, 43, 45, 63, 68, 69, 92, 94, 109};
    for (size_t i = 0; i < SC_COUNT(harmless); i++)
        if (xid == harmless[i])
            return true;
    return false;
}

void sc_gpu_health_open(struct sc_gpu_health *h, const struct sc_nvml *n)
{
    bool whole = n->event_set && n->event_register && n->event_wait && n->event_free;
    if (!whole || n->event_set(&h->events) != NVML_SUCCESS)
        h->events = NULL;
}

void sc_gpu_health_close(struct sc_gpu_health *h, const struct sc_nvml *n)
{
    if (h->events)
        n->event_free(h->events);
    h->events = NULL;
}

/* The first word about a GPU stays: what follows is most often its consequence. */
static void note(struct sc_gpu_seen *s, const char *what)
{
    if (!*s->trouble)
        snprintf(s->trouble, sizeof s->trouble, "%s", what);
}

static void look_at_one(struct sc_gpu_health *h, const struct sc_nvml *n, struct sc_gpu_info *g)
{
    struct sc_gpu_seen *s = &h->seen[g->index];
    char text[96];
    bool lost = strcmp(g->trouble, SC_GPU_LOST) == 0;
    if (lost) {
        snprintf(g->uuid, sizeof g->uuid, "%s", s->uuid);
        snprintf(g->name, sizeof g->name, "%s", s->name);
    } else if (!s->known && n->handle(g->index, &s->device) == NVML_SUCCESS) {
        s->known = true;
        snprintf(s->uuid, sizeof s->uuid, "%s", g->uuid);
        snprintf(s->name, sizeof s->name, "%s", g->name);
        s->ecc_errors = g->ecc_errors;
    }
    if (h->events && s->known && !lost && !s->registered)
        s->registered = n->event_register(s->device, NVML_EVENT_XID, h->events) == NVML_SUCCESS;
    if (*g->trouble)
        note(s, g->trouble);
    if (s->known && g->ecc_errors > s->ecc_errors) {
        snprintf(text, sizeof text, "%lld uncorrected errors of its memory while it was watched",
                 (long long)(g->ecc_errors - s->ecc_errors));
        note(s, text);
    }
}

/* By its handle: of a GPU that is lost the driver tells no UUID. */
static void take_event(struct sc_gpu_health *h, const struct nvml_event *e)
{
    char text[96];
    if (!(e->type & NVML_EVENT_XID) || sc_gpu_xid_is_harmless(e->data))
        return;
    snprintf(text, sizeof text, "XID %llu", e->data);
    for (size_t i = 0; i < SC_COUNT(h->seen); i++)
        if (h->seen[i].known && h->seen[i].device == e->device)
            note(&h->seen[i], text);
}

void sc_gpu_health_look(struct sc_gpu_health *h, const struct sc_nvml *n, struct sc_gpu_report *r)
{
    struct nvml_event e;
    for (unsigned i = 0; i < r->ngpus; i++)
        look_at_one(h, n, &r->gpus[i]);
    for (unsigned i = 0; h->events && i < EVENTS_AT_ONCE && n->event_wait(h->events, &e, 0) == NVML_SUCCESS;
         i++)
        take_event(h, &e);
    for (unsigned i = 0; i < r->ngpus; i++) {
        struct sc_gpu_info *g = &r->gpus[i];
        snprintf(g->trouble, sizeof g->trouble, "%s", h->seen[g->index].trouble);
    }
}
