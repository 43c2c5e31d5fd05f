/* Token authorization in the application: which key a call needs, the token API (docs/contract.md §10). */
#ifndef SC_API_AUTH_HTTP_H
#define SC_API_AUTH_HTTP_H

#include "api/app.h"
#include "api/auth.h"
#include "api/routes.h"

/*
 * Makes app->auth if the settings want tokens; keys of an earlier frontend come from the engine. Before
 * requests are taken; loop 0. An error's *msg says what to do.
 */
int sc_app_auth(struct sc_app *app, struct sc_msg *msg) SC_MUST_USE;
/* True if the request has the key of its route (NULL: there is none), or needs none; `serves`: bits of its
 * listener. Else it was answered. With app->auth only. */
bool sc_auth_admit(struct sc_call *c, const struct sc_route *r, unsigned serves);
/* The same for a call that needs the key of that kind and is not answered here; with app->auth only. */
bool sc_auth_admits(const struct sc_app *app, enum sc_auth_kind kind, const struct sc_http_exchange *x);
#define SC_AUTH_REFUSED \
    "Token Authorization failed. Token either incorrect, expired, or not provided correctly"
/* The same for a gRPC call: of several values the last one counts, as in grpc-java. */
bool sc_auth_admits_rpc(const struct sc_app *app, enum sc_auth_kind kind, const struct sc_http_exchange *x);
/* A route: /token, 404 without tokens. */
void sc_token(struct sc_call *c);

#endif
