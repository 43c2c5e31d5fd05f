/* A tokenizer's folder: which files are there, and what their lines say. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tokenizer/config.h"

/* --- files --- */

/* The whole file at `path` as a span on the heap; SC_ENOTFOUND if there is none. */
static int read_file(const char *path, struct sc_span *out, struct sc_msg *msg)
{
    /* O_NONBLOCK: a FIFO of that name must not hang the load. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return SC_ENOTFOUND;
    if (fd < 0)
        return sc_fail(msg, SC_ESYS, "%s: cannot be opened: %m", path);
    struct stat st;
    char *p = NULL;
    size_t n = 0;
    int rc = SC_EINVAL;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        sc_fail(msg, rc, "%s: not a regular file", path);
        goto done;
    }
    if ((uint64_t)st.st_size > SC_TOKENIZER_FILE_BYTES) {
        rc = sc_fail(msg, SC_ELIMIT, "%s: %lld bytes, at most %u are read", path, (long long)st.st_size,
                     SC_TOKENIZER_FILE_BYTES);
        goto done;
    }
    p = malloc((size_t)st.st_size + 1);
    if (!p) {
        rc = sc_fail(msg, SC_ENOMEM, "%s: no memory for %lld bytes", path, (long long)st.st_size);
        goto done;
    }
    while (n < (size_t)st.st_size) {
        ssize_t got = read(fd, p + n, (size_t)st.st_size - n);
        if (got <= 0) {
            rc = sc_fail(msg, SC_ESYS, "%s: cannot be read to its end", path);
            goto done;
        }
        n += (size_t)got;
    }
    *out = sc_span(p, n);
    p = NULL;
    rc = 0;
done:
    free(p);
    close(fd);
    return rc;
}

static int read_in(const char *dir, const char *name, struct sc_span *out, struct sc_msg *msg)
{
    char path[4096];
    int n = snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (n < 0 || (size_t)n >= sizeof(path))
        return sc_fail(msg, SC_EINVAL, "the path of the model folder is too long");
    return read_file(path, out, msg);
}

/* What a folder may have that is not read, and says more than "nothing is there". */
static int nothing(const char *dir, struct sc_msg *msg)
{
    static const char *const models[] = {"sentencepiece.bpe.model", "spiece.model", "sentencepiece.model",
                                         "tokenizer.model"};
    char path[4096];
    for (size_t i = 0; i < SC_COUNT(models); i++) {
        int n = snprintf(path, sizeof(path), "%s/%s", dir, models[i]);
        if (n > 0 && (size_t)n < sizeof(path) && access(path, F_OK) == 0)
            return sc_fail(
                msg, SC_EUNSUPPORTED,
                "%.200s: %s is not read; make a tokenizer.json of it: python3 -c \"from transformers import "
                "AutoTokenizer as A; A.from_pretrained('.').save_pretrained('.')\"",
                dir, models[i]);
    }
    return sc_fail(
        msg, SC_ENOTFOUND,
        "%.200s: neither tokenizer.json nor vocab.txt nor vocab.json with merges.txt is there; copy them "
        "from the model",
        dir);
}

int sc_tokenizer_load(struct sc_tokenizer **out, const char *dir, uint32_t max_positions, struct sc_msg *msg)
{
    return sc_tokenizer_load_with(out, dir, max_positions, &(struct sc_tokenizer_choice){0}, msg);
}

int sc_tokenizer_load_with(struct sc_tokenizer **out, const char *dir, uint32_t max_positions,
                           const struct sc_tokenizer_choice *choice, struct sc_msg *msg)
{
    struct sc_tokenizer_files f = {.choice = *choice};
    *out = NULL;
    int rc = read_in(dir, "tokenizer.json", &f.json, msg);
    if (rc == SC_ENOTFOUND)
        rc = read_in(dir, "vocab.txt", &f.vocab, msg);
    if (rc == SC_ENOTFOUND) {
        rc = read_in(dir, "vocab.json", &f.vocab, msg);
        if (!rc)
            rc = read_in(dir, "merges.txt", &f.merges, msg);
    }
    if (rc == SC_ENOTFOUND)
        rc = nothing(dir, msg);
    if (!rc) {
        rc = read_in(dir, "tokenizer_config.json", &f.config, msg);
        rc = rc == SC_ENOTFOUND ? 0 : rc;
    }
    if (!rc)
        rc = sc_tokenizer_parse(out, &f, max_positions, msg);
    free((void *)(uintptr_t)f.json.p);
    free((void *)(uintptr_t)f.vocab.p);
    free((void *)(uintptr_t)f.merges.p);
    free((void *)(uintptr_t)f.config.p);
    return rc;
}

/* --- vocab.txt --- */

/* s without the white space at its end, Unicode's included, as the package strips each line. */
static struct sc_span trim_end(struct sc_span s)
{
    while (s.n) {
        size_t start = s.n - 1;
        while (start && s.n - start < 4 && ((unsigned char)s.p[start] & 0xC0) == 0x80)
            start--;
        unsigned n;
        if (!sc_char_is_space(sc_utf8_get((const unsigned char *)s.p + start, &n)))
            break;
        s.n = start;
    }
    return s;
}

int sc_tokenizer_read_vocab_txt(struct sc_span file, struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    if (!sc_utf8_valid(file))
        return sc_fail(msg, SC_EINVAL, "vocab.txt: not UTF-8; the file is damaged");
    size_t lines = 0;
    for (struct sc_span rest = file; rest.n; lines++)
        rest = sc_span_sub(rest, sc_span_find(rest, '\n') + 1, rest.n);
    if (lines == 0 || lines > SC_TOKENIZER_VOCAB_MAX)
        return sc_fail(msg, SC_EINVAL, "vocab.txt: has %zu lines, must have one token on each, at most %u",
                       lines, SC_TOKENIZER_VOCAB_MAX);
    spec->vocab = calloc(lines, sizeof(*spec->vocab));
    if (!spec->vocab)
        return sc_fail(msg, SC_ENOMEM, "vocab.txt: no memory for %zu tokens", lines);
    while (file.n) {
        size_t end = sc_span_find(file, '\n');
        spec->vocab[spec->n_vocab] = (struct sc_trie_key){.text = trim_end(sc_span_sub(file, 0, end)),
                                                          .value = (uint32_t)spec->n_vocab};
        spec->n_vocab++;
        file = sc_span_sub(file, end + 1, file.n);
    }
    return 0;
}
