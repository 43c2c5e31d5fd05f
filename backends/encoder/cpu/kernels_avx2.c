/* The kernels for x86-64 with AVX2 and FMA (compiled with those switched on; see CMakeLists.txt). */
#define SC_KERNELS_TABLE sc_kernels_avx2
#define SC_KERNELS_NAME "avx2"
#define SC_VECTOR_FLOATS 8
#define SC_TILE_ROWS 6
#define SC_TILE_VECTORS 2
#include "cpu/kernels_impl.h"
