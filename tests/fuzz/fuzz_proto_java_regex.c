/* Any bytes as a Java regular expression: refused with a reason, or compiled. And quoted as a whole they
 * match themselves. */
#include <stdlib.h>

#include "proto/java_regex.h"

/* The C library takes a repetition apart: {99}{99}{99} would fill the memory, whoever translated it. */
#define TEXT_MAX 256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void any(struct sc_span java, unsigned flags)
{
    struct sc_buf posix;
    struct sc_msg why = {""};
    regex_t re;
    sc_buf_init(&posix, 16 * TEXT_MAX);
    int rc = sc_java_regex(&re, java, flags, &posix, &why);
    if (rc == 0) {
        (void)regexec(&re, "https://host/v12/a_1.mar", 0, NULL, 0);
        regfree(&re);
    } else if (!why.text[0]) {
        abort();
    }
    sc_buf_free(&posix);
}

static void itself(struct sc_span text)
{
    struct sc_buf java, posix;
    struct sc_msg why = {""};
    regex_t re;
    sc_buf_init(&java, 2 * TEXT_MAX);
    sc_buf_init(&posix, 16 * TEXT_MAX);
    sc_buf_str(&java, "\\Q");
    for (size_t i = 0; i < text.n && text.p[i]; i++)
        if (text.p[i] != '\\') /* "\E" ends it */
            sc_buf_char(&java, text.p[i]);
    size_t n = java.n - 2;
    sc_buf_str(&java, "\\E");
    if (sc_java_regex(&re, sc_buf_view(&java), SC_JAVA_REGEX_WHOLE | SC_JAVA_REGEX_QUOTES, &posix, &why) != 0)
        abort();
    java.p[2 + n] = '\0';
    if (regexec(&re, java.p + 2, 0, NULL, 0) != 0)
        abort();
    regfree(&re);
    sc_buf_free(&java);
    sc_buf_free(&posix);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > TEXT_MAX)
        return 0;
    struct sc_span text = sc_span(data + 1, size - 1);
    if (sc_span_find(text, '{') == text.n)
        any(text, data[0] & 7);
    itself(text);
    return 0;
}
