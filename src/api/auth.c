#include "api/auth.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "api/auth_file.h"
#include "base/alloc.h"

/* One key as other loops read it. `turn` is odd while it is being changed. */
struct shared_key {
    atomic_uint turn;
    _Atomic uint64_t text;
    _Atomic int64_t expires_ns;
};

struct sc_auth {
    struct sc_auth_config config; /* folder is ours, state is not kept */
    struct sc_auth_keys keys;     /* loop 0 */
    struct shared_key shared[SC_AUTH_KINDS];
};

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void publish(struct shared_key *s, const struct sc_auth_key *k)
{
    uint64_t text;
    memcpy(&text, k->text, sizeof text);
    atomic_fetch_add(&s->turn, 1);
    atomic_store(&s->text, text);
    atomic_store(&s->expires_ns, k->expires_ns);
    atomic_fetch_add(&s->turn, 1);
}

static void read_key(const struct shared_key *s, struct sc_auth_key *k)
{
    unsigned turn;
    uint64_t text;
    do {
        turn = atomic_load(&s->turn);
        text = atomic_load(&s->text);
        k->expires_ns = atomic_load(&s->expires_ns);
    } while (turn & 1 || turn != atomic_load(&s->turn));
    memcpy(k->text, &text, sizeof text);
}

/* Keys that are in the file count; until then nobody can know them. */
static int adopt(struct sc_auth *a, const struct sc_auth_keys *k, struct sc_msg *msg)
{
    struct sc_buf b;
    char state[SC_AUTH_STATE_BYTES];
    sc_buf_init(&b, SC_AUTH_FILE_BYTES);
    sc_auth_keys_render(k, &b);
    int rc = b.failed ? sc_fail(msg, b.failed, "out of memory for the key file")
                      : sc_auth_file_write(a->config.folder, sc_buf_view(&b), msg);
    sc_buf_free(&b);
    if (rc < 0)
        return rc;
    a->keys = *k;
    sc_auth_keys_write(k, state);
    a->config.save(a->config.ctx, sc_span(state, sizeof state));
    for (unsigned i = 0; i < SC_AUTH_KINDS; i++)
        publish(&a->shared[i], &k->of[i]);
    return 0;
}

static int make(struct sc_auth *a, struct sc_auth_keys *k, enum sc_auth_kind kind, struct sc_msg *msg)
{
    int64_t expires = kind == SC_AUTH_API ? SC_AUTH_NEVER : sc_auth_expiry(now_ns(), a->config.life_min);
    if (sc_auth_key_make(&k->of[kind], expires) < 0)
        return sc_fail(msg, SC_ESYS, "the system gives no random bytes for a key");
    return 0;
}

int sc_auth_new(struct sc_auth **out, const struct sc_auth_config *c, struct sc_msg *msg)
{
    struct sc_auth_keys keys;
    struct sc_auth *a = sc_alloc(sizeof *a);
    int rc = 0;
    a->config = *c;
    a->config.folder = sc_strdup(c->folder);
    a->config.state = sc_span(NULL, 0);
    if (c->state.p && sc_auth_keys_read(&keys, c->state)) {
        a->keys = keys;
        for (unsigned i = 0; i < SC_AUTH_KINDS; i++)
            publish(&a->shared[i], &keys.of[i]);
    } else {
        for (unsigned i = 0; rc == 0 && i < SC_AUTH_KINDS; i++)
            rc = make(a, &keys, (enum sc_auth_kind)i, msg);
        if (rc == 0)
            rc = adopt(a, &keys, msg);
    }
    if (rc < 0) {
        sc_auth_del(a);
        return rc;
    }
    *out = a;
    return 0;
}

void sc_auth_del(struct sc_auth *a)
{
    if (!a)
        return;
    free((char *)a->config.folder);
    free(a);
}

bool sc_auth_allows(const struct sc_auth *a, enum sc_auth_kind kind, struct sc_span header)
{
    struct sc_auth_key k;
    struct sc_span given = sc_auth_bearer(header);
    if (!given.p)
        return false;
    read_key(&a->shared[kind], &k);
    return sc_auth_key_equal(k.text, given) && now_ns() < k.expires_ns;
}

int sc_auth_renew(struct sc_auth *a, enum sc_auth_kind kind, struct sc_msg *msg)
{
    struct sc_auth_keys next = a->keys;
    int rc = make(a, &next, kind, msg);
    return rc < 0 ? rc : adopt(a, &next, msg);
}
