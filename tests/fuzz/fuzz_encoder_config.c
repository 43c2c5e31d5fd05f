/* Hostile config.json: any bytes are either refused with a message, or every number is within its limit. */
#include <stdlib.h>

#include "model/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sc_encoder_config c;
    struct sc_msg msg;
    if (sc_encoder_config_parse(&c, sc_span(data, size), "fuzz", NULL, &msg) < 0)
        return 0;
    if (c.layers == 0 || c.layers > SC_ENCODER_LAYERS_MAX || c.head_dim * c.heads != c.hidden ||
        c.positions == 0 || c.positions > SC_ENCODER_POSITIONS_MAX || sc_encoder_columns(&c) == 0)
        abort();
    sc_encoder_config_free(&c);
    return 0;
}
