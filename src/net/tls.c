/* Key material of TLS listeners. */
#include "net/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pkcs12.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <strings.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/tls_conn.h"

#define CIPHERS \
    "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE-RSA-AES128-SHA" /* the last: what TorchServe's clients have */

struct sc_tls {
    struct sc_tls_source from;
    pthread_mutex_t lock; /* of context: connections begin on all loops */
    SSL_CTX *context;
    BIO_METHOD *method;
};

static const char *reason(void)
{
    unsigned long e = ERR_peek_last_error();
    const char *text = e ? ERR_reason_error_string(e) : NULL;
    return text ? text : "unknown reason";
}

/* For OpenSSL's failures to read `file`, which is said to be `what`. */
static int bad_file(struct sc_msg *msg, const char *key, const char *file, const char *what)
{
    if (access(file, R_OK) < 0)
        return sc_fail(msg, SC_ENOTFOUND, "%s: %s cannot be read: %s", key, file, strerror(errno));
    return sc_fail(msg, SC_EINVAL, "%s: %s holds no %s that can be used (%s)", key, file, what, reason());
}

/* ---- the pair of files ---------------------------------------------------------------------- */

static int no_pass_phrase(char *to, int room, int writing, void *asked)
{
    (void)to;
    (void)room;
    (void)writing;
    *(bool *)asked = true;
    return -1;
}

static int load_pair(SSL_CTX *ctx, const struct sc_tls_source *s, struct sc_msg *msg)
{
    bool asked = false;
    if (SSL_CTX_use_certificate_chain_file(ctx, s->certificate_file) != 1)
        return bad_file(msg, "certificate_file", s->certificate_file, "certificate in PEM");
    SSL_CTX_set_default_passwd_cb(ctx, no_pass_phrase);
    SSL_CTX_set_default_passwd_cb_userdata(ctx, &asked);
    ERR_clear_error();
    int ok = SSL_CTX_use_PrivateKey_file(ctx, s->private_key_file, SSL_FILETYPE_PEM);
    SSL_CTX_set_default_passwd_cb_userdata(ctx, NULL);
    SSL_CTX_set_default_passwd_cb(ctx, NULL);
    if (ok != 1 && asked)
        return sc_fail(msg, SC_EUNSUPPORTED,
                       "private_key_file: %s is encrypted; write it without a pass phrase (openssl pkey -in "
                       "... -out ...), readable by this user alone",
                       s->private_key_file);
    if (ok != 1 && ERR_GET_REASON(ERR_peek_last_error()) != X509_R_KEY_VALUES_MISMATCH)
        return bad_file(msg, "private_key_file", s->private_key_file, "private key in PEM");
    if (ok != 1 || SSL_CTX_check_private_key(ctx) != 1)
        return sc_fail(msg, SC_EINVAL,
                       "private_key_file: %s does not belong to the certificate in %s; name the key that the "
                       "certificate was made for",
                       s->private_key_file, s->certificate_file);
    return 0;
}

/* ---- a keystore ------------------------------------------------------------------------------- */

static int refuse_jks(const struct sc_tls_source *s, struct sc_msg *msg)
{
    return sc_fail(
        msg, SC_EUNSUPPORTED,
        "keystore: %.120s is a Java keystore, which only Java reads. Convert it: keytool "
        "-importkeystore -srckeystore %.120s -destkeystore keystore.p12 -deststoretype PKCS12; then "
        "set keystore to the new file and keystore_type=PKCS12",
        s->keystore, s->keystore);
}

static int open_store(const struct sc_tls_source *s, PKCS12 **store, struct sc_msg *msg)
{
    unsigned char magic[4] = {0};
    const char *pass = s->keystore_pass ? s->keystore_pass : "changeit";
    FILE *f = fopen(s->keystore, "re");
    if (!f)
        return sc_fail(msg, SC_ENOTFOUND, "keystore: %s cannot be read: %s", s->keystore, strerror(errno));
    bool java = fread(magic, 1, 4, f) == 4 &&
                (memcmp(magic, "\xfe\xed\xfe\xed", 4) == 0 || memcmp(magic, "\xce\xce\xce\xce", 4) == 0);
    bool again = fseek(f, 0, SEEK_SET) == 0;
    *store = java || !again ? NULL : d2i_PKCS12_fp(f, NULL);
    (void)fclose(f);
    if (java)
        return refuse_jks(s, msg);
    if (!*store)
        return sc_fail(msg, SC_EINVAL, "keystore: %s is not in PKCS#12 form (%s)", s->keystore, reason());
    if (PKCS12_verify_mac(*store, pass, -1) != 1)
        return sc_fail(msg, SC_EINVAL, "keystore: keystore_pass does not open %s", s->keystore);
    return 0;
}

static int load_store(SSL_CTX *ctx, const struct sc_tls_source *s, struct sc_msg *msg)
{
    PKCS12 *store = NULL;
    EVP_PKEY *key = NULL;
    X509 *certificate = NULL;
    STACK_OF(X509) *chain = NULL;
    const char *type = s->keystore_type ? s->keystore_type : "PKCS12";
    if (strcasecmp(type, "JKS") == 0 || strcasecmp(type, "JCEKS") == 0)
        return refuse_jks(s, msg);
    if (strcasecmp(type, "PKCS12") != 0)
        return sc_fail(msg, SC_EUNSUPPORTED, "keystore_type: %s is not known; want PKCS12", type);
    int rc = open_store(s, &store, msg);
    if (rc == 0 && PKCS12_parse(store, s->keystore_pass ? s->keystore_pass : "changeit", &key, &certificate,
                                &chain) != 1)
        rc = sc_fail(msg, SC_EINVAL, "keystore: %s cannot be read (%s)", s->keystore, reason());
    if (rc == 0 && (!key || !certificate))
        rc =
            sc_fail(msg, SC_EINVAL,
                    "No key entry found in keystore. (%s: it needs a key with its certificate)", s->keystore);
    if (rc == 0 && SSL_CTX_use_cert_and_key(ctx, certificate, key, chain, 1) != 1)
        rc = sc_fail(msg, SC_EINVAL, "keystore: what %s holds cannot be used (%s)", s->keystore, reason());
    EVP_PKEY_free(key);
    X509_free(certificate);
    sk_X509_pop_free(chain, X509_free);
    PKCS12_free(store);
    return rc;
}

/* ---- a context -------------------------------------------------------------------------------- */

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *in,
                           unsigned in_n, void *arg)
{
    static const unsigned char ours[] = "\x02h2\x08http/1.1";
    const struct sc_tls_source *s = arg;
    unsigned char *chosen;
    (void)ssl;
    if (SSL_select_next_proto(&chosen, out_n, ours, s->h2_only ? 3 : sizeof ours - 1, in, in_n) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static int load_clients(SSL_CTX *ctx, const struct sc_tls_source *s, struct sc_msg *msg)
{
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(s->client_ca);
    if (!names || SSL_CTX_load_verify_locations(ctx, s->client_ca, NULL) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return bad_file(msg, "tls_client_ca", s->client_ca, "certificate in PEM");
    }
    SSL_CTX_set_client_CA_list(ctx, names);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return 0;
}

static int configure(SSL_CTX *ctx, const struct sc_tls_source *s, struct sc_msg *msg)
{
    static const unsigned char id[] = "sconce";
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_cipher_list(ctx, CIPHERS);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ctx, 1);
    /* Tickets are kept by clients: nothing grows here. */
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_session_id_context(ctx, id, sizeof id - 1);
    SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, (void *)s);
    if (s->keystore)
        return load_store(ctx, s, msg);
    if (s->private_key_file && s->certificate_file)
        return load_pair(ctx, s, msg);
    return sc_fail(msg, SC_EINVAL,
                   s->h2_only ? "enable_grpc_ssl needs private_key_file and certificate_file"
                              : "TLS needs a key: set private_key_file and certificate_file, or keystore");
}

/* 1 with a warning if clients will not take the certificate. */
static int check_dates(SSL_CTX *ctx, const struct sc_tls_source *s, struct sc_msg *msg)
{
    const X509 *x = SSL_CTX_get0_certificate(ctx);
    const char *file = s->keystore ? s->keystore : s->certificate_file;
    if (x && X509_cmp_current_time(X509_get0_notAfter(x)) < 0) {
        sc_fail(msg, 0, "the certificate in %s has expired: clients will refuse it; renew it and send HUP",
                file);
        return 1;
    }
    if (x && X509_cmp_current_time(X509_get0_notBefore(x)) > 0) {
        sc_fail(msg, 0, "the certificate in %s is not valid yet: clients will refuse it till then", file);
        return 1;
    }
    return 0;
}

int sc_tls_load(struct sc_tls *t, struct sc_msg *msg)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method()), *old;
    if (!ctx)
        return sc_fail(msg, SC_ENOMEM, "no memory for TLS");
    ERR_clear_error();
    int rc = configure(ctx, &t->from, msg);
    if (rc == 0 && t->from.client_ca)
        rc = load_clients(ctx, &t->from, msg);
    ERR_clear_error();
    if (rc < 0) {
        SSL_CTX_free(ctx);
        return rc;
    }
    rc = check_dates(ctx, &t->from, msg);
    pthread_mutex_lock(&t->lock);
    old = t->context;
    t->context = ctx;
    pthread_mutex_unlock(&t->lock);
    SSL_CTX_free(old);
    return rc;
}

struct sc_tls *sc_tls_new(const struct sc_tls_source *s)
{
    struct sc_tls *t = sc_alloc(sizeof *t);
    t->from = *s;
    t->method = sc_tls_method();
    pthread_mutex_init(&t->lock, NULL);
    return t;
}

void sc_tls_del(struct sc_tls *t)
{
    if (!t)
        return;
    SSL_CTX_free(t->context);
    BIO_meth_free(t->method);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

BIO *sc_tls_session(struct sc_tls *t, SSL **ssl)
{
    BIO *b = t->method ? BIO_new(t->method) : NULL;
    *ssl = NULL;
    pthread_mutex_lock(&t->lock);
    if (t->context && b)
        *ssl = SSL_new(t->context);
    pthread_mutex_unlock(&t->lock);
    if (*ssl) {
        SSL_set_bio(*ssl, b, b);
    } else {
        BIO_free(b);
        b = NULL;
    }
    ERR_clear_error();
    return b;
}
