/*
 * Which addresses a URL may lead to, once its host has been resolved: a name that allowed_urls permits can be
 * made to stand for any address, this machine's own and the cloud's metadata service among them.
 *
 *   loopback, unspecified       if the host is localhost, or allowed_urls has the URL with the address in
 *                               place of the host (its default has)
 *   link-local, metadata        if a pattern of allowed_urls matches that URL, but not the one with another
 *                               host: it names the address. The default does not.
 *   all others                  yes
 *
 * No I/O, any thread.
 */
#ifndef SC_ARCHIVE_REACH_H
#define SC_ARCHIVE_REACH_H

#include <stdbool.h>
#include <sys/socket.h>

#include "base/array.h"
#include "base/error.h"

/* False with *msg, which names the address. `url`: http or https. */
bool sc_reach_allowed(const char *allowed_urls, const char *url, const struct sockaddr_storage *address,
                      struct sc_msg *msg);

#endif
