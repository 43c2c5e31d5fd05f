/* The kernels for x86-64 with AVX-512 F, VL, BW and DQ (compiled with those switched on; see CMakeLists.txt).
 */
#define SC_KERNELS_TABLE sc_kernels_avx512
#define SC_KERNELS_NAME "avx512"
#define SC_VECTOR_FLOATS 16
#define SC_TILE_ROWS 14
#define SC_TILE_VECTORS 2
#include "cpu/kernels_impl.h"
