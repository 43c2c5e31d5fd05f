/*
 * The journal: what a new frontend must know when the old one is dead (docs/design.md §2).
 *
 * A memory file that the supervisor keeps and the frontend appends to: versioned records (type, text).
 * A record counts from the moment its end has been published, so a frontend that dies
 * while it appends leaves the earlier records intact. The supervisor never reads it.
 * One writer at a time.
 */
#ifndef SC_WORKER_JOURNAL_H
#define SC_WORKER_JOURNAL_H

#include <stdint.h>

#include "base/array.h"
#include "base/error.h"
#include "base/span.h"

struct sc_journal;

/* Makes an empty journal file of SC_JOURNAL_BYTES (pages come when touched); returns the descriptor. */
int sc_journal_create(void) SC_MUST_USE;
/* Maps it. SC_EVERSION if a build with another format wrote it; SC_EINVAL if it is not a journal or its head
 * is damaged; SC_ENOMEM, SC_ESYS. The descriptor stays the caller's. */
int sc_journal_open(struct sc_journal **out, int fd) SC_MUST_USE;
/* Makes an empty journal of a file that sc_journal_open refused. SC_EINVAL if its size is wrong, SC_ESYS. */
int sc_journal_reset(int fd) SC_MUST_USE;
void sc_journal_close(struct sc_journal *j);
/* Appends; SC_ELIMIT when it is full (compact first). */
int sc_journal_append(struct sc_journal *j, uint16_t type, struct sc_span record) SC_MUST_USE;
/* Iterates from *at = 0: 1 and a view of the record, 0 at the end, SC_EINVAL at a damaged record (the rest is
 * lost). Sees the old content until compact_commit, which ends the views. */
int sc_journal_next(const struct sc_journal *j, uint64_t *at, uint16_t *type,
                    struct sc_span *record) SC_MUST_USE;
/* Replaces the content by the records that the writer now appends between begin and commit; a death in
 * between leaves the old content. */
int sc_journal_compact_begin(struct sc_journal *j) SC_MUST_USE;
int sc_journal_compact_commit(struct sc_journal *j) SC_MUST_USE;
/* Bytes used by the content that append writes to, and the most that it may have (a little less than half of
 * SC_JOURNAL_BYTES). */
uint64_t sc_journal_used(const struct sc_journal *j);
uint64_t sc_journal_capacity(const struct sc_journal *j);

#endif
