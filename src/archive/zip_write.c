#include "archive/zip_write.h"

#include <errno.h>
#include <stdlib.h>

#include <zlib.h>

#include "base/alloc.h"

#define BLOCK SC_SOURCE_BLOCK
#define WIDE_FROM 0xF0000000u /* leaves room for what deflate may add */
#define NAME_MAX_BYTES 0xFFFF
#define CENTRAL_MAX ((size_t)1 << 30)
#define FULL32 0xFFFFFFFFu

/* One entry while it is written. */
struct entry {
    uint64_t offset, size, packed;
    uint32_t crc, dos_time, attributes;
    uint16_t method, flags, version;
    bool wide;
};

static void le16(struct sc_buf *b, unsigned v)
{
    sc_buf_add(b, (const char[]){(char)v, (char)(v >> 8)}, 2);
}

static void le32(struct sc_buf *b, uint32_t v)
{
    le16(b, v & 0xFFFF);
    le16(b, v >> 16);
}

static void le64(struct sc_buf *b, uint64_t v)
{
    le32(b, (uint32_t)v);
    le32(b, (uint32_t)(v >> 32));
}

void sc_zip_init(struct sc_zip *z, int fd, bool store)
{
    *z = (struct sc_zip){.fd = fd, .store = store, .wide_from = WIDE_FROM};
    sc_buf_init(&z->central, CENTRAL_MAX);
    z->in = sc_alloc(BLOCK);
    z->out = sc_alloc(BLOCK);
}

void sc_zip_free(struct sc_zip *z)
{
    sc_buf_free(&z->central);
    free(z->in);
    free(z->out);
    z->in = z->out = NULL;
}

static int put(struct sc_zip *z, const void *p, size_t n, struct sc_msg *msg)
{
    z->at += n;
    return sc_write_all(z->fd, p, n, msg);
}

/* Date and time as MS-DOS had them: local, from 1980 on, every other second. */
static uint32_t dos_time(time_t t)
{
    struct tm tm;
    if (!localtime_r(&t, &tm) || tm.tm_year < 80)
        return 1 << 21 | 1 << 16;
    if (tm.tm_year > 80 + 127)
        return 0xFF9FBF7D;
    return (uint32_t)(tm.tm_year - 80) << 25 | (uint32_t)(tm.tm_mon + 1) << 21 | (uint32_t)tm.tm_mday << 16 |
           (uint32_t)tm.tm_hour << 11 | (uint32_t)tm.tm_min << 5 | (uint32_t)tm.tm_sec / 2;
}

static bool is_ascii(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s >= 0x80)
            return false;
    return true;
}

/* What stands alike in both headers. */
static void common_fields(struct sc_buf *b, const struct entry *e, const char *name)
{
    le16(b, e->flags);
    le16(b, e->method);
    le32(b, e->dos_time);
    le32(b, e->crc);
    le32(b, e->wide ? FULL32 : (uint32_t)e->packed);
    le32(b, e->wide ? FULL32 : (uint32_t)e->size);
    le16(b, (unsigned)strlen(name));
}

static void local_header(struct sc_buf *b, const struct entry *e, const char *name)
{
    sc_buf_str(b, "PK\3\4");
    le16(b, e->version);
    common_fields(b, e, name);
    le16(b, e->wide ? 20 : 0);
    sc_buf_str(b, name);
    if (e->wide) {
        le16(b, 1);
        le16(b, 16);
        le64(b, e->size);
        le64(b, e->packed);
    }
}

static void central_header(struct sc_buf *b, const struct entry *e, const char *name)
{
    bool far = e->offset >= FULL32;
    unsigned version = far ? 45 : e->version;
    sc_buf_str(b, "PK\1\2");
    le16(b, 3 << 8 | version); /* made on Unix: the attributes are a mode */
    le16(b, version);
    common_fields(b, e, name);
    le16(b, e->wide || far ? 4 + (e->wide ? 16 : 0) + (far ? 8 : 0) : 0);
    le16(b, 0);
    le16(b, 0);
    le16(b, 0);
    le32(b, e->attributes);
    le32(b, far ? FULL32 : (uint32_t)e->offset);
    sc_buf_str(b, name);
    if (e->wide || far) {
        le16(b, 1);
        le16(b, (e->wide ? 16 : 0) + (far ? 8 : 0));
    }
    if (e->wide) {
        le64(b, e->size);
        le64(b, e->packed);
    }
    if (far)
        le64(b, e->offset);
}

static int copy_stored(struct sc_zip *z, struct entry *e, const struct sc_source *s, struct sc_msg *msg)
{
    ssize_t n;
    while ((n = sc_source_read(s, e->size, z->in, BLOCK, msg)) > 0) {
        e->crc = (uint32_t)crc32(e->crc, (const Bytef *)z->in, (uInt)n);
        e->size += (uint64_t)n;
        int rc = put(z, z->in, (size_t)n, msg);
        if (rc < 0)
            return rc;
    }
    e->packed = e->size;
    return (int)n;
}

static int copy_deflated(struct sc_zip *z, struct entry *e, const struct sc_source *s, struct sc_msg *msg)
{
    z_stream d = {0};
    int said = Z_OK, rc = 0;
    if (deflateInit2(&d, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return sc_fail(msg, SC_ENOMEM, "no memory to compress");
    while (rc == 0 && said != Z_STREAM_END) {
        ssize_t n = d.avail_in ? 0 : sc_source_read(s, e->size, z->in, BLOCK, msg);
        if (n < 0) {
            rc = (int)n;
            break;
        }
        bool last = !d.avail_in && n == 0;
        if (n > 0) {
            e->crc = (uint32_t)crc32(e->crc, (const Bytef *)z->in, (uInt)n);
            e->size += (uint64_t)n;
            d.next_in = (Bytef *)z->in;
            d.avail_in = (uInt)n;
        }
        d.next_out = (Bytef *)z->out;
        d.avail_out = (uInt)BLOCK;
        said = deflate(&d, last ? Z_FINISH : Z_NO_FLUSH);
        size_t made = BLOCK - d.avail_out;
        e->packed += made;
        rc = put(z, z->out, made, msg);
    }
    deflateEnd(&d);
    return rc;
}

int sc_zip_add(struct sc_zip *z, const char *name, const struct sc_source *s, struct sc_msg *msg)
{
    struct sc_buf head;
    struct entry e = {.offset = z->at, .method = z->store ? 0 : 8, .dos_time = dos_time(s->mtime)};
    int rc;
    if (strlen(name) > NAME_MAX_BYTES)
        return sc_fail(msg, SC_ELIMIT, "a name is longer than a zip can hold: %.200s", name);
    e.wide = s->size >= z->wide_from;
    e.version = e.wide ? 45 : 20;
    e.flags = is_ascii(name) ? 0 : 0x800;
    e.attributes = (uint32_t)(S_IFREG | s->mode) << 16;
    sc_buf_init(&head, NAME_MAX_BYTES + 64);
    local_header(&head, &e, name);
    rc = put(z, head.p, head.n, msg);
    if (rc == 0)
        rc = z->store ? copy_stored(z, &e, s, msg) : copy_deflated(z, &e, s, msg);
    if (rc == 0 && !e.wide && (e.size >= FULL32 || e.packed >= FULL32))
        rc = sc_fail(msg, SC_ESYS, "%.200s grew while it was read", name);
    if (rc == 0) {
        /* Now that the sizes are known, the header says them. */
        sc_buf_clear(&head);
        local_header(&head, &e, name);
        if (pwrite(z->fd, head.p, head.n, (off_t)e.offset) != (ssize_t)head.n)
            rc = sc_fail(msg, SC_ESYS, "writing failed: %s", strerror(errno));
    }
    if (rc == 0) {
        central_header(&z->central, &e, name);
        z->entries++;
        if (z->central.failed)
            rc = sc_fail(msg, SC_ELIMIT, "too many files for one archive");
    }
    sc_buf_free(&head);
    return rc;
}

int sc_zip_finish(struct sc_zip *z, struct sc_msg *msg)
{
    struct sc_buf *b = &z->central;
    uint64_t start = z->at, size = b->n;
    if (z->entries >= 0xFFFF || start >= FULL32 || size >= FULL32) {
        sc_buf_str(b, "PK\6\6");
        le64(b, 44);
        le16(b, 3 << 8 | 45);
        le16(b, 45);
        le32(b, 0);
        le32(b, 0);
        le64(b, z->entries);
        le64(b, z->entries);
        le64(b, size);
        le64(b, start);
        sc_buf_str(b, "PK\6\7");
        le32(b, 0);
        le64(b, start + size);
        le32(b, 1);
    }
    unsigned n = (unsigned)SC_MIN(z->entries, (uint64_t)0xFFFF);
    sc_buf_str(b, "PK\5\6");
    le32(b, 0);
    le16(b, n);
    le16(b, n);
    le32(b, (uint32_t)SC_MIN(size, (uint64_t)FULL32));
    le32(b, (uint32_t)SC_MIN(start, (uint64_t)FULL32));
    le16(b, 0);
    if (b->failed)
        return sc_fail(msg, SC_ELIMIT, "too many files for one archive");
    return put(z, b->p, b->n, msg);
}
