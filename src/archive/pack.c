#include "archive/pack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive/source.h"
#include "archive/tar_write.h"
#include "archive/tree.h"
#include "archive/zip_write.h"
#include "base/alloc.h"
#include "base/limits.h"

/* A folder still to be looked into. */
struct folder {
    struct folder *next;
    char *path, *prefix; /* prefix: its name in the archive with a slash, or empty */
    unsigned depth;
};

static char *joined(const char *a, const char *b, const char *c)
{
    size_t n = strlen(a) + strlen(b) + strlen(c) + 1;
    char *s = sc_alloc(n);
    snprintf(s, n, "%s%s%s", a, b, c);
    return s;
}

void sc_pack_free(struct sc_pack_list *l)
{
    for (unsigned i = 0; i < l->n; i++) {
        free(l->files[i].name);
        free(l->files[i].path);
    }
    free(l->files);
    *l = (struct sc_pack_list){0};
}

/* Takes the strings. */
static int add(struct sc_pack_list *l, char *name, char *path, struct sc_msg *msg)
{
    int rc = sc_tree_check(sc_span_str(name), msg);
    if (rc == 0 && l->n == SC_ARCHIVE_ENTRIES_MAX)
        rc = sc_fail(msg, SC_ELIMIT, "more than %d files", SC_ARCHIVE_ENTRIES_MAX);
    if (rc < 0) {
        free(name);
        free(path);
        return rc;
    }
    if (l->n == l->room) {
        l->room = l->room ? 2 * l->room : 16;
        l->files = sc_realloc_array(l->files, l->room, sizeof *l->files);
    }
    l->files[l->n] = (struct sc_pack_file){.name = name, .path = path, .turn = l->n};
    l->n++;
    return 0;
}

int sc_pack_add_file(struct sc_pack_list *l, const char *path, struct sc_msg *msg)
{
    struct sc_source s;
    const char *slash = strrchr(path, '/');
    int rc = sc_source_open(&s, path, msg);
    if (rc < 0)
        return rc;
    sc_source_close(&s);
    return add(l, sc_strdup(slash ? slash + 1 : path), sc_strdup(path), msg);
}

static bool is_left_out(const char *folder)
{
    return folder[0] == '.' || strcmp(folder, "__MACOSX") == 0 || strcmp(folder, "__pycache__") == 0;
}

static struct folder *new_folder(char *path, char *prefix, unsigned depth, struct folder *next)
{
    struct folder *f = sc_alloc(sizeof *f);
    *f = (struct folder){.next = next, .path = path, .prefix = prefix, .depth = depth};
    return f;
}

/* Files of one folder go on the list, folders before *todo. */
static int look_into(struct sc_pack_list *l, const struct folder *f, struct folder **todo, struct sc_msg *msg)
{
    const struct dirent *e;
    struct stat st;
    int rc = 0;
    DIR *d = opendir(f->path);
    if (!d)
        return sc_fail(msg, SC_ESYS, "[Errno %d] %s: '%.300s'", errno, strerror(errno), f->path);
    while (rc == 0 && (e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        char *path = joined(f->path, "/", e->d_name);
        bool found = stat(path, &st) == 0;
        if (found && S_ISDIR(st.st_mode) && is_left_out(e->d_name)) {
            free(path);
        } else if (found && S_ISDIR(st.st_mode)) {
            *todo = new_folder(path, joined(f->prefix, e->d_name, "/"), f->depth + 1, *todo);
            if (f->depth + 1 > SC_ARCHIVE_DEPTH_MAX)
                rc = sc_fail(msg, SC_ELIMIT, "more than %d folders deep: %.300s", SC_ARCHIVE_DEPTH_MAX, path);
        } else if (found && S_ISREG(st.st_mode)) {
            rc = add(l, joined(f->prefix, e->d_name, ""), path, msg);
        } else {
            rc = sc_fail(msg, SC_ESYS, "Invalid extra file given %.300s", path);
            free(path);
        }
    }
    closedir(d);
    return rc;
}

int sc_pack_add_folder(struct sc_pack_list *l, const char *path, struct sc_msg *msg)
{
    struct folder *todo = new_folder(sc_strdup(path), sc_strdup(""), 0, NULL);
    int rc = 0;
    while (todo) {
        struct folder *f = todo;
        todo = f->next;
        if (rc == 0)
            rc = look_into(l, f, &todo, msg);
        free(f->path);
        free(f->prefix);
        free(f);
    }
    return rc;
}

static int by_name(const void *a, const void *b)
{
    const struct sc_pack_file *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : (x->turn > y->turn) - (x->turn < y->turn);
}

static int find_name(const void *key, const void *file)
{
    const struct sc_span *k = key;
    const char *name = ((const struct sc_pack_file *)file)->name;
    int order = strncmp(k->p, name, k->n);
    return order ? order : name[k->n] ? -1 : 0;
}

/* Sorted, of equal names the last, without a manifest of their own. */
static int settle(struct sc_pack_list *l, const char *manifest, struct sc_msg *msg)
{
    unsigned kept = 0;
    if (l->n > 0)
        qsort(l->files, l->n, sizeof *l->files, by_name);
    for (unsigned i = 0; i < l->n; i++) {
        struct sc_pack_file *f = &l->files[i];
        if ((i + 1 < l->n && strcmp(f->name, f[1].name) == 0) || strcmp(f->name, manifest) == 0) {
            free(f->name);
            free(f->path);
        } else {
            l->files[kept++] = *f;
        }
    }
    l->n = kept;
    for (unsigned i = 0; i < l->n; i++) {
        const char *name = l->files[i].name;
        for (const char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/')) {
            struct sc_span above = sc_span(name, (size_t)(slash - name));
            if (bsearch(&above, l->files, l->n, sizeof *l->files, find_name))
                return sc_fail(msg, SC_EINVAL, "%.*s is both a file and a folder",
                               (int)SC_MIN(above.n, (size_t)300), name);
        }
    }
    return 0;
}

/* One of the three forms while it is written. */
struct output {
    enum sc_pack_format format;
    int fd; /* file, or folder */
    const char *root;
    struct sc_zip zip;
    struct sc_targz tar;
};

static int copy_into_folder(int dir, const char *name, const struct sc_source *s, struct sc_msg *msg)
{
    uint64_t at = 0;
    ssize_t n = 0;
    int rc = 0, fd = sc_tree_create(dir, sc_span_str(name), msg);
    if (fd < 0)
        return fd;
    char *block = sc_alloc(SC_SOURCE_BLOCK);
    while (rc == 0 && (n = sc_source_read(s, at, block, SC_SOURCE_BLOCK, msg)) > 0) {
        rc = sc_write_all(fd, block, (size_t)n, msg);
        at += (uint64_t)n;
    }
    if (rc == 0 && n < 0)
        rc = (int)n;
    if (rc == 0 && s->fd >= 0 && fchmod(fd, s->mode | 0600) < 0)
        rc = sc_fail(msg, SC_ESYS, "%.300s: %s", name, strerror(errno));
    if (close(fd) < 0 && rc == 0)
        rc = sc_fail(msg, SC_ESYS, "writing failed: %s", strerror(errno));
    free(block);
    return rc;
}

static int put(struct output *o, const char *name, const struct sc_source *s, struct sc_msg *msg)
{
    int rc = SC_EINVAL;
    switch (o->format) {
    case SC_PACK_ZIP:
    case SC_PACK_ZIP_STORED: return sc_zip_add(&o->zip, name, s, msg);
    case SC_PACK_FOLDER: return copy_into_folder(o->fd, name, s, msg);
    case SC_PACK_TGZ: {
        char *whole = joined(o->root, "/", name);
        rc = sc_targz_add(&o->tar, whole, s, msg);
        free(whole);
        break;
    }
    }
    return rc;
}

static int write_entries(struct output *o, const struct sc_pack_list *l, const struct sc_pack_want *want,
                         struct sc_msg *msg)
{
    struct sc_source s;
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < l->n; i++) {
        rc = sc_source_open(&s, l->files[i].path, msg);
        if (rc == 0)
            rc = put(o, l->files[i].name, &s, msg);
        sc_source_close(&s);
    }
    if (rc == 0) {
        sc_source_bytes(&s, want->manifest, time(NULL));
        rc = put(o, want->manifest_name, &s, msg);
    }
    return rc;
}

static int write_file(const struct sc_pack_list *l, const struct sc_pack_want *want, int fd,
                      struct sc_msg *msg)
{
    struct output o = {.format = want->format, .fd = fd, .root = want->root};
    int rc;
    if (want->format == SC_PACK_TGZ)
        sc_targz_init(&o.tar, fd);
    else
        sc_zip_init(&o.zip, fd, want->format == SC_PACK_ZIP_STORED);
    rc = write_entries(&o, l, want, msg);
    if (want->format == SC_PACK_TGZ) {
        if (rc == 0)
            rc = sc_targz_finish(&o.tar, msg);
        sc_targz_free(&o.tar);
    } else {
        if (rc == 0)
            rc = sc_zip_finish(&o.zip, msg);
        sc_zip_free(&o.zip);
    }
    return rc;
}

/* The file gets its name; only with force does it replace another. */
static int publish(const char *part, const struct sc_pack_want *want, struct sc_msg *msg)
{
    mode_t mask = umask(0);
    umask(mask);
    if (chmod(part, 0666 & ~mask) == 0 &&
        (want->force ? rename(part, want->path) : link(part, want->path)) == 0)
        return 0;
    if (errno == EEXIST)
        return sc_fail(msg, SC_EEXIST, "%.300s exists", want->path);
    return sc_fail(msg, SC_ESYS, "[Errno %d] %s: '%.300s'", errno, strerror(errno), want->path);
}

static int make_file(const struct sc_pack_list *l, const struct sc_pack_want *want, struct sc_msg *msg)
{
    const char *slash = strrchr(want->path, '/');
    int n = slash ? (int)(slash - want->path) : 1;
    char *part = NULL;
    if (asprintf(&part, "%.*s/.sconce-XXXXXX", n, slash ? want->path : ".") < 0)
        return sc_fail(msg, SC_ENOMEM, "no memory");
    int fd = mkostemp(part, O_CLOEXEC), rc = 0;
    if (fd < 0) {
        rc = sc_fail(msg, SC_ESYS, "[Errno %d] %s: '%.300s'", errno, strerror(errno), want->path);
    } else {
        rc = write_file(l, want, fd, msg);
        if (close(fd) < 0 && rc == 0)
            rc = sc_fail(msg, SC_ESYS, "writing failed: %s", strerror(errno));
        if (rc == 0)
            rc = publish(part, want, msg);
        (void)unlink(part);
    }
    free(part);
    return rc;
}

static int make_folder(const struct sc_pack_list *l, const struct sc_pack_want *want, struct sc_msg *msg)
{
    struct output o = {.format = SC_PACK_FOLDER};
    if (mkdir(want->path, 0777) < 0 && (errno != EEXIST || !want->force))
        return errno == EEXIST
                   ? sc_fail(msg, SC_EEXIST, "%.300s exists", want->path)
                   : sc_fail(msg, SC_ESYS, "[Errno %d] %s: '%.300s'", errno, strerror(errno), want->path);
    o.fd = open(want->path, O_DIRECTORY | O_CLOEXEC);
    if (o.fd < 0)
        return sc_fail(msg, SC_ESYS, "[Errno %d] %s: '%.300s'", errno, strerror(errno), want->path);
    int rc = write_entries(&o, l, want, msg);
    close(o.fd);
    return rc;
}

int sc_pack_write(struct sc_pack_list *l, const struct sc_pack_want *want, struct sc_msg *msg)
{
    int rc = settle(l, want->manifest_name, msg);
    if (rc < 0)
        return rc;
    return want->format == SC_PACK_FOLDER ? make_folder(l, want, msg) : make_file(l, want, msg);
}
