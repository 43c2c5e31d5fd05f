/*
 * The return vocabulary of the whole program.
 *
 * A function that can fail returns 0 or a positive count on success and one of these
 * negative codes on failure. The groups say how far the damage reaches: codes above
 * SC_ECONN_BASE concern one request, codes from there down to SC_EPEER_BASE one
 * connection, codes below that a worker or the process.
 */
#ifndef SC_BASE_ERROR_H
#define SC_BASE_ERROR_H

#include <stdbool.h>

enum sc_error {
    SC_OK = 0,

    /* this request */
    SC_AGAIN = -1,        /* nothing to do now, or no room now; not an error */
    SC_EINVAL = -2,       /* the input is malformed */
    SC_ELIMIT = -3,       /* a named limit would be exceeded */
    SC_ENOMEM = -4,       /* memory for client-sized data could not be had */
    SC_ENOTFOUND = -5,    /* no such object */
    SC_EEXIST = -6,       /* the object exists already */
    SC_EUNSUPPORTED = -7, /* well-formed, but not something we do */
    SC_ETIMEOUT = -8,
    SC_EGIVEUP = -9, /* the retry window is over */
    SC_ECANCELED = -10,

    /* this connection */
    SC_ECONN_BASE = -32,
    SC_ECLOSED = -33, /* the other side went away */
    SC_EPROTO = -34,  /* the other side broke the protocol */

    /* this worker or process */
    SC_EPEER_BASE = -64,
    SC_EPEER = -65,    /* a worker broke the channel's rules: it must be replaced */
    SC_ESYS = -66,     /* a system call failed; errno tells */
    SC_EVERSION = -67, /* the other side speaks another version */
};

/* A short English name of a code, never NULL; a static string. */
const char *sc_strerror(int code);

static inline bool sc_error_ends_connection(int code)
{
    return code < SC_ECONN_BASE;
}
static inline bool sc_error_ends_worker(int code)
{
    return code < SC_EPEER_BASE;
}

/*
 * A message for people, filled by functions that read what people write (files, settings,
 * requests). It names the thing that is wrong and the remedy.
 */
struct sc_msg {
    char text[512];
};

/* Writes a formatted message into m (cut at its size; m may be NULL) and returns code. */
int sc_fail(struct sc_msg *m, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
