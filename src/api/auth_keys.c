#include "api/auth_keys.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#include "proto/json_write.h"

#define RANDOM_BYTES 6
#define NS INT64_C(1000000000)

int64_t sc_auth_expiry(int64_t now_ns, double life_min)
{
    double seconds = trunc(life_min * 60);
    if (isnan(seconds))
        seconds = 0;
    int64_t left = (INT64_MAX - 1 - now_ns) / NS - 1;
    /* A life of years before now is as good as one that ended a moment ago. */
    if (seconds < -86400)
        seconds = -86400;
    return now_ns + (seconds < (double)left ? (int64_t)seconds : left) * NS;
}

int sc_auth_key_make(struct sc_auth_key *k, int64_t expires_ns)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned char random[RANDOM_BYTES];
    size_t n = 0;
    while (n < sizeof random) {
        ssize_t got = getrandom(random + n, sizeof random - n, 0);
        if (got < 0 && errno != EINTR)
            return SC_ESYS;
        if (got > 0)
            n += (size_t)got;
    }
    for (unsigned i = 0, at = 0; i < RANDOM_BYTES; i += 3) {
        unsigned bits = (unsigned)random[i] << 16 | (unsigned)random[i + 1] << 8 | random[i + 2];
        for (int shift = 18; shift >= 0; shift -= 6)
            k->text[at++] = digits[bits >> shift & 63];
    }
    k->expires_ns = expires_ns;
    return 0;
}

/* As Java prints an instant: no fraction, or 3, 6 or 9 digits of it. */
static void put_instant(struct sc_json_writer *w, const char *name, int64_t ns)
{
    char text[64];
    struct tm tm;
    int64_t fraction = ((ns % NS) + NS) % NS;
    time_t seconds = (time_t)((ns - fraction) / NS);
    gmtime_r(&seconds, &tm);
    size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    int more = fraction == 0 ? snprintf(text + n, sizeof text - n, "Z")
               : fraction % 1000000 == 0
                   ? snprintf(text + n, sizeof text - n, ".%03dZ", (int)(fraction / 1000000))
               : fraction % 1000 == 0 ? snprintf(text + n, sizeof text - n, ".%06dZ", (int)(fraction / 1000))
                                      : snprintf(text + n, sizeof text - n, ".%09dZ", (int)fraction);
    sc_json_put_string(w, name, sc_span(text, n + (size_t)more));
}

void sc_auth_keys_render(const struct sc_auth_keys *k, struct sc_buf *out)
{
    static const char *const names[] = {"management", "inference", "API"};
    struct sc_json_writer w;
    sc_json_write_init(&w, out, false);
    sc_json_begin_object(&w);
    for (unsigned i = 0; i < SC_AUTH_KINDS; i++) {
        sc_json_key(&w, names[i]);
        sc_json_begin_object(&w);
        sc_json_put_string(&w, "key", sc_span(k->of[i].text, SC_AUTH_KEY_BYTES));
        if (k->of[i].expires_ns != SC_AUTH_NEVER)
            put_instant(&w, "expiration time", k->of[i].expires_ns);
        sc_json_end_object(&w);
    }
    sc_json_end_object(&w);
    if (sc_json_write_finish(&w) == 0)
        out->n--;
}

void sc_auth_keys_write(const struct sc_auth_keys *k, char out[SC_AUTH_STATE_BYTES])
{
    for (unsigned i = 0; i < SC_AUTH_KINDS; i++, out += 16) {
        memcpy(out, k->of[i].text, SC_AUTH_KEY_BYTES);
        memcpy(out + SC_AUTH_KEY_BYTES, &k->of[i].expires_ns, sizeof k->of[i].expires_ns);
    }
}

bool sc_auth_keys_read(struct sc_auth_keys *k, struct sc_span state)
{
    if (state.n != SC_AUTH_STATE_BYTES)
        return false;
    for (unsigned i = 0; i < SC_AUTH_KINDS; i++, state.p += 16) {
        memcpy(k->of[i].text, state.p, SC_AUTH_KEY_BYTES);
        memcpy(&k->of[i].expires_ns, state.p + SC_AUTH_KEY_BYTES, sizeof k->of[i].expires_ns);
    }
    return true;
}

/* What of Java's \s a header can hold. */
static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

struct sc_span sc_auth_bearer(struct sc_span header)
{
    static const char scheme[] = "Bearer";
    size_t at = sizeof scheme - 1;
    if (!sc_span_starts(header, SC_SPAN("Bearer")) || at == header.n || !is_space(header.p[at]))
        return sc_span(NULL, 0);
    struct sc_span word = sc_span_trim(sc_span_sub(header, at, header.n));
    if (word.n == 0 || (size_t)(word.p - header.p) + word.n != header.n)
        return sc_span(NULL, 0);
    for (size_t i = 0; i < word.n; i++)
        if (is_space(word.p[i]))
            return sc_span(NULL, 0);
    return word;
}

bool sc_auth_key_equal(const char key[SC_AUTH_KEY_BYTES], struct sc_span given)
{
    uint64_t a, b;
    _Static_assert(sizeof a == SC_AUTH_KEY_BYTES, "a key is one word: comparing it takes one step");
    if (given.n != SC_AUTH_KEY_BYTES)
        return false;
    memcpy(&a, key, sizeof a);
    memcpy(&b, given.p, sizeof b);
    return (a ^ b) == 0;
}
