#include "cli/bench_load.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"

#define CONTENT_TYPE "application/jpg" /* benchmark-ab.py's */

/* ---- what is sent ---- */

static int random_sizes(struct sc_load_config *c, const char *s, struct sc_msg *msg)
{
    struct sc_span all = sc_span_str(s);
    size_t colon = sc_span_find(all, ':');
    uint64_t low, high;
    if (!sc_span_u64(sc_span_sub(all, 0, colon), SC_LOAD_PAYLOAD_BYTES, &low))
        return sc_fail(msg, SC_EINVAL, "random: \"%s\" is no MIN[:MAX]", s);
    high = low;
    if (colon < all.n && !sc_span_u64(sc_span_sub(all, colon + 1, all.n), SC_LOAD_PAYLOAD_BYTES, &high))
        return sc_fail(msg, SC_EINVAL, "random: \"%s\" is no MIN[:MAX]", s);
    c->random_min = (size_t)low;
    c->random_max = (size_t)high;
    return 0;
}

static int make_payload(struct sc_load_config *c, struct sc_payload *p, struct sc_bench_options *o,
                        struct sc_msg *msg)
{
    int rc = 0;
    if (!!o->input + !!o->body + !!o->lines + !!o->random + !!o->texts > 1)
        return sc_fail(msg, SC_EINVAL,
                       "one of --input, --body, --lines, --random, --texts says what is sent");
    if (o->input)
        rc = sc_payload_path(p, o->input, msg);
    else if (o->lines)
        rc = sc_payload_lines(p, o->lines, msg);
    else if (o->texts)
        rc = sc_payload_made(p, SC_LOAD_TEXTS, o->texts, o->around, o->seed, msg);
    else if (o->random)
        rc = random_sizes(c, o->random, msg);
    else if (o->body)
        sc_payload_text(p, sc_span_str(o->body));
    else if (o->url)
        rc = sc_fail(msg, SC_EINVAL,
                     "what is sent to the model? --input names a file (or --body, --lines, --texts)");
    c->bodies = p->bodies;
    c->nbodies = p->n;
    const char *type = o->content_type      ? o->content_type
                       : o->url && o->input ? CONTENT_TYPE
                                            : p->content_type;
    if (type && !strcasestr(o->headers.n ? o->headers.p : "", "content-type:")) {
        if (o->headers.p)
            o->headers.p[o->headers.n] = '\0';
        sc_buf_printf(&o->headers, "content-type: %s\r\n", type);
    }
    sc_buf_char(&o->headers, '\0');
    if (o->headers.failed)
        return sc_fail(msg, SC_ELIMIT, "the headers are too large");
    c->headers = o->headers.p;
    return rc;
}

static int make_check(struct sc_load_config *c, const struct sc_bench_options *o, struct sc_msg *msg)
{
    if (o->echo + o->same + !!o->expect + !!o->regex > 1)
        return sc_fail(msg, SC_EINVAL,
                       "one of --expect, --regex, --same, --echo says what an answer must be");
    c->check = o->echo     ? SC_LOAD_ECHO
               : o->same   ? SC_LOAD_FIRST
               : o->expect ? SC_LOAD_EQUAL
               : o->regex  ? SC_LOAD_REGEX
                           : SC_LOAD_STATUS;
    c->answer = sc_span_str(o->expect);
    c->regex = o->regex;
    c->status = (unsigned)SC_MIN(o->status, 999);
    return 0;
}

int sc_bench_places(struct sc_load_config *c, const struct sc_bench_options *o, struct sc_msg *msg)
{
    uint64_t at_once = o->concurrency, connections = at_once;
    if (o->rate > 0 && !sc_bench_given(o, &o->concurrency))
        at_once = connections = 128;
    if (at_once == 0 || at_once > SC_LOAD_CONNECTIONS_MAX || o->threads == 0 ||
        o->threads > SC_LOAD_THREADS_MAX)
        return sc_fail(msg, SC_EINVAL, "concurrency from 1 to %u, threads from 1 to %u",
                       SC_LOAD_CONNECTIONS_MAX, SC_LOAD_THREADS_MAX);
    c->threads = (unsigned)SC_MIN(o->threads, at_once);
    if (c->protocol != SC_LOAD_HTTP1) {
        connections = o->connections ? o->connections : c->threads;
        connections = SC_MAX(connections, (at_once + SC_LOAD_STREAMS_MAX - 1) / SC_LOAD_STREAMS_MAX);
        connections = SC_MIN(connections, at_once);
        c->streams = (unsigned)((at_once + connections - 1) / connections);
    }
    c->connections = (unsigned)connections;
    return 0;
}

int sc_bench_load(struct sc_load_config *c, struct sc_payload *p, struct sc_bench_options *o,
                  struct sc_msg *msg)
{
    bool requests = sc_bench_given(o, &o->requests), duration = sc_bench_given(o, &o->duration);
    c->method = o->method;
    c->rate = o->rate;
    c->poisson = !o->constant;
    c->timeout = o->timeout;
    c->seed = o->seed;
    c->warmup = sc_bench_given(o, &o->warmup) ? o->warmup : 1;
    c->count = requests ? o->requests : o->url && !duration ? 100 : 0;
    c->duration = c->count ? 0 : duration ? o->duration : 10;
    if (requests && duration)
        return sc_fail(msg, SC_EINVAL, "give either a duration or a number of requests");
    if (requests && o->requests == 0)
        return sc_fail(msg, SC_EINVAL, "0 requests measure nothing");
    if (o->http2 && c->protocol == SC_LOAD_HTTP1)
        c->protocol = SC_LOAD_HTTP2;
    int rc = sc_bench_places(c, o, msg);
    if (rc == 0)
        rc = make_check(c, o, msg);
    if (rc == 0)
        rc = make_payload(c, p, o, msg);
    return rc == 0 ? sc_load_check(c, msg) : rc;
}

/* ---- where the report goes ---- */

int sc_bench_folder(const char *path, struct sc_msg *msg)
{
    char part[1024];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part - 64)
        return sc_fail(msg, SC_EINVAL, "\"%s\" is no folder for a report", path);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0777) < 0 && errno != EEXIST)
            return sc_fail(msg, SC_ESYS, "the report's folder %s cannot be made: %s", part, strerror(errno));
    }
    /* Found out before anything is measured, not after. */
    snprintf(part, sizeof part, "%s/.writable", path);
    FILE *f = fopen(part, "we");
    if (!f)
        return sc_fail(msg, SC_ESYS, "the report's folder %s cannot be written: %s", path, strerror(errno));
    fclose(f);
    unlink(part);
    return 0;
}

int sc_bench_write(const char *folder, const char *name, const struct sc_buf *text, struct sc_msg *msg)
{
    char path[1100], part[1110];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    snprintf(part, sizeof part, "%s.part", path);
    FILE *f = text->failed ? NULL : fopen(part, "we");
    bool ok = f && fwrite(text->p, 1, text->n, f) == text->n;
    if (f && fclose(f) != 0)
        ok = false;
    if (ok && rename(part, path) == 0)
        return 0;
    int err = errno;
    unlink(part);
    return sc_fail(msg, SC_ESYS, "%s cannot be written: %s", path,
                   text->failed ? "too large" : strerror(err));
}

atomic_bool sc_bench_stop;
static void (*on_stop)(void);

static void on_signal(int sig)
{
    (void)sig;
    atomic_store(&sc_bench_stop, true);
    if (on_stop)
        on_stop();
}

void sc_bench_catch_signals(void (*also)(void))
{
    const struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    on_stop = also;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}

void sc_bench_command(char *to, size_t size, int argc, char **argv)
{
    size_t at = 0;
    for (int i = 0; i < argc && at < size; i++) {
        bool plain = *argv[i] && !strpbrk(argv[i], " \t\n\"'$`\\|&;<>(){}*?#");
        at += (size_t)snprintf(to + at, size - at, "%s%s%s%s", i ? " " : "sconce ", plain ? "" : "'", argv[i],
                               plain ? "" : "'");
    }
}
