#include "archive/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"

#define COMPONENT_MAX 255

/* Takes the next component off *rest; empty at the end. Those that say nothing are passed over. */
static struct sc_span component(struct sc_span *rest)
{
    while (rest->n > 0) {
        size_t n = sc_span_find(*rest, '/');
        struct sc_span part = sc_span_sub(*rest, 0, n);
        *rest = sc_span_sub(*rest, n + 1, rest->n);
        if (part.n > 0 && !sc_span_eq(part, SC_SPAN(".")))
            return part;
    }
    return SC_SPAN("");
}

int sc_tree_check(struct sc_span path, struct sc_msg *msg)
{
    struct sc_span rest = path, part;
    int shown = (int)SC_MIN(path.n, 200);
    unsigned depth = 0;
    if (path.n > SC_ARCHIVE_NAME_MAX)
        return sc_fail(msg, SC_EINVAL, "an entry's name has %zu bytes, more than %d", path.n,
                       SC_ARCHIVE_NAME_MAX);
    if (sc_span_find(path, '\0') < path.n || !sc_utf8_valid(path))
        return sc_fail(msg, SC_EINVAL, "an entry's name is no proper UTF-8");
    if (sc_span_starts(path, SC_SPAN("/")) || sc_span_find(path, '\\') < path.n)
        return sc_fail(msg, SC_EINVAL, "Detected Zip Slip vulnerability: %.*s", shown, path.p);
    while ((part = component(&rest)).n > 0) {
        if (sc_span_eq(part, SC_SPAN("..")))
            return sc_fail(msg, SC_EINVAL, "Detected Zip Slip vulnerability: %.*s", shown, path.p);
        if (part.n > COMPONENT_MAX || ++depth > SC_ARCHIVE_DEPTH_MAX)
            return sc_fail(msg, SC_EINVAL, "an entry's name is too long or lies too deep: %.*s", shown,
                           path.p);
    }
    return 0;
}

/* Opens the folder in which the last component of path lies, making it, and puts that component into name. */
static int enter(int root, struct sc_span path, char name[COMPONENT_MAX + 1], struct sc_msg *msg)
{
    struct sc_span rest = path;
    name[0] = '\0';
    int dir = openat(root, ".", O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return sc_fail(msg, SC_ESYS, "cannot open the folder: %s", strerror(errno));
    for (struct sc_span part = component(&rest); part.n > 0; part = component(&rest)) {
        if (name[0]) {
            if (mkdirat(dir, name, 0755) < 0 && errno != EEXIST)
                goto failed;
            int next = openat(dir, name, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (next < 0)
                goto failed;
            close(dir);
            dir = next;
        }
        memcpy(name, part.p, SC_MIN(part.n, (size_t)COMPONENT_MAX));
        name[SC_MIN(part.n, (size_t)COMPONENT_MAX)] = '\0';
    }
    return dir;
failed:
    (void)sc_fail(msg, SC_ESYS, "cannot make the folder of %.*s: %s", (int)SC_MIN(path.n, 200), path.p,
                  strerror(errno));
    close(dir);
    return SC_ESYS;
}

int sc_tree_mkdir(int root, struct sc_span path, struct sc_msg *msg)
{
    char name[COMPONENT_MAX + 1];
    struct stat st;
    int rc = 0;
    int dir = enter(root, path, name, msg);
    if (dir < 0)
        return dir;
    if (name[0] && mkdirat(dir, name, 0755) < 0 &&
        (errno != EEXIST || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode)))
        rc = sc_fail(msg, SC_ESYS, "cannot make the folder %.*s: %s", (int)SC_MIN(path.n, 200), path.p,
                     strerror(errno));
    close(dir);
    return rc;
}

int sc_tree_create(int root, struct sc_span path, struct sc_msg *msg)
{
    char name[COMPONENT_MAX + 1];
    int fd = -1;
    int dir = enter(root, path, name, msg);
    if (dir < 0)
        return dir;
    if (!name[0]) {
        close(dir);
        return sc_fail(msg, SC_EINVAL, "an entry without a name");
    }
    if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
        fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0)
        fd =
            sc_fail(msg, SC_ESYS, "cannot write %.*s: %s", (int)SC_MIN(path.n, 200), path.p, strerror(errno));
    close(dir);
    return fd;
}

/* What remains of one sweep over a folder. */
struct sweep {
    int root;
    dev_t device;
    unsigned moved; /* folders that came up from below so far */
    unsigned names; /* tried for them */
};

static bool is_dot(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Removes a file or an empty folder. */
static bool remove_plain(int dir, const char *name)
{
    return unlinkat(dir, name, 0) == 0 || unlinkat(dir, name, AT_REMOVEDIR) == 0 || errno == ENOENT;
}

/* A folder that cannot be written can neither be read through nor moved. */
static bool make_writable(int parent, const char *name)
{
    struct stat st;
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
        return false;
    return (st.st_mode & 0700) == 0700 || fchmodat(parent, name, st.st_mode | 0700, 0) == 0;
}

static DIR *open_folder(int parent, const char *name, dev_t device)
{
    struct stat st;
    if (!make_writable(parent, name))
        return NULL;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    if (fstat(fd, &st) < 0 || st.st_dev != device) {
        close(fd);
        return NULL;
    }
    DIR *d = fdopendir(fd);
    if (!d)
        close(fd);
    return d;
}

/* Empties the folder root/name. What it holds of folders moves up into the root, so that no depth of nesting
 * needs a stack or more descriptors. */
static void flatten(struct sweep *s, const char *name)
{
    const struct dirent *e;
    DIR *d = open_folder(s->root, name, s->device);
    int dir = d ? dirfd(d) : -1;
    if (dir < 0)
        return;
    while ((e = readdir(d))) {
        char up[32];
        if (is_dot(e->d_name) || remove_plain(dir, e->d_name))
            continue;
        if (!make_writable(dir, e->d_name))
            continue;
        bool taken;
        do {
            snprintf(up, sizeof up, ".removed.%u", s->names++);
            taken = renameat(dir, e->d_name, s->root, up) < 0;
            s->moved += !taken;
        } while (taken && (errno == EEXIST || errno == ENOTEMPTY || errno == ENOTDIR));
    }
    closedir(d);
    (void)unlinkat(s->root, name, AT_REMOVEDIR); /* what remains is seen when the whole is removed */
}

int sc_tree_remove(int parent, const char *name)
{
    struct stat st;
    struct sweep s = {0};
    const struct dirent *e;
    if (remove_plain(parent, name))
        return 0;
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
        return SC_ESYS;
    DIR *d = open_folder(parent, name, st.st_dev);
    s.root = d ? dirfd(d) : -1;
    if (s.root < 0)
        return SC_ESYS;
    s.device = st.st_dev;
    for (unsigned before = 0;; before = s.moved) {
        rewinddir(d);
        while ((e = readdir(d)))
            if (!is_dot(e->d_name) && !remove_plain(s.root, e->d_name))
                flatten(&s, e->d_name);
        /* Folders that came up, or one that could not be emptied at once, want another round. */
        if (s.moved == before)
            break;
    }
    closedir(d);
    return unlinkat(parent, name, AT_REMOVEDIR) == 0 ? 0 : SC_ESYS;
}
