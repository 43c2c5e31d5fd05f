/* Where every setting comes from: file, command line, environment. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "model/settings_parts.h"
#include "model/settings_table.h"
#include "model/snapshot.h"

struct resolving {
    struct sc_settings *s;
    const struct sc_settings_sources *from;
    const char *(*lookup)(const char *, void *);
    struct sc_msg *msg;
};

static const char *variable(const struct resolving *r, const char *name)
{
    const char *v = r->lookup(name, r->from->ctx);
    return v && *v ? v : NULL;
}

static int put(const struct resolving *r, const char *key, const char *value)
{
    int rc = sc_properties_set(&r->s->all, key, value);
    return rc < 0 ? sc_fail(r->msg, rc, "%s: %s", key, sc_strerror(rc)) : 0;
}

static const char *get(const struct resolving *r, const char *key)
{
    const char *v = sc_properties_get(&r->s->all, key);
    return v && *v ? v : NULL;
}

static bool is_on(const struct resolving *r, const char *key)
{
    return sc_span_eq_nocase(sc_span_trim(sc_span_str(get(r, key))), SC_SPAN("true"));
}

/* ---- file and command line -------------------------------------------------------------------------- */

static int read_sources(const struct resolving *r)
{
    const struct sc_properties *o = r->from->command_line;
    struct sc_properties *all = &r->s->all;
    int rc = 0;
    if (r->from->file)
        rc = sc_properties_read(all, r->from->text, r->from->file, r->msg);
    for (size_t m = 0; rc == 0 && m < sc_settings_nmarks; m++)
        if (sc_properties_find(all, sc_settings_marks[m].key))
            rc = sc_fail(r->msg, SC_EINVAL, "%s:%u: %s is the server's own: take it out", r->from->file,
                         sc_properties_find(all, sc_settings_marks[m].key)->line, sc_settings_marks[m].key);
    for (unsigned i = 0; rc == 0 && o && i < o->n; i++)
        rc = put(r, o->items[i].key, o->items[i].value);
    return rc < 0 ? rc : sc_properties_expand(all, r->lookup, r->from->ctx, r->msg);
}

/* ---- paths ----------------------------------------------------------------------------------------- */

/* A path that means the same for a process with another working directory. */
static int absolute(const struct resolving *r, const char *key)
{
    char here[PATH_MAX], joined[2 * PATH_MAX];
    const char *value = get(r, key);
    if (!value)
        return 0;
    char *real = realpath(value, NULL);
    int rc = 0;
    if (real)
        rc = put(r, key, real);
    else if (*value != '/' && getcwd(here, sizeof here) &&
             snprintf(joined, sizeof joined, "%s/%s", here, value) < (int)sizeof joined)
        rc = put(r, key, joined);
    free(real);
    return rc;
}

static bool is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The interpreter that a shell would find; a virtual environment's own comes first. */
static int find_python(const struct resolving *r)
{
    static const char *const names[] = {"python3", "python"};
    const char *venv = variable(r, "VIRTUAL_ENV"), *path = variable(r, "PATH");
    char file[PATH_MAX];
    if (get(r, "python"))
        return 0;
    if (venv && snprintf(file, sizeof file, "%s/bin/python", venv) < (int)sizeof file &&
        access(file, X_OK) == 0)
        return put(r, "python", file);
    for (size_t n = 0; path && n < SC_COUNT(names); n++) {
        struct sc_span rest = sc_span_str(path);
        while (rest.n) {
            struct sc_span dir = sc_span_sub(rest, 0, sc_span_find(rest, ':'));
            rest = sc_span_sub(rest, dir.n + 1, rest.n);
            if (dir.n && snprintf(file, sizeof file, "%.*s/%s", SC_FMT(dir), names[n]) < (int)sizeof file &&
                *file == '/' && access(file, X_OK) == 0)
                return put(r, "python", file);
        }
    }
    return put(r, "python", "python3");
}

/* An interpreter named as a word is looked for by whoever starts it; its links stay as they are, since a
 * virtual environment's interpreter is one. */
static int python_path(const struct resolving *r)
{
    const char *python = get(r, "python");
    char here[PATH_MAX], joined[2 * PATH_MAX];
    if (!python || *python == '/' || !strchr(python, '/') || !getcwd(here, sizeof here))
        return 0;
    snprintf(joined, sizeof joined, "%s/%s", here, python);
    return put(r, "python", joined);
}

static int paths(const struct resolving *r)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sc_setting_count(); i++)
        if (sc_setting_at(i)->kind == SC_KIND_PATH && strcmp(sc_setting_at(i)->name, "python") != 0)
            rc = absolute(r, sc_setting_at(i)->name);
    if (rc == 0)
        rc = find_python(r);
    if (rc == 0)
        rc = python_path(r);
    if (rc == 0 && !get(r, "workflow_store") && get(r, "model_store"))
        rc = put(r, "workflow_store", get(r, "model_store"));
    if (rc == 0 && r->from->file && !get(r, "tsConfigFile")) {
        char *real = realpath(r->from->file, NULL);
        rc = put(r, "tsConfigFile", real ? real : r->from->file);
        free(real);
    }
    return rc;
}

/* ---- environment ------------------------------------------------------------------------------------ */

static int home_of(const struct resolving *r)
{
    const char *home = variable(r, "TS_MODEL_SERVER_HOME");
    if (home && put(r, "model_server_home", home) < 0)
        return SC_ENOMEM;
    home = get(r, "model_server_home");
    if (home && !is_dir(home))
        return sc_fail(r->msg, SC_ENOTFOUND, "Model server home not exist: %s", home);
    return home ? absolute(r, "model_server_home") : 0;
}

/* TorchServe's last step: a TS_ variable beats everything, and nothing follows from it any more. */
static int environment(const struct resolving *r)
{
    char room[64];
    const char *oip = variable(r, "TS_OPEN_INFERENCE_PROTOCOL");
    bool enabled = is_on(r, "enable_envvars_config"), urls = is_on(r, "use_env_allowed_urls");
    int rc = 0;
    for (size_t i = 0; rc == 0 && enabled && i < sc_setting_count(); i++) {
        const struct sc_setting_key *k = sc_setting_at(i);
        const char *name = sc_setting_environment(k, room), *value = name ? variable(r, name) : NULL;
        if (!value || (strcmp(k->name, "allowed_urls") == 0 && !urls))
            continue;
        rc = put(r, k->name, value);
        if (rc == 0 && k->kind == SC_KIND_PATH)
            rc = absolute(r, k->name);
        if (strcmp(k->name, "number_of_gpu") == 0)
            r->s->gpus_as_said = true;
    }
    if (rc == 0 && oip)
        rc = put(r, "ts_open_inference_protocol", strcmp(oip, "oip") == 0 ? "true" : "false");
    return rc < 0 ? rc : home_of(r);
}

/* ---- together --------------------------------------------------------------------------------------- */

static int check_temp(const struct resolving *r)
{
    const char *temp = variable(r, "TEMP");
    if (temp && !is_dir(temp))
        return sc_fail(r->msg, SC_ENOTFOUND,
                       "Invalid temp directory: %s, please check TEMP environment variable.", temp);
    return 0;
}

/* A server that cannot restore what it served before does not start with less. */
static int check_snapshot(const struct resolving *r)
{
    struct sc_snapshot snapshot;
    struct sc_msg why = {""};
    const char *json = r->s->model_snapshot, *file = r->from->file;
    if (!json && file && sc_snapshot_is_named(file))
        return sc_fail(r->msg, SC_EINVAL,
                       "%.300s: a snapshot without model_snapshot: it was cut. Remove it to restore the one "
                       "before, or say --no-config-snapshots",
                       file);
    if (!json)
        return 0;
    int rc = sc_snapshot_read(&snapshot, sc_span_str(json), &why);
    if (rc < 0)
        return sc_fail(r->msg, rc, "%.300s%s%s", file ? file : "", file ? ": " : "", why.text);
    rc = sc_snapshot_validate(&snapshot, r->s->model_store, r->msg);
    sc_snapshot_free(&snapshot);
    return rc;
}

int sc_settings_resolve(struct sc_settings *s, const struct sc_settings_sources *from, struct sc_msg *msg)
{
    struct resolving r = {.s = s,
                          .from = from,
                          .lookup = from->environment ? from->environment : sc_settings_getenv,
                          .msg = msg};
    *s = (struct sc_settings){.face = from->face, .snapshots = !from->no_snapshots};
    int rc = read_sources(&r);
    if (rc == 0)
        rc = paths(&r);
    if (rc == 0)
        rc = environment(&r);
    if (rc == 0)
        rc = sc_settings_apply(s, msg);
    if (rc == 0)
        rc = check_temp(&r);
    if (rc == 0)
        rc = check_snapshot(&r);
    if (rc < 0)
        return rc;
    sc_settings_folders(s, r.lookup, from->ctx);
    if (from->home) {
        s->home = realpath(from->home, NULL);
        if (!s->home)
            s->home = sc_strdup(from->home);
    }
    if (from->gpus >= 0)
        sc_settings_set_gpus(s, from->gpus);
    return 0;
}

void sc_settings_write(const struct sc_settings *s, struct sc_buf *out)
{
    struct sc_properties marks = {0};
    int rc = sc_properties_set(&marks, SC_SETTINGS_PREFIX "face",
                               s->face == SC_FACE_TORCHSERVE ? "torchserve" : "sconce");
    rc |= sc_properties_set(&marks, SC_SETTINGS_PREFIX "snapshots", s->snapshots ? "true" : "false");
    rc |= sc_properties_set(&marks, SC_SETTINGS_PREFIX "gpus", s->gpus_as_said ? "as said" : "");
    for (size_t m = 0; m < sc_settings_nmarks; m++) {
        const char *text = sc_settings_marks[m].offset
                               ? *(char *const *)(const void *)((const char *)s + sc_settings_marks[m].offset)
                               : NULL;
        if (text)
            rc |= sc_properties_set(&marks, sc_settings_marks[m].key, text);
    }
    sc_properties_write(&marks, out);
    sc_properties_write(&s->all, out);
    if (rc < 0)
        out->failed = SC_ENOMEM;
    sc_properties_free(&marks);
}

char *sc_settings_find_file(const char *given, bool snapshots)
{
    const char *variable = getenv("TS_CONFIG_FILE"), *logs = getenv("LOG_LOCATION");
    char *newest = NULL;
    if (variable && *variable)
        return sc_strdup(variable);
    if (given)
        return sc_strdup(given);
    if (snapshots)
        newest = sc_snapshot_newest(logs && *logs ? logs : "logs");
    if (newest)
        return newest;
    return access("config.properties", F_OK) == 0 ? sc_strdup("config.properties") : NULL;
}
