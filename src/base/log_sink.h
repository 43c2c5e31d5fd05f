/*
 * Where log lines end: patterns, files, roll-over, stdout. Used by log.c's writer thread only.
 *
 * A file that cannot be written (disk full, gone) loses its lines, which are counted; it is tried again
 * with every flush. A stdout that nobody reads loses lines after STDOUT_PATIENCE_MS instead of holding up
 * the files.
 *
 * Roll-over as TorchServe: at 100 MB and at midnight (log_roll.h).
 */
#ifndef SC_BASE_LOG_SINK_H
#define SC_BASE_LOG_SINK_H

#include <time.h>

#include "base/limits.h"
#include "base/log.h"

#define SC_LOG_THREAD_MAX 64 /* bytes of a thread's name in a line */
#define SC_LOG_TIME_BYTES 23 /* of a time in a line */
#define SC_LOG_WHY_BYTES 128
#define SC_LOG_FORMATTED_MAX (6 * SC_LOG_LINE_MAX + 6 * SC_LOG_THREAD_MAX + 256) /* JSON escapes: 6 for 1 */

struct sc_log_record {
    int64_t wall_ms;
    enum sc_logger logger;
    enum sc_log_level level;
    struct sc_span thread;
    struct sc_span text; /* at most SC_LOG_LINE_MAX */
};

/* The local time of a second, kept because most lines of a second share it. */
struct sc_log_time {
    int64_t second; /* what the rest belongs to */
    int64_t ms;     /* what the last digits of text belong to */
    struct tm tm;
    char text[SC_LOG_TIME_BYTES + 1]; /* 2024-05-30T21:46:03,625 */
    char offset[7];                   /* +02:00 */
};

void sc_log_time_init(struct sc_log_time *t);
/*
 * Writes one line with its newline to out (SC_LOG_FORMATTED_MAX bytes); returns its length. `full`: the
 * pattern with level, thread and logger. Only a server's line may hold newlines; in others, which carry
 * strangers' text, they become blanks. ':' and '|' in the thread's name become '_' (they would shift the
 * fields of a metric line).
 */
size_t sc_log_format(char *out, const struct sc_log_record *r, bool full, bool json, struct sc_log_time *t);

/* Makes the short line of a full one (text, not JSON) of the same record. */
size_t sc_log_shorten(char *out, const char *full, size_t n, const struct sc_log_record *r);

struct sc_log_sink;

int sc_log_sink_open(struct sc_log_sink **out, const struct sc_log_config *c, struct sc_msg *msg) SC_MUST_USE;
/* Keeps the line until the next flush, or flushes if there is no room. */
void sc_log_sink_add(struct sc_log_sink *s, const struct sc_log_record *r);
void sc_log_sink_flush(struct sc_log_sink *s);
/* A file that cannot be opened again is written further under its old descriptor. */
void sc_log_sink_reopen(struct sc_log_sink *s);
/* Lines that a destination did not take, since the last call; why is overwritten if there is a new reason. */
uint64_t sc_log_sink_lost(struct sc_log_sink *s, char why[SC_LOG_WHY_BYTES]);
/* Flushes and closes. Waits for nobody. */
void sc_log_sink_del(struct sc_log_sink *s);

#endif
