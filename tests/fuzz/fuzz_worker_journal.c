/*
 * A journal that a frontend has scribbled over before it died: the input is written over the head (from its
 * end) and the beginning of both contents, then the journal is opened, read, appended to and compacted.
 */
#include <stdlib.h>
#include <unistd.h>

#include "base/limits.h"
#include "worker/journal.h"

#define HEAD 40
#define CONTENT_0 4096
#define CONTENT_1 (SC_JOURNAL_BYTES / 2)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static volatile uint64_t sink; /* so that the bytes are really read */

static unsigned read_all(const struct sc_journal *j)
{
    uint64_t at = 0, sum = 0;
    uint16_t type;
    struct sc_span r;
    unsigned n = 0;
    while (sc_journal_next(j, &at, &type, &r) == 1) {
        must(at <= sc_journal_capacity(j));
        for (size_t i = 0; i < r.n; i++)
            sum += (unsigned char)r.p[i];
        n++;
    }
    sink = sum;
    return n;
}

static void use(int fd)
{
    struct sc_journal *j;
    if (sc_journal_open(&j, fd) < 0)
        return;
    unsigned before = read_all(j);
    if (sc_journal_append(j, 1, SC_SPAN("one more")) == SC_OK)
        must(read_all(j) <= before + 1);
    must(sc_journal_compact_begin(j) == SC_OK);
    must(sc_journal_append(j, 2, SC_SPAN("all")) == SC_OK);
    must(sc_journal_compact_commit(j) == SC_OK);
    must(read_all(j) == 1);
    sc_journal_close(j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    if (fd < 0) {
        fd = sc_journal_create();
        must(fd >= 0);
    }
    must(sc_journal_reset(fd) == SC_OK);
    /* The first byte says how much of the input is for the head: mostly little, else nothing gets past it. */
    if (size < 2)
        return 0;
    size_t head = data[0] % (HEAD + 1), rest = size - 1;
    if (head > rest)
        head = rest;
    must(pwrite(fd, data + 1, head, HEAD - (off_t)head) == (ssize_t)head);
    data += 1 + head;
    rest -= head;
    must(pwrite(fd, data, rest, CONTENT_0) == (ssize_t)rest);
    must(pwrite(fd, data, rest, CONTENT_1) == (ssize_t)rest);
    use(fd);
    return 0;
}
