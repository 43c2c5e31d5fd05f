/* mps=... and mps.<index or UUID>=...: what is to be done about MPS on which GPU. gpu_placement. */
#include <stdio.h>
#include <unistd.h>

#include "gpu/mps_find.h"
#include "model/settings_parts.h"

#define ONE_GPU "mps."

static const char *const words[] = {[SC_MPS_AUTO] = "auto",
                                    [SC_MPS_OFF] = "off",
                                    [SC_MPS_MANAGED] = "managed",
                                    [SC_MPS_EXTERNAL] = "external"};

/* -1: no such word. */
static int want_of(const char *text)
{
    for (size_t i = 0; text && i < SC_COUNT(words); i++)
        if (sc_span_eq_nocase(sc_span_trim(sc_span_str(text)), sc_span_str(words[i])))
            return (int)i;
    return -1;
}

static bool is_of_one(const char *key)
{
    return strncmp(key, ONE_GPU, sizeof ONE_GPU - 1) == 0;
}

static int refuse(const struct sc_settings *s, const char *key, const char *value, const char *why,
                  struct sc_msg *msg)
{
    const struct sc_property *p = sc_properties_find(&s->all, key);
    if (p && p->line && s->all.file && *s->all.file)
        return sc_fail(msg, SC_EINVAL, "%.200s:%u: %.100s is \"%.100s\": %s", s->all.file, p->line, key,
                       value, why);
    return sc_fail(msg, SC_EINVAL, "%.100s is \"%.100s\": %s", key, value, why);
}

static int check(const struct sc_settings *s, const char *key, const char *value, struct sc_msg *msg)
{
    char path[512];
    int want = want_of(value);
    if (want < 0)
        return refuse(s, key, value, "it must be auto, off, managed or external", msg);
    if (want == SC_MPS_MANAGED && s->number_of_gpu != 0 && !sc_mps_program(path, sizeof path))
        return refuse(s, key, value,
                      "the program " SC_MPS_CONTROL " is not in PATH; it comes with the NVIDIA driver", msg);
    return 0;
}

int sc_settings_check_mps(const struct sc_settings *s, struct sc_msg *msg)
{
    const char *placement = s->gpu_placement ? s->gpu_placement : "";
    if (*placement && strcmp(placement, "turns") != 0 && strcmp(placement, "memory") != 0)
        return refuse(s, "gpu_placement", placement, "it must be turns or memory", msg);
    int rc = check(s, "mps", s->mps && *s->mps ? s->mps : "auto", msg);
    for (unsigned i = 0; rc == 0 && i < s->all.n; i++) {
        const struct sc_property *p = &s->all.items[i];
        struct sc_span which = sc_span_sub(sc_span_str(p->key), sizeof ONE_GPU - 1, SIZE_MAX);
        int32_t index;
        if (!is_of_one(p->key))
            continue;
        bool number = sc_span_i32(which, &index) && index >= 0 && index < SC_GPUS_MAX;
        if (!number && !sc_span_starts(which, SC_SPAN("GPU-")))
            return refuse(s, p->key, p->value,
                          "behind \"mps.\" stands a GPU's index or its UUID (sconce gpu tells both)", msg);
        rc = check(s, p->key, p->value, msg);
    }
    return rc;
}

enum sc_mps_want sc_settings_mps(const struct sc_settings *s, unsigned index, const char *uuid)
{
    char key[128];
    int want = -1;
    if (uuid && *uuid && snprintf(key, sizeof key, ONE_GPU "%s", uuid) < (int)sizeof key)
        want = want_of(sc_properties_get(&s->all, key));
    snprintf(key, sizeof key, ONE_GPU "%u", index);
    if (want < 0)
        want = want_of(sc_properties_get(&s->all, key));
    if (want < 0)
        want = want_of(s->mps);
    return want < 0 ? SC_MPS_AUTO : (enum sc_mps_want)want;
}

bool sc_settings_places_by_memory(const struct sc_settings *s)
{
    return s->gpu_placement && strcmp(s->gpu_placement, "memory") == 0;
}

bool sc_settings_mps_is_off(const struct sc_settings *s)
{
    bool off = want_of(s->mps) == SC_MPS_OFF;
    for (unsigned i = 0; off && i < s->all.n; i++)
        if (is_of_one(s->all.items[i].key))
            off = want_of(s->all.items[i].value) == SC_MPS_OFF;
    return off;
}
