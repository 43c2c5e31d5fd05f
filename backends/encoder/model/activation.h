/* The activation functions that models name, by the name of Hugging Face's config.json. */
#ifndef SC_ENCODER_ACTIVATION_H
#define SC_ENCODER_ACTIVATION_H

enum sc_activation {
    SC_ACT_NONE,
    SC_ACT_GELU,      /* x * Phi(x), by erf */
    SC_ACT_GELU_TANH, /* the approximation that Hugging Face calls gelu_new */
    SC_ACT_RELU,
    SC_ACT_SILU,
    SC_ACT_TANH,
};

#endif
