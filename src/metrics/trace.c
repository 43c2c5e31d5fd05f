#include "metrics/trace.h"

#include <math.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/array.h"
#include "base/clock.h"

/* ---- traceparent: 00-<32 hex>-<16 hex>-<2 hex> ------------------------------------------------------- */

#define PARENT_BYTES 55

/* Lower case alone. */
static bool hex(const char *p, unsigned n, uint64_t *out)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < n; i++) {
        char c = p[i];
        if (c >= '0' && c <= '9')
            v = v << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            v = v << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    *out = v;
    return true;
}

bool sc_trace_read(struct sc_span s, struct sc_trace *out)
{
    uint64_t version, flags;
    s = sc_span_trim(s);
    if (s.n < PARENT_BYTES || s.p[2] != '-' || s.p[35] != '-' || s.p[52] != '-')
        return false;
    if (!hex(s.p, 2, &version) || version == 0xff || !hex(s.p + 3, 16, &out->id[0]) ||
        !hex(s.p + 19, 16, &out->id[1]) || !hex(s.p + 36, 16, &out->parent) || !hex(s.p + 53, 2, &flags))
        return false;
    if (s.n > PARENT_BYTES && (version == 0 || s.p[PARENT_BYTES] != '-'))
        return false;
    out->sampled = flags & 1;
    return (out->id[0] || out->id[1]) && out->parent;
}

/* ---- tracestate: key=value,key=value ------------------------------------------------------------------ */

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A vendor's name, or tenant@system. */
static bool is_key(struct sc_span k)
{
    size_t at = sc_span_find(k, '@');
    struct sc_span system = at < k.n ? sc_span_sub(k, at + 1, k.n) : k;
    size_t longest = at < k.n ? 14 : 256;
    if (system.n == 0 || system.n > longest || !is_lower(system.p[0]))
        return false;
    if (at < k.n && (at == 0 || at > 241 || !(is_lower(k.p[0]) || is_digit(k.p[0]))))
        return false;
    for (size_t i = 0; i < k.n; i++)
        if (!is_lower(k.p[i]) && !is_digit(k.p[i]) && !memchr("_-*/", k.p[i], 4) && i != at)
            return false;
    return true;
}

static bool is_value(struct sc_span v)
{
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] < 0x20 || v.p[i] > 0x7e || v.p[i] == '=')
            return false;
    return v.n > 0 && v.n <= 256 && v.p[v.n - 1] != ' ';
}

bool sc_trace_state_valid(struct sc_span s)
{
    unsigned members = 0;
    if (s.n > SC_TRACE_STATE_BYTES)
        return false;
    while (s.n) {
        struct sc_span member = sc_span_trim(sc_span_sub(s, 0, sc_span_find(s, ',')));
        size_t equals = sc_span_find(member, '=');
        s = sc_span_sub(s, sc_span_find(s, ',') + 1, s.n);
        if (member.n == 0)
            continue;
        if (++members > 32 || equals == member.n || !is_key(sc_span_sub(member, 0, equals)) ||
            !is_value(sc_span_sub(member, equals + 1, member.n)))
            return false;
    }
    return members > 0;
}

/* ---- ids ---------------------------------------------------------------------------------------------- */

uint64_t sc_trace_new_id(void)
{
    static _Thread_local uint64_t state;
    uint64_t z;
    if (state == 0 && getrandom(&state, sizeof state, 0) != sizeof state)
        state = (uint64_t)sc_clock_ns() ^ (uint64_t)(uintptr_t)&z;
    do { /* splitmix64 */
        z = state += UINT64_C(0x9e3779b97f4a7c15);
        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        z ^= z >> 31;
    } while (z == 0);
    return z;
}

/* ---- samplers ----------------------------------------------------------------------------------------- */

bool sc_sampler_read(const char *name, const char *argument, struct sc_sampler *out)
{
    static const struct sc_span based = SC_SPAN("parentbased_");
    struct sc_span s = name && *name ? sc_span_str(name) : SC_SPAN("parentbased_always_on");
    char *end;
    *out = (struct sc_sampler){.parent_based = sc_span_starts(s, based), .ratio = 1};
    if (out->parent_based)
        s = sc_span_sub(s, based.n, s.n);
    if (sc_span_eq(s, SC_SPAN("always_on")))
        return true;
    if (sc_span_eq(s, SC_SPAN("always_off"))) {
        out->ratio = 0;
        return true;
    }
    if (sc_span_eq(s, SC_SPAN("traceidratio"))) {
        if (!argument || !*argument)
            return true;
        double v = strtod(argument, &end);
        if (end != argument && !*end && v >= 0 && v <= 1) {
            out->ratio = v;
            return true;
        }
    }
    *out = (struct sc_sampler){.parent_based = true, .ratio = 1};
    return false;
}

bool sc_sampler_takes(const struct sc_sampler *s, const uint64_t id[2], const struct sc_trace *parent)
{
    if (parent && s->parent_based)
        return parent->sampled;
    /* By the id, so that everyone who has the trace chooses alike. */
    return s->ratio >= 1 || (double)(id[1] >> 1) < ldexp(s->ratio, 63);
}
