/* PyTorch's launcher for CPUs (torch.backends.xeon.run_cpu), below which cpu_launcher_enable puts workers. */
#ifndef SC_MODEL_CPU_LAUNCHER_H
#define SC_MODEL_CPU_LAUNCHER_H

#include "model/settings.h"

/*
 * Tries it with the settings' interpreter and arguments on a program that does nothing, as TorchServe does.
 * False: it cannot be used, and the log says why. Blocks, for SC_CPU_LAUNCHER_MS at most; once, at the start.
 */
bool sc_cpu_launcher_works(const struct sc_settings *s);

#endif
