/*
 * Log lines through a bounded ring and a writer thread (docs/design.md §3.4): a caller never
 * waits for a disk. When the ring is full, lines are dropped and counted, and the writer says how
 * many once it can.
 *
 * Files and patterns are TorchServe's (docs/contract.md §8): ts_log.log,
 * model_log.log, access_log.log, ts_metrics.log, model_metrics.log; every line also goes to stdout
 * and ts_log.log. With `json` lines are JSON objects instead. Files roll over at 100 MB and at midnight
 * (log_sink.h).
 *
 * Before open, after close, and in a child that was forked and has not executed another program, lines go
 * straight to stderr.
 */
#ifndef SC_BASE_LOG_H
#define SC_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/array.h"
#include "base/error.h"
#include "base/span.h"

enum sc_log_level { SC_LOG_DEBUG, SC_LOG_INFO, SC_LOG_WARN, SC_LOG_ERROR };
#define SC_LOG_OFF 4 /* above every level */

/* Which logger writes; decides the file and the name in the line. */
enum sc_logger {
    SC_LOGGER_SERVER,
    SC_LOGGER_MODEL,
    SC_LOGGER_ACCESS,
    SC_LOGGER_METRICS,
    SC_LOGGER_MODEL_METRICS,
    SC_LOGGER_WORKER, /* what a server says of a worker's output; in ts_log.log */
    SC_LOGGERS
};

/* The least level that is written, per logger (log_levels.h). */
struct sc_log_levels {
    uint8_t of[SC_LOGGERS];
};

struct sc_log_config {
    const char *dir;                    /* LOG_LOCATION; made if missing; NULL: no files */
    const char *metrics_dir;            /* METRICS_LOCATION; NULL: dir */
    enum sc_log_level level;            /* lines below are not written */
    const struct sc_log_levels *levels; /* in place of level; NULL: that one for all */
    bool to_stdout;
    bool json;
    bool access; /* access lines at all */
};

/*
 * Opens the files and starts the writer thread. An unwritable folder is an error whose *msg names it and the
 * remedy. One log per process; a second open is SC_EEXIST.
 */
int sc_log_open(const struct sc_log_config *c, struct sc_msg *msg) SC_MUST_USE;
/* Opens the files again under their names (after logrotate). Any thread; returns at once. */
void sc_log_reopen(void);
/* Writes what is in the ring and ends the thread. Other threads must have ceased to log. */
void sc_log_close(void);
/* Blocks until all lines written so far are in the files (tests, fatal exits). */
void sc_log_sync(void);

bool sc_log_enabled(enum sc_logger logger, enum sc_log_level level);
/* One line, without newline. `thread` is the thread's name in the line, NULL: the calling thread's. Any
 * thread; never blocks. Cut at SC_LOG_LINE_MAX. */
void sc_log_line(enum sc_logger logger, enum sc_log_level level, const char *thread, struct sc_span line);
void sc_log(enum sc_log_level level, const char *fmt, ...) SC_PRINTF(2, 3);
/* Names the calling thread for its lines (at most 15 characters also for the system). */
void sc_log_thread_name(const char *name);
/* True while more than half of the ring is taken: who has lines that can wait should let them. Any thread. */
bool sc_log_crowded(void);
/* Lines dropped since the start: the ring was full, or a file or stdout did not take them. */
uint64_t sc_log_dropped(void);

#endif
