#include "archive/archive.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive/extract.h"
#include "archive/locate.h"
#include "archive/place.h"
#include "base/alloc.h"
#include "base/file.h"
#include "base/limits.h"

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static int unpack_into(struct sc_place *place, const struct sc_located *l, bool workflow,
                       struct sc_msg *cause)
{
    bool zip = ends_with(l->name, workflow ? ".war" : ".mar");
    struct stat st;
    int rc;
    int file = open(l->file, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (file < 0 || fstat(file, &st) < 0 || !S_ISREG(st.st_mode))
        rc = sc_fail(cause, SC_ESYS, "%.300s: %s", l->file, file < 0 ? strerror(errno) : "it is no file");
    else
        rc = sc_extract(file, zip ? SC_EXTRACT_ZIP : SC_EXTRACT_TGZ, place->dir, cause);
    if (file >= 0)
        close(file);
    return rc;
}

/* Makes out->dir: what was packed is unpacked, what was not is linked to. */
static int settle(struct sc_archive *out, const struct sc_archive_want *want, const struct sc_located *l,
                  struct sc_archive_error *err)
{
    struct sc_place place;
    int rc = sc_place_open(&place, want->temp, want->owner, &err->cause);
    if (rc < 0)
        goto failed;
    if (l->file)
        rc = unpack_into(&place, l, want->workflow, &err->cause);
    else if (symlinkat(l->folder, place.dir, l->link) < 0)
        rc = sc_fail(&err->cause, SC_ESYS, "cannot make a link to %.300s: %s", l->folder, strerror(errno));
    if (rc == 0)
        rc = sc_place_commit(&place, &err->cause);
    out->remove = place.path;
    if (rc == 0 && l->file)
        out->dir = sc_strdup(place.path);
    else if (rc == 0 && asprintf(&out->dir, "%s/%s", place.path, l->link) < 0)
        rc = sc_fail(&err->cause, SC_ENOMEM, "no memory");
    sc_place_close(&place, rc == 0);
    if (rc == 0)
        return 0;
failed:
    return sc_archive_refuse(err, rc, 500, "InternalServerException", "Failed to save %s: %s",
                             want->workflow ? "workflow" : "model", want->url);
}

static int read_manifest(struct sc_archive *out, bool workflow, struct sc_archive_error *err)
{
    const char *invalid = workflow ? "InvalidWorkflowException" : "InvalidModelException";
    char *path = NULL;
    struct sc_buf text;
    int rc;
    if (asprintf(&path, "%s/%s/MANIFEST.json", out->dir, workflow ? "WAR-INF" : "MAR-INF") < 0)
        return sc_archive_refuse(err, SC_ENOMEM, 500, "InternalServerException", "no memory");
    sc_manifest_init(&out->manifest);
    if (!workflow && access(path, F_OK) < 0) {
        free(path);
        return 0;
    }
    sc_buf_init(&text, SC_MANIFEST_BYTES);
    rc = sc_file_read(path, &text, &err->cause);
    if (rc == SC_ENOTFOUND) {
        rc = sc_archive_refuse(err, SC_EINVAL, 500, invalid, "Workflow name is not defined.");
    } else if (rc < 0) {
        rc = sc_archive_refuse(err, rc, 400, invalid, "Failed to parse signature.json.");
    } else {
        sc_manifest_free(&out->manifest);
        rc = (workflow ? sc_manifest_read_workflow : sc_manifest_read)(&out->manifest, sc_buf_view(&text),
                                                                       &err->msg, &err->cause);
        err->status = workflow ? 500 : 400;
        err->type = invalid;
    }
    out->has_manifest = rc == 0;
    sc_buf_free(&text);
    free(path);
    return rc;
}

int sc_archive_fetch(struct sc_archive *out, const struct sc_archive_want *want, struct sc_archive_error *err)
{
    struct sc_located l;
    *out = (struct sc_archive){0};
    *err = (struct sc_archive_error){0};
    int rc = sc_locate(&l, want, err);
    if (rc < 0)
        return rc;
    out->name = sc_strdup(l.name);
    out->downloaded = l.downloaded ? sc_strdup(l.downloaded) : NULL;
    rc = settle(out, want, &l, err);
    sc_located_free(&l);
    if (rc == 0)
        rc = read_manifest(out, want->workflow, err);
    if (rc < 0) {
        sc_archive_remove(out->remove, out->downloaded);
        sc_archive_free(out);
    }
    return rc;
}

void sc_archive_free(struct sc_archive *a)
{
    free(a->dir);
    free(a->remove);
    free(a->downloaded);
    free(a->name);
    sc_manifest_free(&a->manifest);
    *a = (struct sc_archive){0};
}

char *sc_archive_derived_name(const char *url)
{
    const char *slash = strrchr(url, '/'), *last = slash ? slash + 1 : url;
    char *name = sc_strdup(last), *dot = strrchr(name, '.'), *to = name;
    if (dot && (strstr(url, ".mar") || strstr(url, ".model")))
        *dot = '\0';
    for (const char *c = name; *c; c++)
        if (((unsigned char)*c & 0xC0) != 0x80) /* one for a character, not for a byte */
            *to++ = isalnum((unsigned char)*c) ? *c : '_';
    *to = '\0';
    return name;
}
