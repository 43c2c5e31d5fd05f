#include "tokenizer/internal.h"

/* Takes every `from` in the n bytes at p for `to`, which is not longer; returns the new length. */
static size_t shorten(char *p, size_t n, const char *from, const char *to)
{
    size_t in = 0, out = 0, nf = strlen(from), nt = strlen(to);
    while (in < n) {
        if (n - in >= nf && memcmp(p + in, from, nf) == 0) {
            memcpy(p + out, to, nt);
            out += nt;
            in += nf;
        } else {
            p[out++] = p[in++];
        }
    }
    return out;
}

static void wordpiece(const struct sc_tokenizer *t, struct sc_span token, bool first, struct sc_buf *out)
{
    static const char *const clean[][2] = {
        {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
        {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    size_t start = out->n;
    if (!first && t->decoder_mark.n && sc_span_starts(token, t->decoder_mark))
        token = sc_span_sub(token, t->decoder_mark.n, token.n);
    else if (!first)
        sc_buf_char(out, ' ');
    sc_buf_span(out, token);
    for (size_t i = 0; i < SC_COUNT(clean) && t->decoder_cleanup && !out->failed; i++)
        out->n = start + shorten(out->p + start, out->n - start, clean[i][0], clean[i][1]);
}

static void metaspace(const struct sc_tokenizer *t, struct sc_span token, bool first, struct sc_buf *out)
{
    unsigned n;
    for (size_t i = 0; i < token.n; i += n) {
        sc_utf8_get((const unsigned char *)token.p + i, &n);
        struct sc_span c = sc_span_sub(token, i, n);
        if (!sc_span_eq(c, t->decoder_mark))
            sc_buf_span(out, c);
        else if (!first || !t->decoder_drops_first)
            sc_buf_char(out, ' ');
    }
}

/* The token's bytes, or its text if it has a character that stands for none. */
static void byte_level(struct sc_span token, struct sc_buf *out)
{
    size_t start = out->n;
    unsigned n;
    for (size_t i = 0; i < token.n; i += n) {
        int b = sc_char_byte(sc_utf8_get((const unsigned char *)token.p + i, &n));
        if (b < 0) {
            if (!out->failed)
                out->n = start;
            sc_buf_span(out, token);
            return;
        }
        sc_buf_char(out, (char)b);
    }
}

/* How many bytes at p belong together although they are no character: the start of one that is cut, or one
 * byte. */
static size_t broken(const char *p, size_t n)
{
    char whole[4];
    for (size_t have = SC_MIN(n, (size_t)3); have > 1; have--) {
        /* Whether some continuation makes it well-formed; the second byte alone decides what is allowed. */
        memcpy(whole, p, have);
        memset(whole + have, 0x80, sizeof(whole) - have);
        unsigned length = sc_utf8_length(whole, sizeof(whole));
        if (length > have)
            return have;
    }
    return 1;
}

static void add_valid(struct sc_span s, struct sc_buf *out)
{
    for (size_t i = 0; i < s.n;) {
        size_t n = sc_utf8_length(s.p + i, s.n - i);
        if (n) {
            sc_buf_add(out, s.p + i, n);
        } else {
            n = broken(s.p + i, s.n - i);
            sc_buf_str(out, SC_UTF8_REPLACEMENT);
        }
        i += n;
    }
}

int sc_tokenizer_decode(const struct sc_tokenizer *t, const uint32_t *ids, uint32_t n, bool skip_special,
                        struct sc_buf *out)
{
    if (t->decoder == SC_DECODER_OTHER)
        return SC_EUNSUPPORTED;
    struct sc_buf bytes;
    sc_buf_init(&bytes, out->max);
    bool first = true;
    for (uint32_t i = 0; i < n; i++) {
        struct sc_span token = sc_tokenizer_token(t, ids[i]);
        if (!token.p || (skip_special && sc_tokenizer_is_special(t, ids[i])))
            continue;
        switch (t->decoder) {
        case SC_DECODER_WORDPIECE: wordpiece(t, token, first, out); break;
        case SC_DECODER_METASPACE: metaspace(t, token, first, out); break;
        case SC_DECODER_BYTE_LEVEL: byte_level(token, &bytes); break;
        case SC_DECODER_NONE:
        case SC_DECODER_OTHER:
            if (!first)
                sc_buf_char(out, ' ');
            sc_buf_span(out, token);
            break;
        }
        first = false;
    }
    /* Characters may be spread over tokens. */
    add_valid(sc_buf_view(&bytes), out);
    int rc = bytes.failed ? bytes.failed : out->failed;
    sc_buf_free(&bytes);
    return rc;
}
