/* All kernels, in one image per set of GPUs (CMakeLists.txt says which). */
#include "attention.cuh"
#ifdef SC_CU_HOPPER
#include "attention_hopper.cuh"
#endif
#include "elements.cuh"
#include "heads.cuh"
#include "rows.cuh"
#include "skinny.cuh"
