/*
 * Which lines are written: a level per logger, and what of it a log4j 2 configuration says (--log-config).
 *
 * Of such a file only the levels are understood: <Root level> and <Logger name level>, XML. Where lines go
 * and what they look like is not changed by it.
 */
#ifndef SC_BASE_LOG_LEVELS_H
#define SC_BASE_LOG_LEVELS_H

#include "base/array.h"
#include "base/error.h"
#include "base/log.h"

/* TorchServe's own configuration: DEBUG for the server, everything of the others. Ours says INFO. */
void sc_log_levels_init(struct sc_log_levels *l, enum sc_log_level server);
/*
 * The levels that the text gives; a logger that it does not name has the level of the nearest name above it,
 * at last Root's (ERROR if there is none, as in log4j). SC_EUNSUPPORTED: it is not XML with a
 * <Configuration>; nothing is changed.
 */
int sc_log_levels_read(struct sc_log_levels *l, struct sc_span text) SC_MUST_USE;

#endif
