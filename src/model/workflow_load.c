#include "model/workflow_load.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "archive/locate.h"
#include "base/alloc.h"
#include "base/file.h"
#include "model/spec_parts.h"

#define INVALID 500, "InvalidWorkflowException"

/* A file beside the manifest. What was unpacked has no links: such a name cannot lead out of the folder. */
static int check_file(const char *name, const char *what, struct sc_archive_error *err)
{
    if (!name || !*name)
        return sc_archive_refuse(err, SC_EINVAL, INVALID, "Workflow %s is not defined.", what);
    if (strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return sc_archive_refuse(err, SC_EINVAL, INVALID,
                                 "The workflow's %s must lie in the archive's root: %s", what, name);
    return 0;
}

static int read_spec(struct sc_workflow *w, const char *file, struct sc_archive_error *err)
{
    char path[PATH_MAX];
    struct sc_buf text;
    sc_buf_init(&text, SC_WORKFLOW_SPEC_BYTES);
    if (snprintf(path, sizeof path, "%s/%s", w->dir, file) >= (int)sizeof path)
        path[0] = '\0';
    int rc = sc_file_read(path, &text, &err->cause);
    if (rc < 0)
        rc = sc_archive_refuse(err, rc, INVALID, "The workflow's specFile %s cannot be read.", file);
    else
        rc = sc_workflow_spec_read(&w->spec, sc_buf_view(&text), file, err);
    if (rc == 0 && memchr(text.p, '\0', text.n))
        rc = sc_archive_refuse(err, SC_EINVAL, INVALID, "%s holds a NUL", file);
    if (rc == 0)
        w->text = sc_span_dup(sc_buf_view(&text));
    sc_buf_free(&text);
    return rc;
}

/* Every node's model has a name. */
static int check_names(const struct sc_workflow *w, struct sc_archive_error *err)
{
    char name[SC_MODEL_NAME_MAX + 1];
    for (unsigned i = 0; i < w->spec.n; i++)
        if (sc_workflow_model_name(name, w->name, w->spec.nodes[i].name, &err->msg) < 0) {
            err->status = 400;
            err->type = "InvalidDAGException";
            return SC_EINVAL;
        }
    return 0;
}

static int take(struct sc_workflow *w, const struct sc_manifest *m, const char *name,
                struct sc_archive_error *err)
{
    w->name = sc_strdup(name ? name : m->workflow_name);
    int rc = sc_spec_check_name(sc_span_str(w->name), &err->msg);
    if (rc < 0) {
        err->status = name ? 400 : 500;
        err->type = name ? "BadRequestException" : "InvalidWorkflowException";
        return rc;
    }
    rc = check_file(m->spec_file, "specFile", err);
    if (rc == 0)
        rc = read_spec(w, m->spec_file, err);
    if (rc == 0)
        rc = check_names(w, err);
    for (unsigned i = 0; rc == 0 && i < w->spec.n; i++)
        if (!w->spec.nodes[i].url)
            rc = check_file(m->handler, "handler", err);
    w->handler = rc == 0 && m->handler ? sc_strdup(m->handler) : NULL;
    return rc;
}

int sc_workflow_load(struct sc_workflow *w, const struct sc_settings *settings, const char *name,
                     struct sc_archive_error *err)
{
    struct sc_archive a;
    const struct sc_archive_want want = {.url = w->url,
                                         .store = settings->workflow_store,
                                         .temp = settings->temp ? settings->temp : "/tmp",
                                         .allowed_urls = settings->allowed_urls,
                                         .owner = getppid(), /* the supervisor */
                                         .s3_sse_kms = w->s3_sse_kms,
                                         .workflow = true};
    int rc = sc_archive_fetch(&a, &want, err);
    if (rc < 0)
        return rc;
    w->dir = sc_strdup(a.dir);
    w->remove = a.remove ? sc_strdup(a.remove) : NULL;
    w->downloaded = a.downloaded ? sc_strdup(a.downloaded) : NULL;
    rc = take(w, &a.manifest, name, err);
    sc_archive_free(&a);
    return rc;
}
