/* What sentence-transformers puts before texts: config_sentence_transformers.json and the model's settings.
 */
#ifndef SC_ENCODER_PROMPTS_H
#define SC_ENCODER_PROMPTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/limits.h"
#include "base/span.h"

#define SC_NO_PROMPT UINT32_MAX

struct sc_prompts {
    uint32_t n;
    struct sc_prompt {
        char *name, *text;
    } prompt[SC_ENCODER_PROMPTS_MAX];
    uint32_t standard; /* of requests that name none; SC_NO_PROMPT: nothing */
};

/* From dir's config_sentence_transformers.json, if there is one. SC_EINVAL with *msg; the caller frees with
 * sc_prompts_free, also after an error. */
int sc_prompts_load(struct sc_prompts *p, const char *dir, struct sc_msg *msg);
/* Adds one or replaces it. SC_ELIMIT, SC_ENOMEM. */
int sc_prompts_set(struct sc_prompts *p, const char *name, const char *text, struct sc_msg *msg);
void sc_prompts_free(struct sc_prompts *p);
/* Its place, SC_NO_PROMPT if there is no prompt of that name. */
uint32_t sc_prompts_find(const struct sc_prompts *p, struct sc_span name);
/* The names, separated by commas; for messages. */
void sc_prompts_names(const struct sc_prompts *p, char *text, size_t size);

#endif
