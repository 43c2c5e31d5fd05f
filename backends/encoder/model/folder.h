/* A model's folder as a whole: what it is and its tensors, checked against each other. */
#ifndef SC_ENCODER_FOLDER_H
#define SC_ENCODER_FOLDER_H

#include "model/config.h"
#include "model/weights.h"

struct sc_encoder_folder {
    char *dir; /* where config.json and the tokenizer lie: the folder, or its Transformer module's */
    struct sc_encoder_config config;
    struct sc_encoder_weights weights;
};

/*
 * Reads the folder `dir`: modules.json if there is one, config.json, the tensors. choice may be NULL. On
 * failure *msg names file, field and remedy, and *f needs no close.
 */
int sc_encoder_folder_open(struct sc_encoder_folder *f, const char *dir,
                           const struct sc_encoder_choice *choice, struct sc_msg *msg);
/* Frees everything: an engine has what it needs once it is made. */
void sc_encoder_folder_close(struct sc_encoder_folder *f);

#endif
