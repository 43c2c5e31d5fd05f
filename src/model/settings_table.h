/* One row per key of config.properties: what it may be, what it is without one, what it does here. */
#ifndef SC_MODEL_SETTINGS_TABLE_H
#define SC_MODEL_SETTINGS_TABLE_H

#include "model/settings.h"

enum sc_setting_kind {
    SC_KIND_TEXT,
    SC_KIND_PATH,    /* text, made absolute when it is resolved */
    SC_KIND_ADDRESS, /* http://HOST[:PORT], https://..., unix:/PATH */
    SC_KIND_BOOL,    /* "true" in any case; all else is false */
    SC_KIND_NOT,     /* the same; the field says the opposite */
    SC_KIND_INT,     /* int */
    SC_KIND_LONG,    /* int64_t */
    SC_KIND_BYTES,   /* uint64_t */
    SC_KIND_MINUTES, /* double; what is none is the default, with an ERROR line */
    SC_KIND_MODE,    /* metrics_mode */
    SC_KIND_REGEX,   /* a Java regular expression, kept as POSIX's */
    SC_KIND_MODELS,  /* JSON */
    SC_KIND_SWITCH   /* without a field: looked at while resolving, or by nobody */
};

#define SC_SETTING_NO_ENV ""

struct sc_setting_key {
    const char *name;
    enum sc_setting_kind kind;
    enum sc_setting_effect effect;
    size_t offset;
    int64_t min, max;
    const char *fallback;            /* default as text; NULL: none */
    const char *torchserve_fallback; /* of that face; NULL: the same */
    const char *environment;         /* NULL: TS_ and the name in upper case; SC_SETTING_NO_ENV: none */
    const char *feature;             /* SC_SETTING_LATER: what it belongs to, for the WARN line */
    const char *about;               /* what it does here, or how that differs; one sentence, no full stop */
};

size_t sc_setting_count(void);
const struct sc_setting_key *sc_setting_at(size_t i);
/* NULL: there is no such key. */
const struct sc_setting_key *sc_setting_find(const char *name);
const char *sc_setting_default(const struct sc_setting_key *k, enum sc_face face);
/* The variable that overrides the key, written into room; NULL: none does. */
const char *sc_setting_environment(const struct sc_setting_key *k, char room[64]);

/* Checks an address; *https: it wants TLS. */
int sc_settings_check_address(const char *text, bool *https, struct sc_msg *msg) SC_MUST_USE;

#endif
