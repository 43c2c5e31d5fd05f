#include "load/load.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/un.h>

#include <inference.pb-c.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "load/client.h"
#include "proto/grpc.h"

#define LOOK_NS (100 * 1000000) /* between two looks at the threads */
#define BUSY_SHARE 0.9          /* of a core: the generator has no room left */
#define LATE_NS 1e6             /* being late by less is nobody's business */
#define LATE_SHARE 0.1          /* of the p99 */

void sc_load_defaults(struct sc_load_config *c)
{
    *c = (struct sc_load_config){.target = "/",
                                 .host = "localhost",
                                 .threads = 1,
                                 .connections = 1,
                                 .streams = 1,
                                 .warmup = 1,
                                 .duration = 5,
                                 .timeout = 30,
                                 .gone = 5,
                                 .seed = 1};
}

static int unix_address(struct sc_load_config *c, char *rest, struct sc_msg *msg)
{
    struct sockaddr_un *a = (struct sockaddr_un *)&c->address;
    char *colon = strchr(rest, ':');
    if (colon)
        *colon = '\0';
    size_t n = strlen(rest);
    if (n == 0 || n >= sizeof a->sun_path)
        return sc_fail(msg, SC_EINVAL, "the path of a unix socket has 1 to %zu bytes: %s",
                       sizeof a->sun_path - 1, rest);
    a->sun_family = AF_UNIX;
    memcpy(a->sun_path, rest, n + 1);
    c->address_size = sizeof *a;
    c->target = colon ? colon + 1 : "/";
    c->host = "localhost";
    return 0;
}

int sc_load_url(struct sc_load_config *c, char *url, struct sc_msg *msg)
{
    memset(&c->address, 0, sizeof c->address);
    if (strncmp(url, "unix:", 5) == 0)
        return unix_address(c, url + 5, msg);
    static const struct {
        const char *prefix, *port;
        bool grpc, tls;
    } schemes[] = {{"http://", "80", false, false},
                   {"https://", "443", false, true},
                   {"grpc://", "80", true, false},
                   {"grpcs://", "443", true, true}};
    unsigned scheme = 0;
    while (scheme < SC_COUNT(schemes) &&
           strncmp(url, schemes[scheme].prefix, strlen(schemes[scheme].prefix)) != 0)
        scheme++;
    if (scheme == SC_COUNT(schemes))
        return sc_fail(msg, SC_EINVAL,
                       "%s: write http[s]://HOST:PORT/PATH, grpc[s]://HOST:PORT/MODEL or unix:SOCKET:/PATH",
                       url);
    bool grpc = schemes[scheme].grpc;
    c->tls = schemes[scheme].tls;
    /* The host stays where it is; the target moves two bytes down the "//" so that both can end with a NUL.
     */
    char *host = url + strlen(schemes[scheme].prefix), *slash = strchr(host, '/');
    size_t n = slash ? (size_t)(slash - host) : strlen(host);
    memmove(url, host, n);
    url[n] = '\0';
    c->host = url;
    c->target = slash ? slash + grpc : "/";
    c->protocol = grpc ? SC_LOAD_GRPC : c->protocol;
    if (grpc && (!slash || !slash[1]))
        return sc_fail(msg, SC_EINVAL, "grpc://%s: which model? write grpc://HOST:PORT/MODEL", url);
    char port[8];
    snprintf(port, sizeof port, "%s", schemes[scheme].port);
    const char *colon = strrchr(url, ':');
    if (colon && strchr(colon, ']'))
        colon = NULL;
    size_t name_n = colon ? (size_t)(colon - url) : n;
    const char *from = url;
    if (name_n > 2 && url[0] == '[') {
        from++;
        name_n -= 2;
    }
    if (name_n == 0 || name_n >= sizeof c->name || (colon && strlen(colon + 1) >= sizeof port))
        return sc_fail(msg, SC_EINVAL, "%s is no host and port", url);
    memcpy(c->name, from, name_n);
    c->name[name_n] = '\0';
    if (colon)
        memcpy(port, colon + 1, strlen(colon + 1) + 1);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    int rc = getaddrinfo(c->name, port, &hints, &found);
    if (rc)
        return sc_fail(msg, SC_ENOTFOUND, "%s: %s", url, gai_strerror(rc));
    memcpy(&c->address, found->ai_addr, found->ai_addrlen);
    c->address_size = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

int sc_load_check(const struct sc_load_config *c, struct sc_msg *msg)
{
    regex_t regex;
    char why[128];
    if (c->threads == 0 || c->connections < c->threads)
        return sc_fail(msg, SC_EINVAL, "%u connections for %u threads: at least one each", c->connections,
                       c->threads);
    if (c->streams == 0 || (c->protocol == SC_LOAD_HTTP1 && c->streams > 1))
        return sc_fail(msg, SC_EINVAL,
                       "a connection of HTTP/1.1 takes one request at a time: add connections");
    if (!(c->duration > 0) && !c->count)
        return sc_fail(msg, SC_EINVAL, "nothing to measure: give a duration or a number of requests above 0");
    if (c->duration > 0 && c->count)
        return sc_fail(msg, SC_EINVAL, "give either a duration or a number of requests");
    if (c->rate < 0 || c->warmup < 0 || !(c->timeout > 0) || c->gone < 0)
        return sc_fail(msg, SC_EINVAL, "rate, warm-up and time-out cannot be negative");
    if (c->random_max < c->random_min || (c->nbodies && c->random_max))
        return sc_fail(msg, SC_EINVAL,
                       "bodies are either given or random, from a smaller size to a larger one");
    if (c->check == SC_LOAD_ECHO && !c->nbodies && !c->random_max)
        return sc_fail(msg, SC_EINVAL, "an echo needs a body");
    if (c->check == SC_LOAD_FIRST && c->random_max)
        return sc_fail(msg, SC_EINVAL, "random bodies have no answers to compare with");
    if (c->check != SC_LOAD_REGEX)
        return 0;
    int rc = regcomp(&regex, c->regex, REG_EXTENDED | REG_NOSUB);
    if (rc != 0) {
        regerror(rc, &regex, why, sizeof why);
        return sc_fail(msg, SC_EINVAL, "\"%s\" is no expression: %s", c->regex, why);
    }
    regfree(&regex);
    return 0;
}

static int raise_limit(const struct sc_load_config *c, struct sc_msg *msg)
{
    struct rlimit l;
    rlim_t need = (rlim_t)c->connections + c->threads + 64;
    if (getrlimit(RLIMIT_NOFILE, &l) < 0 || l.rlim_cur >= need)
        return 0;
    l.rlim_cur = l.rlim_max;
    if (l.rlim_max < need || setrlimit(RLIMIT_NOFILE, &l) < 0)
        return sc_fail(
            msg, SC_ESYS,
            "%u connections need more open files than this process may have (%llu): raise the hard "
            "limit (ulimit -Hn), or ask for fewer",
            c->connections, (unsigned long long)l.rlim_max);
    return 0;
}

/* ---- requests ---- */

static void put_grpc(struct sc_buf *b, const struct sc_load_config *c, struct sc_span body)
{
    Org__Pytorch__Serve__Grpc__Inference__PredictionsRequest m =
        ORG__PYTORCH__SERVE__GRPC__INFERENCE__PREDICTIONS_REQUEST__INIT;
    Org__Pytorch__Serve__Grpc__Inference__PredictionsRequest__InputEntry entry =
        ORG__PYTORCH__SERVE__GRPC__INFERENCE__PREDICTIONS_REQUEST__INPUT_ENTRY__INIT;
    Org__Pytorch__Serve__Grpc__Inference__PredictionsRequest__InputEntry *entries[] = {&entry};
    struct sc_span target = sc_span_str(c->target);
    size_t slash = sc_span_find(target, '/');
    m.model_name = sc_span_dup(sc_span_sub(target, 0, slash));
    m.model_version = sc_span_dup(sc_span_sub(target, slash + 1, target.n));
    entry.key = (char *)"data";
    entry.value = (ProtobufCBinaryData){.len = body.n, .data = (uint8_t *)body.p};
    m.n_input = 1;
    m.input = entries;
    size_t n = org__pytorch__serve__grpc__inference__predictions_request__get_packed_size(&m);
    if (n <= UINT32_MAX && sc_buf_reserve(b, n + SC_GRPC_HEAD) == 0) {
        sc_grpc_head(b->p, n);
        org__pytorch__serve__grpc__inference__predictions_request__pack(&m, (uint8_t *)b->p + SC_GRPC_HEAD);
        b->n = n + SC_GRPC_HEAD;
    }
    free(m.model_name);
    free(m.model_version);
}

static int make_message(struct sc_load_plan *p, size_t i, struct sc_span body, bool has_body,
                        struct sc_msg *msg)
{
    const struct sc_load_config *c = p->config;
    struct sc_load_message *m = &p->messages[i];
    struct sc_buf b;
    sc_buf_init(&b, SC_LOAD_HEAD_BYTES + 1024 + body.n);
    if (c->protocol == SC_LOAD_GRPC)
        put_grpc(&b, c, body);
    if (c->protocol == SC_LOAD_HTTP1) {
        sc_buf_span(&b, sc_buf_view(&p->head));
        if (has_body)
            sc_buf_printf(&b, "%zu\r\n\r\n", body.n);
    }
    if (c->protocol != SC_LOAD_GRPC)
        sc_buf_span(&b, body);
    if (b.failed)
        return sc_fail(msg, b.failed, "no memory for the requests");
    m->bytes = b.p;
    m->n = b.n;
    /* The body is the end of it; gRPC has it in a message. */
    m->body = c->protocol == SC_LOAD_GRPC ? body : sc_span(b.p + b.n - body.n, body.n);
    snprintf(m->length, sizeof m->length, "%zu", body.n);
    return 0;
}

/* HTTP/2 takes bodies from a list: random ones are a list, too. */
static void make_random(struct sc_load_plan *p)
{
    const struct sc_load_config *c = p->config;
    struct sc_rng rng;
    sc_rng_init(&rng, c->seed);
    p->random = sc_alloc_array(SC_LOAD_RANDOM_BODIES, sizeof *p->random);
    for (size_t i = 0; i < SC_LOAD_RANDOM_BODIES; i++) {
        size_t n = c->random_min + (size_t)(sc_rng_next(&rng) % (c->random_max - c->random_min + 1));
        char *bytes = sc_alloc(n + 8);
        for (size_t k = 0; k < n; k += 8) {
            uint64_t word = sc_rng_next(&rng);
            memcpy(bytes + k, &word, 8);
        }
        p->random[i] = sc_span(bytes, n);
    }
}

/* The requests' bytes, as far as they are known beforehand. */
static int make_messages(struct sc_load_plan *p, struct sc_msg *msg)
{
    const struct sc_load_config *c = p->config;
    const struct sc_span *bodies = c->bodies;
    bool body = c->nbodies || c->random_max || c->protocol == SC_LOAD_GRPC;
    sc_buf_init(&p->head, SC_LOAD_HEAD_BYTES);
    if (c->protocol != SC_LOAD_HTTP1) {
        int rc = sc_load_h2_fields(p, body, msg);
        if (rc < 0)
            return rc;
        p->nmessages = c->nbodies ? c->nbodies : 1;
        if (c->random_max) {
            make_random(p);
            bodies = p->random;
            p->nmessages = SC_LOAD_RANDOM_BODIES;
        }
    } else {
        const char *method = c->method ? c->method : body ? "POST" : "GET";
        sc_buf_printf(&p->head, "%s %s HTTP/1.1\r\nhost: %s\r\n%s%s", method, c->target, c->host,
                      c->headers ? c->headers : "", body ? "content-length: " : "\r\n");
        if (p->head.failed)
            return sc_fail(msg, SC_ELIMIT, "the request's head is larger than %u bytes", SC_LOAD_HEAD_BYTES);
        if (c->random_max)
            return 0;
        p->nmessages = c->nbodies ? c->nbodies : 1;
    }
    p->messages = sc_alloc_array(p->nmessages, sizeof *p->messages);
    for (size_t i = 0; i < p->nmessages; i++) {
        int rc = make_message(p, i, bodies ? bodies[i] : sc_span(NULL, 0), body, msg);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void forget_messages(struct sc_load_plan *p)
{
    for (size_t i = 0; p->messages && i < p->nmessages; i++) {
        free(p->messages[i].bytes);
        free(atomic_load(&p->messages[i].first));
    }
    for (size_t i = 0; p->random && i < SC_LOAD_RANDOM_BODIES; i++)
        free((char *)p->random[i].p);
    free(p->random);
    free(p->messages);
    free(p->fields);
    sc_buf_free(&p->head);
    sc_buf_free(&p->text);
}

/* ---- the run ---- */

void sc_load_merge(struct sc_load_result *to, struct sc_load_result *from)
{
    to->good += from->good;
    to->within += from->within;
    to->connects += from->connects;
    to->bytes_in += from->bytes_in;
    to->bytes_out += from->bytes_out;
    to->cpu += from->cpu;
    to->cpu_busiest = SC_MAX(to->cpu_busiest, from->cpu_busiest);
    if (!to->bad_status)
        to->bad_status = from->bad_status;
    if (!to->wrong[0])
        memcpy(to->wrong, from->wrong, sizeof to->wrong);
    to->failed = 0;
    for (unsigned e = 0; e < SC_LOAD_ERRORS; e++) {
        to->errors[e] += from->errors[e];
        to->failed += to->errors[e];
    }
    sc_hist_merge(&to->latency, &from->latency);
    sc_hist_merge(&to->service, &from->service);
    sc_hist_merge(&to->lag, &from->lag);
    sc_series_merge(&to->series, &from->series);
}

/* What the watching thread remembers between two looks. */
struct look {
    uint64_t answers, refused;
    int64_t alive; /* ns: when an answer was last seen, or no connection failed */
};

/* Why the run is to end now, or SC_LOAD_COMPLETE. */
static enum sc_load_end look(const struct sc_load_plan *plan, struct sc_load_client *clients, struct look *l,
                             const struct sc_load_watch *w)
{
    const struct sc_load_config *c = plan->config;
    int64_t now = sc_clock_ns();
    struct sc_load_progress p = {.warming = now < plan->begin, .count = c->count};
    uint64_t answers = 0, refused = 0;
    for (unsigned i = 0; i < c->threads; i++) {
        p.good += atomic_load_explicit(&clients[i].good, memory_order_relaxed);
        p.failed += atomic_load_explicit(&clients[i].failed, memory_order_relaxed);
        answers += atomic_load_explicit(&clients[i].answers, memory_order_relaxed);
        refused += atomic_load_explicit(&clients[i].refused, memory_order_relaxed);
    }
    p.seconds = (double)(now - plan->begin) * 1e-9 + (p.warming ? c->warmup : 0);
    p.of = p.warming ? c->warmup : c->duration;
    if (w && w->progress)
        w->progress(w->ctx, &p);
    if (w && w->stop && atomic_load_explicit(w->stop, memory_order_relaxed))
        return SC_LOAD_STOPPED;
    if (answers != l->answers || refused == l->refused)
        l->alive = now;
    l->answers = answers;
    l->refused = refused;
    return c->gone > 0 && now - l->alive > (int64_t)(c->gone * 1e9) ? SC_LOAD_GONE : SC_LOAD_COMPLETE;
}

/* Waits for a thread; looks at all of them meanwhile. */
static void await(pthread_t thread, struct sc_load_plan *plan, struct sc_load_client *clients, struct look *l,
                  const struct sc_load_watch *w, struct sc_load_result *r)
{
    for (;;) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += LOOK_NS;
        if (until.tv_nsec >= 1000000000) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000;
        }
        if (pthread_timedjoin_np(thread, NULL, &until) != ETIMEDOUT)
            return;
        enum sc_load_end end = look(plan, clients, l, w);
        if (end == SC_LOAD_COMPLETE || r->ended != SC_LOAD_COMPLETE)
            continue;
        r->ended = end;
        atomic_store(&plan->stop, true);
    }
}

static int run_threads(struct sc_load_plan *plan, struct sc_load_result *r, const struct sc_load_watch *watch,
                       struct sc_msg *msg)
{
    const struct sc_load_config *c = plan->config;
    struct sc_load_client *clients = sc_alloc_array(c->threads, sizeof *clients);
    pthread_t *threads = sc_alloc_array(c->threads, sizeof *threads);
    struct look l = {.alive = sc_clock_ns()};
    int rc = 0;
    plan->begin = l.alive + (int64_t)(c->warmup * 1e9);
    plan->end = c->count ? INT64_MAX : plan->begin + (int64_t)(c->duration * 1e9);
    unsigned started = 0;
    for (; started < c->threads; started++) {
        clients[started].plan = plan;
        clients[started].index = started;
        if (pthread_create(&threads[started], NULL, sc_load_client_run, &clients[started]) != 0)
            break;
    }
    if (started < c->threads) {
        atomic_store(&plan->stop, true);
        rc = sc_fail(msg, SC_ESYS, "only %u of %u threads could be started", started, c->threads);
    }
    int64_t finished = plan->begin;
    for (unsigned i = 0; i < started; i++) {
        await(threads[i], plan, clients, &l, watch, r);
        sc_load_merge(r, &clients[i].result);
        finished = SC_MAX(finished, clients[i].finished);
        if (clients[i].error && rc == 0)
            rc = sc_fail(msg, SC_ESYS, "the load cannot be made: %s", strerror(clients[i].error));
    }
    bool whole = !c->count && r->ended == SC_LOAD_COMPLETE;
    r->seconds = whole ? c->duration : (double)(finished - plan->begin) * 1e-9;
    free(clients);
    free(threads);
    return rc;
}

int sc_load_run(const struct sc_load_config *c, struct sc_load_result *r, const struct sc_load_watch *watch,
                struct sc_msg *msg)
{
    struct sc_load_plan plan = {.config = c,
                                .transport = c->protocol == SC_LOAD_HTTP1 ? &sc_load_h1 : &sc_load_h2};
    int rc = sc_load_check(c, msg);
    if (rc == 0)
        rc = raise_limit(c, msg);
    if (rc == 0)
        rc = make_messages(&plan, msg);
    if (rc == 0 && c->tls)
        rc = sc_load_tls_open(&plan, msg);
    if (rc == 0) {
        memset(r, 0, sizeof *r);
        sc_hist_init(&r->latency);
        sc_hist_init(&r->service);
        sc_hist_init(&r->lag);
        sc_series_init(&r->series);
        rc = run_threads(&plan, r, watch, msg);
    }
    sc_load_tls_close(&plan);
    forget_messages(&plan);
    return rc;
}

/* ---- names ---- */

static const char *const names[SC_LOAD_ERRORS] = {"bad_status", "bad_body", "short_read", "reset",
                                                  "connect",    "protocol", "timeout",    "unsent"};

const char *sc_load_error_name(enum sc_load_error e)
{
    return names[e];
}

const char *sc_load_protocol(const struct sc_load_config *c)
{
    static const char *const protocols[][2] = {
        {"HTTP/1.1", "HTTP/1.1 over TLS"}, {"HTTP/2", "HTTP/2 over TLS"}, {"gRPC", "gRPC over TLS"}};
    return protocols[c->protocol][c->tls];
}

bool sc_load_saturated(const struct sc_load_config *c, const struct sc_load_result *r, struct sc_msg *why)
{
    double late = (double)sc_hist_at(&r->lag, 0.99), p99 = (double)sc_hist_at(&r->latency, 0.99);
    if (c->rate == 0 && r->cpu_busiest > BUSY_SHARE) {
        (void)sc_fail(why, 0,
                      "the generator used %.0f %% of a core in its busiest thread: the server may be faster "
                      "than this; use more --threads, or cores of its own",
                      r->cpu_busiest * 100);
        return true;
    }
    if (late > LATE_NS && late > p99 * LATE_SHARE) {
        (void)sc_fail(
            why, 0,
            "the generator itself was late (99 %% of the time by less than %.1f ms, and p99 is %.1f "
            "ms): latencies contain its own delay; use more --threads, or cores of its own",
            late / 1e6, p99 / 1e6);
        return true;
    }
    return false;
}
