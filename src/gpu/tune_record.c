#include "gpu/tune_record.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/mix.h"

static const char *const ways[SC_TUNE_WAYS] = {
    [SC_TUNE_TIMESLICE] = "timeslice", [SC_TUNE_MPS] = "mps", [SC_TUNE_LANES] = "lanes"};

/* ---- reading ---------------------------------------------------------------------------------------- */

struct text_member {
    const char *key;
    size_t offset, size;
    bool must;
};

#define TEXT(k, f, m) {k, offsetof(struct sc_tune_entry, f), sizeof(((struct sc_tune_entry *)0)->f), m}

static const struct text_member texts[] = {
    TEXT("gpu", gpu, true),      TEXT("driver", driver, true), TEXT("content", content, true),
    TEXT("model", model, false), TEXT("at", at, false),
};

static int read_texts(const json_t *j, struct sc_tune_entry *e, struct sc_msg *why)
{
    for (size_t i = 0; i < SC_COUNT(texts); i++) {
        const json_t *v = json_object_get(j, texts[i].key);
        if (!v && !texts[i].must)
            continue;
        if (!json_is_string(v) || json_string_length(v) >= texts[i].size ||
            (texts[i].must && json_string_length(v) == 0) ||
            strlen(json_string_value(v)) != json_string_length(v))
            return sc_fail(why, SC_EINVAL, "\"%s\" must be a text of %s%zu bytes", texts[i].key,
                           texts[i].must ? "1 to " : "at most ", texts[i].size - 1);
        memcpy((char *)e + texts[i].offset, json_string_value(v), json_string_length(v) + 1);
    }
    return 0;
}

static int read_int(const json_t *j, const char *key, int min, int64_t max, bool must, int64_t *out,
                    struct sc_msg *why)
{
    const json_t *v = json_object_get(j, key);
    *out = 0;
    if (!v && !must)
        return 0;
    *out = (int64_t)json_integer_value(v);
    if (!json_is_integer(v) || *out < min || *out > max)
        return sc_fail(why, SC_EINVAL, "\"%s\" must be an integer from %d to %lld", key, min, (long long)max);
    return 0;
}

static int read_ways(const json_t *j, struct sc_tune_entry *e, struct sc_msg *why)
{
    const json_t *best = json_object_get(j, "gpuSharing"), *rates = json_object_get(j, "perSecond");
    e->best = SC_TUNE_WAYS;
    for (int i = 0; i < SC_TUNE_WAYS; i++) {
        const json_t *rate = json_object_get(rates, ways[i]);
        if (json_is_string(best) && strcmp(json_string_value(best), ways[i]) == 0)
            e->best = (enum sc_tune_way)i;
        if (rate && (!json_is_number(rate) || !(json_number_value(rate) >= 0)))
            return sc_fail(why, SC_EINVAL, "\"perSecond\": \"%s\" must be a number from 0 on", ways[i]);
        e->per_second[i] = json_number_value(rate);
    }
    if (rates && !json_is_object(rates))
        return sc_fail(why, SC_EINVAL, "\"perSecond\" must be an object");
    return e->best < SC_TUNE_WAYS ? 0
                                  : sc_fail(why, SC_EINVAL, "\"gpuSharing\" must be timeslice, mps or lanes");
}

static int read_entry(const json_t *j, struct sc_tune_entry *e, struct sc_msg *why)
{
    int64_t workers = 0, batch = 0;
    *e = (struct sc_tune_entry){0};
    if (!json_is_object(j))
        return sc_fail(why, SC_EINVAL, "it must be an object");
    int rc = read_texts(j, e, why);
    if (rc == 0)
        rc = read_int(j, "workers", 1, SC_WORKERS_MAX, true, &workers, why);
    if (rc == 0)
        rc = read_int(j, "batchSize", 0, SC_BATCH_SIZE_MAX, false, &batch, why);
    if (rc == 0)
        rc = read_int(j, "workerMemory", 0, INT64_MAX, false, &e->worker_memory, why);
    if (rc < 0)
        return rc;
    e->workers = (int)workers;
    e->batch_size = (int)batch;
    return read_ways(j, e, why);
}

static int read_record(struct sc_tune_record *r, const json_t *j, const char *path, struct sc_msg *msg)
{
    const json_t *list = json_object_get(j, "measured"), *one;
    struct sc_msg why;
    size_t i;
    if (!json_is_integer(json_object_get(j, "version")) ||
        json_integer_value(json_object_get(j, "version")) != 1)
        return sc_fail(msg, SC_EINVAL, "%.300s: \"version\" must be 1", path);
    if (!json_is_array(list))
        return sc_fail(msg, SC_EINVAL, "%.300s: \"measured\" must be an array", path);
    if (json_array_size(list) > SC_TUNE_ENTRIES_MAX)
        return sc_fail(msg, SC_ELIMIT, "%.300s: it has more than %d entries", path, SC_TUNE_ENTRIES_MAX);
    r->entries = sc_alloc_array(json_array_size(list) + 1, sizeof *r->entries);
    json_array_foreach(list, i, one)
    {
        if (read_entry(one, &r->entries[i], &why) < 0)
            return sc_fail(msg, SC_EINVAL, "%.300s: entry %zu: %.200s", path, i + 1, why.text);
        r->n++;
    }
    return 0;
}

int sc_tune_record_read(struct sc_tune_record *r, const char *path, struct sc_msg *msg)
{
    struct sc_buf text;
    json_error_t error = {0};
    *r = (struct sc_tune_record){0};
    sc_buf_init(&text, SC_TUNE_FILE_BYTES);
    int rc = sc_file_read(path, &text, msg);
    json_t *j = rc == 0 ? json_loadb(text.n ? text.p : "", text.n, JSON_REJECT_DUPLICATES, &error) : NULL;
    if (rc == 0 && !j)
        rc = sc_fail(msg, SC_EINVAL, "%.300s:%d: it is no JSON: %s", path, error.line, error.text);
    if (rc == 0)
        rc = read_record(r, j, path, msg);
    json_decref(j);
    sc_buf_free(&text);
    if (rc < 0)
        sc_tune_record_free(r);
    return rc;
}

void sc_tune_record_free(struct sc_tune_record *r)
{
    free(r->entries);
    *r = (struct sc_tune_record){0};
}

/* ---- writing ---------------------------------------------------------------------------------------- */

static json_t *entry_json(const struct sc_tune_entry *e)
{
    json_t *rates = json_object();
    json_t *j = json_pack("{s:s, s:s, s:s, s:i, s:s}", "gpu", e->gpu, "driver", e->driver, "content",
                          e->content, "workers", e->workers, "gpuSharing", ways[e->best]);
    if (e->batch_size)
        json_object_set_new(j, "batchSize", json_integer(e->batch_size));
    if (*e->model)
        json_object_set_new(j, "model", json_string(e->model));
    if (*e->at)
        json_object_set_new(j, "at", json_string(e->at));
    if (e->worker_memory)
        json_object_set_new(j, "workerMemory", json_integer(e->worker_memory));
    for (int i = 0; i < SC_TUNE_WAYS; i++)
        if (e->per_second[i] > 0)
            json_object_set_new(rates, ways[i], json_real(e->per_second[i]));
    if (json_object_size(rates))
        json_object_set(j, "perSecond", rates);
    json_decref(rates);
    return j;
}

int sc_tune_record_write(const struct sc_tune_record *r, const char *path, struct sc_msg *msg)
{
    json_t *list = json_array(), *j = json_pack("{s:i, s:o}", "version", 1, "measured", list);
    struct sc_buf beside;
    for (unsigned i = 0; i < r->n; i++)
        json_array_append_new(list, entry_json(&r->entries[i]));
    sc_buf_init(&beside, 8192);
    sc_buf_printf(&beside, "%s.%d.new", path, (int)getpid());
    sc_buf_char(&beside, '\0');
    int fd = beside.failed ? -1 : open(beside.p, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    bool good = fd >= 0 && json_dumpfd(j, fd, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) == 0 &&
                write(fd, "\n", 1) == 1 && fsync(fd) == 0 && rename(beside.p, path) == 0;
    int rc = good ? 0 : sc_fail(msg, SC_ESYS, "%.300s cannot be written: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    if (fd >= 0 && !good)
        unlink(beside.p);
    sc_buf_free(&beside);
    json_decref(j);
    return rc;
}

/* ---- entries ---------------------------------------------------------------------------------------- */

static bool is_of(const struct sc_tune_entry *e, const char *gpu, const char *driver, const char *content,
                  int workers)
{
    return e->workers == workers && strcmp(e->gpu, gpu) == 0 && strcmp(e->driver, driver) == 0 &&
           strcmp(e->content, content) == 0;
}

void sc_tune_record_put(struct sc_tune_record *r, const struct sc_tune_entry *e)
{
    for (unsigned i = 0; i < r->n; i++)
        if (is_of(&r->entries[i], e->gpu, e->driver, e->content, e->workers) &&
            r->entries[i].batch_size == e->batch_size) {
            r->entries[i] = *e;
            return;
        }
    if (r->n == SC_TUNE_ENTRIES_MAX)
        memmove(r->entries, r->entries + 1, --r->n * sizeof *r->entries);
    else
        r->entries = sc_realloc_array(r->entries, r->n + 1, sizeof *r->entries);
    r->entries[r->n++] = *e;
}

const struct sc_tune_entry *sc_tune_record_find(const struct sc_tune_record *r, const char *gpu,
                                                const char *driver, const char *content, int workers,
                                                int batch_size)
{
    const struct sc_tune_entry *found = NULL;
    for (unsigned i = 0; i < r->n; i++) {
        const struct sc_tune_entry *e = &r->entries[i];
        if (!is_of(e, gpu, driver, content, workers))
            continue;
        if (e->batch_size == batch_size)
            return e;
        if (!e->batch_size)
            found = e;
    }
    return found;
}

/* ---- content ---------------------------------------------------------------------------------------- */

#define END_BYTES 65536

static bool is_left_out(const FTSENT *f)
{
    static const char *const names[] = {"model-config.yaml", "MAR-INF", "__pycache__", "venv"};
    if (f->fts_level > 0 && f->fts_name[0] == '.')
        return true;
    for (size_t i = 0; i < SC_COUNT(names); i++)
        if (f->fts_level > 0 && strcmp(f->fts_name, names[i]) == 0)
            return true;
    return false;
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int add_file(const FTSENT *f, size_t prefix, uint64_t *h, struct sc_msg *msg)
{
    static _Thread_local char room[END_BYTES];
    const int64_t size = f->fts_statp->st_size;
    int fd = open(f->fts_accpath, O_RDONLY | O_CLOEXEC);
    ssize_t begin = fd < 0 ? -1 : pread(fd, room, sizeof room, 0);
    if (begin >= 0) {
        *h = sc_mix_bytes(*h, f->fts_path + prefix, strlen(f->fts_path + prefix) + 1);
        *h = sc_mix_bytes(*h, &size, sizeof size);
        *h = sc_mix_bytes(*h, room, (size_t)begin);
    }
    ssize_t end = begin < 0 || size <= END_BYTES ? begin : pread(fd, room, sizeof room, size - END_BYTES);
    if (end > 0 && size > END_BYTES)
        *h = sc_mix_bytes(*h, room, (size_t)end);
    int rc = end < 0 ? sc_fail(msg, SC_ESYS, "%.300s: %s", f->fts_path, strerror(errno)) : 0;
    if (fd >= 0)
        close(fd);
    return rc;
}

int sc_tune_content(const char *dir, char out[SC_TUNE_CONTENT], struct sc_msg *msg)
{
    char *root = sc_strdup(dir), *paths[] = {root, NULL};
    uint64_t h = SC_MIX_START;
    unsigned files = 0;
    int rc = 0;
    size_t n = strlen(root);
    out[0] = '\0';
    while (n > 1 && root[n - 1] == '/') /* however it is spelt */
        root[--n] = '\0';
    FTS *walk = *dir ? fts_open(paths, FTS_LOGICAL | FTS_NOCHDIR, by_name) : NULL;
    if (*dir && !walk)
        rc = sc_fail(msg, SC_ESYS, "%.300s: %s", dir, strerror(errno));
    for (FTSENT *f; rc == 0 && walk && (f = fts_read(walk));) {
        if (f->fts_info == FTS_DNR || f->fts_info == FTS_ERR || f->fts_info == FTS_NS)
            rc = sc_fail(msg, SC_ESYS, "%.300s: %s", f->fts_path, strerror(f->fts_errno));
        else if (is_left_out(f) || f->fts_level > SC_ARCHIVE_DEPTH_MAX)
            (void)fts_set(walk, f, FTS_SKIP);
        else if (f->fts_info == FTS_F && ++files <= SC_ARCHIVE_ENTRIES_MAX)
            rc = add_file(f, n, &h, msg);
    }
    if (walk)
        fts_close(walk);
    free(root);
    if (rc == 0 && *dir)
        snprintf(out, SC_TUNE_CONTENT, "%016llx", (unsigned long long)h);
    return rc;
}
