/* The door of the plug-in: the one symbol that a program that loads it sees. */
#include "backend.h"

__attribute__((visibility("default"))) const struct sconce_backend_ops *sconce_backend(void)
{
    return sc_encoder_ops();
}
