# The libraries of docs/design.md §5, each as a target sc_dep_<name>: shared, or static under SCONCE_STATIC.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

# sc_dependency(NAME PKG_CONFIG_NAME STATIC_FILE [FROM_PROGRAM | FURTHER...]): STATIC_FILE is the archive that replaces
# the shared library, FURTHER are those that it calls.
function(sc_dependency name package static_file)
    add_library(sc_dep_${name} INTERFACE)
    if(SCONCE_STATIC)
        pkg_check_modules(${name} REQUIRED ${package})
        add_library(PkgConfig::${name} ALIAS sc_dep_${name})
        find_library(${name}_archive ${static_file} REQUIRED)
        target_include_directories(sc_dep_${name} INTERFACE ${${name}_INCLUDE_DIRS})
        target_compile_options(sc_dep_${name} INTERFACE ${${name}_CFLAGS_OTHER})
        target_link_libraries(sc_dep_${name} INTERFACE Threads::Threads ${CMAKE_DL_LIBS})
        if("FROM_PROGRAM" IN_LIST ARGN)
            # This archive cannot go into a shared object: programs carry it whole, and backends find it there.
            target_link_options(sc_dep_${name} INTERFACE "$<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>:LINKER:--whole-archive,${${name}_archive},--no-whole-archive>")
        else()
            # The program exports functions to backends: the library's are not among them.
            target_link_libraries(sc_dep_${name} INTERFACE ${${name}_archive})
            target_link_options(sc_dep_${name} INTERFACE -Wl,--exclude-libs,${static_file})
            foreach(further ${ARGN})
                find_library(${further}_archive ${further} REQUIRED)
                target_link_libraries(sc_dep_${name} INTERFACE ${${further}_archive})
                target_link_options(sc_dep_${name} INTERFACE -Wl,--exclude-libs,${further})
            endforeach()
        endif()
    else()
        pkg_check_modules(${name} REQUIRED IMPORTED_TARGET GLOBAL ${package})
        target_link_libraries(sc_dep_${name} INTERFACE PkgConfig::${name})
    endif()
endfunction()

sc_dependency(libuv libuv libuv_a.a)
sc_dependency(jansson jansson libjansson.a FROM_PROGRAM)
sc_dependency(libyaml yaml-0.1 libyaml.a)
sc_dependency(zlib zlib libz.a)
sc_dependency(nghttp2 libnghttp2 libnghttp2.a)
sc_dependency(protobufc libprotobuf-c libprotobuf-c.a)
# Only its readers of zip, tar and gzip are used: the static program gets neither its XML nor its ACLs.
sc_dependency(libarchive libarchive libarchive.a libnettle.a liblzma.a libbz2.a libzstd.a libz.a)
# Always the system's: it gets its fixes.
find_package(OpenSSL 3.0 REQUIRED)
if(SCONCE_STATIC)
    add_link_options(-static-libgcc)
endif()

# oneDNN has no static form and is not packaged everywhere: whoever uses it makes a module of its own that is
# loaded at run time, and leaves it out when SC_DNNL is false.
find_path(SC_DNNL_INCLUDE oneapi/dnnl/dnnl.h)
find_library(SC_DNNL_LIBRARY dnnl)
if(SC_DNNL_INCLUDE AND SC_DNNL_LIBRARY)
    set(SC_DNNL TRUE)
else()
    set(SC_DNNL FALSE)
    message(NOTICE "-- oneDNN (libdnnl-dev) is not here: the CPU encoder is built with its plain kernels only")
endif()
