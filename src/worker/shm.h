/*
 * Memory files: making, sealing, checking and mapping them. Private to the data path.
 *
 * Whoever maps a file that another process made could be sent SIGBUS by truncating it: so nothing
 * from a worker is mapped before its seals say that its size can no longer change.
 */
#ifndef SC_WORKER_SHM_H
#define SC_WORKER_SHM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/array.h"
#include "base/error.h"

/* An empty memory file (close-on-exec, sealable, not executable where the kernel knows that); SC_ESYS. */
int sc_shm_file(const char *name) SC_MUST_USE;
/* The same with a size that is sealed. */
int sc_shm_file_sized(const char *name, size_t size) SC_MUST_USE;
/* No seals can be added any more, and with readonly_peers no writable mapping or write either. 0 or SC_ESYS.
 */
int sc_shm_finish(int fd, bool readonly_peers) SC_MUST_USE;

/*
 * Maps the file shared, readable, with `write` writable. NULL and errno on failure. These two are
 * weak: the stress test replaces them so that both sides of a channel in one process get the
 * same addresses and ThreadSanitizer sees what passes between them.
 */
void *sc_shm_map(int fd, size_t size, bool write);
void sc_shm_unmap(void *base, size_t size);

/* Exact size of the file; SC_ESYS. */
int sc_shm_size(int fd, uint64_t *size) SC_MUST_USE;

/*
 * Maps a large body that came from elsewhere, read-only, after checking that it is a
 * memory file of exactly `size` > 0 bytes that can neither change its size nor its content. SC_EPROTO
 * with a reason (a static string) in *why, or SC_ESYS if the map cannot be had. The descriptor stays the
 * caller's.
 */
int sc_large_map(int fd, uint64_t size, void **base, const char **why) SC_MUST_USE;
/* Cuts a memory file to size and seals it for good; there must be no writable mapping. 0 or SC_ESYS. */
int sc_large_seal(int fd, uint64_t size) SC_MUST_USE;

/* What travels beside a large body's descriptor. */
struct sc_large_tag {
    uint64_t id;
    uint64_t epoch;
};
/* Passes fd over the socket without waiting: 0, SC_AGAIN (queue full), SC_ECLOSED, SC_ESYS. fd stays the
 * caller's. */
int sc_large_send(int sock, struct sc_large_tag tag, int fd) SC_MUST_USE;
/*
 * Takes the next descriptor without waiting: a descriptor that the caller owns, or SC_EPROTO with *why if
 * there is none, or it is malformed or of another tag. However many descriptors a packet carries, at most one
 * is received.
 */
int sc_large_receive(int sock, struct sc_large_tag tag, const char **why) SC_MUST_USE;

#endif
