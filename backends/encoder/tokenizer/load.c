/* What the files say, into tables. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "tokenizer/config.h"

static const char no_memory[] = "no memory for the tokenizer";

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
    t->specials = calloc((size_t)size + spec->n_added + 1, sizeof(*t->specials));
    if (!t->text || !t->tokens || !t->specials)
        return sc_fail(msg, SC_ENOMEM, no_memory);

    size_t at = 0;
    for (size_t i = 0; i < spec->n_vocab; i++) {
        struct sc_trie_key *key = &spec->vocab[i];
        if (t->tokens[key->value].p)
            return sc_fail(msg, SC_EINVAL,
                           "tokenizer.json: model.vocab: id %u belongs to two tokens; the file is damaged",
                           key->value);
        if (key->text.n)
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

/* The bytes that a byte-level token stands for, behind those in `out`; nothing if it stands for none. */
static struct sc_span token_bytes(struct sc_span token, char *out)
{
    size_t n = 0;
    unsigned size;
    for (size_t i = 0; i < token.n; i += size) {
        int b = sc_char_byte(sc_utf8_get((const unsigned char *)token.p + i, &size));
        if (b < 0)
            return sc_span(out, 0);
        out[n++] = (char)b;
    }
    return sc_span(out, n);
}

static int build_words(struct sc_tokenizer *t, const struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    bool as_bytes = spec->model == SC_MODEL_BPE && spec->bpe.byte_level && spec->bpe.ignore_merges;
    struct sc_span prefix = spec->model == SC_MODEL_WORDPIECE ? spec->prefix : sc_span(NULL, 0);
    struct sc_trie_key *keys = calloc(spec->n_vocab * 2 + 1, sizeof(*keys));
    size_t bytes = 1;
    for (size_t i = 0; i < spec->n_vocab && as_bytes; i++)
        bytes += spec->vocab[i].text.n;
    char *raw = malloc(bytes);
    int rc = SC_ENOMEM;
    if (!keys || !raw)
        goto done;
    size_t n = 0, at = 0;
    t->continuing = prefix.n ? 1 : 0;
    for (size_t i = 0; i < spec->n_vocab; i++) {
        struct sc_trie_key key = spec->vocab[i];
        keys[n++] = key;
        if (as_bytes)
            key.text = token_bytes(key.text, raw + at);
        else if (prefix.n && sc_span_starts(key.text, prefix))
            key.text = sc_span_sub(key.text, prefix.n, key.text.n);
        else
            continue;
        at += as_bytes ? key.text.n : 0;
        key.root = 1;
        keys[n++] = key;
    }
    rc = sc_trie_init(&t->words, keys, n);
    /* Lines of vocab.txt may repeat, the last counts: the package's size is that of the distinct ones. */
    for (size_t i = 0; i < n && !rc && spec->model != SC_MODEL_UNIGRAM; i++)
        if (keys[i].root == 0)
            t->model_size += i == 0 || keys[i - 1].root != 0 || !sc_span_eq(keys[i - 1].text, keys[i].text);
    if (spec->model == SC_MODEL_UNIGRAM)
        t->model_size = (uint32_t)spec->n_vocab;
done:
    free(keys);
    free(raw);
    if (rc)
        return sc_fail(msg, rc,
                       rc == SC_ENOMEM ? no_memory
                                       : "the vocabulary is too large: its tokens have over %u parts",
                       SC_TRIE_NODES_MAX);
    return 0;
}

/* --- models --- */

static int no_unk(const struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    return sc_fail(msg, SC_EINVAL,
                   "the vocabulary lacks the unknown token \"%.*s\"; copy the files from the model again",
                   (int)SC_MIN(spec->unk.n, (size_t)60), spec->unk.p ? spec->unk.p : "");
}

static int add_merge(struct sc_tokenizer *t, struct sc_span a, struct sc_span b, uint32_t rank,
                     struct sc_msg *msg)
{
    struct sc_bpe *bpe = &t->bpe;
    uint32_t left = sc_trie_find(&t->words, 0, a), right = sc_trie_find(&t->words, 0, b), id = SC_TRIE_NONE;
    char *joined = malloc(a.n + b.n + 1);
    if (!joined)
        return sc_fail(msg, SC_ENOMEM, no_memory);
    if (left != SC_TRIE_NONE && right != SC_TRIE_NONE && b.n >= bpe->prefix.n) {
        memcpy(joined, a.p, a.n);
        memcpy(joined + a.n, b.p + bpe->prefix.n, b.n - bpe->prefix.n);
        id = sc_trie_find(&t->words, 0, sc_span(joined, a.n + b.n - bpe->prefix.n));
    }
    free(joined);
    if (id == SC_TRIE_NONE)
        return sc_fail(
            msg, SC_EINVAL,
            "merge %u (\"%.*s\" and \"%.*s\"): a token of it is not in the vocabulary; the file is damaged",
            rank, (int)SC_MIN(a.n, (size_t)60), a.p, (int)SC_MIN(b.n, (size_t)60), b.p);
    uint64_t pair = (uint64_t)left << 32 | right;
    uint32_t at = (uint32_t)(pair * UINT64_C(0x9E3779B97F4A7C15) >> bpe->shift);
    for (unsigned probes = 0; bpe->merges[at].pair != UINT64_MAX && bpe->merges[at].pair != pair; probes++) {
        if (probes > SC_TOKENIZER_PROBES_MAX)
            return sc_fail(msg, SC_ELIMIT, "the merges are made to collide; the file is damaged");
        at = (at + 1) & bpe->mask;
    }
    bpe->merges[at] = (struct sc_merge){.pair = pair, .rank = rank, .id = id};
    return 0;
}

/* "a b": two tokens with one blank between them. */
static int add_merge_line(struct sc_tokenizer *t, struct sc_span line, uint32_t *rank, struct sc_msg *msg)
{
    if (sc_span_starts(line, SC_SPAN("#version")))
        return 0;
    size_t blank = sc_span_find(line, ' ');
    struct sc_span a = sc_span_sub(line, 0, blank), b = sc_span_sub(line, blank + 1, line.n);
    if (blank == line.n || sc_span_find(b, ' ') != b.n)
        return sc_fail(msg, SC_EINVAL,
                       "merge %u must be two tokens with a blank between them; the file is damaged", *rank);
    return add_merge(t, a, b, (*rank)++, msg);
}

static int add_merges(struct sc_tokenizer *t, const struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    uint32_t rank = 0;
    int rc = 0;
    for (size_t i = 0; i < json_array_size(spec->merges) && !rc; i++) {
        const json_t *m = json_array_get(spec->merges, i), *a = json_array_get(m, 0),
                     *b = json_array_get(m, 1);
        if (json_is_string(m))
            rc = add_merge_line(t, sc_json_span(m), &rank, msg);
        else if (json_array_size(m) == 2 && json_is_string(a) && json_is_string(b))
            rc = add_merge(t, sc_json_span(a), sc_json_span(b), rank++, msg);
        else
            rc = sc_fail(msg, SC_EINVAL,
                         "tokenizer.json: model.merges[%zu] must be two tokens; the file is damaged", i);
    }
    for (struct sc_span rest = spec->merges_text; rest.n && !rc;) {
        size_t end = sc_span_find(rest, '\n');
        struct sc_span line = sc_span_sub(rest, 0, end);
        if (line.n && line.p[line.n - 1] == '\r')
            line.n--;
        rest = sc_span_sub(rest, end + 1, rest.n);
        rc = add_merge_line(t, line, &rank, msg);
    }
    return rc;
}

static int build_bpe(struct sc_tokenizer *t, struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    struct sc_bpe *b = &t->bpe;
    size_t n = json_array_size(spec->merges) + 1;
    for (size_t i = 0; i < spec->merges_text.n; i++)
        n += spec->merges_text.p[i] == '\n';
    if (n > (size_t)SC_TOKENIZER_MERGES_MAX + 1)
        return sc_fail(msg, SC_ELIMIT, "merges.txt: %zu merges, at most %u are served", n,
                       SC_TOKENIZER_MERGES_MAX);
    *b = spec->bpe;
    if (b->byte_level && (b->prefix.n || b->suffix.n))
        return sc_fail(
            msg, SC_EUNSUPPORTED,
            "tokenizer.json: model: continuing_subword_prefix and end_of_word_suffix are not supported with "
            "ByteLevel");
    unsigned bits = 4;
    while (((size_t)1 << bits) < n * 2)
        bits++;
    b->merges = malloc(sizeof(*b->merges) << bits);
    if (!b->merges)
        return sc_fail(msg, SC_ENOMEM, no_memory);
    b->mask = (uint32_t)(((size_t)1 << bits) - 1);
    b->shift = 64 - bits;
    for (size_t i = 0; i <= b->mask; i++)
        b->merges[i].pair = UINT64_MAX;
    bool complete = true;
    for (unsigned i = 0; i < 256; i++) {
        char name[8];
        size_t size = b->byte_level ? sc_utf8_put(name, sc_byte_char((unsigned char)i))
                                    : (size_t)snprintf(name, sizeof(name), "<0x%02X>", i);
        b->bytes[i] = sc_trie_find(&t->words, 0, sc_span(name, size));
        complete &= b->bytes[i] != SC_TRIE_NONE;
    }
    if (b->byte_level && b->byte_fallback && !complete)
        return sc_fail(
            msg, SC_EUNSUPPORTED,
            "tokenizer.json: model.byte_fallback is not supported with ByteLevel and bytes that the "
            "vocabulary lacks");
    t->unk = spec->unk.p ? sc_trie_find(&t->words, 0, spec->unk) : SC_TRIE_NONE;
    if (spec->unk.p && t->unk == SC_TRIE_NONE && !(b->byte_level && complete))
        return no_unk(spec, msg);
    int rc = add_merges(t, spec, msg);
    /* The affixes outlive the file. */
    struct sc_span *affixes[] = {&b->prefix, &b->suffix};
    for (size_t i = 0; i < SC_COUNT(affixes); i++) {
        char *copy = affixes[i]->n ? sc_span_dup(*affixes[i]) : NULL;
        if (affixes[i]->n && (!copy || t->n_kept == SC_COUNT(t->kept))) {
            free(copy);
            return sc_fail(msg, SC_ENOMEM, no_memory);
        }
        if (copy)
            t->kept[t->n_kept++] = copy;
        affixes[i]->p = copy;
    }
    return rc;
}

static int build_unigram(struct sc_tokenizer *t, struct sc_tokenizer_spec *spec)
{
    struct sc_unigram *u = &t->unigram;
    double least = spec->scores[0];
    for (size_t i = 1; i < spec->n_vocab; i++)
        least = SC_MIN(least, spec->scores[i]);
    u->scores = spec->scores;
    spec->scores = NULL;
    u->unk_score = least - 10; /* as SentencePiece's penalty */
    u->byte_fallback = spec->byte_fallback;
    t->unk = spec->unk_id;
    for (unsigned i = 0; i < 256; i++) {
        char name[8];
        int n = snprintf(name, sizeof(name), "<0x%02X>", i);
        u->bytes[i] = sc_trie_find(&t->words, 0, sc_span(name, (size_t)n));
    }
    return 0;
}

static int build_model(struct sc_tokenizer *t, struct sc_tokenizer_spec *spec, struct sc_msg *msg)
{
    t->model = spec->model;
    if (t->model == SC_MODEL_BPE)
        return build_bpe(t, spec, msg);
    if (t->model == SC_MODEL_UNIGRAM)
        return build_unigram(t, spec);
    if (spec->word_max > SC_TOKENIZER_WORD_MAX)
        return sc_fail(
            msg, SC_EUNSUPPORTED,
            "tokenizer.json: model.max_input_chars_per_word of %lld is over %u; lower it (100 is usual)",
            (long long)spec->word_max, SC_TOKENIZER_WORD_MAX);
    t->word_max = (uint32_t)spec->word_max;
    t->unk = sc_trie_find(&t->words, 0, spec->unk);
    return t->unk == SC_TRIE_NONE ? no_unk(spec, msg) : 0;
}

/* --- steps --- */

static void add_normalizer(struct sc_tokenizer *t, bool wanted, enum sc_normalizer_kind kind)
{
    if (wanted)
        t->normalizers[t->n_normalizers++] = (struct sc_normalizer){.kind = kind};
}

static void set_steps(struct sc_tokenizer *t, struct sc_tokenizer_spec *spec)
{
    t->options = spec->options;
    t->options.strip_accents = spec->strip_accents < 0 ? spec->options.lowercase : spec->strip_accents;
    for (uint32_t i = 0; i <= spec->n_normalizers; i++) {
        if (spec->bert_normalizer && i == spec->bert_at) {
            add_normalizer(t, t->options.clean_text, SC_NORMALIZER_CLEAN);
            add_normalizer(t, t->options.handle_chinese_chars, SC_NORMALIZER_CHINESE);
            add_normalizer(t, t->options.strip_accents, SC_NORMALIZER_NFD);
            add_normalizer(t, t->options.strip_accents, SC_NORMALIZER_BERT_STRIP);
            add_normalizer(t, t->options.lowercase, SC_NORMALIZER_LOWERCASE);
        }
        if (i < spec->n_normalizers)
            t->normalizers[t->n_normalizers++] = spec->normalizers[i];
    }
    memcpy(t->splits, spec->splits, sizeof(t->splits));
    t->n_splits = spec->n_splits;
    for (uint32_t i = 0; i < t->n_splits; i++)
        t->track |= t->splits[i].kind == SC_SPLIT_METASPACE && t->splits[i].prepend == SC_PREPEND_FIRST;
    memcpy(t->kept, spec->kept, sizeof(t->kept));
    t->n_kept = spec->n_kept;
    spec->n_kept = 0;
    t->trim = spec->trim;
    t->decoder = spec->decoder;
    t->decoder_cleanup = spec->decoder_cleanup;
    t->decoder_drops_first = spec->decoder_drops_first;
    t->decoder_mark = spec->decoder_mark;
}

/* --- templates --- */

uint32_t sc_tokenizer_id(const struct sc_tokenizer *t, struct sc_span token)
{
    uint32_t id = sc_trie_find(&t->words, 0, token);
    for (uint32_t i = 0; i < t->n_added && id == SC_TRIE_NONE; i++)
        if (sc_span_eq(t->added[i].text, token))
            id = t->added[i].id;
    return id;
}

static int special_id(const struct sc_tokenizer *t, struct sc_span name, uint32_t *id, struct sc_msg *msg)
{
    *id = sc_tokenizer_id(t, name);
    if (*id == SC_TRIE_NONE)
        return sc_fail(msg, SC_EINVAL,
                       "the vocabulary lacks the special token \"%.*s\"; copy the files from the model again",
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
        sc_template_set(&t->single, &t->pair, cls, sep, spec->double_sep);
    }
    const struct sc_template *both[] = {&t->single, &t->pair};
    for (size_t k = 0; k < SC_COUNT(both); k++) {
        const struct sc_template *p = both[k];
        for (uint32_t i = 0; i < p->n; i++)
            if (p->pieces[i].kind == SC_PIECE_ID && p->pieces[i].id >= t->vocab_size)
                return sc_fail(msg, SC_EINVAL, "post_processor: id %u is not in the vocabulary",
                               p->pieces[i].id);
        if (p->specials >= t->max_length)
            return sc_fail(msg, SC_EINVAL,
                           "the maximum length of %u leaves no room for text beside %u special tokens; raise "
                           "truncation.max_length or model_max_length",
                           t->max_length, p->specials);
    }
    return 0;
}

static int count_all_spaces(struct sc_tokenizer *t, struct sc_msg *msg)
{
    t->spaces = calloc((size_t)t->vocab_size + 1, sizeof(*t->spaces));
    if (!t->spaces)
        return sc_fail(msg, SC_ENOMEM, no_memory);
    for (uint32_t i = 0; i < t->vocab_size; i++) {
        uint32_t lead, trail;
        sc_count_spaces(t->unicode, t->tokens[i], &lead, &trail);
        t->spaces[i] = (uint16_t)(SC_MIN(lead, 255u) | SC_MIN(trail, 255u) << 8);
    }
    return 0;
}

/* --- everything --- */

static int build(struct sc_tokenizer *t, struct sc_tokenizer_spec *spec, uint32_t max_positions,
                 struct sc_msg *msg)
{
    static atomic_uint_fast64_t serial;
    t->serial = atomic_fetch_add(&serial, 1) + 1;
    t->truncate_left = spec->truncate_left;
    t->truncation = spec->strategy;
    t->max_length = SC_MIN(max_positions, SC_TOKENIZER_LENGTH_MAX);
    if (spec->truncation && spec->truncation < t->max_length)
        t->max_length = (uint32_t)spec->truncation;
    set_steps(t, spec);

    int rc = keep_tokens(t, spec, msg);
    if (!rc)
        rc = build_words(t, spec, msg);
    if (!rc)
        rc = build_model(t, spec, msg);
    if (!rc)
        rc = sc_tokenizer_place_added(t, spec, msg);
    if (!rc)
        rc = set_templates(t, spec, msg);
    if (!rc && !(t->unicode = sc_unicode_get()))
        rc = sc_fail(msg, SC_ENOMEM, no_memory);
    if (!rc)
        rc = sc_tokenizer_build_matchers(t, msg);
    if (!rc && t->trim.on)
        rc = count_all_spaces(t, msg);
    t->bert = t->model == SC_MODEL_WORDPIECE && spec->bert_normalizer && spec->n_normalizers == 0 &&
              spec->bert_splits && t->normalized.n == 0;
    if (!rc && t->bert && sc_chars_init(&t->chars, t->options))
        rc = sc_fail(msg, SC_ENOMEM, no_memory);
    return rc;
}

static int parse_json(json_t **out, const char *name, struct sc_span text, size_t flags, struct sc_msg *msg)
{
    json_error_t error;
    *out = json_loadb(text.p, text.n, flags | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (*out)
        return 0;
    return sc_fail(msg, SC_EINVAL, "%s: line %d: %.120s; the file is damaged", name, error.line, error.text);
}

/* A vocabulary without tokenizer.json: BERT's or RoBERTa's. */
static int read_vocabulary(const struct sc_tokenizer_files *f, struct sc_tokenizer_spec *spec, json_t **root,
                           struct sc_msg *msg)
{
    if (!f->merges.p) {
        spec->bert_normalizer = true;
        spec->bert_splits = true;
        spec->splits[0] =
            (struct sc_split){.kind = SC_SPLIT_CLASS, .bits = SC_IS_SPACE, .behavior = SC_REMOVED};
        spec->splits[1] =
            (struct sc_split){.kind = SC_SPLIT_CLASS, .bits = SC_IS_PUNCT, .behavior = SC_ISOLATED};
        spec->n_splits = 2;
        spec->decoder = SC_DECODER_WORDPIECE;
        spec->decoder_cleanup = true;
        spec->decoder_mark = SC_SPAN("##");
        return sc_tokenizer_read_vocab_txt(f->vocab, spec, msg);
    }
    spec->model = SC_MODEL_BPE;
    spec->merges_text = f->merges;
    if (!sc_utf8_valid(f->merges))
        return sc_fail(msg, SC_EINVAL, "merges.txt: not UTF-8; the file is damaged");
    int rc = parse_json(root, "vocab.json", f->vocab, 0, msg);
    return rc ? rc : sc_tokenizer_read_vocab(*root, "vocab.json", spec, msg);
}

int sc_tokenizer_parse(struct sc_tokenizer **out, const struct sc_tokenizer_files *f, uint32_t max_positions,
                       struct sc_msg *msg)
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
    if (f->json.p) {
        rc = parse_json(&root, SC_TOKENIZER_JSON, f->json, 0, msg);
        if (!rc)
            rc = sc_tokenizer_read_json(root, &spec, msg);
    } else {
        rc = read_vocabulary(f, &spec, &root, msg);
    }
    /* As real numbers: transformers writes a model_max_length of 10^30 where it knows none. */
    if (!rc && f->config.p)
        rc = parse_json(&settings, SC_TOKENIZER_CONFIG, f->config, JSON_DECODE_INT_AS_REAL, msg);
    if (!rc)
        rc = sc_tokenizer_read_config(settings,
                                      f->json.p     ? SC_BESIDE_JSON
                                      : f->merges.p ? SC_BESIDE_BPE
                                                    : SC_BESIDE_WORDPIECE,
                                      &spec, msg);
    if (f->choice.casing != SC_CASE_OF_FILES)
        spec.options.lowercase = f->choice.casing == SC_CASE_LOWER;
    if (f->choice.any_length)
        spec.truncation = 0;
    if (!rc)
        rc = build(t, &spec, max_positions, msg);
    sc_tokenizer_spec_free(&spec);
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
    sc_trie_free(&t->words);
    sc_trie_free(&t->raw.trie);
    sc_trie_free(&t->normalized.trie);
    for (uint32_t i = 0; i < t->n_kept; i++)
        free(t->kept[i]);
    for (uint32_t i = 0; i < t->n_added && t->normal; i++)
        free(t->normal[i]);
    free(t->normal);
    free(t->bpe.merges);
    free(t->unigram.scores);
    free(t->spaces);
    free(t->added);
    free(t->tokens);
    free(t->specials);
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

bool sc_tokenizer_is_special(const struct sc_tokenizer *t, uint32_t id)
{
    return id < t->vocab_size && t->specials[id];
}
