#include "api/routes.h"

#include "api/auth_http.h"
#include "api/describe.h"
#include "api/description.h"
#include "api/kserve.h"
#include "api/register.h"
#include "api/respond.h"

#define I SC_SERVES_INFERENCE
#define M SC_SERVES_MANAGEMENT
#define S SC_SERVES_METRICS
#define OIP (SC_SERVES_INFERENCE | SC_SERVES_OIP)
#define ANY NULL
#define DOC(name, ...) .doc = {.id = name, __VA_ARGS__}
#define OURS .ours = true
#define UNTOLD .doc = {.id = NULL}

/* Bodies and answers of a prediction. */
#define PREDICTS .body = "*/*", .answer = SC_DOC_BYTES, .codes = "404 500 503"
#define READS .codes = "404 500", .answer = SC_DOC_ARRAY
#define SCALES                                                                      \
    .query = "min_worker=1 max_worker=1 number_gpu=0 synchronous=false timeout=-1", \
    .codes = "202 210 400 404 500"
#define ENDS .query = "synchronous=false timeout=-1", .codes = "202 404 408 500"
#define INTERFACE .body = "application/json", .answer = SC_DOC_OBJECT, .codes = "400 404 500 503", OURS
#define V2 .answer = SC_DOC_OBJECT, .codes = "404 500 503", OURS

/* Interfaces of others look at their paths and methods themselves. */
static void openai(struct sc_call *c)
{
    (void)sc_openai_claim(c);
}

static void tei(struct sc_call *c)
{
    (void)sc_tei_claim(c);
}

static void cohere(struct sc_call *c)
{
    (void)sc_cohere_claim(c);
}

static void no_resource(struct sc_call *c)
{
    sc_respond_no_resource(c->x);
}

/* In TorchServe's order, which is also that of its description. Legacy paths come last: they have no word of
 * their own at the front. */
static const struct sc_route rows[] = {
    {0, "OPTIONS", "/", sc_describe_apis, NULL,
     DOC("apiDescription", .says = "Get openapi description.", .answer = SC_DOC_OBJECT, .codes = "500")},
    {I, ANY, "/ping/*", sc_ping, NULL, DOC("ping", .says = "Get TorchServe status.", .codes = "500")},
    {I, ANY, "/v1/models/{model_name}:explain", sc_kserve_explain, NULL,
     DOC("v1_explain", .says = "Explanations by KServe's first protocol.", PREDICTS, OURS)},
    {I, ANY, "/v1/models/{model_name}:predict", sc_kserve_predict, NULL,
     DOC("v1_predictions", .says = "Predictions by KServe's first protocol.", PREDICTS)},
    {I, ANY, "/v2/models/{model_name}/infer", sc_v2_infer, NULL,
     DOC("v2_predictions", .says = "Predictions by KServe's second protocol.", PREDICTS)},
    {I, ANY, "/v2/models/{model_name}/explain", sc_v2_explain, NULL,
     DOC("v2_explain", .says = "Explanations by KServe's second protocol.", PREDICTS, OURS)},
    {I, ANY, "/predictions/{model_name}", sc_predict, NULL,
     DOC("predictions", .says = "Predictions entry point to get inference using default model version.",
         PREDICTS)},
    {I, ANY, "/predictions/{model_name}/{model_version}/*", sc_predict, NULL,
     DOC("version_predictions",
         .says = "Predictions entry point to get inference using specific model version.", PREDICTS)},
    {I, ANY, "/explanations/{model_name}", sc_explain, NULL,
     DOC("explanations", .says = "Explanations of the default version's predictions.", PREDICTS, OURS)},
    {I, ANY, "/explanations/{model_name}/{model_version}/*", sc_explain, NULL,
     DOC("version_explanations", .says = "Explanations of a version's predictions.", PREDICTS, OURS)},
    {I, ANY, "/invocations", sc_invocations, NULL,
     DOC("invocations", .says = "Predictions of the model that a parameter names, or of the only one.",
         .query = "model_name", PREDICTS, OURS)},
    {I, ANY, "/models/{model_name}/invoke", sc_invoke, NULL,
     DOC("invoke", .says = "Predictions that take the query as input, too.", PREDICTS, OURS)},
    {I, ANY, "/v1/embeddings", openai, NULL,
     DOC("openai_embeddings", .says = "Embeddings as OpenAI's.", INTERFACE)},
    {I, ANY, "/embed", tei, NULL, DOC("embed", .says = "As text-embeddings-inference.", INTERFACE)},
    {I, ANY, "/similarity", tei, NULL, DOC("similarity", .says = "As text-embeddings-inference.", INTERFACE)},
    {I, ANY, "/health", tei, NULL,
     DOC("health", .says = "As text-embeddings-inference.", .answer = SC_DOC_EMPTY, OURS)},
    {I, ANY, "/predict", tei, NULL, DOC("predict", .says = "As text-embeddings-inference.", INTERFACE)},
    {I, ANY, "/rerank", tei, NULL, DOC("rerank", .says = "As text-embeddings-inference.", INTERFACE)},
    {I, ANY, "/tokenize", tei, NULL, DOC("tokenize", .says = "As text-embeddings-inference.", INTERFACE)},
    {I, ANY, "/info", tei, NULL, DOC("info", .says = "As text-embeddings-inference.", V2)},
    {I, ANY, "/v1/rerank", cohere, NULL, DOC("v1_rerank", .says = "As Cohere.", INTERFACE)},
    {I, ANY, "/v2/rerank", cohere, NULL, DOC("v2_rerank", .says = "As Cohere.", INTERFACE)},
    {OIP, ANY, "/v2", sc_v2_server, NULL, DOC("v2_server", .says = "What the server is.", V2)},
    {OIP, ANY, "/v2/health/live", sc_v2_live, NULL, DOC("v2_live", .says = "The server lives.", V2)},
    {OIP, ANY, "/v2/health/ready", sc_v2_ready, NULL, DOC("v2_ready", .says = "The server is ready.", V2)},
    {OIP, "GET", "/v2/models/{model_name}", sc_v2_model, NULL,
     DOC("v2_model", .says = "A model's versions, inputs and outputs.", V2)},
    {OIP, "GET", "/v2/models/{model_name}/versions/{model_version}", sc_v2_model, NULL,
     DOC("v2_model_version", .says = "A version's inputs and outputs.", V2)},
    {OIP, "GET", "/v2/models/{model_name}/ready", NULL, sc_v2_model_ready,
     DOC("v2_model_ready", .says = "A model is ready.", V2)},
    {OIP, "GET", "/v2/models/{model_name}/versions/{model_version}/ready", NULL, sc_v2_model_ready,
     DOC("v2_version_ready", .says = "A version is ready.", V2)},
    {OIP, ANY, "/v2/models/{model_name}/versions/{model_version}/infer", sc_v2_infer, NULL,
     DOC("v2_version_infer", .says = "Predictions of a version.", PREDICTS, OURS)},
    {OIP, "POST", "/v2/repository/index", NULL, sc_v2_index,
     DOC("v2_index", .says = "All models and versions.", .answer = SC_DOC_ARRAY, .codes = "400 500", OURS)},
    {OIP, "GET", "/v1/models", NULL, sc_v1_models,
     DOC("v1_models", .says = "Names of all models.", .answer = SC_DOC_OBJECT, .codes = "500", OURS)},
    {OIP, "GET", "/v1/models/{model_name}", NULL, sc_kserve_ready,
     DOC("v1_ready", .says = "A model is ready.", V2)},
    {OIP, ANY, "/v2/*", sc_v2_unknown, NULL, UNTOLD},

    {I, ANY, "/wfpredict/{workflow_name}", .any_case = true, .run = sc_wfpredict,
     DOC("wfpredict", .says = "Runs a workflow.", PREDICTS, OURS)},
    {I, ANY, "/wfpredict/*", .any_case = true, .run = sc_wfpredict, UNTOLD},

    {M, "GET", "/models", NULL, sc_models_list,
     DOC("listModels", .says = "List registered models in TorchServe.", .query = "limit=100 next_page_token",
         .answer = SC_DOC_OBJECT, .codes = "500")},
    {M, "POST", "/models", NULL, sc_model_register,
     DOC("registerModel", .says = "Register a new model in TorchServe.",
         .query = "url! model_name handler runtime batch_size=1 max_batch_delay=100 response_timeout=120 "
                  "startup_timeout=120 initial_workers=0 synchronous=true s3_sse_kms=false",
         .codes = "202 210 400 404 409 500")},
    {M, "GET", "/models/{model_name}", sc_model_ask, NULL,
     DOC("describeModel", .says = "Provides detailed information about the default version of a model.",
         .query = "customized=false", READS)},
    {M, "PUT", "/models/{model_name}", NULL, sc_model_scale,
     DOC("setAutoScale", .says = "Configure number of workers for a default version of a model.", SCALES)},
    {M, "DELETE", "/models/{model_name}", NULL, sc_model_unregister,
     DOC("unregisterModel",
         .says = "Unregister the default version of a model from TorchServe if it is the "
                 "only version available.",
         ENDS)},
    {M, "OPTIONS", "/models/{model_name}", sc_describe_management, NULL, UNTOLD},
    {M, "GET", "/models/{model_name}/{model_version}", sc_model_ask, NULL,
     DOC("version_describeModel",
         .says = "Provides detailed information about the specified version of a model.",
         .query = "customized=false", READS)},
    {M, "PUT", "/models/{model_name}/{model_version}", NULL, sc_model_scale,
     DOC("version_setAutoScale", .says = "Configure number of workers for a specified version of a model.",
         SCALES)},
    {M, "DELETE", "/models/{model_name}/{model_version}", NULL, sc_model_unregister,
     DOC("version_unregisterModel", .says = "Unregister the specified version of a model from TorchServe.",
         ENDS)},
    {M, "OPTIONS", "/models/{model_name}/{model_version}", sc_describe_management, NULL, UNTOLD},
    {M, "PUT", "/models/{model_name}/{model_version}/set-default", NULL, sc_model_set_default,
     DOC("setDefault", .says = "Set default version of a model.", .codes = "404 500")},
    /* Other methods there are those of /models/{model_name}, as with TorchServe. */
    {M, "GET", "/models/{model_name}/{model_version}/set-default", sc_model_ask, NULL, UNTOLD},
    {M, "DELETE", "/models/{model_name}/{model_version}/set-default", NULL, sc_model_unregister, UNTOLD},
    {M, "OPTIONS", "/models/{model_name}/{model_version}/set-default", sc_describe_management, NULL, UNTOLD},
    {M, "GET", "/workflows", .zero = sc_workflows_list,
     DOC("listWorkflows", .says = "List registered workflows.", .query = "limit=100 next_page_token",
         .answer = SC_DOC_OBJECT, .codes = "500", OURS)},
    {M, "POST", "/workflows", .zero = sc_workflow_post,
     DOC("registerWorkflow", .says = "Register a workflow with its models.",
         .query = "url! workflow_name response_timeout=120 startup_timeout=120 s3_sse_kms=false",
         .codes = "400 404 409 500", OURS)},
    {M, "GET", "/workflows/{workflow_name}", .zero = sc_workflow_describe,
     DOC("describeWorkflow", .says = "A workflow's numbers and graph.", READS, OURS)},
    {M, "DELETE", "/workflows/{workflow_name}", .zero = sc_workflow_delete,
     DOC("unregisterWorkflow", .says = "Unregister a workflow and its models.", .codes = "404 408 500",
         OURS)},
    {M, "GET", "/workflows/{workflow_name}/{any}", .zero = sc_workflow_describe, UNTOLD},
    {M, "DELETE", "/workflows/{workflow_name}/{any}", .zero = sc_workflow_delete, UNTOLD},
    {M, "GET", "/v1/models/{model_name}", NULL, sc_kserve_ready,
     DOC("v1_status", .says = "A model is ready.", V2)},
    {M, ANY, "/token", sc_token, NULL,
     DOC("token", .says = "Make a new key.", .query = "type!", .answer = SC_DOC_EMPTY, .codes = "400 404",
         OURS)},
    {0, ANY, "/api-description", sc_describe_apis, NULL,
     DOC("api-description", .says = "Get openapi description.", .answer = SC_DOC_OBJECT, .codes = "500",
         .deprecated = true)},
    {S, ANY, "/metrics/*", NULL, sc_metrics_answer,
     DOC("metrics", .says = "Get TorchServe application metrics in prometheus format.", .query = "name[]",
         .answer = SC_DOC_TEXT, .codes = "500")},
    {I, ANY, "/models/{model_name}", no_resource, NULL, UNTOLD},
    {I, ANY, "/models/{model_name}/{model_version}/*", no_resource, NULL, UNTOLD},
    {I, ANY, "/{model_name}/predict", sc_invoke, NULL, UNTOLD},
    {I, ANY, "/{model_name}/{model_version}/predict", sc_invoke, NULL, UNTOLD},
};

/* The first segment of each path, empty where it is any: most rows fail by it. */
static struct sc_span first[SC_COUNT(rows)];

void sc_routes_init(void)
{
    for (size_t i = 0; i < SC_COUNT(rows); i++) {
        const char *at = rows[i].path + 1;
        first[i] = *at == '{' || rows[i].any_case ? (struct sc_span){NULL, 0} : sc_span(at, strcspn(at, "/"));
    }
}

const struct sc_route *sc_route_at(size_t i)
{
    return i < SC_COUNT(rows) ? &rows[i] : NULL;
}

static bool segment_fits(struct sc_span pattern, struct sc_span s, bool any_case)
{
    if (pattern.p[0] != '{')
        return any_case ? sc_span_eq_nocase(pattern, s) : sc_span_eq(pattern, s);
    size_t end = sc_span_find(pattern, '}') + 1;
    return end == pattern.n || memmem(s.p, s.n, pattern.p + end, pattern.n - end);
}

static bool path_fits(const char *path, const struct sc_path *p, bool any_case)
{
    unsigned i = 0;
    for (const char *at = path + 1; *at; i++) {
        size_t n = strcspn(at, "/");
        if (*at == '*')
            return true;
        if (i >= p->n || i >= SC_PATH_SEGMENTS || !segment_fits(sc_span(at, n), p->segments[i], any_case))
            return false;
        at += at[n] ? n + 1 : n;
    }
    return i == p->n;
}

static bool method_fits(const char *have, struct sc_span method)
{
    return !have || sc_span_eq(method, sc_span_str(have)) ||
           (have[0] == 'G' && sc_span_eq(method, SC_SPAN("HEAD")));
}

const struct sc_route *sc_route_find(unsigned serves, const struct sc_path *p, struct sc_span method,
                                     bool *bad_method)
{
    const char *path = NULL; /* that fits: no other counts then */
    const struct sc_route *nearest = NULL;
    *bad_method = false;
    for (size_t i = 0; i < SC_COUNT(rows); i++) {
        const struct sc_route *r = &rows[i];
        if ((serves & r->serves) != r->serves ||
            (first[i].n && (!p->n || !sc_span_eq(first[i], p->segments[0]))))
            continue;
        if (path ? strcmp(path, r->path) != 0 : !path_fits(r->path, p, r->any_case))
            continue;
        nearest = r;
        *bad_method = !method_fits(r->method, method);
        if (!*bad_method)
            break;
        path = r->path;
    }
    return nearest;
}
