/* Token authorization in the application: which key a call needs, the token API (docs/contract.md §10). */
#ifndef SC_API_AUTH_HTTP_H
#define SC_API_AUTH_HTTP_H

#include "api/app.h"
#include "api/auth.h"

/*
 * Makes app->auth if the settings want tokens; keys of an earlier frontend come from the engine. Before
 * requests are taken; loop 0. An error's *msg says what to do.
 */
int sc_app_auth(struct sc_app *app, struct sc_msg *msg) SC_MUST_USE;
/* True if the request has the key of its route, or needs none; `serves`: bits of its listener. Else it was
 * answered. With app->auth only, as all below. */
bool sc_auth_admit(struct sc_call *c, unsigned serves);
/* The same for a call that needs the inference key and is not answered here. */
bool sc_auth_admits_inference(const struct sc_app *app, const struct sc_http_exchange *x);
/* /token: claims the request (and has answered it, or set c->route), or returns false. */
bool sc_token_claim(struct sc_call *c);

#endif
