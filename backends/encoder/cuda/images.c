#include "cuda/kernels.h"

/* The build names the files; without nvcc it names none. */
#define HIDDEN __attribute__((visibility("hidden")))
#define IMAGE(name, file)              \
    __asm__(".pushsection .rodata\n"   \
            ".balign 64\n"             \
            "sc_cu_" #name "_begin:\n" \
            ".incbin \"" file "\"\n"   \
            "sc_cu_" #name "_end:\n"   \
            ".byte 0\n"                \
            ".popsection\n");          \
    extern const char HIDDEN sc_cu_##name##_begin[], HIDDEN sc_cu_##name##_end[];

#ifdef SC_CU_IMAGES
IMAGE(sm90, SC_CU_IMAGES "/kernels_sm90.fatbin")
IMAGE(generic, SC_CU_IMAGES "/kernels_generic.fatbin")

const void *sc_cu_image_sm90(size_t *size)
{
    *size = (size_t)(sc_cu_sm90_end - sc_cu_sm90_begin);
    return sc_cu_sm90_begin;
}

const void *sc_cu_image_generic(size_t *size)
{
    *size = (size_t)(sc_cu_generic_end - sc_cu_generic_begin);
    return sc_cu_generic_begin;
}
#else
const void *sc_cu_image_sm90(size_t *size)
{
    *size = 0;
    return NULL;
}

const void *sc_cu_image_generic(size_t *size)
{
    *size = 0;
    return NULL;
}
#endif
