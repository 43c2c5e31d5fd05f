#include "loadgen/loadgen.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/un.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "loadgen/client.h"

#define HEAD_MAX (64u << 10)

void sc_load_defaults(struct sc_load_config *c)
{
    *c = (struct sc_load_config){.target = "/",
                                 .host = "localhost",
                                 .threads = 1,
                                 .connections = 1,
                                 .warmup = 1,
                                 .duration = 5,
                                 .timeout = 30,
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
    if (strncmp(url, "http://", 7) != 0)
        return sc_fail(msg, SC_EINVAL, "%s: write http://HOST:PORT/PATH or unix:SOCKET:/PATH", url);
    /* The host stays where it is; the target moves two bytes down the "//" so that both can end with a NUL.
     */
    char *host = url + 7, *slash = strchr(host, '/');
    size_t n = slash ? (size_t)(slash - host) : strlen(host);
    memmove(url, host, n);
    url[n] = '\0';
    c->host = url;
    c->target = slash ? slash : "/";
    char name[256], port[8] = "80";
    const char *colon = strrchr(url, ':');
    if (colon && strchr(colon, ']'))
        colon = NULL;
    size_t name_n = colon ? (size_t)(colon - url) : n;
    const char *from = url;
    if (name_n > 2 && url[0] == '[') {
        from++;
        name_n -= 2;
    }
    if (name_n == 0 || name_n >= sizeof name || (colon && strlen(colon + 1) >= sizeof port))
        return sc_fail(msg, SC_EINVAL, "%s is no host and port", url);
    memcpy(name, from, name_n);
    name[name_n] = '\0';
    if (colon)
        memcpy(port, colon + 1, strlen(colon + 1) + 1);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    int rc = getaddrinfo(name, port, &hints, &found);
    if (rc)
        return sc_fail(msg, SC_ENOTFOUND, "%s: %s", url, gai_strerror(rc));
    memcpy(&c->address, found->ai_addr, found->ai_addrlen);
    c->address_size = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

static int check_config(const struct sc_load_config *c, struct sc_msg *msg)
{
    if (c->threads == 0 || c->connections < c->threads)
        return sc_fail(msg, SC_EINVAL, "%u connections for %u threads: at least one each", c->connections,
                       c->threads);
    if (!(c->duration > 0) == !c->count)
        return sc_fail(msg, SC_EINVAL, "give either a duration or a count");
    if (c->rate < 0 || c->warmup < 0 || !(c->timeout > 0))
        return sc_fail(msg, SC_EINVAL, "rate, warm-up and time-out cannot be negative");
    if (c->random_max < c->random_min || (c->nbodies && c->random_max))
        return sc_fail(msg, SC_EINVAL,
                       "bodies are either given or random, from a smaller size to a larger one");
    if (c->check == SC_LOAD_ECHO && !c->nbodies && !c->random_max)
        return sc_fail(msg, SC_EINVAL, "an echo needs a body");
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < c->connections + 64) {
        l.rlim_cur = l.rlim_max;
        if (l.rlim_max < c->connections + 64 || setrlimit(RLIMIT_NOFILE, &l) < 0)
            return sc_fail(msg, SC_ESYS,
                           "%u connections need more descriptors than this process may have (%llu)",
                           c->connections, (unsigned long long)l.rlim_max);
    }
    return 0;
}

/* The requests' bytes, as far as they are known beforehand. */
static int make_messages(struct sc_load_plan *p, struct sc_msg *msg)
{
    const struct sc_load_config *c = p->config;
    bool body = c->nbodies || c->random_max;
    sc_buf_init(&p->head, HEAD_MAX);
    sc_buf_printf(&p->head, "%s %s HTTP/1.1\r\nhost: %s\r\n%s%s",
                  c->method ? c->method
                  : body    ? "POST"
                            : "GET",
                  c->target, c->host, c->headers ? c->headers : "", body ? "content-length: " : "\r\n");
    if (p->head.failed)
        return sc_fail(msg, SC_ELIMIT, "the request's head is larger than %u bytes", HEAD_MAX);
    if (c->random_max)
        return 0;
    p->nmessages = c->nbodies ? c->nbodies : 1;
    p->messages = sc_alloc_array(p->nmessages, sizeof *p->messages);
    for (size_t i = 0; i < p->nmessages; i++) {
        struct sc_buf b;
        struct sc_span text = c->nbodies ? c->bodies[i] : (struct sc_span){0};
        sc_buf_init(&b, HEAD_MAX + 32 + text.n);
        sc_buf_span(&b, sc_buf_view(&p->head));
        if (body)
            sc_buf_printf(&b, "%zu\r\n\r\n", text.n);
        sc_buf_span(&b, text);
        if (b.failed)
            return sc_fail(msg, b.failed, "no memory for the requests");
        p->messages[i] = (struct sc_load_message){b.p, b.n, text.n};
    }
    return 0;
}

static void merge(struct sc_load_result *to, const struct sc_load_result *from)
{
    to->good += from->good;
    to->within += from->within;
    to->connects += from->connects;
    to->bytes_in += from->bytes_in;
    to->bytes_out += from->bytes_out;
    if (!to->bad_status)
        to->bad_status = from->bad_status;
    for (unsigned e = 0; e < SC_LOAD_ERRORS; e++) {
        to->errors[e] += from->errors[e];
        to->failed += from->errors[e];
    }
    sc_hist_merge(&to->latency, &from->latency);
    sc_hist_merge(&to->service, &from->service);
}

int sc_load_run(const struct sc_load_config *c, struct sc_load_result *r, const atomic_bool *stop,
                struct sc_msg *msg)
{
    struct sc_load_plan plan = {.config = c, .stop = stop};
    int rc = check_config(c, msg);
    if (rc < 0 || (rc = make_messages(&plan, msg)) < 0)
        goto done;
    memset(r, 0, sizeof *r);
    sc_hist_init(&r->latency);
    sc_hist_init(&r->service);

    struct sc_load_client *clients = sc_alloc_array(c->threads, sizeof *clients);
    pthread_t *threads = sc_alloc_array(c->threads, sizeof *threads);
    plan.begin = sc_clock_ns() + (int64_t)(c->warmup * 1e9);
    plan.end = c->count ? INT64_MAX : plan.begin + (int64_t)(c->duration * 1e9);
    unsigned started = 0;
    for (; started < c->threads; started++) {
        clients[started] = (struct sc_load_client){.plan = &plan, .index = started};
        if (pthread_create(&threads[started], NULL, sc_load_client_run, &clients[started]) != 0)
            break;
    }
    if (started < c->threads)
        rc = sc_fail(msg, SC_ESYS, "only %u of %u threads could be started", started, c->threads);
    int64_t finished = plan.begin;
    for (unsigned i = 0; i < started; i++) {
        pthread_join(threads[i], NULL);
        merge(r, &clients[i].result);
        finished = clients[i].finished > finished ? clients[i].finished : finished;
        if (clients[i].error && rc == 0)
            rc = sc_fail(msg, SC_ESYS, "the load cannot be made: %s", strerror(clients[i].error));
    }
    bool stopped = stop && atomic_load_explicit(stop, memory_order_relaxed);
    r->seconds = c->count || stopped ? (double)(finished - plan.begin) * 1e-9 : c->duration;
    free(clients);
    free(threads);
done:
    for (size_t i = 0; i < plan.nmessages; i++)
        free(plan.messages[i].bytes);
    free(plan.messages);
    sc_buf_free(&plan.head);
    return rc;
}
