#include "archive/locate.h"

#include <dirent.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>

#include "archive/allowed.h"
#include "archive/download.h"
#include "base/alloc.h"
#include "base/limits.h"

#define NOT_FOUND(want) 404, (want)->workflow ? "WorkflowNotFoundException" : "ModelNotFoundException"
#define KIND(want) ((want)->workflow ? "Workflow" : "Model")

int sc_archive_refuse(struct sc_archive_error *err, int code, int status, const char *type, const char *fmt,
                      ...)
{
    va_list ap;
    err->status = status;
    err->type = type;
    va_start(ap, fmt);
    vsnprintf(err->msg.text, sizeof err->msg.text, fmt, ap);
    va_end(ap);
    return code;
}

/* "scheme://" or one of the schemes that TorchServe knows, whatever follows. */
static bool has_scheme(const char *url)
{
    static const char *const known[] = {"file:", "http:", "https:"};
    for (size_t i = 0; i < SC_COUNT(known); i++)
        if (strncasecmp(url, known[i], strlen(known[i])) == 0)
            return true;
    size_t n = strspn(url, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");
    return n > 0 && strncmp(url + n, "://", 3) == 0;
}

/* The last component; a URL's query and fragment do not count. */
static char *last_component(const char *url)
{
    struct sc_span s = sc_span_str(url);
    if (has_scheme(url)) {
        const char *host = strstr(url, "://");
        size_t skip = host ? (size_t)(host + 3 - url) : 0;
        s = sc_span(url + skip, strcspn(url + skip, "?#"));
        if (sc_span_find(s, '/') == s.n)
            s.n = 0; /* a host alone */
    }
    size_t from = s.n;
    while (from > 0 && s.p[from - 1] != '/' && s.p[from - 1] != '\\')
        from--;
    char *name = sc_span_dup(sc_span_sub(s, from, s.n));
    return name ? name : sc_strdup("");
}

static bool is_file_name(const char *name)
{
    return *name && strcmp(name, ".") != 0 && strlen(name) <= NAME_MAX;
}

static char *in_folder(const char *folder, const char *name)
{
    char *path = NULL;
    return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

static bool is_type(const char *path, mode_t type)
{
    struct stat st;
    return path && stat(path, &st) == 0 && (st.st_mode & S_IFMT) == type;
}

/* The folder in which the model is: an only entry that is a folder is meant in place of the outer one. */
static char *inner_folder(char *folder)
{
    const struct dirent *e;
    char *only = NULL;
    unsigned n = 0;
    DIR *d = opendir(folder);
    while (d && n < 2 && (e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        free(only);
        only = in_folder(folder, e->d_name);
        n++;
    }
    if (d)
        closedir(d);
    if (n != 1 || !is_type(only, S_IFDIR)) {
        free(only);
        return folder;
    }
    char *inner = realpath(only, NULL);
    free(only);
    if (!inner)
        return folder;
    free(folder);
    return inner;
}

static bool take_folder(struct sc_located *l, const char *path)
{
    if (!is_type(path, S_IFDIR))
        return false;
    char *whole = realpath(path, NULL);
    if (!whole || strcmp(whole, "/") == 0) {
        free(whole);
        return false;
    }
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    size_t from = n;
    while (from > 0 && path[from - 1] != '/')
        from--;
    struct sc_span last = sc_span(path + from, n - from);
    l->link = sc_span_eq(last, SC_SPAN(".")) ? sc_strdup(strrchr(whole, '/') + 1) : sc_span_dup(last);
    l->folder = inner_folder(whole);
    return l->link != NULL;
}

static int fetch_url(struct sc_located *l, const struct sc_archive_want *want, struct sc_archive_error *err)
{
    const char *allowed = want->allowed_urls ? want->allowed_urls : SC_ALLOWED_URLS_DEFAULT;
    if (!sc_allowed_url(allowed, want->url))
        return sc_archive_refuse(err, SC_ENOTFOUND, NOT_FOUND(want),
                                 "Given URL %s does not match any allowed URL(s)", want->url);
    if (!is_file_name(l->name))
        return sc_archive_refuse(err, SC_ENOTFOUND, NOT_FOUND(want), "%s not found at: %s", KIND(want),
                                 want->url);
    int rc = sc_download(want->url, allowed, want->store, l->name, want->s3_sse_kms, &err->cause);
    if (rc == SC_EEXIST)
        return want->workflow ? sc_archive_refuse(err, rc, 500, "FileAlreadyExistsException", "%s", l->name)
                              : sc_archive_refuse(err, rc, 500, "InternalServerException",
                                                  "Model file already exists %s", l->name);
    if (rc < 0)
        return sc_archive_refuse(err, rc, 400, "DownloadArchiveException",
                                 "Failed to download archive from: %s", want->url);
    l->downloaded = in_folder(want->store, l->name);
    return 0;
}

int sc_locate(struct sc_located *l, const struct sc_archive_want *want, struct sc_archive_error *err)
{
    char *in_store = NULL;
    int rc = 0;
    *l = (struct sc_located){0};
    if (!want->store)
        return sc_archive_refuse(err, SC_ENOTFOUND, NOT_FOUND(want), "%s store has not been configured.",
                                 KIND(want));
    if (!want->url || !*want->url)
        return sc_archive_refuse(err, SC_ENOTFOUND, NOT_FOUND(want),
                                 want->workflow ? "Workflow not found at: " : "empty url");
    if (strlen(want->url) > SC_ARCHIVE_URL_MAX || strstr(want->url, ".."))
        return sc_archive_refuse(err, SC_ENOTFOUND, NOT_FOUND(want),
                                 "Relative path is not allowed in url: %s", want->url);
    l->name = last_component(want->url);
    /* A pattern such as ".*" also matches names in the store: it is for URLs all the same. */
    if (has_scheme(want->url))
        rc = fetch_url(l, want, err);
    if (rc < 0)
        goto failed;
    if (is_file_name(l->name))
        in_store = in_folder(want->store, l->name);
    if (is_type(in_store, S_IFREG)) {
        l->file = in_store;
        return 0;
    }
    if (want->workflow || (!take_folder(l, want->url) && !(in_store && take_folder(l, in_store)))) {
        bool folder = is_type(in_store, S_IFDIR) || is_type(want->url, S_IFDIR);
        rc = sc_archive_refuse(err, SC_ENOTFOUND, NOT_FOUND(want), "%s not found %s: %s", KIND(want),
                               want->workflow && !folder ? "in workflow store" : "at", want->url);
        goto failed;
    }
    free(in_store);
    return 0;
failed:
    free(in_store);
    sc_located_free(l);
    return rc;
}

void sc_located_free(struct sc_located *l)
{
    free(l->name);
    free(l->file);
    free(l->folder);
    free(l->link);
    free(l->downloaded);
    *l = (struct sc_located){0};
}
