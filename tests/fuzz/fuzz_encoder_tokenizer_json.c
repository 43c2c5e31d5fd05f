/* Arbitrary tokenizer.json, vocab.txt, vocab.json with merges.txt, and tokenizer_config.json: what loads must
 * also encode within its bounds. */
#include <stdlib.h>

#include "tokenizer/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] =
        "The [CLS] caf\xC3\xA9 \xE4\xB8\xAD\xED\x95\x9C <x> un\xCC\x81likely\xE3\x80\x80!";
    /* NULs part the files: the first, tokenizer_config.json, merges.txt. A first byte of 'v' makes the first
     * one vocab.txt, or vocab.json where there is a merges.txt. */
    struct sc_span parts[3] = {{NULL, 0}}, rest = sc_span((const char *)data, size);
    for (size_t i = 0; i < 3 && rest.p; i++) {
        size_t end = sc_span_find(rest, '\0');
        parts[i] = sc_span_sub(rest, 0, end);
        rest = end < rest.n ? sc_span_sub(rest, end + 1, rest.n) : sc_span(NULL, 0);
    }
    bool vocab = parts[0].n && parts[0].p[0] == 'v';
    struct sc_tokenizer_files files = {.json = vocab ? sc_span(NULL, 0) : parts[0], .config = parts[1]};
    if (vocab) {
        files.vocab = sc_span_sub(parts[0], 1, parts[0].n);
        files.merges = parts[2];
    } else if (!files.json.p) {
        files.json = sc_span("", 0);
    }
    struct sc_tokenizer *t;
    if (sc_tokenizer_parse(&t, &files, 64, NULL) < 0) {
        if (t)
            abort();
        return 0;
    }
    struct sc_encoding e = {0};
    int rc = sc_tokenizer_encode(t, sc_span_str(text), sc_span_str(text), &e);
    /* A file may say that only one text is shortened, and the other leaves it no room. */
    if ((rc && rc != SC_ELIMIT) || e.n > sc_tokenizer_max_length(t))
        abort();
    for (uint32_t i = 0; i < e.n; i++)
        if (e.ids[i] >= sc_tokenizer_vocab_size(t))
            abort();
    struct sc_encode_options o = {.origins = true, .truncation = SC_TRUNCATE_SECOND, .stride = 3};
    uint32_t n = 0;
    if (sc_tokenizer_windows(t, sc_span_str("a"), sc_span_str(text), &o, &e, &n) == 0)
        for (uint32_t k = 0; k < n; k++) {
            sc_tokenizer_window(t, &e, k);
            for (uint32_t i = 0; i < e.n; i++)
                if (e.ids[i] >= sc_tokenizer_vocab_size(t) || e.origins[i].bytes.end > sizeof(text))
                    abort();
        }
    struct sc_buf out;
    sc_buf_init(&out, 1 << 20);
    rc = sc_tokenizer_decode(t, e.ids, e.n, true, &out);
    if (rc == 0 && !sc_utf8_valid(sc_buf_view(&out)))
        abort();
    sc_buf_free(&out);
    sc_encoding_free(&e);
    sc_tokenizer_del(t);
    return 0;
}
