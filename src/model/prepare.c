/*
 * What takes long before a version exists and after it is gone: finding and extracting archives, removing
 * them. On pool threads of loop 0, so that no loop waits for a disk or a download.
 */
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "model/engine_private.h"

struct preparation {
    uv_work_t work;
    struct sc_engine *engine;
    struct sc_spec_want want; /* with strings of its own */
    struct sc_model_spec spec;
    struct sc_archive_error err;
    int rc;
    sc_engine_prepared done;
    void *arg;
};

static void prepare(uv_work_t *work)
{
    struct preparation *p = work->data;
    p->rc = sc_spec_prepare(&p->spec, p->engine->spec.settings, &p->want, &p->err);
    if (p->rc == 0)
        p->rc = sc_spec_install(&p->spec, p->engine->spec.settings, p->engine->spec.home, &p->err);
}

static char *copy(const char *s)
{
    return s ? sc_strdup(s) : NULL;
}

static void want_copy(struct sc_spec_want *to, const struct sc_spec_want *from)
{
    *to = *from;
    to->url = copy(from->url);
    to->name = copy(from->name);
    to->version = copy(from->version);
    to->handler = copy(from->handler);
    to->runtime = copy(from->runtime);
    to->backend = copy(from->backend);
    to->settings = copy(from->settings);
}

static void want_free(struct sc_spec_want *w)
{
    const char *owned[] = {w->url, w->name, w->version, w->handler, w->runtime, w->backend, w->settings};
    for (size_t i = 0; i < SC_COUNT(owned); i++)
        free((char *)(uintptr_t)owned[i]);
}

static void prepared(uv_work_t *work, int status)
{
    struct preparation *p = work->data;
    (void)status;
    if (p->rc < 0 && p->err.cause.text[0])
        sc_log(SC_LOG_WARN, "%s (%s)", p->err.msg.text, p->err.cause.text);
    p->done(p->arg, p->rc, p->rc == 0 ? &p->spec : NULL, &p->err);
    want_free(&p->want);
    free(p);
}

void sc_engine_prepare(struct sc_engine *e, const struct sc_spec_want *want, sc_engine_prepared done,
                       void *arg)
{
    struct preparation *p = sc_alloc(sizeof *p);
    p->engine = e;
    p->done = done;
    p->arg = arg;
    p->work.data = p;
    want_copy(&p->want, want);
    p->want.owner = getppid(); /* the supervisor: models outlive this process */
    uv_queue_work(&sc_engine_loop(e, 0)->uv, &p->work, prepare, prepared);
}

struct removal {
    uv_work_t work;
    char *folder, *downloaded;
};

static void remove_files(uv_work_t *work)
{
    struct removal *r = work->data;
    sc_archive_remove(r->folder, r->downloaded);
}

static void removed(uv_work_t *work, int status)
{
    struct removal *r = work->data;
    (void)status;
    free(r->folder);
    free(r->downloaded);
    free(r);
}

void sc_engine_release(struct sc_engine *e, struct sc_model_spec *spec, bool files)
{
    if (files && (spec->remove || spec->downloaded)) {
        struct removal *r = sc_alloc(sizeof *r);
        r->work.data = r;
        r->folder = spec->remove;
        r->downloaded = spec->downloaded;
        spec->remove = spec->downloaded = NULL;
        uv_queue_work(&sc_engine_loop(e, 0)->uv, &r->work, remove_files, removed);
    }
    sc_spec_free(spec);
}
