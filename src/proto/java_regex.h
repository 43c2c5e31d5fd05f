/*
 * Java's regular expressions as POSIX extended ones, which are what is there.
 *
 * Understood: \d \w \s and, outside brackets, their opposites; escaped signs; (?:...); what POSIX has alike.
 * Refused, as POSIX cannot say it: look-around, possessive quantifiers, back-references, \b, \p{..}, classes
 * within classes. The rest is as the flags say. Pure; any thread.
 */
#ifndef SC_PROTO_JAVA_REGEX_H
#define SC_PROTO_JAVA_REGEX_H

#include <regex.h>

#include "base/array.h"
#include "base/buf.h"
#include "base/error.h"

enum sc_java_regex_flags {
    /* Nothing but the whole text matches. Lazy quantifiers may stand, as they find what greedy ones do. */
    SC_JAVA_REGEX_WHOLE = 1,
    /* In any case; a leading (?i) may stand. */
    SC_JAVA_REGEX_NOCASE = 2,
    /* \Q...\E, \t and \n may stand. */
    SC_JAVA_REGEX_QUOTES = 4,
};

/* Appends the POSIX form to *posix and compiles it into *re (without sub-matches), which the caller frees.
 * SC_EINVAL with the reason alone in *why if it is none or cannot be said; SC_ELIMIT or SC_ENOMEM of *posix.
 * After an error *re holds nothing, and what was appended to *posix means nothing. */
int sc_java_regex(regex_t *re, struct sc_span java, unsigned flags, struct sc_buf *posix,
                  struct sc_msg *why) SC_MUST_USE;

#endif
