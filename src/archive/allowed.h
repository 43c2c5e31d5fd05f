/*
 * allowed_urls: comma-separated regular expressions, one of which must match a url as a whole, in any case.
 *
 * They are written for Java: proto/java_regex.h says what of that can be used. Any thread.
 */
#ifndef SC_ARCHIVE_ALLOWED_H
#define SC_ARCHIVE_ALLOWED_H

#include <stdbool.h>

#include "base/array.h"
#include "base/error.h"

#define SC_ALLOWED_URLS_DEFAULT "file://.*|http(s)?://.*"

/* True if a pattern of the list matches url; one that cannot be used matches nothing. */
bool sc_allowed_url(const char *list, const char *url);
/* True if one does that does not match `other`. */
bool sc_allowed_url_but(const char *list, const char *url, const char *other);
/* SC_EINVAL, with *msg that names the first pattern that cannot be used and why. */
int sc_allowed_urls_check(const char *list, struct sc_msg *msg) SC_MUST_USE;

#endif
