/* Lines of the access log (docs/contract.md §8). */
#include <arpa/inet.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/connection.h"

static char *put(char *w, const char *p, size_t n)
{
    memcpy(w, p, n);
    return w + n;
}

static char *put_peer(char *w, const struct sc_conn *c)
{
    if (c->peer_port == 0)
        return put(w, "127.0.0.1", 9);
    *w++ = '/';
    if (c->peer6) {
        inet_ntop(AF_INET6, c->peer6, w, INET6_ADDRSTRLEN);
        w += strlen(w);
    } else {
        for (int i = 0; i < 4; i++) {
            w = sc_put_u64(w, c->peer_ip[i]);
            *w++ = i < 3 ? '.' : ':';
        }
        return sc_put_u64(w, c->peer_port);
    }
    *w++ = ':';
    return sc_put_u64(w, c->peer_port);
}

static bool wanted(const struct sc_conn *c)
{
    return c->part->server->config.access_log && sc_log_enabled(SC_LOGGER_ACCESS, SC_LOG_INFO);
}

static void write_line(const struct sc_http_exchange *x, char *line, char *w, unsigned status)
{
    w = put(w, "\" ", 2);
    w = sc_put_u64(w, status);
    *w++ = ' ';
    int64_t ns = sc_clock_ns() - x->start_ns;
    w = sc_put_u64(w, ns > 0 ? (uint64_t)ns / 1000000 : 0);
    sc_log_line(SC_LOGGER_ACCESS, SC_LOG_INFO, NULL, sc_span(line, (size_t)(w - line)));
}

void sc_http_access(struct sc_http_exchange *x, struct sc_span what, int status)
{
    struct sc_conn *c = x->req.http2 ? sc_stream_conn(x) : sc_conn_of(x);
    char line[SC_HTTP_LINE_MAX + 160];
    if (!wanted(c))
        return;
    char *w = put_peer(line, c);
    w = put(w, " \"", 2);
    w = put(w, what.p, SC_MIN(what.n, (size_t)SC_HTTP_LINE_MAX));
    write_line(x, line, w, (unsigned)status);
}

void sc_conn_log(struct sc_conn *c, const struct sc_http_exchange *x, int status, bool parsed)
{
    if (!wanted(c))
        return;
    char line[SC_HTTP_LINE_MAX + 160];
    char *w = put_peer(line, c);
    w = put(w, " \"", 2);
    if (parsed) {
        /* All three are parts of one request line, which bounds them together. */
        const struct sc_http_request *r = &x->req;
        const struct sc_span version = r->http2 ? SC_SPAN("HTTP/2.0") : c->block->head.version;
        w = put(w, r->method.p, r->method.n);
        *w++ = ' ';
        w = put(w, r->target.p, r->target.n);
        *w++ = ' ';
        w = put(w, version.p, version.n);
    } else {
        /* What TorchServe logs for a message that it cannot parse. */
        static const char bad[] = "GET /bad-request HTTP/1.0";
        w = put(w, bad, sizeof bad - 1);
    }
    write_line(x, line, w, (unsigned)status);
}
