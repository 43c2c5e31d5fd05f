# The GPU kernels: two images, compiled by nvcc where it is found, put into images.c. CMake's own CUDA language is not
# used: the kernels need no host code, and the build must work without nvcc.
find_program(SCONCE_NVCC nvcc HINTS /usr/local/cuda/bin ENV CUDA_HOME PATH_SUFFIXES bin
    DOC "CUDA's compiler, 12.8 or newer; without it the encoder has no GPU kernels")
set(sc_cu_dir ${CMAKE_CURRENT_LIST_DIR})
set(sc_cu_out ${CMAKE_BINARY_DIR}/cuda)
add_library(sc_encoder_kernels STATIC ${sc_cu_dir}/launch.c ${sc_cu_dir}/images.c)
target_include_directories(sc_encoder_kernels PUBLIC ${CMAKE_CURRENT_LIST_DIR}/..)

# sc_cu_image(NAME FLAGS GENCODE...)
function(sc_cu_image name flags)
    set(gencode ${flags})
    foreach(pair ${ARGN})
        list(APPEND gencode -gencode ${pair})
    endforeach()
    file(GLOB parts CONFIGURE_DEPENDS ${sc_cu_dir}/*.cuh)
    add_custom_command(OUTPUT ${sc_cu_out}/kernels_${name}.fatbin
        COMMAND ${CMAKE_COMMAND} -E make_directory ${sc_cu_out}
        COMMAND ${SCONCE_NVCC} -std=c++17 -O3 -I${sc_cu_dir} ${gencode} -fatbin -o ${sc_cu_out}/kernels_${name}.fatbin
            ${sc_cu_dir}/kernels.cu
        DEPENDS ${sc_cu_dir}/kernels.cu ${sc_cu_dir}/kernels.h ${parts}
        COMMENT "GPU kernels: ${name}" VERBATIM)
    set_property(SOURCE ${sc_cu_dir}/images.c APPEND PROPERTY OBJECT_DEPENDS ${sc_cu_out}/kernels_${name}.fatbin)
endfunction()

# A minute of compiling, which presets that run on no GPU spare themselves.
set(sc_cu_default OFF)
if(CMAKE_BUILD_TYPE MATCHES "Release|RelWithDebInfo" AND NOT SCONCE_SANITIZE AND NOT SCONCE_FUZZ)
    set(sc_cu_default ON)
endif()
option(SCONCE_GPU_KERNELS "Compile the encoder's GPU kernels, if nvcc is there" ${sc_cu_default})

if(SCONCE_NVCC AND SCONCE_GPU_KERNELS)
    sc_cu_image(sm90 -DSC_CU_HOPPER arch=compute_90a,code=sm_90a)
    # 8.0 is machine code for all of 8.x; the last is compiled by the driver for what is newer.
    sc_cu_image(generic "" arch=compute_75,code=sm_75 arch=compute_80,code=sm_80 arch=compute_80,code=compute_80)
    set_property(SOURCE ${sc_cu_dir}/images.c APPEND PROPERTY COMPILE_DEFINITIONS SC_CU_IMAGES="${sc_cu_out}")
elseif(SCONCE_GPU_KERNELS)
    message(STATUS "nvcc not found: the encoder is built without GPU kernels")
endif()
