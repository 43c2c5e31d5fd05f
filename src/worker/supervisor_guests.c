/*
 * Workers that share a process: native models of one executorGroup on one device. A guest has a slot, lives,
 * a token and a connection like any other worker; the process gets its environment as a message in the place
 * of one of its own. Which guests belong together follows from what they are started with. They load one
 * after the other, so that whoever was loading when the process died is known.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "worker/supervisor_parts.h"

static const char own_prefix[] = "SCONCE_";

static bool is_own(const char *entry)
{
    return strncmp(entry, own_prefix, sizeof own_prefix - 1) == 0;
}

/* ---- who belongs together -------------------------------------------------------------- */

static const char *next_of_process(const char *const **env)
{
    while (**env && is_own(**env))
        ++*env;
    return **env ? *(*env)++ : NULL;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* What they are started with is in the same order, as it was written by the same code. */
static bool same_process(const struct sc_slot *a, const struct sc_slot *b)
{
    const char *const *x = a->env, *const *y = b->env, *one, *other;
    bool same = same_text(a->exe, b->exe) && same_text(a->dir, b->dir) && a->keeper == b->keeper;
    for (size_t i = 0; same && (a->argv[i] || b->argv[i]); i++)
        same = same_text(a->argv[i], b->argv[i]);
    while (same) {
        one = next_of_process(&x);
        other = next_of_process(&y);
        same = same_text(one, other);
        if (!one && !other)
            break;
    }
    return same;
}

/* The next slot from *i on that lives with others and belongs to this one. */
static struct sc_slot *next_mate(const struct sc_super *s, const struct sc_slot *slot, uint32_t *i)
{
    while (*i < s->slots_top) {
        struct sc_slot *o = s->slots[(*i)++];
        if (o && o != slot && o->house && same_process(o, slot))
            return o;
    }
    return NULL;
}

bool sc_guests_wait(const struct sc_super *s, const struct sc_slot *slot)
{
    struct sc_slot *o;
    for (uint32_t i = 0; (o = next_mate(s, slot, &i));)
        if (o->house->broken || o->state == SC_SLOT_STARTING || o->state == SC_SLOT_CONNECTED)
            return true;
    return false;
}

/* ---- the process ----------------------------------------------------------------------- */

static struct sc_house *find_house(const struct sc_super *s, const struct sc_slot *slot)
{
    uint32_t i = 0;
    struct sc_slot *o = next_mate(s, slot, &i);
    return o ? o->house : NULL;
}

static pid_t spawn(struct sc_super *s, const struct sc_slot *slot, int control, const char *const *ours)
{
    size_t n = 0, all = 0;
    while (slot->env[all])
        all++;
    struct sc_slot bare = {.env = calloc(all + 1, sizeof *bare.env)};
    for (size_t i = 0; bare.env && i < all; i++)
        if (!is_own(slot->env[i]))
            bare.env[n++] = slot->env[i];
    const char *const address[] = {ours[0], NULL};
    char **env = bare.env ? sc_slot_environment(&bare, address) : NULL;
    const struct sc_child c = {.exe = slot->exe,
                               .argv = slot->argv,
                               .env = env,
                               .control_fd = control,
                               .settings_fd = -1,
                               .output = {-1, -1},
                               .dir = slot->dir};
    pid_t pid = env ? sc_super_spawn(s, &c) : SC_ENOMEM;
    free(env);
    free(bare.env);
    return pid;
}

static struct sc_house *build(struct sc_super *s, const struct sc_slot *slot, const char *const *ours,
                              pid_t *pid)
{
    int pair[2];
    struct sc_house *h = calloc(1, sizeof *h);
    *pid = h ? SC_ESYS : SC_ENOMEM;
    if (!h || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        free(h);
        return NULL;
    }
    *pid = spawn(s, slot, pair[1], ours);
    close(pair[1]);
    if (*pid < 0) {
        close(pair[0]);
        free(h);
        return NULL;
    }
    *h = (struct sc_house){.next = s->houses, .pid = *pid, .fd = pair[0], .kill_at = SC_NEVER};
    s->houses = h;
    return h;
}

/* Its guests' last one has gone, or never came. */
static void leave_empty(struct sc_super *s, struct sc_house *h)
{
    if (h->fd >= 0)
        close(h->fd);
    h->fd = -1;
    h->kill_at = sc_clock_ms() + s->stop_grace_ms;
}

static int tell(const struct sc_house *h, const struct sc_slot *slot, const char *const *ours)
{
    struct sc_buf b;
    sc_buf_init(&b, SC_CTL_BYTES);
    for (const char **e = slot->env; *e; e++)
        if (is_own(*e) && strchr(*e, '='))
            sc_buf_add(&b, *e, strlen(*e) + 1);
    for (; *ours; ours++)
        sc_buf_add(&b, *ours, strlen(*ours) + 1);
    int rc =
        b.failed ? SC_ELIMIT : sc_ctl_send(h->fd, SC_CTL_GUEST, sc_buf_view(&b), sc_span(NULL, 0), NULL, 0);
    sc_buf_free(&b);
    return rc;
}

pid_t sc_guests_move_in(struct sc_super *s, struct sc_slot *slot, const char *const *ours)
{
    struct sc_house *h = find_house(s, slot);
    pid_t pid = h ? h->pid : 0;
    if (!h && !(h = build(s, slot, ours, &pid)))
        return pid;
    int rc = tell(h, slot, ours);
    if (rc == SC_ELIMIT || rc == SC_ENOMEM) {
        if (!h->guests)
            leave_empty(s, h);
        errno = EMSGSIZE;
        return SC_ESYS;
    }
    /* One that does not listen is dead, or stuck: the time to connect is its limit. */
    h->guests++;
    slot->house = h;
    return pid;
}

void sc_guests_move_out(struct sc_super *s, struct sc_slot *slot)
{
    struct sc_house *h = slot->house;
    slot->house = NULL;
    if (h && --h->guests == 0)
        leave_empty(s, h);
}

void sc_guests_broken(const struct sc_slot *slot)
{
    if (slot->house)
        slot->house->broken = true;
}

void sc_guests_end(struct sc_super *s, struct sc_slot *slot)
{
    struct sc_peer *p = &slot->ranks[0].peer;
    if (p->fd >= 0 &&
        sc_peer_send(s, p, SC_CTL_END, sc_span(NULL, 0), sc_span(NULL, 0), NULL, 0) == SC_ELIMIT)
        sc_super_log(s, SC_LOG_WARN, "Slot %u does not read its control messages.", slot->number);
}

bool sc_guests_owns(const struct sc_super *s, pid_t pid)
{
    for (const struct sc_house *h = s->houses; h; h = h->next)
        if (h->pid == pid)
            return true;
    return false;
}

bool sc_guests_reaped(struct sc_super *s, pid_t pid)
{
    for (struct sc_house **at = &s->houses; *at; at = &(*at)->next) {
        struct sc_house *h = *at;
        if (h->pid != pid)
            continue;
        *at = h->next;
        if (h->fd >= 0)
            close(h->fd);
        free(h);
        return true;
    }
    return false;
}

unsigned sc_guests_houses(const struct sc_super *s)
{
    unsigned n = 0;
    for (const struct sc_house *h = s->houses; h; h = h->next)
        n++;
    return n;
}

int64_t sc_guests_tick(struct sc_super *s, int64_t now)
{
    int64_t next = SC_NEVER;
    for (struct sc_house *h = s->houses; h; h = h->next) {
        if (h->kill_at <= now) {
            h->kill_at = SC_NEVER;
            sc_super_kill(h->pid, SIGKILL);
        }
        next = SC_MIN(next, h->kill_at);
    }
    return next;
}

void sc_guests_free(struct sc_super *s)
{
    while (s->houses)
        (void)sc_guests_reaped(s, s->houses->pid);
}
