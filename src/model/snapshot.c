/* Writing snapshots, and finding the newest. */
#include "model/snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "proto/json_write.h"

#define STAMP 17 /* yyyyMMddHHmmssSSS */

/* ---- content ------------------------------------------------------------------------------------------ */

static bool lies_in_store(const struct sc_settings *settings, const char *name)
{
    char path[PATH_MAX];
    struct stat st;
    return settings->model_store &&
           snprintf(path, sizeof path, "%s/%s", settings->model_store, name) < (int)sizeof path &&
           stat(path, &st) == 0;
}

/* What finds the model again: its file's or folder's name in the store. TorchServe writes that name also for
 * a folder that lies elsewhere, and then cannot restore it; here it is the folder's path. */
static const char *mar_name(const struct sc_settings *settings, const struct sc_model_spec *s)
{
    const char *url = s->url ? s->url : "", *slash = strrchr(url, '/');
    const char *name = s->archive ? s->archive : slash ? slash + 1 : url;
    if (strcmp(url, "identity") == 0)
        return url;
    if (lies_in_store(settings, name) || s->remove)
        return !lies_in_store(settings, name) && *url == '/' ? url : name;
    return s->dir && *s->dir ? s->dir : name;
}

/* What a registration set for a native backend, which no file says. */
static void put_settings(struct sc_json_writer *w, const struct sc_model_spec *s)
{
    bool open = false;
    for (unsigned i = 0; i < s->nextras; i++)
        if (s->extras[i].asked) {
            if (!open) {
                sc_json_key(w, "settings");
                sc_json_begin_object(w);
            }
            open = true;
            sc_json_put_str(w, s->extras[i].key, s->extras[i].value);
        }
    if (open)
        sc_json_end_object(w);
}

static void put_version(struct sc_json_writer *w, const struct sc_settings *settings,
                        const struct sc_snapshot_version *v)
{
    const struct sc_model_spec *s = v->spec;
    sc_json_key(w, s->version);
    sc_json_begin_object(w);
    sc_json_put_bool(w, "defaultVersion", v->is_default);
    sc_json_put_str(w, "marName", mar_name(settings, s));
    sc_json_put_int(w, "minWorkers", s->min_workers);
    sc_json_put_int(w, "maxWorkers", s->max_workers);
    sc_json_put_int(w, "batchSize", s->batch_size);
    sc_json_put_int(w, "maxBatchDelay", s->max_batch_delay);
    sc_json_put_int(w, "responseTimeout", s->response_timeout);
    sc_json_put_int(w, "startupTimeout", s->startup_timeout);
    sc_json_put_str(w, "runtimeType", s->runtime[0] ? s->runtime : "python");
    if (s->backend_asked)
        sc_json_put_str(w, "backend", s->backend);
    if (s->parallel_level > 0)
        sc_json_put_int(w, "parallelLevel", s->parallel_level);
    put_settings(w, s);
    sc_json_end_object(w);
}

static int put_models(struct sc_buf *out, const struct sc_settings *settings, const char *name,
                      const struct sc_snapshot_version *versions, unsigned n, int64_t now_ms)
{
    struct sc_json_writer w;
    sc_json_write_init(&w, out, false);
    sc_json_begin_object(&w);
    sc_json_put_str(&w, "name", name);
    sc_json_put_int(&w, "modelCount", n);
    sc_json_put_int(&w, "created", now_ms);
    sc_json_key(&w, "models");
    sc_json_begin_object(&w);
    for (unsigned i = 0; i < n; i++) {
        if (i == 0 || strcmp(versions[i].spec->name, versions[i - 1].spec->name) != 0) {
            if (i > 0)
                sc_json_end_object(&w);
            sc_json_key(&w, versions[i].spec->name);
            sc_json_begin_object(&w);
        }
        put_version(&w, settings, &versions[i]);
    }
    if (n > 0)
        sc_json_end_object(&w);
    sc_json_end_object(&w);
    sc_json_end_object(&w);
    int rc = sc_json_write_finish(&w);
    if (rc == 0) {
        out->n--; /* the LF behind a document */
        sc_buf_char(out, '\0');
    }
    return rc < 0 ? rc : out->failed;
}

void sc_snapshot_write(const struct sc_settings *settings, const char *name,
                       const struct sc_snapshot_version *versions, unsigned n, int64_t now_ms,
                       struct sc_buf *out)
{
    struct sc_properties p = {0};
    struct sc_buf json;
    char date[64];
    struct tm t;
    time_t seconds = (time_t)(now_ms / 1000);
    int rc = 0;
    sc_buf_init(&json, SC_SETTINGS_FILE_BYTES);
    for (unsigned i = 0; rc == 0 && i < settings->all.n; i++)
        rc = sc_properties_set(&p, settings->all.items[i].key, settings->all.items[i].value);
    if (rc == 0)
        rc = sc_properties_set(&p, "version", SC_TORCHSERVE_VERSION);
    if (rc == 0)
        rc = put_models(&json, settings, name, versions, n, now_ms);
    if (rc == 0)
        rc = sc_properties_set(&p, "model_snapshot", json.p);
    localtime_r(&seconds, &t);
    strftime(date, sizeof date, "%a %b %d %H:%M:%S %Z %Y", &t);
    sc_buf_printf(out, "#Saving snapshot\n#%s\n", date);
    sc_properties_write(&p, out);
    if (rc < 0)
        out->failed = rc;
    sc_buf_free(&json);
    sc_properties_free(&p);
}

/* ---- files -------------------------------------------------------------------------------------------- */

static void file_name(char out[64], enum sc_snapshot_kind kind, int64_t now_ms)
{
    static const char *const kinds[] = {"startup", "snapshot", "shutdown"};
    struct tm t;
    time_t seconds = (time_t)(now_ms / 1000);
    localtime_r(&seconds, &t);
    size_t n = strftime(out, 64, "%Y%m%d%H%M%S", &t);
    snprintf(out + n, 64 - n, "%03d-%s.cfg", (int)(now_ms % 1000), kinds[kind]);
}

static int make_folder(const char *dir, struct sc_msg *msg)
{
    char path[PATH_MAX];
    struct stat st;
    if (snprintf(path, sizeof path, "%s/config/", dir) >= (int)sizeof path)
        return sc_fail(msg, SC_EINVAL, "the log folder's path is too long");
    for (char *p = path + 1; *p; p++)
        if (*p == '/') {
            *p = '\0';
            (void)mkdir(path, 0755);
            *p = '/';
        }
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        return sc_fail(msg, SC_ESYS, "the folder of snapshots %.300s cannot be made: %s", path,
                       strerror(errno));
    return 0;
}

static bool write_all(int fd, struct sc_span s)
{
    while (s.n) {
        ssize_t n = write(fd, s.p, s.n);
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0)
            s = sc_span_sub(s, (size_t)n, s.n);
    }
    return true;
}

/* A name that stands for the whole content or for nothing, and replaces nothing. */
static int write_file(const char *dir, const char *name, struct sc_span text, struct sc_msg *msg)
{
    char path[PATH_MAX], half[PATH_MAX];
    snprintf(path, sizeof path, "%s/config/%s", dir, name);
    snprintf(half, sizeof half, "%s/config/.%s.XXXXXX", dir, name);
    int fd = mkostemp(half, O_CLOEXEC);
    if (fd < 0)
        return sc_fail(msg, SC_ESYS, "the snapshot %.300s cannot be written: %s", path, strerror(errno));
    int rc = 0;
    /* It holds what the configuration file holds, but was not made by whoever set that file's mode. */
    if (fchmod(fd, 0640) < 0 || !write_all(fd, text) || fdatasync(fd) < 0)
        rc = sc_fail(msg, SC_ESYS, "the snapshot %.300s cannot be written: %s", path, strerror(errno));
    else if (link(half, path) < 0)
        rc = errno == EEXIST
                 ? sc_fail(msg, SC_EEXIST, "the snapshot %.300s is there already and stays", path)
                 : sc_fail(msg, SC_ESYS, "the snapshot %.300s cannot be written: %s", path, strerror(errno));
    close(fd);
    unlink(half);
    return rc;
}

int sc_snapshot_save(const struct sc_settings *settings, enum sc_snapshot_kind kind,
                     const struct sc_snapshot_version *versions, unsigned n, int64_t now_ms,
                     struct sc_msg *msg)
{
    char name[64];
    struct sc_buf text;
    if (!settings->snapshots)
        return 0;
    file_name(name, kind, now_ms);
    sc_buf_init(&text, 8 * SC_SETTINGS_FILE_BYTES);
    sc_snapshot_write(settings, name, versions, n, now_ms, &text);
    int rc = text.failed ? sc_fail(msg, text.failed, "the snapshot %s is too large", name) : 0;
    if (rc == 0)
        rc = make_folder(settings->log_dir, msg);
    if (rc == 0)
        rc = write_file(settings->log_dir, name, sc_buf_view(&text), msg);
    sc_buf_free(&text);
    return rc;
}

/* ---- the newest --------------------------------------------------------------------------------------- */

static bool is_snapshot(const char *name)
{
    struct sc_span s = sc_span_str(name), end = SC_SPAN(".cfg");
    return strspn(name, "0123456789") == STAMP && name[STAMP] == '-' && s.n > STAMP + end.n &&
           sc_span_eq(sc_span_sub(s, s.n - end.n, end.n), end);
}

bool sc_snapshot_is_named(const char *path)
{
    const char *slash = strrchr(path, '/');
    return is_snapshot(slash ? slash + 1 : path);
}

char *sc_snapshot_newest(const char *log_dir)
{
    char dir[PATH_MAX], best[NAME_MAX + 1] = "";
    if (snprintf(dir, sizeof dir, "%s/config", log_dir) >= (int)sizeof dir)
        return NULL;
    DIR *d = opendir(dir);
    if (!d)
        return NULL;
    for (struct dirent *e; (e = readdir(d));)
        if (is_snapshot(e->d_name) && strcmp(e->d_name, best) > 0)
            snprintf(best, sizeof best, "%s", e->d_name);
    closedir(d);
    char *path = NULL;
    if (!best[0] || asprintf(&path, "%s/%s", dir, best) < 0)
        return NULL;
    return path;
}
