/* Addresses as TorchServe's files have them. */
#include <strings.h>

#include "model/settings_table.h"

int sc_settings_check_address(const char *text, bool *https, struct sc_msg *msg)
{
    struct sc_span a = sc_span_str(text), rest;
    uint64_t port;
    *https = false;
    if (strncasecmp(text, "unix:/", 6) == 0)
        return 0;
    if (strncasecmp(text, "http://", 7) == 0)
        rest = sc_span_sub(a, 7, a.n);
    else if (strncasecmp(text, "https://", 8) == 0)
        rest = sc_span_sub(a, 8, a.n);
    else
        goto invalid;
    size_t host = sc_span_find(rest, ':');
    if (host == 0 || strpbrk(rest.p, "/^"))
        goto invalid;
    if (host < rest.n) {
        struct sc_span digits = sc_span_sub(rest, host + 1, rest.n);
        if (digits.n == 0 || strspn(digits.p, "0123456789") != digits.n)
            goto invalid;
        if (!sc_span_u64(digits, 65534, &port))
            return sc_fail(msg, SC_EINVAL, "Invalid port number: %.200s", text);
    }
    *https = strncasecmp(text, "https:", 6) == 0;
    return 0;
invalid:
    return sc_fail(msg, SC_EINVAL,
                   "Invalid binding address: %.200s (want http://HOST[:PORT], https://HOST[:PORT] or "
                   "unix:/ABSOLUTE/PATH)",
                   text);
}
