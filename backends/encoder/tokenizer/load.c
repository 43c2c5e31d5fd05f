/* A tokenizer from a folder: files into memory, what they say into tables. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tokenizer/internal.h"

static const char no_memory[] = "no memory for the tokenizer";

/* --- files
 * ----------------------------------------------------------------------------------------------------- */

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

int sc_tokenizer_load(struct sc_tokenizer **out, const char *dir, uint32_t max_positions, struct sc_msg *msg)
{
    struct sc_span json = {0}, vocab = {0}, config = {0};
    *out = NULL;
    int rc = read_in(dir, "tokenizer.json", &json, msg);
    if (rc == SC_ENOTFOUND)
        rc = read_in(dir, "vocab.txt", &vocab, msg);
    if (rc == SC_ENOTFOUND)
        rc = sc_fail(msg, rc,
                     "%.200s: neither tokenizer.json nor vocab.txt is there; copy them from the model", dir);
    if (!rc)
        rc = read_in(dir, "tokenizer_config.json", &config, msg);
    if (rc == SC_ENOTFOUND && (json.p || vocab.p))
        rc = 0;
    if (!rc)
        rc = sc_tokenizer_parse(out, json, vocab, config, max_positions, msg);
    free((void *)(uintptr_t)json.p);
    free((void *)(uintptr_t)vocab.p);
    free((void *)(uintptr_t)config.p);
    return rc;
}

/* --- vocab.txt
 * ------------------------------------------------------------------------------------------------- */

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

static int read_vocab_txt(struct sc_span file, struct sc_tokenizer_spec *spec, struct sc_msg *msg)
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

/* --- tables
 * ---------------------------------------------------------------------------------------------------- */

/* Copies the tokens' texts, so that the files' memory can go; refuses two tokens of one id. */
static int keep_tokens(struct sc_tokenizer *t, struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    size_t bytes = 0;
    uint32_t size = 0;
    for (size_t i = 0; i < spec->n_vocab; i++) {
        bytes += spec->vocab[i].text.n;
        size = SC_MAX(size, spec->vocab[i].value + 1);
    }
    for (size_t i = 0; i < spec->n_added; i++)
        bytes += spec->added[i].text.n;
    t->text = malloc(bytes + 1);
    t->tokens = calloc((size_t)size + spec->n_added + 1, sizeof(*t->tokens));
    if (!t->text || !t->tokens)
        return sc_fail(msg, SC_ENOMEM, no_memory);

    size_t at = 0;
    for (size_t i = 0; i < spec->n_vocab; i++) {
        struct sc_trie_key *key = &spec->vocab[i];
        if (t->tokens[key->value].p)
            return sc_fail(msg, SC_EINVAL,
                           "tokenizer.json: model.vocab: id %u belongs to two tokens; the file is damaged",
                           key->value);
        memcpy(t->text + at, key->text.p, key->text.n);
        key->text.p = t->text + at;
        t->tokens[key->value] = key->text;
        at += key->text.n;
    }
    for (size_t i = 0; i < spec->n_added; i++) {
        memcpy(t->text + at, spec->added[i].text.p, spec->added[i].text.n);
        spec->added[i].text.p = t->text + at;
        at += spec->added[i].text.n;
    }
    t->vocab_size = size;
    return 0;
}

static int build_words(struct sc_tokenizer *t, const struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    struct sc_trie_key *keys = calloc(spec->n_vocab * 2 + 1, sizeof(*keys));
    if (!keys)
        return sc_fail(msg, SC_ENOMEM, no_memory);
    size_t n = 0;
    t->continuing = spec->prefix.n ? 1 : 0;
    for (size_t i = 0; i < spec->n_vocab; i++) {
        struct sc_trie_key key = spec->vocab[i];
        keys[n++] = key;
        if (!spec->prefix.n || !sc_span_starts(key.text, spec->prefix))
            continue;
        key.root = 1;
        key.text = sc_span_sub(key.text, spec->prefix.n, key.text.n);
        keys[n++] = key;
    }
    int rc = sc_trie_init(&t->words, keys, n);
    if (rc == 0) {
        /* Lines of vocab.txt may repeat, the last counts: the package's size is that of the distinct ones. */
        for (size_t i = 0; i < n; i++)
            if (keys[i].root == 0)
                t->model_size +=
                    i == 0 || keys[i - 1].root != 0 || !sc_span_eq(keys[i - 1].text, keys[i].text);
    }
    free(keys);
    if (rc)
        return sc_fail(msg, rc,
                       rc == SC_ENOMEM ? no_memory
                                       : "the vocabulary is too large: its tokens have over %u parts",
                       SC_TRIE_NODES_MAX);
    t->unk = sc_trie_find(&t->words, 0, spec->unk);
    if (t->unk == SC_TRIE_NONE)
        return sc_fail(msg, SC_EINVAL,
                       "the vocabulary lacks the unknown token \"%.*s\"; copy the files from the model again",
                       (int)SC_MIN(spec->unk.n, (size_t)60), spec->unk.p);
    return 0;
}

/* Gives each added token the id that the package gives it, which has to be the one that the file says. */
static int place_added(struct sc_tokenizer *t, struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    t->added = spec->added;
    t->n_added = (uint32_t)spec->n_added;
    spec->added = NULL;
    bool any_new = false;
    uint32_t largest_new = 0;
    for (uint32_t i = 0; i < t->n_added; i++) {
        struct sc_added *a = &t->added[i];
        if (!sc_utf8_valid(a->text))
            return sc_fail(msg, SC_EINVAL, "added token %u is not UTF-8; the file is damaged", i);
        uint32_t id = sc_trie_find(&t->words, 0, a->text);
        if (id == SC_TRIE_NONE) {
            id = any_new ? largest_new + 1 : t->model_size;
            any_new = true;
            largest_new = id;
            /* Behind the vocabulary, one slot for each added token was kept. */
            if (id >= t->vocab_size + t->n_added || t->tokens[id].p)
                return sc_fail(msg, SC_EINVAL,
                               "added token \"%.*s\" would share id %u; the vocabulary has holes",
                               (int)SC_MIN(a->text.n, (size_t)60), a->text.p, id);
            t->tokens[id] = a->text;
        } else if (id >= t->model_size) {
            any_new = true;
            largest_new = SC_MAX(largest_new, id);
        }
        if (a->id != UINT32_MAX && a->id != id)
            return sc_fail(msg, SC_EINVAL,
                           "added token \"%.*s\" says id %u but has id %u in the vocabulary; save the "
                           "tokenizer again with save_pretrained",
                           (int)SC_MIN(a->text.n, (size_t)60), a->text.p, a->id, id);
        a->id = id;
    }
    for (uint32_t i = 0; i < t->n_added; i++)
        t->vocab_size = SC_MAX(t->vocab_size, t->added[i].id + 1);
    return 0;
}

/* `texts` has what each added token is looked for as. */
static int build_matcher(struct sc_matcher *m, const struct sc_tokenizer *t, const struct sc_span *texts,
                         bool normalized, struct sc_msg *msg)
{
    struct sc_trie_key *keys = calloc((size_t)t->n_added + 1, sizeof(*keys));
    if (!keys)
        return sc_fail(msg, SC_ENOMEM, no_memory);
    m->only = -1;
    for (uint32_t i = 0; i < t->n_added; i++) {
        if (t->added[i].normalized != normalized)
            continue;
        keys[m->n++] = (struct sc_trie_key){.text = texts[i], .value = i};
        m->starts[(unsigned char)texts[i].p[0]] = true;
        m->only = (unsigned char)texts[i].p[0];
    }
    for (unsigned c = 0, several = 0; c < 256; c++)
        if (m->starts[c] && several++)
            m->only = -1;
    int rc = sc_trie_init(&m->trie, keys, m->n);
    for (uint32_t i = 1; i < m->n && !rc; i++)
        if (sc_span_eq(keys[i - 1].text, keys[i].text))
            rc = sc_fail(msg, SC_EUNSUPPORTED,
                         "added token \"%.*s\" is there twice (as the normalizer leaves it); remove one",
                         (int)SC_MIN(keys[i].text.n, (size_t)60), keys[i].text.p);
    free(keys);
    return rc == SC_ENOMEM ? sc_fail(msg, rc, no_memory) : rc;
}

static int build_matchers(struct sc_tokenizer *t, struct sc_msg *msg)
{
    struct sc_span *texts = calloc((size_t)t->n_added + 1, sizeof(*texts));
    size_t *from = calloc((size_t)t->n_added + 1, sizeof(*from));
    struct sc_buf normal;
    sc_buf_init(&normal, (size_t)SC_TOKENIZER_ADDED_MAX * SC_TOKENIZER_ADDED_BYTES * 4);
    bool any = false;
    int rc = SC_ENOMEM;
    if (!texts || !from) {
        sc_fail(msg, rc, no_memory);
        goto done;
    }
    rc = 0;
    for (uint32_t i = 0; i < t->n_added && !rc; i++) {
        texts[i] = t->added[i].text;
        from[i] = normal.n;
        if (t->added[i].normalized) {
            any = true;
            rc = sc_tokenizer_normalize(t, t->added[i].text, &normal);
            if (rc)
                sc_fail(msg, rc, no_memory);
        }
    }
    for (uint32_t i = 0; i < t->n_added && !rc; i++) {
        if (!t->added[i].normalized)
            continue;
        texts[i] = sc_span(normal.p + from[i], (i + 1 < t->n_added ? from[i + 1] : normal.n) - from[i]);
        if (texts[i].n == 0)
            rc = sc_fail(msg, SC_EUNSUPPORTED,
                         "added token \"%.*s\" is nothing once normalised; remove it or add it with "
                         "normalized=False",
                         (int)SC_MIN(t->added[i].text.n, (size_t)60), t->added[i].text.p);
    }
    if (!rc)
        rc = build_matcher(&t->raw, t, texts, false, msg);
    if (!rc)
        rc = build_matcher(&t->normalized, t, texts, true, msg);
    if (!rc && any) {
        rc = sc_chars_init(&t->split, (struct sc_chars_options){0});
        if (rc)
            sc_fail(msg, rc, no_memory);
    }
done:
    sc_buf_free(&normal);
    free(texts);
    free(from);
    return rc;
}

/* The id of a special token that a template needs. */
static int special_id(const struct sc_tokenizer *t, struct sc_span name, uint32_t *id, struct sc_msg *msg)
{
    *id = sc_trie_find(&t->words, 0, name);
    for (uint32_t i = 0; i < t->n_added && *id == SC_TRIE_NONE; i++)
        if (sc_span_eq(t->added[i].text, name))
            *id = t->added[i].id;
    if (*id == SC_TRIE_NONE)
        return sc_fail(msg, SC_EINVAL,
                       "vocab.txt lacks the special token \"%.*s\"; copy the file from the model again",
                       (int)SC_MIN(name.n, (size_t)60), name.p);
    return 0;
}

static int set_templates(struct sc_tokenizer *t, const struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    t->single = spec->single;
    t->pair = spec->pair;
    if (spec->cls.p) {
        uint32_t cls = 0, sep = 0;
        int rc = special_id(t, spec->cls, &cls, msg);
        if (!rc)
            rc = special_id(t, spec->sep, &sep, msg);
        if (rc)
            return rc;
        t->single = (struct sc_template){
            {{SC_PIECE_ID, 0, cls}, {SC_PIECE_A, 0, 0}, {SC_PIECE_ID, 0, sep}}, .n = 3, .specials = 2};
        t->pair = (struct sc_template){{{SC_PIECE_ID, 0, cls},
                                        {SC_PIECE_A, 0, 0},
                                        {SC_PIECE_ID, 0, sep},
                                        {SC_PIECE_B, 1, 0},
                                        {SC_PIECE_ID, 1, sep}},
                                       .n = 5,
                                       .specials = 3};
    }
    for (int two = 0; two < 2; two++) {
        const struct sc_template *p = two ? &t->pair : &t->single;
        for (uint32_t i = 0; i < p->n; i++)
            if (p->pieces[i].kind == SC_PIECE_ID && p->pieces[i].id >= t->vocab_size)
                return sc_fail(msg, SC_EINVAL,
                               "tokenizer.json: post_processor: id %u is not in the vocabulary",
                               p->pieces[i].id);
        if (p->specials >= t->max_length)
            return sc_fail(msg, SC_EINVAL,
                           "the maximum length of %u leaves no room for text beside %u special tokens; raise "
                           "truncation.max_length or model_max_length",
                           t->max_length, p->specials);
    }
    return 0;
}

static int build(struct sc_tokenizer *t, struct sc_tokenizer_spec *spec, uint32_t max_positions,
                 struct sc_msg *msg)
{
    t->options = spec->options;
    t->options.strip_accents = spec->strip_accents < 0 ? spec->options.lowercase : spec->strip_accents;
    t->truncate_left = spec->truncate_left;
    t->max_length = SC_MIN(max_positions, SC_TOKENIZER_LENGTH_MAX);
    if (spec->truncation && spec->truncation < t->max_length)
        t->max_length = (uint32_t)spec->truncation;
    if (spec->word_max > SC_TOKENIZER_WORD_MAX)
        return sc_fail(
            msg, SC_EUNSUPPORTED,
            "tokenizer.json: model.max_input_chars_per_word of %lld is over %u; lower it (100 is usual)",
            (long long)spec->word_max, SC_TOKENIZER_WORD_MAX);
    t->word_max = (uint32_t)spec->word_max;

    int rc = keep_tokens(t, spec, msg);
    if (!rc)
        rc = build_words(t, spec, msg);
    if (!rc && sc_chars_init(&t->chars, t->options))
        rc = sc_fail(msg, SC_ENOMEM, no_memory);
    if (!rc)
        rc = place_added(t, spec, msg);
    if (!rc)
        rc = build_matchers(t, msg);
    return rc ? rc : set_templates(t, spec, msg);
}

static int parse_json(json_t **out, const char *name, struct sc_span text, size_t flags, struct sc_msg *msg)
{
    json_error_t error;
    *out = json_loadb(text.p, text.n, flags | JSON_REJECT_DUPLICATES, &error);
    if (*out)
        return 0;
    return sc_fail(msg, SC_EINVAL, "%s: line %d: %.120s; the file is damaged", name, error.line, error.text);
}

int sc_tokenizer_parse(struct sc_tokenizer **out, struct sc_span json, struct sc_span vocab,
                       struct sc_span config, uint32_t max_positions, struct sc_msg *msg)
{
    struct sc_tokenizer_spec spec = {
        .unk = SC_SPAN("[UNK]"),
        .prefix = SC_SPAN("##"),
        .word_max = 100,
        .options = {.clean_text = true, .handle_chinese_chars = true, .lowercase = true},
        .strip_accents = -1,
    };
    json_t *root = NULL, *settings = NULL;
    struct sc_tokenizer *t = calloc(1, sizeof(*t));
    *out = NULL;
    if (!t)
        return sc_fail(msg, SC_ENOMEM, no_memory);
    int rc;
    if (json.p) {
        rc = parse_json(&root, "tokenizer.json", json, 0, msg);
        if (!rc)
            rc = sc_tokenizer_read_json(root, &spec, msg);
    } else {
        rc = read_vocab_txt(vocab, &spec, msg);
    }
    /* As real numbers: transformers writes a model_max_length of 10^30 where it knows none. */
    if (!rc && config.p)
        rc = parse_json(&settings, "tokenizer_config.json", config, JSON_DECODE_INT_AS_REAL, msg);
    if (!rc)
        rc = sc_tokenizer_read_config(settings, !json.p, &spec, msg);
    if (!rc)
        rc = build(t, &spec, max_positions, msg);
    free(spec.vocab);
    free(spec.added);
    json_decref(root);
    json_decref(settings);
    if (rc)
        sc_tokenizer_del(t);
    else
        *out = t;
    return rc;
}

void sc_tokenizer_del(struct sc_tokenizer *t)
{
    if (!t)
        return;
    sc_chars_free(&t->chars);
    sc_chars_free(&t->split);
    sc_trie_free(&t->words);
    sc_trie_free(&t->raw.trie);
    sc_trie_free(&t->normalized.trie);
    free(t->added);
    free(t->tokens);
    free(t->text);
    free(t);
}

uint32_t sc_tokenizer_vocab_size(const struct sc_tokenizer *t)
{
    return t->vocab_size;
}

uint32_t sc_tokenizer_max_length(const struct sc_tokenizer *t)
{
    return t->max_length;
}

struct sc_span sc_tokenizer_token(const struct sc_tokenizer *t, uint32_t id)
{
    return id < t->vocab_size ? t->tokens[id] : sc_span(NULL, 0);
}
