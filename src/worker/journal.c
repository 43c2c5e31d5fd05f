/*
 * A head, then two contents of equal size; the head says which one counts and how much of each is published.
 *
 * An append writes the record behind the published end and then moves that end: one aligned 8-byte store,
 * which a process that is killed has either done or not. What it wrote before is in the shared pages in the
 * order of its program as soon as it is dead, so nobody sees the end without the record. Compaction writes
 * the other content and then changes the head's choice, again by one store.
 *
 * The supervisor's file outlives frontends that may have gone mad before they died: lengths are checked
 * against the published end and each record carries a checksum.
 */
#include "worker/journal.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"

#define JOURNAL_MAGIC UINT64_C(0x6c6e726a636e6373) /* "scncjrnl" */
#define JOURNAL_VERSION 1
#define HEAD_BYTES 4096
#define CONTENT_BYTES (SC_JOURNAL_BYTES / 2 - HEAD_BYTES)

struct head {
    uint64_t magic;
    uint64_t version;
    _Atomic uint64_t active;  /* 0 or 1: the content that counts */
    _Atomic uint64_t used[2]; /* published bytes of each */
};

struct record {
    uint32_t length; /* of the text that follows, without padding */
    uint16_t type;
    uint16_t zero;
    uint32_t sum;
    uint32_t zero2; /* texts begin at multiples of 8 */
};

struct sc_journal {
    struct head *head;
    char *content[2];
    bool compacting; /* appends go to the content that does not count yet */
};

static uint64_t padded(uint64_t n)
{
    return (n + 7) & ~UINT64_C(7);
}

/* FNV-1a: it detects accidents, nothing more is asked of it. */
static uint32_t checksum(const struct record *r, const char *text)
{
    uint32_t h = 2166136261u;
    h = (h ^ r->length) * 16777619u;
    h = (h ^ r->type) * 16777619u;
    for (uint32_t i = 0; i < r->length; i++)
        h = (h ^ (unsigned char)text[i]) * 16777619u;
    return h;
}

static void *map_file(int fd)
{
    return mmap(NULL, SC_JOURNAL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

int sc_journal_create(void)
{
    int fd = memfd_create("sconce-journal", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return SC_ESYS;
    /* Sealed: no truncation can take the pages from under whoever has mapped it. */
    if (ftruncate(fd, SC_JOURNAL_BYTES) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0 || sc_journal_reset(fd) < 0) {
        close(fd);
        return SC_ESYS;
    }
    return fd;
}

static int check_size(int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return SC_ESYS;
    return st.st_size == SC_JOURNAL_BYTES ? SC_OK : SC_EINVAL;
}

int sc_journal_reset(int fd)
{
    int rc = check_size(fd);
    if (rc < 0)
        return rc;
    struct head *head = map_file(fd);
    if (head == MAP_FAILED)
        return SC_ESYS;
    /* Magic last: a death on the way leaves something that open refuses. */
    head->magic = 0;
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store(&head->active, 0);
    atomic_store(&head->used[0], 0);
    atomic_store(&head->used[1], 0);
    head->version = JOURNAL_VERSION;
    atomic_signal_fence(memory_order_seq_cst);
    head->magic = JOURNAL_MAGIC;
    munmap(head, SC_JOURNAL_BYTES);
    return SC_OK;
}

static int check_head(const struct head *h)
{
    if (h->magic != JOURNAL_MAGIC)
        return SC_EINVAL;
    if (h->version != JOURNAL_VERSION)
        return SC_EVERSION;
    uint64_t active = atomic_load(&h->active);
    if (active > 1)
        return SC_EINVAL;
    uint64_t used = atomic_load(&h->used[active]);
    return used <= CONTENT_BYTES && used % 8 == 0 ? SC_OK : SC_EINVAL;
}

int sc_journal_open(struct sc_journal **out, int fd)
{
    int rc = check_size(fd);
    if (rc < 0)
        return rc;
    char *base = map_file(fd);
    if (base == MAP_FAILED)
        return SC_ESYS;
    rc = check_head((const struct head *)base);
    struct sc_journal *j = rc == SC_OK ? malloc(sizeof *j) : NULL;
    if (!j) {
        munmap(base, SC_JOURNAL_BYTES);
        return rc == SC_OK ? SC_ENOMEM : rc;
    }
    *j = (struct sc_journal){.head = (struct head *)base,
                             .content = {base + HEAD_BYTES, base + HEAD_BYTES + CONTENT_BYTES}};
    *out = j;
    return SC_OK;
}

void sc_journal_close(struct sc_journal *j)
{
    if (!j)
        return;
    munmap(j->head, SC_JOURNAL_BYTES);
    free(j);
}

/* The content that counts; the one that append writes to. */
static unsigned reading(const struct sc_journal *j)
{
    return (unsigned)atomic_load_explicit(&j->head->active, memory_order_acquire) & 1;
}

static unsigned writing(const struct sc_journal *j)
{
    return reading(j) ^ j->compacting;
}

static uint64_t used(const struct sc_journal *j, unsigned which)
{
    uint64_t n = atomic_load_explicit(&j->head->used[which], memory_order_acquire);
    return SC_MIN(n, CONTENT_BYTES);
}

int sc_journal_append(struct sc_journal *j, uint16_t type, struct sc_span record)
{
    unsigned w = writing(j);
    uint64_t at = used(j, w);
    if (record.n > CONTENT_BYTES || sizeof(struct record) + padded(record.n) > CONTENT_BYTES - at)
        return SC_ELIMIT;

    struct record r = {.length = (uint32_t)record.n, .type = type};
    r.sum = checksum(&r, record.p);
    char *p = j->content[w] + at;
    memcpy(p, &r, sizeof r);
    if (record.n)
        memcpy(p + sizeof r, record.p, record.n);
    atomic_store_explicit(&j->head->used[w], at + sizeof r + padded(record.n), memory_order_release);
    return SC_OK;
}

int sc_journal_next(const struct sc_journal *j, uint64_t *at, uint16_t *type, struct sc_span *record)
{
    unsigned w = reading(j);
    uint64_t end = used(j, w);
    if (*at == end)
        return 0;
    struct record r;
    if (*at > end || end - *at < sizeof r)
        return SC_EINVAL;
    const char *p = j->content[w] + *at;
    memcpy(&r, p, sizeof r);
    if (padded(r.length) > end - *at - sizeof r || checksum(&r, p + sizeof r) != r.sum)
        return SC_EINVAL;
    *at += sizeof r + padded(r.length);
    *type = r.type;
    *record = sc_span(p + sizeof r, r.length);
    return 1;
}

/* Gives the pages of a content that does not count back to the system. */
static void discard(struct sc_journal *j, unsigned which)
{
    atomic_store_explicit(&j->head->used[which], 0, memory_order_release);
    (void)madvise(j->content[which], CONTENT_BYTES, MADV_REMOVE);
}

int sc_journal_compact_begin(struct sc_journal *j)
{
    if (j->compacting)
        return SC_EEXIST;
    j->compacting = true;
    /* A compaction that was interrupted may have left records there. */
    discard(j, writing(j));
    return SC_OK;
}

int sc_journal_compact_commit(struct sc_journal *j)
{
    if (!j->compacting)
        return SC_ENOTFOUND;
    unsigned old = reading(j);
    atomic_store_explicit(&j->head->active, old ^ 1, memory_order_release);
    j->compacting = false;
    discard(j, old);
    return SC_OK;
}

uint64_t sc_journal_used(const struct sc_journal *j)
{
    return used(j, writing(j));
}

uint64_t sc_journal_capacity(const struct sc_journal *j)
{
    (void)j;
    return CONTENT_BYTES;
}
