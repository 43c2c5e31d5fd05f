#include "load/verdict.h"

#include <stdio.h>
#include <stdlib.h>

#include <inference.pb-c.h>

#define STATUS_OF_GRPC 1000

int sc_verdict_init(struct sc_verdict *v, const struct sc_load_config *c)
{
    v->config = c;
    if (c->check == SC_LOAD_REGEX && regcomp(&v->regex, c->regex, REG_EXTENDED | REG_NOSUB) != 0)
        return SC_EINVAL;
    return 0;
}

void sc_verdict_free(struct sc_verdict *v)
{
    if (v->config->check == SC_LOAD_REGEX)
        regfree(&v->regex);
}

/* What the answer's body must be, as far as that is known; a NULL pointer: not yet. */
static struct sc_span expected(const struct sc_verdict *v, const struct sc_load_slot *s)
{
    switch (v->config->check) {
    case SC_LOAD_EQUAL: return v->config->answer;
    case SC_LOAD_ECHO: return s->sent_body;
    case SC_LOAD_FIRST: {
        const struct sc_load_first *first = atomic_load_explicit(&s->message->first, memory_order_acquire);
        return first ? sc_span(first->bytes, first->n) : sc_span(NULL, 0);
    }
    case SC_LOAD_STATUS:
    case SC_LOAD_REGEX: break;
    }
    return sc_span(NULL, 0);
}

void sc_verdict_begin(struct sc_verdict *v, struct sc_load_slot *s)
{
    enum sc_load_check check = v->config->check;
    struct sc_span want = {0};
    enum sc_body_want how = SC_BODY_KEEP;
    s->grpc_status = -1;
    s->grpc_text[0] = '\0';
    if (check == SC_LOAD_STATUS) {
        how = SC_BODY_COUNT;
    } else if (v->config->protocol != SC_LOAD_GRPC && check != SC_LOAD_REGEX) {
        want = expected(v, s);
        how = want.p || check != SC_LOAD_FIRST ? SC_BODY_COMPARE : SC_BODY_KEEP;
    }
    sc_body_begin(&s->body, how, want);
}

/* The text before the excerpt of the body, once a run. */
static void tell(struct sc_load_result *r, const struct sc_load_slot *s, const char *what)
{
    if (r->wrong[0])
        return;
    int n = snprintf(r->wrong, sizeof r->wrong, "%s; the body begins \"", what);
    size_t at = (size_t)n;
    for (size_t i = 0; i < s->body.excerpt_n && at + 2 < sizeof r->wrong; i++) {
        char c = s->body.excerpt[i];
        r->wrong[at++] = c >= ' ' && c < 127 ? c : ' ';
    }
    snprintf(r->wrong + at, sizeof r->wrong - at, "\"");
}

static int bad_status(struct sc_load_result *r, const struct sc_load_slot *s, unsigned status)
{
    char text[160];
    if (!r->bad_status)
        r->bad_status = status;
    if (status < STATUS_OF_GRPC)
        snprintf(text, sizeof text, "status %u", status);
    else
        snprintf(text, sizeof text, "grpc-status %u \"%s\"", status - STATUS_OF_GRPC, s->grpc_text);
    tell(r, s, text);
    return SC_LOAD_BAD_STATUS;
}

/* The first answer sets what the others are compared with; of several at once one wins. */
static bool is_first(struct sc_load_slot *s, struct sc_span body)
{
    struct sc_load_first *mine = malloc(sizeof *mine + body.n), *none = NULL;
    if (!mine)
        return true;
    mine->n = body.n;
    if (body.n)
        memcpy(mine->bytes, body.p, body.n);
    if (atomic_compare_exchange_strong_explicit(&s->message->first, &none, mine, memory_order_acq_rel,
                                                memory_order_acquire))
        return true;
    free(mine);
    return sc_span_eq(sc_span(none->bytes, none->n), body);
}

static bool body_is_right(struct sc_verdict *v, struct sc_load_slot *s, struct sc_span body)
{
    struct sc_span want = expected(v, s);
    regmatch_t whole = {.rm_so = 0, .rm_eo = (regoff_t)body.n};
    switch (v->config->check) {
    case SC_LOAD_STATUS: break;
    case SC_LOAD_EQUAL:
    case SC_LOAD_ECHO: return sc_span_eq(body, want);
    case SC_LOAD_FIRST: return want.p ? sc_span_eq(body, want) : is_first(s, body);
    case SC_LOAD_REGEX: return regexec(&v->regex, body.n ? body.p : "", 1, &whole, REG_STARTEND) == 0;
    }
    return true;
}

/* Of a gRPC answer, the prediction in its one message. */
static bool grpc_is_right(struct sc_verdict *v, struct sc_load_slot *s)
{
    struct sc_span all = sc_buf_view(&s->body.kept);
    if (v->config->check == SC_LOAD_STATUS)
        return true;
    if (all.n < 5 || all.p[0] != 0)
        return false;
    Org__Pytorch__Serve__Grpc__Inference__PredictionResponse *m =
        org__pytorch__serve__grpc__inference__prediction_response__unpack(NULL, all.n - 5,
                                                                          (const uint8_t *)all.p + 5);
    bool right = m && body_is_right(v, s, sc_span(m->prediction.data, m->prediction.len));
    if (m)
        org__pytorch__serve__grpc__inference__prediction_response__free_unpacked(m, NULL);
    return right;
}

int sc_verdict(struct sc_verdict *v, struct sc_load_slot *s, struct sc_load_result *r)
{
    unsigned want = v->config->status;
    bool grpc = v->config->protocol == SC_LOAD_GRPC, right;
    if (want ? s->status != want : s->status >= 400)
        return bad_status(r, s, s->status);
    if (grpc && s->grpc_status < 0)
        return SC_LOAD_PROTOCOL;
    if (grpc && s->grpc_status > 0)
        return bad_status(r, s, STATUS_OF_GRPC + (unsigned)s->grpc_status);
    if (s->body.want == SC_BODY_KEEP && s->body.differs)
        right = false;
    else if (grpc)
        right = grpc_is_right(v, s);
    else
        right =
            s->body.want == SC_BODY_KEEP ? body_is_right(v, s, sc_buf_view(&s->body.kept)) : !s->body.differs;
    if (right)
        return -1;
    tell(r, s, "an answer with the wrong body");
    return SC_LOAD_BAD_BODY;
}
