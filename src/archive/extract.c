#include "archive/extract.h"

#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>

#include "archive/tree.h"
#include "base/limits.h"

#define BLOCK (128u << 10)
#define DISK_CHECK_BYTES (16u << 20) /* between two looks at the free space */

struct extraction {
    struct archive *in;
    enum sc_extract_format format;
    int dir;
    char *block;
    uint64_t entries, unpacked, disk_checked;
    struct sc_msg *msg;
};

/* True if the file begins with a zip's local header. */
static bool begins_with_entry(int file)
{
    char head[4];
    return pread(file, head, sizeof head, 0) == (ssize_t)sizeof head && memcmp(head, "PK\3\4", 4) == 0;
}

static bool begins_with_gzip(int file)
{
    char head[2];
    return pread(file, head, sizeof head, 0) == (ssize_t)sizeof head && memcmp(head, "\x1f\x8b", 2) == 0;
}

/* True if the reader found no further entry, rather than one that is wrong. TorchServe takes anything that is
 * no header, and a header that is cut, for the end. */
static bool zip_ended(struct extraction *x)
{
    const char *why = archive_error_string(x->in);
    return x->format == SC_EXTRACT_ZIP && (!why || strncmp(why, "Truncated ZIP file", 18) == 0);
}

/* Single formats: each one more is code that reads what strangers send, and libraries in a static program. */
static int open_reader(struct extraction *x, int file)
{
    int rc;
    x->in = archive_read_new();
    if (!x->in)
        return sc_fail(x->msg, SC_ENOMEM, "no memory to read an archive");
    if (x->format == SC_EXTRACT_ZIP) {
        rc = archive_read_support_format_zip_streamable(x->in);
    } else {
        rc = archive_read_support_format_tar(x->in);
        if (rc == ARCHIVE_OK)
            rc = archive_read_support_filter_gzip(x->in);
    }
    if (rc == ARCHIVE_OK)
        rc = archive_read_open_fd(x->in, file, BLOCK);
    if (rc != ARCHIVE_OK)
        return sc_fail(x->msg, SC_EINVAL, "%s", archive_error_string(x->in));
    return 0;
}

static int check_bounds(struct extraction *x, uint64_t more)
{
    struct statvfs disk;
    x->unpacked += more;
    if (x->unpacked > SC_ARCHIVE_BYTES_MAX)
        return sc_fail(x->msg, SC_ELIMIT, "the archive unpacks to more than %" PRIu64 " bytes",
                       (uint64_t)SC_ARCHIVE_BYTES_MAX);
    int64_t packed = archive_filter_bytes(x->in, -1);
    if (x->unpacked > SC_ARCHIVE_RATIO_FREE && packed >= 0 &&
        x->unpacked / SC_ARCHIVE_RATIO_MAX > (uint64_t)packed)
        return sc_fail(x->msg, SC_ELIMIT,
                       "%" PRId64 " bytes of the archive unpack to %" PRIu64 ": more than %d for one", packed,
                       x->unpacked, SC_ARCHIVE_RATIO_MAX);
    if (x->unpacked - x->disk_checked >= DISK_CHECK_BYTES) {
        x->disk_checked = x->unpacked;
        if (fstatvfs(x->dir, &disk) == 0 && (uint64_t)disk.f_bavail * disk.f_frsize < SC_ARCHIVE_DISK_RESERVE)
            return sc_fail(x->msg, SC_ELIMIT, "the disk for temporary files is full");
    }
    return 0;
}

static int write_all(struct extraction *x, int out, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t w = write(out, x->block + done, n - done);
        if (w < 0 && errno != EINTR)
            return sc_fail(x->msg, SC_ESYS, "writing failed: %s", strerror(errno));
        done += w > 0 ? (size_t)w : 0;
    }
    return 0;
}

/* The entry's bytes; out < 0: they are only read. */
static int copy_data(struct extraction *x, int out)
{
    for (;;) {
        la_ssize_t n = archive_read_data(x->in, x->block, BLOCK);
        if (n == 0)
            return 0;
        /* Also what the library only warns of: a wrong checksum, a size that was a lie. */
        if (n < 0)
            return sc_fail(x->msg, SC_EINVAL, "%s", archive_error_string(x->in));
        int rc = check_bounds(x, (uint64_t)n);
        if (rc == 0 && out >= 0)
            rc = write_all(x, out, (size_t)n);
        if (rc < 0)
            return rc;
    }
}

static int unpack_entry(struct extraction *x, struct archive_entry *e)
{
    const char *raw = archive_entry_pathname(e);
    struct sc_span name = sc_span_str(raw);
    if (!raw)
        return sc_fail(x->msg, SC_EINVAL, "an entry has no name, or none in UTF-8");
    if (++x->entries > SC_ARCHIVE_ENTRIES_MAX)
        return sc_fail(x->msg, SC_ELIMIT, "the archive has more than %d entries", SC_ARCHIVE_ENTRIES_MAX);
    int rc = sc_tree_check(name, x->msg);
    if (rc < 0)
        return rc;
    bool folder = archive_entry_filetype(e) == AE_IFDIR || (name.n > 0 && name.p[name.n - 1] == '/');
    if (archive_entry_hardlink(e) || archive_entry_symlink(e) ||
        (!folder && archive_entry_filetype(e) != AE_IFREG))
        return sc_fail(x->msg, SC_EINVAL, "%.200s is a link or a device, not a file", raw);
    size_t slash = sc_span_find(name, '/');
    if (x->format == SC_EXTRACT_TGZ && slash < name.n)
        name = sc_span_sub(name, slash + 1, name.n);
    if (folder) {
        rc = sc_tree_mkdir(x->dir, name, x->msg);
        return rc < 0 ? rc : copy_data(x, -1);
    }
    int out = sc_tree_create(x->dir, name, x->msg);
    if (out < 0)
        return out;
    rc = copy_data(x, out);
    if (close(out) < 0 && rc == 0)
        rc = sc_fail(x->msg, SC_ESYS, "writing failed: %s", strerror(errno));
    return rc;
}

static int unpack(struct extraction *x)
{
    struct archive_entry *e;
    int rc = 0;
    while (rc == 0) {
        int said = archive_read_next_header(x->in, &e);
        if (said == ARCHIVE_EOF)
            break;
        if (said == ARCHIVE_FATAL && zip_ended(x))
            break;
        if (said != ARCHIVE_OK)
            return sc_fail(x->msg, SC_EINVAL, "%s", archive_error_string(x->in));
        rc = unpack_entry(x, e);
    }
    return rc;
}

int sc_extract(int file, enum sc_extract_format format, int dir, struct sc_msg *msg)
{
    struct extraction x = {.format = format, .dir = dir, .msg = msg};
    if (format == SC_EXTRACT_ZIP && !begins_with_entry(file))
        return 0;
    if (format == SC_EXTRACT_TGZ && !begins_with_gzip(file))
        return sc_fail(msg, SC_EINVAL, "it is no .tar.gz (only files that end in .mar are read as zip)");
    if (lseek(file, 0, SEEK_SET) < 0)
        return sc_fail(msg, SC_ESYS, "cannot read the archive: %s", strerror(errno));
    /* The library hands out names in the thread's character set. */
    locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    locale_t before = utf8 ? uselocale(utf8) : (locale_t)0;
    x.block = malloc(BLOCK);
    int rc = x.block ? open_reader(&x, file) : sc_fail(msg, SC_ENOMEM, "no memory to read an archive");
    if (rc == 0)
        rc = unpack(&x);
    if (x.in)
        (void)archive_read_free(x.in);
    free(x.block);
    if (utf8) {
        (void)uselocale(before);
        freelocale(utf8);
    }
    return rc;
}
