/* A backend that answers with what it was sent: what is measured with it is the server alone. */
#include <string.h>

#include "sconce/backend.h"

/* There is nothing to hold, but the interface wants something to point to. */
struct sconce_model {
    char nothing;
};

struct sconce_lane {
    char nothing;
};

static struct sconce_error *model_load(struct sconce_host *h, struct sconce_model **m,
                                       struct sconce_model_info *info)
{
    static struct sconce_model model;
    (void)h;
    info->interfaces =
        "kserve/infer kserve/metadata"; /* tensors come back as they are; it has none of its own */
    *m = &model;
    return NULL;
}

static void model_unload(struct sconce_model *m)
{
    (void)m;
}

static struct sconce_error *lane_create(struct sconce_model *m, unsigned index, struct sconce_lane **l)
{
    static struct sconce_lane lane;
    (void)m;
    (void)index;
    *l = &lane;
    return NULL;
}

static void lane_destroy(struct sconce_lane *l)
{
    (void)l;
}

/* The media type outlives the call: it is the request's, which holds it until the answer is sent. */
static void echo(struct sconce_request *r)
{
    size_t size;
    const void *body = sconce_request_body(r, &size);
    const char *type = sconce_request_content_type(r);
    void *to = size ? sconce_response_reserve(r, size) : NULL;
    if (size && !to) {
        sconce_response_fail(r,
                             sconce_error_new(SCONCE_TOO_LARGE,
                                              "The answer would exceed max_response_size (%zu bytes)", size));
        return;
    }
    if (size)
        memcpy(to, body, size);
    sconce_response_send(r, type[0] ? type : NULL, size);
}

static void lane_execute(struct sconce_lane *l, struct sconce_request **requests, size_t n)
{
    (void)l;
    for (size_t i = 0; i < n; i++)
        echo(requests[i]);
}

__attribute__((visibility("default"))) const struct sconce_backend_ops *sconce_backend(void)
{
    static const struct sconce_backend_ops ops = {
        .major = SCONCE_BACKEND_MAJOR,
        .minor = SCONCE_BACKEND_MINOR,
        .name = "identity",
        .model_load = model_load,
        .model_unload = model_unload,
        .lane_create = lane_create,
        .lane_destroy = lane_destroy,
        .lane_execute = lane_execute,
    };
    return &ops;
}
