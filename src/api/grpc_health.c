/*
 * grpc.health.v1.Health: "" is the server, as /ping tells it; a model's name is its default version; a
 * service's name is that service. Who asks for the server alone needs no token: probes have none.
 */
#include <stdlib.h>

#include "api/auth_http.h"
#include "api/grpc.h"
#include "base/alloc.h"
#include <grpc/health/v1/health.pb-c.h>

#define WATCH_MS 100

typedef Grpc__Health__V1__HealthCheckRequest request_type;
typedef Grpc__Health__V1__HealthCheckResponse response_type;
#define STATUS(x) GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##x

/* One Watch. Freed when its timer is closed. */
struct watch {
    uv_timer_t timer;
    struct sc_grpc *g; /* NULL: over */
    char *service;
    int told; /* -1: nothing yet */
};

static int look(struct sc_grpc *g, const char *service)
{
    struct sc_app *app = g->c->app;
    struct sc_shard *s;
    unsigned at = 0;
    const struct sc_grpc_service *k;
    if (!*service)
        return sc_engine_healthy(app->engine) ? STATUS(SERVING) : STATUS(NOT_SERVING);
    while ((k = sc_grpc_services(g, &at)))
        if (strcmp(k->name, service) == 0)
            return STATUS(SERVING);
    if (sc_engine_find(app->engine, g->c->x->loop, sc_span_str(service), sc_span(NULL, 0), &s) < 0)
        return STATUS(SERVICE_UNKNOWN);
    return sc_shard_ready(s) ? STATUS(SERVING) : STATUS(NOT_SERVING);
}

static bool admit(struct sc_grpc *g, const request_type *q)
{
    const struct sc_app *app = g->c->app;
    bool manages = !(app->serves[g->c->x->listener] & SC_SERVES_INFERENCE);
    if (!*q->service || !app->auth ||
        sc_auth_admits_rpc(app, manages ? SC_AUTH_MANAGEMENT : SC_AUTH_INFERENCE, g->c->x))
        return true;
    sc_grpc_end(g, SC_GRPC_PERMISSION_DENIED, SC_SPAN(SC_AUTH_REFUSED));
    return false;
}

static void check(struct sc_grpc *g, const ProtobufCMessage *m)
{
    const request_type *q = (const request_type *)m;
    response_type r = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    if (!admit(g, q))
        return;
    int status = look(g, q->service);
    r.status = (Grpc__Health__V1__HealthCheckResponse__ServingStatus)status;
    if (status == STATUS(SERVICE_UNKNOWN))
        sc_grpc_endf(g, SC_GRPC_NOT_FOUND, "unknown service %.300s", q->service);
    else
        sc_grpc_reply(g, &r.base);
}

/* ---- Watch ------------------------------------------------------------------------------------ */

static void closed(uv_handle_t *h)
{
    struct watch *w = h->data;
    free(w->service);
    free(w);
}

static void look_again(uv_timer_t *t)
{
    struct watch *w = t->data;
    response_type r = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    int now = look(w->g, w->service);
    if (now == w->told)
        return;
    w->told = now;
    r.status = (Grpc__Health__V1__HealthCheckResponse__ServingStatus)now;
    (void)sc_grpc_send(w->g, &r.base);
}

static void watch_over(struct sc_grpc *g)
{
    struct watch *w = g->state;
    if (!w)
        return;
    g->state = NULL;
    uv_close((uv_handle_t *)&w->timer, closed);
}

static void watch(struct sc_grpc *g, const ProtobufCMessage *m)
{
    const request_type *q = (const request_type *)m;
    if (!admit(g, q))
        return;
    struct watch *w = sc_alloc(sizeof *w);
    *w = (struct watch){.g = g, .service = sc_strdup(q->service), .told = -1};
    g->state = w;
    uv_timer_init(&g->c->x->loop->uv, &w->timer);
    w->timer.data = w;
    uv_timer_start(&w->timer, look_again, WATCH_MS, WATCH_MS);
    look_again(&w->timer);
}

static void watch_gone(struct sc_grpc *g)
{
    sc_grpc_end(g, SC_GRPC_CANCELLED, SC_SPAN(""));
}

static const struct sc_grpc_method methods[] = {
    {.name = "Check", .request = &grpc__health__v1__health_check_request__descriptor, .run = check},
    {.name = "Watch",
     .request = &grpc__health__v1__health_check_request__descriptor,
     .run = watch,
     .gone = watch_gone,
     .over = watch_over},
};

const struct sc_grpc_service sc_grpc_health = {.name = "grpc.health.v1.Health",
                                               .serves = SC_SERVES_INFERENCE | SC_SERVES_MANAGEMENT,
                                               .keyless = true,
                                               .methods = methods,
                                               .n = SC_COUNT(methods)};
