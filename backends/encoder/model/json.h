/*
 * Small JSON files of a model's folder, and numbers in them that must be within bounds.
 *
 * The readers complain to the file's msg with its name, the key and what would be right; null is as absent.
 */
#ifndef SC_ENCODER_JSON_H
#define SC_ENCODER_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/span.h"

struct sc_json_file {
    json_t *root;
    const char *file;
    struct sc_msg *msg;
};

/* Parses text, which must be an object (or, sc_json_list_parse, a list). `file` and msg outlive s. */
int sc_json_file_parse(struct sc_json_file *s, struct sc_span text, const char *file, struct sc_msg *msg);
int sc_json_list_parse(struct sc_json_file *s, struct sc_span text, const char *file, struct sc_msg *msg);
/*
 * Reads the file at `path`, at most SC_ENCODER_CONFIG_BYTES. SC_ENOTFOUND if there is none, and *msg says so.
 * `list`: it must be a list, else an object.
 */
int sc_json_file_open(struct sc_json_file *s, const char *path, bool list, struct sc_msg *msg);
void sc_json_file_free(struct sc_json_file *s);

/* A whole number from 1 to max; fallback (0: it must be there) if it is absent. */
int sc_json_count(const struct sc_json_file *s, const char *key, uint32_t max, uint32_t fallback,
                  uint32_t *out);
/* A token's number; *has says whether it is there. */
int sc_json_id(const struct sc_json_file *s, const char *key, bool *has, uint32_t *out);
/* A number from min to max; *out stays as it is if it is absent. */
int sc_json_real(const struct sc_json_file *s, const char *key, double min, double max, double *out);
int sc_json_flag(const struct sc_json_file *s, const char *key, bool fallback, bool *out);

/* dir/name, or NULL if memory is gone. The caller frees. */
char *sc_path_in(const char *dir, const char *name);

#endif
