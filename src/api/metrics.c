/* GET /metrics: the text format (http-and-grpc-api §7). Rendered on loop 0. */
#include "metrics/registry.h"

#include "api/app.h"
#include "api/respond.h"
