/* All kernels, in one image per set of GPUs (CMakeLists.txt says which). */
#include "attention.cuh"
#include "elements.cuh"
#include "heads.cuh"
#include "rows.cuh"
#include "skinny.cuh"
