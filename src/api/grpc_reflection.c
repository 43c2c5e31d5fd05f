/* grpc.reflection: what clients without our .proto files ask. v1alpha has v1's messages. */
#include <stdio.h>

#include "api/grpc.h"
#include "proto/descriptors.h"
#include <grpc/reflection/v1/reflection.pb-c.h>

#define NAME(x) Grpc__Reflection__V1__##x
#define INIT(x) GRPC__REFLECTION__V1__##x##__INIT
#define CASE(x) GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##x
#define ANSWER(x) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##x

#define FILES_MAX 16
#define SERVICES_MAX 16

typedef NAME(ServerReflectionRequest) request_type;
typedef NAME(ServerReflectionResponse) response_type;

static void send_error(struct sc_grpc *g, response_type *r, enum sc_grpc_code code, const char *what)
{
    NAME(ErrorResponse) e = INIT(ERROR_RESPONSE);
    char text[600];
    snprintf(text, sizeof text, "%.300s: there is no such %s", what,
             code == SC_GRPC_NOT_FOUND ? "file or symbol" : "kind of question");
    e.error_code = (int32_t)code;
    e.error_message = text;
    r->message_response_case = ANSWER(ERROR_RESPONSE);
    r->error_response = &e;
    (void)sc_grpc_send(g, &r->base);
}

/* A file with all that it imports, so that nothing is to be asked twice. */
static void send_file(struct sc_grpc *g, response_type *r, struct sc_span file, const char *what)
{
    NAME(FileDescriptorResponse) files = INIT(FILE_DESCRIPTOR_RESPONSE);
    ProtobufCBinaryData all[FILES_MAX];
    struct sc_span name;
    size_t n = 0;
    if (!file.p) {
        send_error(g, r, SC_GRPC_NOT_FOUND, what);
        return;
    }
    all[n++] = sc_pb_bytes(file);
    for (size_t i = 0; i < n; i++)
        for (size_t at = 0; n < FILES_MAX && sc_descriptor_import(sc_pb_span(all[i]), &at, &name);) {
            struct sc_span more = sc_descriptor_file(name);
            bool seen = !more.p;
            for (size_t k = 0; k < n && !seen; k++)
                seen = (const char *)all[k].data == more.p;
            if (!seen)
                all[n++] = sc_pb_bytes(more);
        }
    files.file_descriptor_proto = all;
    files.n_file_descriptor_proto = n;
    r->message_response_case = ANSWER(FILE_DESCRIPTOR_RESPONSE);
    r->file_descriptor_response = &files;
    (void)sc_grpc_send(g, &r->base);
}

static void send_services(struct sc_grpc *g, response_type *r)
{
    NAME(ServiceResponse) each[SERVICES_MAX], *list[SERVICES_MAX];
    NAME(ListServiceResponse) services = INIT(LIST_SERVICE_RESPONSE);
    const struct sc_grpc_service *s;
    unsigned at = 0;
    size_t n = 0;
    while (n < SERVICES_MAX && (s = sc_grpc_services(g, &at))) {
        each[n] = (NAME(ServiceResponse))INIT(SERVICE_RESPONSE);
        each[n].name = (char *)(uintptr_t)s->name;
        list[n] = &each[n];
        n++;
    }
    services.service = list;
    services.n_service = n;
    r->message_response_case = ANSWER(LIST_SERVICES_RESPONSE);
    r->list_services_response = &services;
    (void)sc_grpc_send(g, &r->base);
}

static void ask(struct sc_grpc *g, const ProtobufCMessage *m)
{
    request_type *q = (request_type *)(uintptr_t)m;
    response_type r = INIT(SERVER_REFLECTION_RESPONSE);
    r.valid_host = q->host;
    r.original_request = q;
    switch (q->message_request_case) {
    case CASE(FILE_BY_FILENAME):
        send_file(g, &r, sc_descriptor_file(sc_span_str(q->file_by_filename)), q->file_by_filename);
        break;
    case CASE(FILE_CONTAINING_SYMBOL):
        send_file(g, &r, sc_descriptor_symbol(sc_span_str(q->file_containing_symbol)),
                  q->file_containing_symbol);
        break;
    case CASE(FILE_CONTAINING_EXTENSION): /* proto3 has none */
        send_error(g, &r, SC_GRPC_NOT_FOUND, q->file_containing_extension->containing_type);
        break;
    case CASE(ALL_EXTENSION_NUMBERS_OF_TYPE):
        send_error(g, &r, SC_GRPC_NOT_FOUND, q->all_extension_numbers_of_type);
        break;
    case CASE(LIST_SERVICES): send_services(g, &r); break;
    case CASE(_NOT_SET):
    default: send_error(g, &r, SC_GRPC_INVALID_ARGUMENT, "the request"); break;
    }
}

static void end(struct sc_grpc *g)
{
    sc_grpc_end(g, SC_GRPC_OK, SC_SPAN(""));
}

static void gone(struct sc_grpc *g)
{
    sc_grpc_end(g, SC_GRPC_CANCELLED, SC_SPAN(""));
}

static const struct sc_grpc_method methods[] = {
    {.name = "ServerReflectionInfo",
     .request = &grpc__reflection__v1__server_reflection_request__descriptor,
     .run = ask,
     .end = end,
     .gone = gone,
     .many = true},
};

#define SERVICE(v)                                         \
    {.name = "grpc.reflection." v ".ServerReflection",     \
     .serves = SC_SERVES_INFERENCE | SC_SERVES_MANAGEMENT, \
     .keyless = true,                                      \
     .methods = methods,                                   \
     .n = SC_COUNT(methods)}

const struct sc_grpc_service sc_grpc_reflection = SERVICE("v1");
const struct sc_grpc_service sc_grpc_reflection_alpha = SERVICE("v1alpha");
