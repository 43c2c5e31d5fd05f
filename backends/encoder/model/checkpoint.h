/*
 * The tensors of a folder: model.safetensors, or the shards that model.safetensors.index.json lists.
 */
#ifndef SC_ENCODER_CHECKPOINT_H
#define SC_ENCODER_CHECKPOINT_H

#include "model/safetensors.h"

struct sc_checkpoint;

/*
 * SC_ENOTFOUND if the folder has neither; then *msg says what it has instead and how to convert it. The
 * caller closes with sc_checkpoint_close.
 */
int sc_checkpoint_open(struct sc_checkpoint **out, const char *dir, struct sc_msg *msg);
void sc_checkpoint_close(struct sc_checkpoint *c);

/* NULL if no shard has it. */
const struct sc_tensor *sc_checkpoint_find(const struct sc_checkpoint *c, struct sc_span name);
/* The path of its file, or of the index; for messages. */
const char *sc_checkpoint_name(const struct sc_checkpoint *c);

/* sc_safetensors_identity of all its files. */
uint64_t sc_checkpoint_identity(const struct sc_checkpoint *c);

#endif
