#include "worker/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "worker/arena.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

int sc_shm_file(const char *name)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) /* a kernel before 6.3 */
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd < 0 ? SC_ESYS : fd;
}

int sc_shm_file_sized(const char *name, size_t size)
{
    int fd = sc_shm_file(name);
    if (fd < 0)
        return fd;
    if (ftruncate(fd, (off_t)size) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0) {
        close(fd);
        return SC_ESYS;
    }
    return fd;
}

int sc_shm_finish(int fd, bool readonly_peers)
{
    int seals = F_SEAL_SEAL | (readonly_peers ? F_SEAL_FUTURE_WRITE : 0);
    return fcntl(fd, F_ADD_SEALS, seals) < 0 ? SC_ESYS : 0;
}

__attribute__((weak)) void *sc_shm_map(int fd, size_t size, bool write)
{
    void *p = mmap(NULL, size, PROT_READ | (write ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
    return p == MAP_FAILED ? NULL : p;
}

__attribute__((weak)) void sc_shm_unmap(void *base, size_t size)
{
    if (base)
        munmap(base, size);
}

int sc_shm_create(const char *name, size_t size, int readonly_peers, void **base)
{
    int fd = sc_shm_file_sized(name, size);
    if (fd < 0)
        return fd;
    /* The writable mapping comes before the seal, which forbids only later ones. */
    void *p = sc_shm_map(fd, size, true);
    if (!p) {
        close(fd);
        return SC_ESYS;
    }
    if (sc_shm_finish(fd, readonly_peers) < 0) {
        sc_shm_unmap(p, size);
        close(fd);
        return SC_ESYS;
    }
    *base = p;
    return fd;
}

int sc_shm_size(int fd, uint64_t *size)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || st.st_size < 0)
        return SC_ESYS;
    *size = (uint64_t)st.st_size;
    return 0;
}

int sc_large_map(int fd, uint64_t size, void **base, const char **why)
{
    /* Seals first: only a memory file has them, so what follows cannot meet a file system that stalls. */
    const int want = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & want) != want) {
        *why = "a large body without the seals SHRINK, GROW and WRITE";
        return SC_EPROTO;
    }
    /* Huge pages come from a pool that can be empty when they are touched: SIGBUS. */
    struct statfs fs;
    if (fstatfs(fd, &fs) < 0 || fs.f_type != TMPFS_MAGIC) {
        *why = "a large body in a file of another kind";
        return SC_EPROTO;
    }
    uint64_t real;
    if (sc_shm_size(fd, &real) < 0 || real != size || size == 0 || size > SIZE_MAX / 2) {
        *why = "a large body of another size than announced";
        return SC_EPROTO;
    }
    /* Private: kernels before 6.7 refuse any shared mapping of a file sealed against writing. */
    void *p = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) {
        *why = "no address space for a large body";
        return SC_ESYS;
    }
    *base = p;
    return 0;
}

int sc_large_seal(int fd, uint64_t size)
{
    if (ftruncate(fd, (off_t)size) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
        return SC_ESYS;
    return 0;
}

int sc_large_send(int sock, struct sc_large_tag tag, int fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {&tag, sizeof tag};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof control.bytes};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);

    ssize_t n;
    do
        n = sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n >= 0)
        return 0;
    switch (errno) {
    case EAGAIN:
    case ENOBUFS:
    case ETOOMANYREFS: /* too many descriptors in flight for this user */ return SC_AGAIN;
    case EPIPE:
    case ECONNRESET: return SC_ECLOSED;
    default: return SC_ESYS;
    }
}

int sc_large_receive(int sock, struct sc_large_tag tag, const char **why)
{
    struct sc_large_tag got = {0};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {&got, sizeof got};
    /* CMSG_LEN, not CMSG_SPACE: the padding would have room for a second descriptor. */
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = CMSG_LEN(sizeof(int))};
    ssize_t n;
    do
        n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);

    int fd = -1;
    struct cmsghdr *c = n >= 0 ? CMSG_FIRSTHDR(&msg) : NULL;
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof fd))
        memcpy(&fd, CMSG_DATA(c), sizeof fd);

    if (fd < 0)
        *why = "a large body whose descriptor is missing";
    else if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC) || n != (ssize_t)sizeof got)
        *why = "a malformed packet with a descriptor";
    else if (got.id != tag.id || got.epoch != tag.epoch)
        *why = "a large body whose descriptor belongs to another answer";
    else
        return fd;
    if (fd >= 0)
        close(fd);
    return SC_EPROTO;
}
