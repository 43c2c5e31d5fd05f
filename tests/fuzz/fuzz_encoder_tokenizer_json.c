/* Arbitrary tokenizer.json, vocab.txt and tokenizer_config.json: what loads must also encode within its
 * bounds. */
#include <stdlib.h>

#include "tokenizer/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] =
        "The [CLS] caf\xC3\xA9 \xE4\xB8\xAD\xED\x95\x9C <x> un\xCC\x81likely\xE3\x80\x80!";
    /* A NUL parts the file from tokenizer_config.json; a first byte of 'v' makes the file a vocab.txt. */
    struct sc_span all = sc_span((const char *)data, size),
                   file = sc_span_sub(all, 0, sc_span_find(all, '\0'));
    struct sc_span config = file.n < all.n ? sc_span_sub(all, file.n + 1, all.n) : sc_span(NULL, 0),
                   none = {0};
    bool vocab = file.n && file.p[0] == 'v';
    struct sc_span json = vocab ? none : file;
    struct sc_tokenizer *t;
    if (!vocab && !json.p)
        json = sc_span("", 0);
    if (sc_tokenizer_parse(&t, json, vocab ? sc_span_sub(file, 1, file.n) : none, config, 64, NULL) < 0) {
        if (t)
            abort();
        return 0;
    }
    struct sc_encoding e = {0};
    if (sc_tokenizer_encode(t, sc_span_str(text), sc_span_str(text), &e) < 0 ||
        e.n > sc_tokenizer_max_length(t))
        abort();
    for (uint32_t i = 0; i < e.n; i++)
        if (e.ids[i] >= sc_tokenizer_vocab_size(t))
            abort();
    sc_encoding_free(&e);
    sc_tokenizer_del(t);
    return 0;
}
