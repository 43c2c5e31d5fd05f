#include "archive/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "archive/archive.h"
#include "archive/tree.h"
#include "base/alloc.h"

#define LOCK_PREFIX ".server-"
#define LOCK_NAME 96
#define CLAIM_TRIES 1000  /* of a millisecond: a sweeper holds a lock no longer than it takes to unlink it */
#define HALF_WRITTEN_S 60 /* an owner's mark without content is being written, unless it is so old */

/* Locks that this process took for itself: kept to its end. */
struct claim {
    struct claim *next;
    dev_t device;
    ino_t inode; /* of <temp>/models */
    pid_t pid;
};
static pthread_mutex_t claims_lock = PTHREAD_MUTEX_INITIALIZER;
static struct claim *claims;

void sc_place_random(char id[SC_PLACE_ID + 1])
{
    unsigned char bytes[SC_PLACE_ID / 2];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        abort(); /* cannot happen for so few bytes */
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(id + 2 * i, 3, "%02x", bytes[i]);
}

static bool is_id(struct sc_span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!(s.p[i] >= '0' && s.p[i] <= '9') && !(s.p[i] >= 'a' && s.p[i] <= 'f'))
            return false;
    return s.n == SC_PLACE_ID;
}

static void owner_name(char out[64], const char *id)
{
    snprintf(out, 64, ".%.*s.owner", SC_PLACE_ID, id);
}

static void part_name(char out[64], const char *id)
{
    snprintf(out, 64, ".%.*s.part", SC_PLACE_ID, id);
}

/* <temp>/models, made if missing. Somebody else's would let him change our models. */
static int open_models(const char *temp, bool make, struct sc_msg *msg)
{
    struct stat st;
    int fd = -1;
    int base = open(temp, O_DIRECTORY | O_CLOEXEC);
    if (base < 0 && make && errno == ENOENT && mkdir(temp, 0755) == 0)
        base = open(temp, O_DIRECTORY | O_CLOEXEC);
    if (base < 0)
        return sc_fail(msg, SC_ESYS, "cannot open the folder for temporary files, %.300s: %s", temp,
                       strerror(errno));
    if (!make || mkdirat(base, "models", 0700) == 0 || errno == EEXIST)
        fd = openat(base, "models", O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        (void)sc_fail(msg, SC_ESYS, "cannot make the folder %.300s/models: %s", temp, strerror(errno));
    else if (fstat(fd, &st) < 0 || (st.st_uid != geteuid() && st.st_uid != 0) ||
             ((st.st_mode & 022) && !(st.st_mode & S_ISVTX))) {
        (void)sc_fail(msg, SC_ESYS,
                      "the folder %.300s/models can be changed by other users: remove it, or set TMPDIR to a "
                      "folder of this server's own",
                      temp);
        close(fd);
        fd = -1;
    }
    close(base);
    return fd < 0 ? SC_ESYS : fd;
}

/* A process's start in clock ticks since boot, as text; "0" if it cannot be read. */
static void start_of(pid_t pid, char out[24])
{
    char path[48], text[1024];
    ssize_t n = -1;
    snprintf(out, 24, "0");
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        n = read(fd, text, sizeof text - 1);
        close(fd);
    }
    if (n <= 0)
        return;
    text[n] = '\0';
    /* The name in parentheses may hold anything; field 3 follows it, the start is field 22. */
    const char *at = strrchr(text, ')');
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    if (at)
        snprintf(out, 24, "%.*s", (int)SC_MIN(strcspn(at + 1, " \n"), (size_t)20), at + 1);
}

/* The lock's name tells the process from all others that may share the folder: its namespace, id, start. */
static void lock_name(char out[LOCK_NAME], pid_t pid)
{
    char ns[64], start[24];
    ssize_t n = readlink("/proc/self/ns/pid", ns, sizeof ns - 1);
    ns[n > 0 ? n : 0] = '\0';
    const char *digits = ns + strcspn(ns, "0123456789");
    start_of(pid, start);
    snprintf(out, LOCK_NAME, LOCK_PREFIX "%.*s-%ld-%s", (int)SC_MIN(strspn(digits, "0123456789"), (size_t)20),
             digits, (long)pid, start);
}

static int claim(int models, const char *name, struct sc_msg *msg)
{
    struct stat st;
    for (int i = 0; i < CLAIM_TRIES; i++) {
        int fd = openat(models, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
            break;
        if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 && st.st_nlink > 0)
            return fd;
        close(fd);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return sc_fail(msg, SC_ESYS, "cannot lock %s in the folder for extracted models: %s", name,
                   strerror(errno));
}

int sc_archive_claim(const char *temp, struct sc_msg *msg)
{
    char name[LOCK_NAME];
    int models = open_models(temp, true, msg);
    if (models < 0)
        return models;
    lock_name(name, getpid());
    int fd = claim(models, name, msg);
    close(models);
    return fd;
}

/* True if somebody holds that lock. */
static bool is_claimed(int models, const char *name)
{
    int fd = openat(models, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno != ENOENT; /* what cannot be looked at is not declared dead */
    bool held = flock(fd, LOCK_EX | LOCK_NB) < 0;
    close(fd);
    return held;
}

static int claim_for_self(int models, const char *lock, struct sc_msg *msg)
{
    struct stat st;
    int rc = 0;
    pid_t pid = getpid();
    if (fstat(models, &st) < 0)
        return sc_fail(msg, SC_ESYS, "fstat: %s", strerror(errno));
    pthread_mutex_lock(&claims_lock);
    struct claim *c = claims;
    while (c && (c->device != st.st_dev || c->inode != st.st_ino || c->pid != pid))
        c = c->next;
    if (!c && (rc = claim(models, lock, msg)) >= 0) {
        c = sc_alloc(sizeof *c);
        *c = (struct claim){.next = claims, .device = st.st_dev, .inode = st.st_ino, .pid = pid};
        claims = c;
    }
    pthread_mutex_unlock(&claims_lock);
    return rc < 0 ? rc : 0;
}

static int write_owner(struct sc_place *p, const char *lock, struct sc_msg *msg)
{
    char name[64];
    owner_name(name, p->id);
    int fd = openat(p->models, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, lock, strlen(lock)) != (ssize_t)strlen(lock)) {
        (void)sc_fail(msg, SC_ESYS, "cannot write %s in the folder for extracted models: %s", name,
                      strerror(errno));
        if (fd >= 0)
            close(fd);
        return SC_ESYS;
    }
    close(fd);
    return 0;
}

static char *path_of(int models, const char *id)
{
    char link[48], *path = NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", models);
    char *folder = realpath(link, NULL);
    if (folder && asprintf(&path, "%s/%s", folder, id) < 0)
        path = NULL;
    free(folder);
    return path;
}

int sc_place_open(struct sc_place *p, const char *temp, pid_t owner, struct sc_msg *msg)
{
    char name[64], lock[LOCK_NAME];
    int rc;
    *p = (struct sc_place){.models = -1, .dir = -1};
    rc = p->models = open_models(temp, true, msg);
    if (rc < 0)
        return rc;
    lock_name(lock, owner ? owner : getpid());
    if (!owner)
        rc = claim_for_self(p->models, lock, msg);
    else if (!is_claimed(p->models, lock))
        rc =
            sc_fail(msg, SC_ESYS, "process %ld has not claimed the folder for extracted models", (long)owner);
    if (rc < 0)
        goto failed;
    sc_place_random(p->id);
    rc = write_owner(p, lock, msg);
    if (rc < 0)
        goto failed;
    part_name(name, p->id);
    if (mkdirat(p->models, name, 0700) == 0)
        p->dir = openat(p->models, name, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    p->path = path_of(p->models, p->id);
    if (p->dir >= 0 && p->path)
        return 0;
    rc = sc_fail(msg, SC_ESYS, "cannot make a folder in %.300s/models: %s", temp, strerror(errno));
failed:
    sc_place_close(p, false);
    free(p->path);
    p->path = NULL;
    return rc;
}

int sc_place_commit(struct sc_place *p, struct sc_msg *msg)
{
    char name[64];
    part_name(name, p->id);
    if (renameat2(p->models, name, p->models, p->id, RENAME_NOREPLACE) == 0 ||
        (errno == EINVAL && renameat(p->models, name, p->models, p->id) == 0))
        return 0;
    return sc_fail(msg, SC_ESYS, "cannot rename %s: %s", name, strerror(errno));
}

/* The mark goes last: until then the next server finds what is left. Of id only the digits count. */
static void remove_place(int models, const char *id)
{
    char name[64];
    part_name(name, id);
    int rc = sc_tree_remove(models, name);
    snprintf(name, sizeof name, "%.*s", SC_PLACE_ID, id);
    if (rc == 0)
        rc = sc_tree_remove(models, name);
    owner_name(name, id);
    if (rc == 0)
        (void)unlinkat(models, name, 0);
}

void sc_place_close(struct sc_place *p, bool keep)
{
    if (p->dir >= 0)
        close(p->dir);
    if (!keep && p->id[0])
        remove_place(p->models, p->id);
    if (p->models >= 0)
        close(p->models);
    p->dir = p->models = -1;
}

void sc_archive_remove(const char *folder, const char *downloaded)
{
    if (downloaded)
        (void)unlink(downloaded);
    const char *slash = folder ? strrchr(folder, '/') : NULL;
    if (!slash || !is_id(sc_span_str(slash + 1)))
        return;
    char *above = sc_strdup(folder), owner[64];
    above[slash - folder] = '\0';
    int models = open(*above ? above : "/", O_DIRECTORY | O_CLOEXEC);
    free(above);
    if (models < 0)
        return;
    owner_name(owner, slash + 1);
    if (faccessat(models, owner, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        remove_place(models, slash + 1);
    close(models);
}

/* True if the place's owner is certainly gone. */
static bool is_orphan(int models, const char *mark)
{
    char lock[LOCK_NAME];
    struct stat st;
    int fd = openat(models, mark, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, lock, sizeof lock - 1);
    bool known = fstat(fd, &st) == 0;
    close(fd);
    lock[n > 0 ? n : 0] = '\0';
    if (strncmp(lock, LOCK_PREFIX, strlen(LOCK_PREFIX)) != 0)
        return known && time(NULL) - st.st_mtime > HALF_WRITTEN_S;
    if (strspn(lock + strlen(LOCK_PREFIX), "0123456789-") != strlen(lock) - strlen(LOCK_PREFIX))
        return false;
    return !is_claimed(models, lock);
}

/* Removes the lock of a process that is gone. */
static void sweep_lock(int models, const char *name)
{
    int fd = openat(models, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        (void)unlinkat(models, name, 0);
    close(fd);
}

void sc_archive_sweep(const char *temp)
{
    static const struct sc_span suffix = {".owner", 6};
    const struct dirent *e;
    int models = open_models(temp, false, NULL);
    if (models < 0)
        return;
    DIR *d = fdopendir(models);
    if (!d) {
        close(models);
        return;
    }
    while ((e = readdir(d))) {
        struct sc_span name = sc_span_str(e->d_name);
        if (name.n == 1 + SC_PLACE_ID + suffix.n && name.p[0] == '.' &&
            is_id(sc_span_sub(name, 1, SC_PLACE_ID)) &&
            sc_span_eq(sc_span_sub(name, 1 + SC_PLACE_ID, name.n), suffix) && is_orphan(models, e->d_name))
            remove_place(models, e->d_name + 1);
    }
    rewinddir(d);
    while ((e = readdir(d)))
        if (strncmp(e->d_name, LOCK_PREFIX, strlen(LOCK_PREFIX)) == 0)
            sweep_lock(models, e->d_name);
    closedir(d);
}
