/* The encoder as a backend: see sconce/backend.h. */
#ifndef SC_ENCODER_BACKEND_H
#define SC_ENCODER_BACKEND_H

#include "sconce/backend.h"

const struct sconce_backend_ops *sc_encoder_ops(void);

#endif
