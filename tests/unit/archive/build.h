/* Archives for tests, made byte by byte so that they can lie; and a folder to work in. */
#ifndef SC_TEST_ARCHIVE_BUILD_H
#define SC_TEST_ARCHIVE_BUILD_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zlib.h>

#include "archive/tree.h"
#include "base/buf.h"

static char work[] = "/tmp/sconce-archive-XXXXXX";

static inline const char *in_work(const char *name)
{
    static char paths[8][512];
    static unsigned turn;
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", work, name);
    return path;
}

static inline int make_work(void **state)
{
    (void)state;
    memcpy(work + sizeof work - 7, "XXXXXX", 6);
    return mkdtemp(work) ? 0 : -1;
}

static inline int remove_work(void **state)
{
    (void)state;
    return sc_tree_remove(AT_FDCWD, work);
}

static inline void put_bytes(const char *path, const void *p, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0 && write(fd, p, n) == (ssize_t)n);
    close(fd);
}

static inline void put_text(const char *path, const char *text)
{
    put_bytes(path, text, strlen(text));
}

/* The file's content, NUL-terminated; "<none>" if there is none. */
static inline const char *text_of(const char *path)
{
    static char text[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return "<none>";
    ssize_t n = read(fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    close(fd);
    return text;
}

static inline void le16(struct sc_buf *b, unsigned v)
{
    sc_buf_char(b, (char)v);
    sc_buf_char(b, (char)(v >> 8));
}
static inline void le32(struct sc_buf *b, uint32_t v)
{
    le16(b, v & 0xFFFF);
    le16(b, v >> 16);
}
static inline void le64(struct sc_buf *b, uint64_t v)
{
    le32(b, (uint32_t)v);
    le32(b, (uint32_t)(v >> 32));
}

static inline void raw_deflate(struct sc_buf *out, const void *p, size_t n)
{
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)p;
    z.avail_in = (uInt)n;
    int rc;
    do {
        assert_int_equal(sc_buf_reserve(out, 65536), 0);
        z.next_out = (Bytef *)out->p + out->n;
        z.avail_out = (uInt)(out->cap - out->n);
        size_t room = z.avail_out;
        rc = deflate(&z, Z_FINISH);
        out->n += room - z.avail_out;
    } while (rc == Z_OK);
    assert_int_equal(rc, Z_STREAM_END);
    deflateEnd(&z);
}

enum { ZIP_DEFLATE = 1, ZIP_DESCRIPTOR = 2, ZIP_BAD_CRC = 4, ZIP64 = 8, ZIP_ENCRYPTED = 16 };

/* One entry with its local header. said: the unpacked size that the header tells; SIZE_MAX: the true one. */
static inline void zip_entry_n(struct sc_buf *b, const char *name, size_t name_n, const void *p, size_t n,
                               int how, uint64_t said)
{
    struct sc_buf packed;
    sc_buf_init(&packed, SIZE_MAX / 2);
    if (how & ZIP_DEFLATE)
        raw_deflate(&packed, p, n);
    else
        sc_buf_add(&packed, p, n);
    bool later = how & ZIP_DESCRIPTOR;
    uint32_t crc = (uint32_t)crc32(0, p, (uInt)n) ^ (how & ZIP_BAD_CRC ? 1u : 0u);
    if (said == SIZE_MAX)
        said = n;
    sc_buf_str(b, "PK\3\4");
    le16(b, how & ZIP64 ? 45 : 20);
    le16(b, 0x800 | (later ? 8 : 0) | (how & ZIP_ENCRYPTED ? 1 : 0));
    le16(b, how & ZIP_DEFLATE ? 8 : 0);
    le32(b, 0x58210000); /* a day in 2024 */
    le32(b, later ? 0 : crc);
    le32(b, how & ZIP64 ? 0xFFFFFFFF : later ? 0 : (uint32_t)packed.n);
    le32(b, how & ZIP64 ? 0xFFFFFFFF : later ? 0 : (uint32_t)said);
    le16(b, (unsigned)name_n);
    le16(b, how & ZIP64 ? 20 : 0);
    sc_buf_add(b, name, name_n);
    if (how & ZIP64) {
        le16(b, 1);
        le16(b, 16);
        le64(b, said);
        le64(b, packed.n);
    }
    sc_buf_span(b, sc_buf_view(&packed));
    if (later) {
        sc_buf_str(b, "PK\7\10");
        le32(b, crc);
        le32(b, (uint32_t)packed.n);
        le32(b, (uint32_t)n);
    }
    sc_buf_free(&packed);
}

static inline void zip_entry(struct sc_buf *b, const char *name, const char *text, int how)
{
    zip_entry_n(b, name, strlen(name), text, strlen(text), how, SIZE_MAX);
}

static inline void zip_end(struct sc_buf *b)
{
    sc_buf_add(b, "PK\5\6\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 22);
}

/* One member of a tar, in blocks of 512 bytes. */
static inline void tar_entry(struct sc_buf *b, const char *name, char type, const char *link,
                             const char *text)
{
    char head[513] = "";
    unsigned sum = 0;
    size_t n = strlen(text);
    snprintf(head, 100, "%s", name);
    snprintf(head + 100, 8, "0006755");
    snprintf(head + 108, 8, "0000000");
    snprintf(head + 116, 8, "0000000");
    snprintf(head + 124, 12, "%011o", (unsigned)n & 0x3FFFFFFF);
    snprintf(head + 136, 12, "%011o", 0);
    memset(head + 148, ' ', 8);
    head[156] = type;
    snprintf(head + 157, 100, "%s", link);
    memcpy(head + 257, "ustar\00000", 8);
    for (int i = 0; i < 512; i++)
        sum += (unsigned char)head[i];
    snprintf(head + 148, 8, "%06o", sum);
    sc_buf_add(b, head, 512);
    sc_buf_add(b, text, n);
    while (b->n % 512)
        sc_buf_char(b, '\0');
}

static inline void put_gzip(const char *path, const struct sc_buf *tar)
{
    char end[1024] = "";
    gzFile z = gzopen(path, "wb");
    assert_non_null(z);
    assert_int_equal(gzwrite(z, tar->p, (unsigned)tar->n), tar->n);
    assert_int_equal(gzwrite(z, end, sizeof end), sizeof end);
    assert_int_equal(gzclose(z), Z_OK);
}

#endif
