/* Replaces the mapping of worker/shm.h: while share_maps is set, both sides of a channel in one process get
 * the same addresses, so that ThreadSanitizer sees what passes between them. For one source file of a
 * program. */
#ifndef SC_TEST_ONE_ADDRESS_H
#define SC_TEST_ONE_ADDRESS_H

#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/array.h"
#include "worker/shm.h"

static bool share_maps;
static pthread_mutex_t maps_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    ino_t ino;
    void *base;
    size_t size;
    int users;
} maps[64];

void *sc_shm_map(int fd, size_t size, bool write)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return NULL;
    void *base = NULL;
    pthread_mutex_lock(&maps_lock);
    for (size_t i = 0; share_maps && i < SC_COUNT(maps); i++)
        if (maps[i].users && maps[i].ino == st.st_ino && maps[i].size == size) {
            maps[i].users++;
            base = maps[i].base;
        }
    if (!base) {
        int prot = PROT_READ | (write || share_maps ? PROT_WRITE : 0);
        base = mmap(NULL, size, prot, MAP_SHARED, fd, 0);
        base = base == MAP_FAILED ? NULL : base;
        for (size_t i = 0; base && share_maps && i < SC_COUNT(maps); i++)
            if (!maps[i].users) {
                maps[i].ino = st.st_ino;
                maps[i].base = base;
                maps[i].size = size;
                maps[i].users = 1;
                break;
            }
    }
    pthread_mutex_unlock(&maps_lock);
    return base;
}

void sc_shm_unmap(void *base, size_t size)
{
    if (!base)
        return;
    pthread_mutex_lock(&maps_lock);
    for (size_t i = 0; i < SC_COUNT(maps); i++)
        if (maps[i].users && maps[i].base == base && --maps[i].users > 0)
            base = NULL;
    if (base)
        munmap(base, size);
    pthread_mutex_unlock(&maps_lock);
}

#endif
