#include "api/auth_http.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>

#include "api/respond.h"
#include "base/log.h"

#define KEPT "auth"

static void save(void *ctx, struct sc_span state)
{
    struct sc_app *app = ctx;
    sc_engine_keep(app->engine, KEPT, state);
}

int sc_app_auth(struct sc_app *app, struct sc_msg *msg)
{
    char folder[PATH_MAX];
    struct sc_msg why;
    if (app->settings->disable_token_authorization)
        return 0;
    if (!getcwd(folder, sizeof folder))
        return sc_fail(msg, SC_ESYS, "Token Authorization setup unsuccessful: the working folder: %s",
                       strerror(errno));
    struct sc_auth_config c = {
        .folder = folder,
        .life_min = app->settings->token_expiration_min,
        .state = sc_engine_kept(app->engine, KEPT),
        .save = save,
        .ctx = app,
    };
    bool first = !c.state.p;
    if (sc_auth_new(&app->auth, &c, &why) < 0)
        return sc_fail(
            msg, SC_ESYS,
            "Token Authorization setup unsuccessful: %.300s. Start in a folder that can be written, or "
            "set disable_token_authorization=true",
            why.text);
    if (first)
        sc_log(SC_LOG_INFO, "Token authorization is on. Key file located at %s/" SC_AUTH_FILE, folder);
    return 0;
}

bool sc_auth_admits(const struct sc_app *app, enum sc_auth_kind kind, const struct sc_http_exchange *x)
{
    return sc_auth_allows(app->auth, kind, sc_http_header_get(&x->req, SC_SPAN("authorization")));
}

bool sc_auth_admits_rpc(const struct sc_app *app, enum sc_auth_kind kind, const struct sc_http_exchange *x)
{
    struct sc_span last = {NULL, 0};
    for (unsigned i = 0; i < x->req.nheaders; i++)
        if (sc_span_eq_nocase(x->req.headers[i].name, SC_SPAN("authorization")))
            last = x->req.headers[i].value;
    return sc_auth_allows(app->auth, kind, last);
}

bool sc_auth_admit(struct sc_call *c, const struct sc_route *r, unsigned serves)
{
    bool root = c->path.n == 0 && c->path.decoded.n && c->path.decoded.p[0] == '/';
    /* What tells people which calls there are needs no key; the token API looks at its key itself. */
    if (!(serves & (SC_SERVES_INFERENCE | SC_SERVES_MANAGEMENT)) || root ||
        (r && (r->serves == 0 || r->run == sc_token)))
        return true;
    bool manages = !((r ? r->serves : serves) & SC_SERVES_INFERENCE);
    if (sc_auth_admits(c->app, manages ? SC_AUTH_MANAGEMENT : SC_AUTH_INFERENCE, c->x))
        return true;
    sc_respond_error(c->x, 400, "InvalidKeyException", SC_SPAN(SC_AUTH_REFUSED));
    return false;
}

/* ---- the token API --------------------------------------------------------------------------------- */

#define REFUSED "Token Authentication failed. Token either incorrect, expired, or not provided correctly"

/* The kind that the query names; API: none. */
static enum sc_auth_kind wanted(struct sc_span target)
{
    struct sc_query q;
    struct sc_msg msg;
    struct sc_span type;
    enum sc_auth_kind kind = SC_AUTH_API;
    if (sc_query_parse(&q, target, &msg) == 0 && sc_query_get(&q, "type", &type)) {
        if (sc_span_eq(type, SC_SPAN("management")))
            kind = SC_AUTH_MANAGEMENT;
        else if (sc_span_eq(type, SC_SPAN("inference")))
            kind = SC_AUTH_INFERENCE;
    }
    sc_query_free(&q);
    return kind;
}

static void renew(struct sc_call *c)
{
    struct sc_msg msg;
    if (sc_auth_renew(c->app->auth, wanted(c->x->req.target), &msg) < 0) {
        sc_log(SC_LOG_ERROR, "Failed to update key file: %s. The old keys stay valid", msg.text);
        sc_call_error(c, 400, "InvalidKeyException", "%s", REFUSED);
        return;
    }
    sc_buf_char(&c->out, '\n');
    c->raw = true;
    c->media = SC_SPAN("application/json");
    c->status = 200;
    sc_call_finish(c);
}

void sc_token(struct sc_call *c)
{
    if (!c->app->auth) {
        sc_respond_no_resource(c->x);
        return;
    }
    if (wanted(c->x->req.target) == SC_AUTH_API || !sc_auth_admits(c->app, SC_AUTH_API, c->x)) {
        sc_respond_error(c->x, 400, "InvalidKeyException", SC_SPAN(REFUSED));
        return;
    }
    c->on_zero = renew;
    c->route = sc_call_to_loop_zero;
}
