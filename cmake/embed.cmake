# cmake -DIN=FILE -DOUT=FILE.c -P embed.cmake: the bytes of a file as C: sc_grpc_descriptors, sc_grpc_descriptors_n
file(READ ${IN} hex HEX)
string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "(....................................................................................................)" "\\1\n" bytes "${bytes}")
file(WRITE ${OUT} "#include <stddef.h>\nconst unsigned char sc_grpc_descriptors[] = {\n${bytes}\n};\nconst size_t sc_grpc_descriptors_n = sizeof sc_grpc_descriptors;\n")
