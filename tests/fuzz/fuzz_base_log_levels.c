/* Any bytes as a log4j 2 configuration. */
#include <stdlib.h>

#include "base/log_levels.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sc_log_levels l;
    sc_log_levels_init(&l, SC_LOG_INFO);
    (void)!sc_log_levels_read(&l, sc_span(data, size));
    for (unsigned i = 0; i < SC_LOGGERS; i++)
        if (l.of[i] > SC_LOG_OFF)
            abort();
    return 0;
}
