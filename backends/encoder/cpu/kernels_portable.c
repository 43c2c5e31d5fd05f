/* The kernels for the C compiler's baseline: four floats at a time (SSE2 on x86-64). */
#define SC_KERNELS_TABLE sc_kernels_portable
#define SC_KERNELS_NAME "portable"
#define SC_VECTOR_FLOATS 4
#define SC_TILE_ROWS 4
#define SC_TILE_VECTORS 2
#include "cpu/kernels_impl.h"
