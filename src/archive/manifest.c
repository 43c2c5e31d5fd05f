#include "archive/manifest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/alloc.h"

/* A text field: where it stands and where it goes. */
struct field {
    const char *key;
    size_t at;
};

static const struct field top_fields[] = {
    {"runtime", offsetof(struct sc_manifest, runtime)},
    {"createdOn", offsetof(struct sc_manifest, created_on)},
    {"archiverVersion", offsetof(struct sc_manifest, archiver_version)},
};

static const struct field model_fields[] = {
    {"modelName", offsetof(struct sc_manifest, model_name)},
    {"modelVersion", offsetof(struct sc_manifest, model_version)},
    {"handler", offsetof(struct sc_manifest, handler)},
    {"serializedFile", offsetof(struct sc_manifest, serialized_file)},
    {"modelFile", offsetof(struct sc_manifest, model_file)},
    {"requirementsFile", offsetof(struct sc_manifest, requirements_file)},
    {"configFile", offsetof(struct sc_manifest, config_file)},
};

static const struct field workflow_fields[] = {
    {"workflowName", offsetof(struct sc_manifest, workflow_name)},
    {"specFile", offsetof(struct sc_manifest, spec_file)},
    {"handler", offsetof(struct sc_manifest, handler)},
};

static const char *const runtimes[] = {"python", "python3", "LSP"};

static char **slot(struct sc_manifest *m, const struct field *f)
{
    return (char **)(void *)((char *)m + f->at);
}

void sc_manifest_init(struct sc_manifest *m)
{
    *m = (struct sc_manifest){.runtime = sc_strdup(runtimes[0])};
}

void sc_manifest_free(struct sc_manifest *m)
{
    for (size_t i = 0; i < SC_COUNT(top_fields); i++)
        free(*slot(m, &top_fields[i]));
    for (size_t i = 0; i < SC_COUNT(model_fields); i++)
        free(*slot(m, &model_fields[i]));
    free(m->workflow_name);
    free(m->spec_file);
    *m = (struct sc_manifest){0};
}

static int unreadable(struct sc_msg *msg, struct sc_msg *cause, const char *what)
{
    (void)sc_fail(cause, SC_EINVAL, "MANIFEST.json: %s", what);
    return sc_fail(msg, SC_EINVAL, "Failed to parse signature.json.");
}

/* The value as text, as Gson reads into a String: 1.0 is "1.0". NULL with *bad: it has no text. */
static char *text_of(const json_t *v, bool *bad)
{
    *bad = false;
    if (!v || json_is_null(v))
        return NULL;
    if (json_is_string(v))
        return strdup(json_string_value(v));
    if (json_is_boolean(v))
        return strdup(json_is_true(v) ? "true" : "false");
    if (json_is_number(v))
        return json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    *bad = true;
    return NULL;
}

static int read_fields(struct sc_manifest *m, const json_t *object, const struct field *fields, size_t n,
                       struct sc_msg *msg, struct sc_msg *cause)
{
    for (size_t i = 0; i < n; i++) {
        bool bad;
        char *text = text_of(json_object_get(object, fields[i].key), &bad);
        if (bad) {
            char what[96];
            snprintf(what, sizeof what, "\"%s\" must be a string", fields[i].key);
            return unreadable(msg, cause, what);
        }
        free(*slot(m, &fields[i]));
        *slot(m, &fields[i]) = text;
    }
    return 0;
}

static int check_runtime(const struct sc_manifest *m, struct sc_msg *msg, struct sc_msg *cause)
{
    for (size_t i = 0; i < SC_COUNT(runtimes); i++)
        if (m->runtime && strcmp(m->runtime, runtimes[i]) == 0)
            return 0;
    (void)sc_fail(cause, SC_EINVAL,
                  "MAR-INF/MANIFEST.json: \"runtime\" is \"%.64s\"; there are python, python3 and LSP",
                  m->runtime ? m->runtime : "null");
    return sc_fail(msg, SC_EINVAL, "Runtime is not defined or invalid.");
}

/* The manifest's document; NULL: it is none. */
static json_t *load(struct sc_span json, const char *part, bool may_be_null, struct sc_msg *msg,
                    struct sc_msg *cause)
{
    char what[JSON_ERROR_TEXT_LENGTH + 32];
    json_error_t at;
    json_t *root = json_loadb(json.n ? json.p : "", json.n, 0, &at);
    const json_t *object = json_object_get(root, part);
    bool missing = !object || (json_is_null(object) && may_be_null);
    if (root && json_is_object(root) && (missing || json_is_object(object)))
        return root;
    if (!root)
        snprintf(what, sizeof what, "line %d: %s", at.line, at.text);
    else if (json_is_object(root))
        snprintf(what, sizeof what, "\"%s\" must be an object", part);
    else
        snprintf(what, sizeof what, "it must be an object");
    (void)unreadable(msg, cause, what);
    json_decref(root);
    return NULL;
}

int sc_manifest_read(struct sc_manifest *m, struct sc_span json, struct sc_msg *msg, struct sc_msg *cause)
{
    sc_manifest_init(m);
    json_t *root = load(json, "model", false, msg, cause);
    unsigned skip = json_object_get(root, "runtime") ? 0 : 1;
    int rc =
        root ? read_fields(m, root, top_fields + skip, SC_COUNT(top_fields) - skip, msg, cause) : SC_EINVAL;
    if (rc == 0)
        rc = read_fields(m, json_object_get(root, "model"), model_fields, SC_COUNT(model_fields), msg, cause);
    if (rc == 0)
        rc = check_runtime(m, msg, cause);
    json_decref(root);
    if (rc < 0)
        sc_manifest_free(m);
    return rc;
}

int sc_manifest_read_workflow(struct sc_manifest *m, struct sc_span json, struct sc_msg *msg,
                              struct sc_msg *cause)
{
    sc_manifest_init(m);
    json_t *root = load(json, "workflow", true, msg, cause);
    int rc = root ? read_fields(m, root, top_fields + 1, SC_COUNT(top_fields) - 1, msg, cause) : SC_EINVAL;
    if (rc == 0 && json_is_null(json_object_get(root, "workflow")))
        rc = sc_fail(msg, SC_EINVAL, "Missing Workflow entry in manifest file.");
    if (rc == 0)
        rc = read_fields(m, json_object_get(root, "workflow"), workflow_fields, SC_COUNT(workflow_fields),
                         msg, cause);
    if (rc == 0 && !m->workflow_name)
        rc = sc_fail(msg, SC_EINVAL, "Workflow name is not defined.");
    if (rc == 0 && !m->created_on)
        rc = sc_fail(msg, SC_EINVAL, "Workflow archive createdOn is not defined.");
    if (rc == 0 && !m->archiver_version)
        rc = sc_fail(msg, SC_EINVAL, "Workflow archive version is not defined.");
    json_decref(root);
    if (rc < 0)
        sc_manifest_free(m);
    return rc;
}
