/* Where what belongs to the program lies, told from where the program lies: an installation can be moved. */
#ifndef SC_CLI_PLACES_H
#define SC_CLI_PLACES_H

#include <stddef.h>

/* The folder of the plug-ins: beside the program (a build folder) or in ../lib/sconce (an installation). */
void sc_place_plugins(char *to, size_t size);
/* The folder that holds our `ts` package, below that of the plug-ins, in its shortest form: Python shows it
 * to people. */
void sc_place_home(const char *plugins, char *to, size_t size);

#endif
