/* What the files of the settings share. */
#ifndef SC_MODEL_SETTINGS_PARTS_H
#define SC_MODEL_SETTINGS_PARTS_H

#include "model/settings.h"

#define SC_SETTINGS_PREFIX "sconce."

/* A key that only resolved text has, and the string that it sets (0: none). */
struct sc_settings_mark {
    const char *key;
    size_t offset;
};
extern const struct sc_settings_mark sc_settings_marks[];
extern const size_t sc_settings_nmarks;

/* Fills the fields from s->all over the defaults of s->face; checks them. */
int sc_settings_check_mps(const struct sc_settings *s, struct sc_msg *msg) SC_MUST_USE;
int sc_settings_apply(struct sc_settings *s, struct sc_msg *msg) SC_MUST_USE;
/* Log and temporary folders that no key names. */
void sc_settings_folders(struct sc_settings *s, const char *(*lookup)(const char *, void *), void *ctx);
const char *sc_settings_getenv(const char *name, void *ctx);
/* token_expiration_min's form. */
bool sc_settings_minutes(struct sc_span text, double *out);

#endif
