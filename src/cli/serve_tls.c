#include "cli/serve_tls.h"

#include <strings.h>

bool sc_is_https(const char *address)
{
    return address && strncasecmp(address, "https:", 6) == 0;
}

void sc_serve_tls_make(struct sc_serve_tls *t, const struct sc_settings *s)
{
    struct sc_tls_source rest = {.private_key_file = s->private_key_file,
                                 .certificate_file = s->certificate_file,
                                 .keystore = s->keystore,
                                 .keystore_pass = s->keystore_pass,
                                 .keystore_type = s->keystore_type,
                                 .client_ca = s->tls_client_ca};
    struct sc_tls_source grpc = {.private_key_file = s->private_key_file,
                                 .certificate_file = s->certificate_file,
                                 .client_ca = s->tls_client_ca,
                                 .h2_only = true};
    bool https = sc_is_https(s->inference_address) || sc_is_https(s->management_address) ||
                 (s->enable_metrics_api && sc_is_https(s->metrics_address));
    *t = (struct sc_serve_tls){0};
    if (https)
        t->kind[SC_TLS_REST] = sc_tls_new(&rest);
    if (s->enable_grpc_ssl)
        t->kind[SC_TLS_GRPC] = sc_tls_new(&grpc);
}

void sc_serve_tls_free(struct sc_serve_tls *t)
{
    for (unsigned i = 0; i < SC_TLS_KINDS; i++)
        sc_tls_del(t->kind[i]);
    *t = (struct sc_serve_tls){0};
}

bool sc_serve_tls_load(struct sc_serve_tls *t,
                       void (*tell)(void *ctx, enum sc_log_level level, const char *text), void *ctx)
{
    bool good = true;
    for (unsigned i = 0; i < SC_TLS_KINDS; i++) {
        struct sc_msg msg = {""};
        int rc = t->kind[i] ? sc_tls_load(t->kind[i], &msg) : 0;
        good &= rc >= 0;
        if (rc)
            tell(ctx, rc < 0 ? SC_LOG_ERROR : SC_LOG_WARN, msg.text);
    }
    return good;
}

static void keep_first(void *ctx, enum sc_log_level level, const char *text)
{
    struct sc_msg *msg = ctx;
    if (level == SC_LOG_ERROR && !*msg->text)
        sc_fail(msg, 0, "%s", text);
}

int sc_serve_tls_check(const struct sc_settings *s, struct sc_msg *msg)
{
    struct sc_serve_tls t;
    *msg->text = '\0';
    sc_serve_tls_make(&t, s);
    bool good = sc_serve_tls_load(&t, keep_first, msg);
    sc_serve_tls_free(&t);
    return good ? 0 : SC_EINVAL;
}
