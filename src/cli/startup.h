/* The models that a server begins with: a snapshot's, or those that the settings name. Loop 0. */
#ifndef SC_CLI_STARTUP_H
#define SC_CLI_STARTUP_H

#include "model/engine.h"

/*
 * Registers them one after another, as TorchServe does; a model that cannot be is logged and left out (of a
 * snapshot, with all behind it). done is called when the last has been, possibly before this returns; the
 * workers start meanwhile.
 */
void sc_startup_load(struct sc_engine *e, const struct sc_settings *s, void (*done)(void *arg), void *arg);

#endif
