# proto/**/*.proto -> C of the library sc_messages, and one file with all their descriptors, for gRPC's reflection.
find_program(PROTOC_C protoc-c REQUIRED)
file(GLOB_RECURSE protos CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR}/proto proto/*.proto)
# What has another's messages needs no C of its own: only descriptors.
set(alike grpc/reflection/v1alpha/reflection.proto open_inference_grpc.proto)
set(out ${CMAKE_BINARY_DIR}/messages)
set(descriptors ${out}/descriptors.c)
foreach(proto ${protos})
    list(APPEND proto_files ${CMAKE_SOURCE_DIR}/proto/${proto})
    if(NOT proto IN_LIST alike)
        list(APPEND proto_sources ${proto})
        string(REGEX REPLACE "\\.proto$" ".pb-c" stem ${out}/${proto})
        list(APPEND messages_c ${stem}.c)
        list(APPEND messages_h ${stem}.h)
    endif()
endforeach()
file(MAKE_DIRECTORY ${out})
add_custom_command(OUTPUT ${messages_c} ${messages_h} ${descriptors}
    COMMAND ${PROTOC_C} --c_out=${out} ${proto_sources}
    COMMAND ${PROTOC_C} --descriptor_set_out=${out}/descriptors ${protos}
    COMMAND ${CMAKE_COMMAND} -DIN=${out}/descriptors -DOUT=${descriptors} -P ${CMAKE_SOURCE_DIR}/cmake/embed.cmake
    WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}/proto
    DEPENDS ${proto_files} ${CMAKE_SOURCE_DIR}/cmake/embed.cmake VERBATIM)
add_library(sc_messages STATIC ${messages_c} ${messages_h} ${descriptors})
target_include_directories(sc_messages SYSTEM PUBLIC ${out})
target_compile_options(sc_messages PRIVATE -w ${SC_LTO_COMPILE})
target_link_libraries(sc_messages PUBLIC sc_dep_protobufc)
