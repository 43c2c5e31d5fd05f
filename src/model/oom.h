/* Whether the kernel has killed a process of our memory cgroup for want of memory. */
#ifndef SC_MODEL_OOM_H
#define SC_MODEL_OOM_H

#include <stdbool.h>

/* Notes how many there have been. Loop 0, as the next. */
void sc_oom_look(void);
/* True if there have been more since the last call of either. False where there is no cgroup v2. */
bool sc_oom_killed(void);

#endif
