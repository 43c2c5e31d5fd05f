#include "archive/tar_write.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <zlib.h>

#include "base/alloc.h"
#include "base/buf.h"

#define BLOCK SC_SOURCE_BLOCK
#define RECORD 512
#define NAME_FIELD 100
#define SIZE_FIELD_MAX 077777777777u /* eleven octal digits */

/* The header's fields, at their places. */
struct header {
    char name[NAME_FIELD], mode[8], uid[8], gid[8], size[12], mtime[12], sum[8], type, link[100], magic[8],
        user[32], group[32], major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct header) == RECORD, "a tar header is a record");

void sc_targz_init(struct sc_targz *t, int fd)
{
    z_stream *z = sc_alloc(sizeof *z);
    *t = (struct sc_targz){.fd = fd, .deflate = z, .in = sc_alloc(BLOCK), .out = sc_alloc(BLOCK)};
    if (deflateInit2(z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        abort(); /* out of memory, as sc_alloc */
}

void sc_targz_free(struct sc_targz *t)
{
    if (t->deflate)
        deflateEnd(t->deflate);
    free(t->deflate);
    free(t->in);
    free(t->out);
    *t = (struct sc_targz){.fd = -1};
}

static int put(struct sc_targz *t, const void *p, size_t n, int flush, struct sc_msg *msg)
{
    z_stream *z = t->deflate;
    int rc = 0;
    z->next_in = (Bytef *)(uintptr_t)p;
    z->avail_in = (uInt)n;
    do {
        z->next_out = (Bytef *)t->out;
        z->avail_out = (uInt)BLOCK;
        (void)deflate(z, flush);
        rc = sc_write_all(t->fd, t->out, BLOCK - z->avail_out, msg);
    } while (rc == 0 && z->avail_out == 0);
    return rc;
}

/* Zeros up to the end of the record. */
static int pad(struct sc_targz *t, uint64_t n, struct sc_msg *msg)
{
    static const char zeros[RECORD];
    size_t over = (size_t)(n % RECORD);
    return over ? put(t, zeros, RECORD - over, Z_NO_FLUSH, msg) : 0;
}

/* A numeric field: octal digits and a NUL. What is too large for it is cut; a pax header then says it. */
static void octal(char *field, size_t width, uint64_t v)
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%0*" PRIo64, (int)width - 1, v);
    memcpy(field, digits + (size_t)n - (width - 1), width - 1);
}

static int put_header(struct sc_targz *t, const char *name, char type, uint64_t size,
                      const struct sc_source *s, struct sc_msg *msg)
{
    struct header h = {0};
    unsigned sum = 0;
    memcpy(h.name, name, SC_MIN(strlen(name), sizeof h.name));
    octal(h.mode, sizeof h.mode, s->mode);
    octal(h.uid, sizeof h.uid, 0);
    octal(h.gid, sizeof h.gid, 0);
    octal(h.size, sizeof h.size, size);
    octal(h.mtime, sizeof h.mtime, s->mtime > 0 ? (uint64_t)s->mtime : 0);
    h.type = type;
    memcpy(h.magic, "ustar\00000", sizeof h.magic);
    memset(h.sum, ' ', sizeof h.sum);
    for (size_t i = 0; i < sizeof h; i++)
        sum += ((const unsigned char *)&h)[i];
    octal(h.sum, sizeof h.sum - 1, sum);
    return put(t, &h, sizeof h, Z_NO_FLUSH, msg);
}

/* "<length> key=value\n", where the length counts its own digits. */
static void pax_record(struct sc_buf *b, const char *key, const char *value)
{
    size_t rest = strlen(key) + strlen(value) + 3, n = rest;
    char digits[24];
    for (;;) {
        size_t whole = rest + (size_t)snprintf(digits, sizeof digits, "%zu", n);
        if (whole == n)
            break;
        n = whole;
    }
    sc_buf_printf(b, "%zu %s=%s\n", n, key, value);
}

static int put_pax(struct sc_targz *t, const char *name, const struct sc_source *s, struct sc_msg *msg)
{
    char size[24];
    struct sc_buf b;
    sc_buf_init(&b, BLOCK);
    pax_record(&b, "path", name);
    if (s->size > SIZE_FIELD_MAX) {
        snprintf(size, sizeof size, "%" PRIu64, s->size);
        pax_record(&b, "size", size);
    }
    int rc = b.failed ? sc_fail(msg, SC_ELIMIT, "a name is too long: %.200s", name) : 0;
    if (rc == 0)
        rc = put_header(t, "././@PaxHeader", 'x', b.n, s, msg);
    if (rc == 0)
        rc = put(t, b.p, b.n, Z_NO_FLUSH, msg);
    if (rc == 0)
        rc = pad(t, b.n, msg);
    sc_buf_free(&b);
    return rc;
}

static bool fits(const char *name, uint64_t size)
{
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c >= 0x80)
            return false; /* a pax header's names are UTF-8, a plain header's in no known set */
    return strlen(name) <= NAME_FIELD && size <= SIZE_FIELD_MAX;
}

int sc_targz_add(struct sc_targz *t, const char *name, const struct sc_source *s, struct sc_msg *msg)
{
    uint64_t at = 0;
    ssize_t n = 0;
    int rc = fits(name, s->size) ? 0 : put_pax(t, name, s, msg);
    if (rc == 0)
        rc = put_header(t, name, '0', s->size, s, msg);
    while (rc == 0 && at <= s->size && (n = sc_source_read(s, at, t->in, BLOCK, msg)) > 0) {
        at += (uint64_t)n;
        rc = at > s->size ? 0 : put(t, t->in, (size_t)n, Z_NO_FLUSH, msg);
    }
    if (rc == 0 && n < 0)
        rc = (int)n;
    if (rc == 0 && at != s->size)
        rc = sc_fail(msg, SC_ESYS, "%.200s changed its size while it was read", name);
    return rc == 0 ? pad(t, at, msg) : rc;
}

int sc_targz_finish(struct sc_targz *t, struct sc_msg *msg)
{
    static const char end[2 * RECORD];
    return put(t, end, sizeof end, Z_FINISH, msg);
}
