/*
 * A file:// or http(s):// URL to a file in the model store. Blocks for as long as it takes; any thread.
 *
 * The file appears under its name when it is whole, and never replaces another. Redirections:
 * SC_ARCHIVE_REDIRECTS_MAX, to http and https, each to a URL that allowed_urls has; every address that a name
 * stands for is checked when it is connected to (archive/reach.h).
 */
#ifndef SC_ARCHIVE_DOWNLOAD_H
#define SC_ARCHIVE_DOWNLOAD_H

#include <stdbool.h>

#include "base/array.h"
#include "base/error.h"

/*
 * Fetches url, which is known to be allowed, to store/name. sign: AWS Signature V4 for S3 from
 * AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_DEFAULT_REGION. SC_EEXIST: there is such a file; any other
 * code: it failed, nothing is left; *msg.
 */
int sc_download(const char *url, const char *allowed_urls, const char *store, const char *name, bool sign,
                struct sc_msg *msg) SC_MUST_USE;

#endif
