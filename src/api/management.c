/* Models: scale, default, unregister (docs/contract.md §6; register.c: registration). Routes run on loop 0.
 */
#include <stdio.h>
#include <stdlib.h>

#include "api/app.h"
#include "api/describe.h"
#include "api/params.h"
#include "api/register.h"
#include "api/respond.h"
#include "base/alloc.h"

/* ---- scale -------------------------------------------------------------------------------------------- */

static void respond_too_many(struct sc_call *c, int asked, int most)
{
    sc_call_error(c, 400, "BadRequestException", "max_worker is %d: a model has at most %d workers.", asked,
                  most);
}

void sc_model_scale(struct sc_call *c)
{
    struct sc_params p = {0};
    struct sc_span name = c->path.segments[1], version = sc_call_version(c);
    if (sc_params_from_query(c, &p) < 0)
        goto done;
    if (!version.p)
        version = sc_param(&p, "model_version");
    int min = sc_param_int(&p, "min_worker", 1), max = sc_param_int(&p, "max_worker", min);
    bool synchronous = sc_param_bool(&p, "synchronous", false);
    if (max < min) {
        sc_call_error(c, 400, "BadRequestException", "max_worker cannot be less than min_worker.");
        goto done;
    }
    if (min < 0) { /* status and type of TorchServe, which stops every worker first */
        sc_call_error(c, 500, "IndexOutOfBoundsException", "min_worker is %d: it must be at least 0.", min);
        goto done;
    }
    if (max > SC_WORKERS_MAX) {
        respond_too_many(c, max, SC_WORKERS_MAX);
        goto done;
    }
    if (min == 0)
        max = 0; /* "0 stops all workers" */
    struct sc_pending *d = NULL;
    if (synchronous) {
        d = sc_alloc(sizeof *d);
        *d = (struct sc_pending){.c = c, .scaling = true, .workers = min, .version_given = version.p != NULL};
        snprintf(d->name, sizeof d->name, "%.*s", SC_FMT(name));
        snprintf(d->version, sizeof d->version, "%.*s", SC_FMT(version));
    }
    int rc = sc_engine_scale(c->app->engine, name, version, min, max, d ? sc_pending_done : NULL, d);
    if (rc < 0)
        free(d);
    if (rc == SC_ELIMIT)
        respond_too_many(c, max, SC_LANES_MAX);
    else if (rc == SC_ESYS || rc == SC_ENOMEM)
        sc_call_error(c, 500, "InternalServerException",
                      "there is no memory for the requests of the model (limits on memory or descriptors?)");
    else if (rc < 0)
        sc_call_no_model(c, rc, name, version);
    else if (!synchronous)
        sc_call_status(c, 202, "Processing worker updates...");
done:
    sc_params_free(&p);
}

/* ---- default, unregister
 * ------------------------------------------------------------------------------------------- */

void sc_model_set_default(struct sc_call *c)
{
    struct sc_span name = c->path.segments[1], version = c->path.segments[2];
    int rc = sc_engine_set_default(c->app->engine, name, version);
    if (rc == SC_ENOTFOUND)
        sc_call_error(c, 404, "ModelNotFoundException", "Model not found: %.*s", SC_FMT(name));
    else if (rc < 0)
        sc_call_error(c, 404, "ModelVersionNotFoundException",
                      "Model version %.*s does not exist for model %.*s", SC_FMT(version), SC_FMT(name));
    else
        sc_call_status(c, 200, "Default version successfully updated for model \"%.*s\" to \"%.*s\"",
                       SC_FMT(name), SC_FMT(version));
}

static void unregistered(void *arg, int rc, const char *text)
{
    struct sc_call *c = arg;
    struct sc_span name = c->path.segments[1];
    (void)text;
    if (rc < 0)
        sc_call_error(c, 408, "RequestTimeoutException", "Timed out while cleaning resources: %.*s",
                      SC_FMT(name));
    else
        sc_call_status(c, 200, "Model \"%.*s\" unregistered", SC_FMT(name));
}

void sc_model_unregister(struct sc_call *c)
{
    struct sc_span name = c->path.segments[1], version = sc_call_version(c);
    if (!c->app->settings->enable_model_api) {
        sc_call_bad_method(c);
        return;
    }
    int rc = sc_engine_unregister(c->app->engine, name, version, unregistered, c);
    if (rc == SC_EEXIST)
        sc_call_error(c, 403, "InvalidModelVersionException", "Cannot remove default version for model %.*s",
                      SC_FMT(name));
    else if (rc < 0)
        sc_call_no_model(c, rc, name, version);
}
