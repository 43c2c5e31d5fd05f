/* Any bytes as a zip or as the inside of a tar.gz: unpacking ends, and nothing comes to lie outside the
 * folder. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zlib.h>

#include "archive/extract.h"
#include "archive/source.h"
#include "archive/tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char work[] = "/tmp/sconce-fuzz-XXXXXX";
static int folder = -1;

static void put_gzip(int fd, const uint8_t *data, size_t size)
{
    gzFile z = gzdopen(dup(fd), "wb1");
    if (!z || (size && gzwrite(z, data, (unsigned)size) <= 0) || gzclose(z) != Z_OK)
        abort();
}

static unsigned entries(int dir)
{
    unsigned n = 0;
    DIR *d = fdopendir(openat(dir, ".", O_DIRECTORY | O_CLOEXEC));
    if (!d)
        abort();
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

static void leave(void)
{
    (void)sc_tree_remove(AT_FDCWD, work);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sc_msg msg = {0};
    if (size < 1)
        return 0;
    if (folder < 0) {
        if (!mkdtemp(work) || (folder = open(work, O_DIRECTORY | O_CLOEXEC)) < 0)
            abort();
        atexit(leave);
    }
    enum sc_extract_format format = data[0] & 1 ? SC_EXTRACT_TGZ : SC_EXTRACT_ZIP;
    int file = memfd_create("archive", MFD_CLOEXEC);
    if (file < 0 || mkdirat(folder, "out", 0700) < 0)
        abort();
    int out = openat(folder, "out", O_DIRECTORY | O_CLOEXEC);
    if (format == SC_EXTRACT_TGZ)
        put_gzip(file, data + 1, size - 1);
    else if (sc_write_all(file, data + 1, size - 1, &msg) < 0)
        abort();
    int rc = sc_extract(file, format, out, &msg);
    if (rc > 0 || (rc < 0 && !msg.text[0]) || entries(folder) != 1)
        abort();
    close(out);
    close(file);
    if (sc_tree_remove(folder, "out") < 0)
        abort();
    return 0;
}
