#include "engine.h"

#include <stddef.h>

void sc_engine_base(struct sc_engine *e, const struct sc_engine_ops *ops, const struct sc_encoder_config *c,
                    const struct sc_engine_options *o)
{
    *e = (struct sc_engine){
        .ops = ops,
        .task = c->task,
        .columns = sc_encoder_columns(c),
        .vocab = c->vocab,
        .positions = c->positions,
        .types = c->types,
        .max_tokens = o->max_tokens,
    };
    for (uint32_t i = 0; i < c->layers; i++)
        e->local |= sc_encoder_layer_local(c, i);
}

uint32_t sc_engine_columns(const struct sc_engine *e)
{
    return e->columns;
}

uint32_t sc_engine_rows(const struct sc_engine *e, const struct sc_batch *b)
{
    switch (e->task) {
    case SC_TASK_SEQUENCE:
    case SC_TASK_EMBED: return b->sequences;
    case SC_TASK_TOKEN:
    case SC_TASK_QA: return b->sequences ? b->begin[b->sequences] - b->begin[0] : 0;
    case SC_TASK_FILL_MASK: return b->picks_n;
    }
    return 0;
}

int sc_engine_check(const struct sc_engine *e, const struct sc_batch *b)
{
    if (b->sequences == 0)
        return b->picks_n ? SC_EINVAL : 0;
    for (uint32_t i = 0; i < b->sequences; i++)
        if (b->begin[i + 1] <= b->begin[i] || b->begin[i + 1] - b->begin[i] > e->positions)
            return SC_EINVAL;
    if (b->keys && (e->local || (e->task != SC_TASK_TOKEN && e->task != SC_TASK_QA)))
        return SC_EUNSUPPORTED;
    if (b->skip && e->task != SC_TASK_EMBED)
        return SC_EUNSUPPORTED;
    for (uint32_t i = 0; b->keys && i < b->sequences; i++)
        if (b->keys[i] == 0 || b->keys[i] > b->begin[i + 1] - b->begin[i])
            return SC_EINVAL;
    for (uint32_t i = 0; b->skip && i < b->sequences; i++)
        if (b->skip[i] >= b->begin[i + 1] - b->begin[i])
            return SC_EINVAL;
    uint32_t first = b->begin[0], end = b->begin[b->sequences];
    if (end - first > e->max_tokens)
        return SC_ELIMIT;
    for (uint32_t t = first; t < end; t++)
        if (b->ids[t] >= e->vocab || (e->types && b->types && b->types[t] >= e->types))
            return SC_EINVAL;
    if (e->task != SC_TASK_FILL_MASK)
        return 0;
    for (uint32_t i = 0; i < b->picks_n; i++)
        if (b->picks[i] < first || b->picks[i] >= end || (i > 0 && b->picks[i] <= b->picks[i - 1]))
            return SC_EINVAL;
    return 0;
}

int sc_engine_run(struct sc_engine_lane *l, const struct sc_batch *b, float *out)
{
    const struct sc_engine *e = l->engine;
    int rc = sc_engine_check(e, b);
    if (rc < 0 || sc_engine_rows(e, b) == 0)
        return rc;
    return e->ops->run(l, b, out);
}

void sc_engine_del(struct sc_engine *e)
{
    if (e)
        e->ops->del(e);
}

void sc_engine_lane_del(struct sc_engine_lane *l)
{
    if (l)
        l->engine->ops->lane_del(l);
}
