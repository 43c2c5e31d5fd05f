# How everything is compiled: warnings, sanitizers, hardening.
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
include(CheckPIESupported)
check_pie_supported()
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
# Backends (shared objects) lie beside the program, which looks for them there.
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})

add_compile_definitions(_GNU_SOURCE SCONCE_VERSION="${PROJECT_VERSION}")
add_compile_options(-Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
    -Wwrite-strings -Wvla -Wformat=2 -Wundef -fno-strict-aliasing -fno-omit-frame-pointer)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-Wduplicated-cond -Wlogical-op)
endif()

add_link_options(-Wl,-z,relro,-z,now -Wl,--as-needed)
if(SCONCE_SANITIZE)
    add_compile_options(-fsanitize=${SCONCE_SANITIZE} -fno-sanitize-recover=all)
    add_link_options(-fsanitize=${SCONCE_SANITIZE})
elseif(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
    # Level 3 knows sizes at run time; compilers without it fall back to 2. Distributions predefine it, hence -U.
    set(fortify 2)
    if(CMAKE_C_COMPILER_ID STREQUAL "GNU" AND CMAKE_C_COMPILER_VERSION VERSION_GREATER_EQUAL 12)
        set(fortify 3)
    endif()
    add_compile_options(-fstack-protector-strong -fstack-clash-protection -U_FORTIFY_SOURCE
        -D_FORTIFY_SOURCE=${fortify})
    if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64")
        add_compile_options(-fcf-protection)
    endif()
endif()

# Objects carry both forms, so that only the program and the backends pay for the slow link; tests do not.
if(SCONCE_LTO AND CMAKE_C_COMPILER_ID STREQUAL "GNU")
    set(SC_LTO_COMPILE -flto=auto -ffat-lto-objects)
    set(SC_LTO_LINK -flto=auto -Werror)
endif()
