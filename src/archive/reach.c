#include "archive/reach.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive/allowed.h"
#include "base/limits.h"
#include "base/span.h"

enum kind { OTHER, LOOPBACK, GUARDED };

/* IPv4 as IPv6 maps it. RFC 6890; what clouds answer metadata at, by their documentation. */
static const struct {
    const char *prefix;
    unsigned bits;
    enum kind kind;
} special[] = {
    {"::ffff:127.0.0.0", 104, LOOPBACK},
    {"::ffff:0.0.0.0", 104, LOOPBACK},
    {"::1", 128, LOOPBACK},
    {"::", 128, LOOPBACK},
    {"::ffff:169.254.0.0", 112, GUARDED},
    {"fe80::", 10, GUARDED},
    {"fd00:ec2::", 32, GUARDED},
    {"fd20:ce::254", 128, GUARDED},
    {"::ffff:100.100.100.200", 128, GUARDED},
    {"::ffff:168.63.129.16", 128, GUARDED},
    {"::ffff:192.0.0.192", 128, GUARDED},
};

static bool has_prefix(const struct in6_addr *a, const struct in6_addr *prefix, unsigned bits)
{
    unsigned rest = bits % 8;
    return memcmp(a, prefix, bits / 8) == 0 &&
           (rest == 0 || (a->s6_addr[bits / 8] ^ prefix->s6_addr[bits / 8]) >> (8 - rest) == 0);
}

/* The address as IPv6; one that stands for an IPv4 address behind a translator (RFC 6052) as that one's. */
static bool as_ipv6(const struct sockaddr_storage *from, struct in6_addr *to)
{
    static const struct in6_addr mapped = {{{[10] = 0xff, [11] = 0xff}}},
                                 translated = {{{[1] = 0x64, [2] = 0xff, [3] = 0x9b}}};
    if (from->ss_family == AF_INET) {
        *to = mapped;
        memcpy(to->s6_addr + 12, &((const struct sockaddr_in *)from)->sin_addr, 4);
        return true;
    }
    if (from->ss_family != AF_INET6)
        return false;
    *to = ((const struct sockaddr_in6 *)from)->sin6_addr;
    if (has_prefix(to, &translated, 96))
        memcpy(to, &mapped, 12);
    return true;
}

static enum kind kind_of(const struct in6_addr *a)
{
    struct in6_addr prefix;
    for (size_t i = 0; i < SC_COUNT(special); i++)
        if (inet_pton(AF_INET6, special[i].prefix, &prefix) == 1 && has_prefix(a, &prefix, special[i].bits))
            return special[i].kind;
    return OTHER;
}

/* The host of a URL, without user and port. */
static struct sc_span host_of(struct sc_span url)
{
    size_t from = sc_span_find(url, ':') + 3;
    struct sc_span s = sc_span_sub(url, from, url.n);
    s.n = strcspn(s.p, "/?#\\");
    for (size_t i = s.n; i-- > 0;)
        if (s.p[i] == '@') {
            s = sc_span_sub(s, i + 1, s.n);
            break;
        }
    size_t bracket = s.n && s.p[0] == '[' ? sc_span_find(s, ']') + 1 : 0;
    return sc_span_sub(s, 0, bracket ? bracket : sc_span_find(s, ':'));
}

static bool is_localhost(struct sc_span host)
{
    struct sc_span name = SC_SPAN("localhost"), below = SC_SPAN(".localhost");
    if (host.n && host.p[host.n - 1] == '.')
        host.n--;
    return sc_span_eq_nocase(host, name) ||
           (host.n > below.n && sc_span_eq_nocase(sc_span_sub(host, host.n - below.n, below.n), below));
}

/* The URL with another host, and without a user; the caller frees it. */
static char *with_host(const char *url, struct sc_span host, const char *other)
{
    char *whole = NULL;
    int scheme = (int)strcspn(url, ":") + 3;
    return asprintf(&whole, "%.*s%s%s", scheme, url, other, host.p + host.n) < 0 ? NULL : whole;
}

bool sc_reach_allowed(const char *allowed_urls, const char *url, const struct sockaddr_storage *address,
                      struct sc_msg *msg)
{
    struct in6_addr a;
    char text[INET6_ADDRSTRLEN] = "", host_text[INET6_ADDRSTRLEN + 2];
    if (strlen(url) < strcspn(url, ":") + 3 || !as_ipv6(address, &a)) {
        (void)sc_fail(msg, SC_EINVAL, "it leads to no address of the internet");
        return false;
    }
    enum kind kind = kind_of(&a);
    struct sc_span host = host_of(sc_span_str(url));
    if (kind == OTHER || (kind == LOOPBACK && is_localhost(host)))
        return true;
    bool v4 = IN6_IS_ADDR_V4MAPPED(&a);
    inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? a.s6_addr + 12 : a.s6_addr, text, sizeof text);
    snprintf(host_text, sizeof host_text, v4 ? "%s" : "[%s]", text);
    char *same = with_host(url, host, host_text), *another = with_host(url, host, "host.invalid");
    bool allowed = same && another &&
                   (kind == LOOPBACK ? sc_allowed_url(allowed_urls, same)
                                     : sc_allowed_url_but(allowed_urls, same, another));
    free(same);
    free(another);
    if (!allowed)
        (void)sc_fail(msg, SC_EINVAL, "%.*s is %s, %s: allowed_urls does not name that address",
                      (int)SC_MIN(host.n, (size_t)200), host.p, text,
                      kind == LOOPBACK ? "this machine" : "a link-local or metadata address");
    return allowed;
}
