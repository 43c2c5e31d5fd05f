#include "heads/prompts.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/file.h"

#define FILE_NAME "config_sentence_transformers.json"

int sc_prompts_set(struct sc_prompts *p, const char *name, const char *text, struct sc_msg *msg)
{
    char *copy = sc_span_dup(sc_span_str(text));
    if (!copy)
        return sc_fail(msg, SC_ENOMEM, "No memory for the prompts");
    uint32_t at = sc_prompts_find(p, sc_span_str(name));
    if (at != SC_NO_PROMPT) {
        free(p->prompt[at].text);
        p->prompt[at].text = copy;
        return 0;
    }
    char *named = p->n < SC_ENCODER_PROMPTS_MAX ? sc_span_dup(sc_span_str(name)) : NULL;
    if (!named) {
        free(copy);
        if (p->n == SC_ENCODER_PROMPTS_MAX)
            return sc_fail(msg, SC_ELIMIT, "prompts: more than %d of them", SC_ENCODER_PROMPTS_MAX);
        return sc_fail(msg, SC_ENOMEM, "No memory for the prompts");
    }
    p->prompt[p->n].name = named;
    p->prompt[p->n++].text = copy;
    return 0;
}

static int read_json(struct sc_prompts *p, const json_t *root, const char *dir, struct sc_msg *msg)
{
    const json_t *prompts = json_object_get(root, "prompts"),
                 *standard = json_object_get(root, "default_prompt_name");
    if (prompts && !json_is_null(prompts) && !json_is_object(prompts))
        return sc_fail(msg, SC_EINVAL, "%s/" FILE_NAME ": prompts must be an object", dir);
    const char *name;
    json_t *text;
    json_object_foreach((json_t *)(uintptr_t)prompts, name, text)
    {
        if (!json_is_string(text))
            return sc_fail(msg, SC_EINVAL, "%s/" FILE_NAME ": the prompt \"%.60s\" must be a string", dir,
                           name);
        int rc = sc_prompts_set(p, name, json_string_value(text), msg);
        if (rc < 0)
            return rc;
    }
    if (json_is_string(standard)) {
        p->standard = sc_prompts_find(p, sc_span_str(json_string_value(standard)));
        if (p->standard == SC_NO_PROMPT)
            return sc_fail(msg, SC_EINVAL,
                           "%s/" FILE_NAME ": default_prompt_name \"%.60s\" is none of the prompts", dir,
                           json_string_value(standard));
    }
    return 0;
}

int sc_prompts_load(struct sc_prompts *p, const char *dir, struct sc_msg *msg)
{
    char path[4096];
    struct sc_buf text;
    struct sc_msg why;
    json_error_t error;
    *p = (struct sc_prompts){.standard = SC_NO_PROMPT};
    int n = snprintf(path, sizeof path, "%s/" FILE_NAME, dir);
    if (n < 0 || (size_t)n >= sizeof path)
        return 0;
    sc_buf_init(&text, SC_ENCODER_CONFIG_BYTES);
    int rc = sc_file_read(path, &text, &why);
    if (rc < 0) {
        sc_buf_free(&text);
        return rc == SC_ENOTFOUND ? 0 : sc_fail(msg, rc, "%s", why.text);
    }
    json_t *root = json_loadb(text.p ? text.p : "", text.n, 0, &error);
    sc_buf_free(&text);
    if (!json_is_object(root))
        rc = sc_fail(msg, SC_EINVAL, "%s: no JSON object: %s", path, root ? "another value" : error.text);
    else
        rc = read_json(p, root, dir, msg);
    json_decref(root);
    return rc;
}

void sc_prompts_free(struct sc_prompts *p)
{
    for (uint32_t i = 0; i < p->n; i++) {
        free(p->prompt[i].name);
        free(p->prompt[i].text);
    }
    *p = (struct sc_prompts){0};
}

uint32_t sc_prompts_find(const struct sc_prompts *p, struct sc_span name)
{
    for (uint32_t i = 0; i < p->n; i++)
        if (sc_span_eq(sc_span_str(p->prompt[i].name), name))
            return i;
    return SC_NO_PROMPT;
}

void sc_prompts_names(const struct sc_prompts *p, char *text, size_t size)
{
    size_t at = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < p->n && at < size; i++) {
        int n = snprintf(text + at, size - at, "%s\"%.40s\"", i ? ", " : "", p->prompt[i].name);
        at += n < 0 ? 0 : (size_t)n;
    }
}
