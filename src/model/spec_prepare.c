/* From a registration to a spec: where the model is, who serves it, what it is called. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive/locate.h"
#include "base/alloc.h"
#include "base/file.h"
#include "gpu/tune_record.h"
#include "model/spec_parts.h"
#include "proto/yaml.h"

#define INVALID 400, "InvalidModelException"

struct preparing {
    struct sc_model_spec *s;
    const struct sc_settings *settings;
    const struct sc_spec_want *want;
    struct sc_archive_error *err;
};

void sc_spec_want_init(struct sc_spec_want *w, enum sc_spec_mode mode, const char *url)
{
    *w = (struct sc_spec_want){.mode = mode,
                               .url = url,
                               .batch_size = SC_SPEC_UNSET,
                               .max_batch_delay = SC_SPEC_UNSET,
                               .response_timeout = SC_SPEC_UNSET,
                               .startup_timeout = SC_SPEC_UNSET,
                               .initial_workers = SC_SPEC_UNSET};
}

static void log_note(void *ctx, enum sc_log_level level, const char *text)
{
    const struct preparing *p = ctx;
    sc_log(level, "model %s: %s", p->s->name, text);
}

/* ---- files ------------------------------------------------------------------------------------------- */

static bool is_type(const char *path, mode_t type)
{
    struct stat st;
    return stat(path, &st) == 0 && (st.st_mode & S_IFMT) == type;
}

static bool is_in(const char *dir, const char *name, mode_t type)
{
    char path[PATH_MAX];
    return snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path && is_type(path, type);
}

/* Reads dir/file; SC_ENOTFOUND: there is none. */
static int read_in(const char *dir, const char *file, struct sc_buf *b, struct sc_msg *msg)
{
    char path[PATH_MAX];
    sc_buf_init(b, SC_SETTINGS_FILE_BYTES);
    if (snprintf(path, sizeof path, "%s/%s", dir, file) >= (int)sizeof path)
        return sc_fail(msg, SC_EINVAL, "%.200s: the path is too long", file);
    return sc_file_read(path, b, msg);
}

static struct sc_span last_component(struct sc_span path)
{
    while (path.n > 1 && path.p[path.n - 1] == '/')
        path.n--;
    size_t at = path.n;
    while (at && path.p[at - 1] != '/')
        at--;
    return sc_span_sub(path, at, path.n);
}

/* ---- name, version, handler -------------------------------------------------------------------------- */

/* The handler that Python would run; NULL: nobody named one. */
static const char *handler_of(const struct preparing *p, const struct sc_manifest *m)
{
    const char *all[] = {p->want->handler, m ? m->handler : NULL, p->settings->default_service_handler};
    for (size_t i = 0; i < SC_COUNT(all); i++)
        if (all[i] && *all[i])
            return all[i];
    return NULL;
}

static int take_name(const struct preparing *p, const char *name)
{
    int rc = sc_spec_check_name(sc_span_str(name), &p->err->msg);
    p->err->status = 400;
    p->err->type = p->want->name ? "BadRequestException" : "InvalidModelException";
    if (rc == 0)
        snprintf(p->s->name, sizeof p->s->name, "%s", name);
    return rc;
}

static int take_version(const struct preparing *p, const struct sc_manifest *m)
{
    const char *version = p->want->version ? p->want->version : m ? m->model_version : NULL;
    if (!version || !*version)
        return 0; /* stays 1.0 */
    int rc = sc_spec_check_version(sc_span_str(version), &p->err->msg);
    p->err->status = 400;
    p->err->type = p->want->version ? "BadRequestException" : "InvalidModelException";
    if (rc == 0)
        snprintf(p->s->version, sizeof p->s->version, "%s", version);
    return rc;
}

/* Given, of the manifest, or derived: what lies in a file must be named by a call, as TorchServe has it. */
static int name_archive(const struct preparing *p, const struct sc_archive *a)
{
    const char *url = p->want->url;
    bool folder = is_type(url, S_IFDIR) ||
                  (p->settings->model_store && is_in(p->settings->model_store, a->name, S_IFDIR));
    if (p->want->name)
        return take_name(p, p->want->name);
    if (a->manifest.model_name && *a->manifest.model_name)
        return take_name(p, a->manifest.model_name);
    if (p->want->mode == SC_SPEC_API && !(folder && p->settings->face == SC_FACE_SCONCE))
        return sc_archive_refuse(p->err, SC_EINVAL, INVALID, "Model name is not defined.");
    char *derived = sc_archive_derived_name(url);
    int rc = take_name(p, derived);
    free(derived);
    return rc;
}

/* ---- native models ------------------------------------------------------------------------------------ */

/* The backend that the registration itself names, or NULL. */
static const char *asked_backend(const struct preparing *p)
{
    return p->want->backend && *p->want->backend ? p->want->backend : NULL;
}

/* The model's file with what lies beside it in the store; *file is NULL where there is neither. */
static int add_override(const struct preparing *p, struct sc_span name, const char **file,
                        struct sc_buf *yaml)
{
    int rc = sc_spec_override(p->settings->model_store, name, *file, yaml, &p->err->msg);
    if (rc > 0 && !*file)
        *file = "model-config.yaml";
    if (rc > 0)
        sc_log(SC_LOG_INFO, "model %s: %.*s" SC_SPEC_OVERRIDE " goes over its own configuration", p->s->name,
               SC_FMT(name));
    if (rc >= 0)
        return 0;
    p->err->status = 400;
    p->err->type = "InvalidModelException";
    return rc;
}

/* dir is in place; `yaml` may be NULL. */
static int finish_native(const struct preparing *p, const struct sc_buf *yaml)
{
    struct sc_model_spec *s = p->s;
    struct sc_span text = yaml ? sc_buf_view(yaml) : sc_span(NULL, 0);
    const char *asked = asked_backend(p);
    if (yaml && !text.p)
        text = SC_SPAN("");
    int rc =
        sc_spec_settle_native(s, text, p->settings, p->want, log_note, (void *)(uintptr_t)p, &p->err->msg);
    if (asked) {
        snprintf(s->backend, sizeof s->backend, "%s", asked);
        s->backend_asked = true;
    }
    if (rc == 0 && p->want->settings)
        rc = sc_spec_ask_settings(s, sc_span_str(p->want->settings), &p->err->msg);
    if (rc < 0) {
        p->err->status = 400;
        p->err->type = "InvalidModelException";
    } else if (!s->backend[0] && is_in(s->dir, "config.json", S_IFREG)) {
        snprintf(s->backend, sizeof s->backend, "encoder");
    } else if (!s->backend[0]) {
        rc = sc_archive_refuse(
            p->err, SC_EINVAL, INVALID,
            "%.200s has no config.json: a folder in Hugging Face's layout (config.json, "
            "model.safetensors, tokenizer.json or vocab.txt), or an archive with a handler is "
            "expected",
            p->want->url);
    }
    return rc;
}

static int identity(const struct preparing *p)
{
    p->s->dir = sc_strdup("");
    snprintf(p->s->backend, sizeof p->s->backend, "identity");
    int rc = take_name(p, p->want->name ? p->want->name : "identity");
    if (rc == 0)
        rc = take_version(p, NULL);
    return rc < 0 ? rc : finish_native(p, NULL);
}

/* True for a folder that our own executor serves where it lies; `real` is its path. */
static bool lies_in_place(const struct preparing *p, char real[PATH_MAX])
{
    const char *url = p->want->url, *store = p->settings->model_store;
    char joined[PATH_MAX], name[NAME_MAX + 1], backend[32] = "";
    struct sc_span last = last_component(sc_span_str(url));
    struct sc_msg unused;
    struct sc_buf yaml;
    const bool torchserve = p->settings->face == SC_FACE_TORCHSERVE;
    if (!*url || ((torchserve || p->want->mode == SC_SPEC_API) && strstr(url, "..")))
        return false;
    snprintf(name, sizeof name, "%.*s", (int)SC_MIN(last.n, sizeof name - 1), last.p);
    if (store && is_in(store, name, S_IFREG))
        return false;
    const char *found = is_type(url, S_IFDIR) ? url : NULL;
    if (!found && store && *url != '/' &&
        snprintf(joined, sizeof joined, "%s/%s", store, url) < (int)sizeof joined && is_type(joined, S_IFDIR))
        found = joined;
    if (!found || !realpath(found, real) || is_in(real, "MAR-INF", S_IFDIR))
        return false;
    if (asked_backend(p))
        return strcmp(asked_backend(p), "python") != 0;
    if (handler_of(p, NULL))
        return false;
    int rc = read_in(real, "model-config.yaml", &yaml, &unused);
    if (rc == 0)
        rc = sc_spec_yaml_backend(backend, sc_buf_view(&yaml), "model-config.yaml", &unused);
    sc_buf_free(&yaml);
    if (strcmp(backend, "python") == 0)
        return false;
    return !torchserve || backend[0] || rc == SC_EUNSUPPORTED || is_in(real, "config.json", S_IFREG);
}

static int in_place(const struct preparing *p, const char *real)
{
    struct sc_buf yaml;
    char name[PATH_MAX];
    struct sc_span last = last_component(sc_span_str(real));
    p->s->dir = sc_strdup(real);
    snprintf(name, sizeof name, "%.*s", SC_FMT(last));
    int rc = take_name(p, p->want->name ? p->want->name : name);
    if (rc == 0)
        rc = take_version(p, NULL);
    if (rc < 0)
        return rc;
    rc = read_in(real, "model-config.yaml", &yaml, &p->err->msg);
    if (rc == 0 || rc == SC_ENOTFOUND) {
        const char *file = rc == 0 ? "model-config.yaml" : NULL;
        rc = add_override(p, last_component(sc_span_str(p->want->url)), &file, &yaml);
        if (rc == 0)
            rc = finish_native(p, file ? &yaml : NULL);
    } else {
        p->err->status = 400;
        p->err->type = "InvalidModelException";
    }
    sc_buf_free(&yaml);
    return rc;
}

/* ---- archives ----------------------------------------------------------------------------------------- */

static char *text_of(const char *s)
{
    return s && *s ? sc_strdup(s) : NULL;
}

/* The file that configures the model, read into *b; NULL: there is none, or none that can be read. */
static const char *read_config(const struct sc_archive *a, struct sc_buf *b)
{
    static const char usual[] = "model-config.yaml";
    const char *named = a->manifest.config_file;
    struct sc_msg why = {""};
    sc_buf_init(b, SC_SETTINGS_FILE_BYTES);
    if ((!named || !*named) && (a->has_manifest || !is_in(a->dir, usual, S_IFREG)))
        return NULL;
    named = named && *named ? named : usual;
    int rc = strchr(named, '/') ? sc_fail(&why, SC_EINVAL, "it must lie in the archive's root")
                                : read_in(a->dir, named, b, &why);
    if (rc == 0)
        return named;
    sc_log(SC_LOG_ERROR, "Failed to parse model config file %s: %s", named, why.text);
    return NULL;
}

/* The configuration as JSON beside the model, where what was extracted goes away with it: the worker need not
 * import PyYAML then, which is not everywhere and takes its time. */
static void write_json(struct sc_model_spec *s, struct sc_span yaml)
{
    char path[PATH_MAX];
    struct sc_buf json;
    sc_buf_init(&json, 4 * SC_SETTINGS_FILE_BYTES);
    if (s->remove && sc_yaml_to_json(yaml, &json) == 0 &&
        snprintf(path, sizeof path, "%s/.model-config.json", s->remove) < (int)sizeof path) {
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
        bool good = fd >= 0 && write(fd, json.p, json.n) == (ssize_t)json.n;
        if (fd >= 0)
            close(fd);
        if (good)
            s->config_json = sc_strdup(path);
    }
    sc_buf_free(&json);
}

static bool is_native(const char *backend)
{
    return strcmp(backend, "encoder") == 0 || strcmp(backend, "identity") == 0;
}

/* Whether the executor serves what was fetched. A `backend` of the file's that is none of ours belongs to the
 * handler. */
static bool serves_natively(const struct preparing *p, const struct sc_archive *a, const struct sc_buf *yaml,
                            const char *file)
{
    char backend[32] = "";
    struct sc_msg unused;
    const char *handler = handler_of(p, &a->manifest);
    if (asked_backend(p))
        return strcmp(asked_backend(p), "python") != 0;
    if (file && sc_spec_yaml_backend(backend, sc_buf_view(yaml), file, &unused) < 0)
        backend[0] = '\0';
    if (handler || strcmp(backend, "python") == 0)
        return is_native(backend);
    return backend[0] || (!a->has_manifest && is_in(a->dir, "config.json", S_IFREG));
}

static int finish_python(const struct preparing *p, const struct sc_archive *a, const struct sc_buf *yaml,
                         const char *file)
{
    struct sc_model_spec *s = p->s;
    struct sc_spec_yaml y = {0};
    struct sc_msg why = {""};
    const char *runtime = p->want->runtime ? p->want->runtime : a->manifest.runtime;
    snprintf(s->backend, sizeof s->backend, "python");
    s->backend_asked = asked_backend(p) != NULL;
    s->handler = text_of(handler_of(p, &a->manifest));
    s->requirements = text_of(a->manifest.requirements_file);
    s->config_file = file ? sc_strdup(file) : NULL;
    if (runtime && *runtime)
        snprintf(s->runtime, sizeof s->runtime, "%s", runtime);
    if (file && sc_spec_yaml_read(s, &y, sc_buf_view(yaml), file, p->settings->number_of_gpu, log_note,
                                  (void *)(uintptr_t)p, &why) < 0)
        sc_log(SC_LOG_ERROR, "Failed to parse model config file %s: %s", file, why.text);
    if (y.present)
        write_json(s, sc_buf_view(yaml));
    int rc = sc_spec_settle(s, &y, p->settings, p->want, log_note, (void *)(uintptr_t)p, p->err);
    if (rc == 0 && strcmp(s->runtime, "LSP") == 0)
        rc = sc_archive_refuse(p->err, SC_EUNSUPPORTED, INVALID,
                               "The runtime of model %s is LSP, the C++ worker, which Sconce does not have",
                               s->name);
    /* Coroutines of one rank go on in an order that the others cannot know, and their collectives would not
     * meet. */
    bool together = strcmp(s->parallel_type, "tp") == 0 || strcmp(s->parallel_type, "pptp") == 0;
    if (rc == 0 && s->async_communication && together && s->parallel_level > 1)
        rc = sc_archive_refuse(
            p->err, SC_EUNSUPPORTED, INVALID,
            "Model %s has asyncCommunication and parallelType %s with %d ranks: all of them "
            "get every call, and coroutines keep no order among several processes. "
            "parallelType custom leaves the processes to the handler",
            s->name, s->parallel_type, s->parallel_level);
    return rc;
}

static void ask_for_a_newer_archiver(const struct preparing *p, const struct sc_archive *a)
{
    if (a->has_manifest && !a->manifest.created_on)
        sc_log(SC_LOG_WARN,
               "Model archive createdOn is not defined. Please upgrade to latest archiver tools (%s)",
               p->want->url);
    if (a->has_manifest && !a->manifest.archiver_version)
        sc_log(SC_LOG_WARN,
               "Model archive version is not defined. Please upgrade to latest archiver tools (%s)",
               p->want->url);
}

static int from_archive(const struct preparing *p, struct sc_archive *a)
{
    struct sc_model_spec *s = p->s;
    struct sc_buf yaml;
    s->dir = sc_strdup(a->dir);
    s->archive = text_of(a->name);
    s->remove = text_of(a->remove);
    s->downloaded = text_of(a->downloaded);
    ask_for_a_newer_archiver(p, a);
    int rc = name_archive(p, a);
    if (rc == 0)
        rc = take_version(p, &a->manifest);
    if (rc < 0)
        return rc;
    const char *file = read_config(a, &yaml);
    rc = add_override(p, sc_span_str(a->name), &file, &yaml);
    if (rc == 0)
        rc = serves_natively(p, a, &yaml, file) ? finish_native(p, file ? &yaml : NULL)
                                                : finish_python(p, a, &yaml, file);
    sc_buf_free(&yaml);
    return rc;
}

static int fetched(const struct preparing *p)
{
    char store[PATH_MAX];
    struct sc_archive a;
    struct sc_archive_want w = {.url = p->want->url,
                                .store = p->settings->model_store,
                                .temp = p->settings->temp ? p->settings->temp : "/tmp",
                                .allowed_urls = p->settings->allowed_urls,
                                .owner = p->want->owner,
                                .s3_sse_kms = p->want->s3_sse_kms};
    /* Without a store a folder can still be meant: the one that it lies in is as good as any. */
    if (!w.store && p->settings->face == SC_FACE_SCONCE && is_type(w.url, S_IFDIR) &&
        realpath(w.url, store)) {
        *strrchr(store, '/') = '\0';
        w.store = *store ? store : "/";
    }
    int rc = sc_archive_fetch(&a, &w, p->err);
    if (rc < 0)
        return rc;
    rc = from_archive(p, &a);
    if (rc < 0)
        sc_archive_remove(a.remove, a.downloaded);
    sc_archive_free(&a);
    return rc;
}

int sc_spec_prepare(struct sc_model_spec *s, const struct sc_settings *settings,
                    const struct sc_spec_want *want, struct sc_archive_error *err)
{
    const struct preparing p = {s, settings, want, err};
    char real[PATH_MAX];
    struct sc_msg why;
    int rc;
    *err = (struct sc_archive_error){0};
    sc_spec_init(s);
    s->url = sc_strdup(want->url ? want->url : "");
    s->at_startup = want->mode == SC_SPEC_STARTUP; /* not of a snapshot, as TorchServe */
    if (want->url && strcmp(want->url, "identity") == 0)
        rc = identity(&p);
    else if (want->url && lies_in_place(&p, real))
        rc = in_place(&p, real);
    else
        rc = fetched(&p);
    if (rc < 0)
        sc_spec_free(s);
    else if (settings->tune_record && sc_tune_content(s->dir, s->content, &why) < 0)
        sc_log(SC_LOG_WARN, "model %s: what was measured of it is not found again: %s", s->name, why.text);
    return rc;
}
