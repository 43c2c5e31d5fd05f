#include "test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "base/limits.h"
#include "worker/arena.h"

#define BYTES (4 * SC_ARENA_BLOCK_MAX)

static uint64_t random_state = 88172645463325252u;
static uint32_t random_below(uint32_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 20) % n;
}

/* Against a map with one byte per smallest block: no overlap, right size and alignment, exact `used`. */
static void random_use_agrees_with_a_model(void **state)
{
    (void)state;
    static unsigned char owner[BYTES / SC_ARENA_BLOCK_MIN];
    static struct {
        uint64_t off;
        size_t got;
    } live[BYTES / SC_ARENA_BLOCK_MIN];
    static char memory[BYTES];
    unsigned n = 0;
    size_t used = 0;
    unsigned refused = 0;
    struct sc_arena a;
    assert_int_equal(sc_arena_init(&a, memory, BYTES), 0);

    for (int step = 0; step < 100000; step++) {
        /* Long phases of growth and of shrinking, so that it gets full and empty. */
        bool grow = random_below(100) < ((step / 5000) % 2 ? 35u : 65u);
        if (grow || n == 0) {
            size_t want = 1 + (random_below(4) ? random_below(2000) : random_below(SC_ARENA_BLOCK_MAX));
            uint64_t off;
            size_t got;
            char *p = sc_arena_alloc(&a, want, &off, &got);
            if (!p) {
                refused++;
                /* Only if no aligned free run of that size exists. */
                size_t need = SC_ARENA_BLOCK_MIN;
                while (need < want)
                    need *= 2;
                for (size_t at = 0; at < BYTES; at += need) {
                    size_t g = 0;
                    while (g < need / SC_ARENA_BLOCK_MIN && !owner[at / SC_ARENA_BLOCK_MIN + g])
                        g++;
                    assert_true(g < need / SC_ARENA_BLOCK_MIN);
                }
                continue;
            }
            assert_ptr_equal(p, memory + off);
            assert_true(got >= want && (got < 2 * want || got == SC_ARENA_BLOCK_MIN));
            assert_int_equal(off % got, 0);
            for (size_t g = 0; g < got / SC_ARENA_BLOCK_MIN; g++)
                assert_int_equal(owner[off / SC_ARENA_BLOCK_MIN + g]++, 0);
            live[n].off = off;
            live[n++].got = got;
            used += got;
        } else {
            unsigned i = random_below(n);
            assert_int_equal(sc_arena_release(&a, live[i].off), 0);
            assert_int_equal(sc_arena_release(&a, live[i].off), SC_EINVAL);
            for (size_t g = 0; g < live[i].got / SC_ARENA_BLOCK_MIN; g++)
                owner[live[i].off / SC_ARENA_BLOCK_MIN + g]--;
            used -= live[i].got;
            live[i] = live[--n];
        }
        assert_int_equal(a.used, used);
    }
    assert_true(refused > 0);

    while (n)
        assert_int_equal(sc_arena_release(&a, live[--n].off), 0);
    /* Everything has merged again. */
    uint64_t off;
    for (unsigned i = 0; i < BYTES / SC_ARENA_BLOCK_MAX; i++)
        assert_non_null(sc_arena_alloc(&a, SC_ARENA_BLOCK_MAX, &off, NULL));
    assert_null(sc_arena_alloc(&a, 1, &off, NULL));
    sc_arena_free(&a);
}

static void refuses_what_it_cannot_do(void **state)
{
    (void)state;
    static char memory[SC_ARENA_BLOCK_MAX];
    struct sc_arena a;
    assert_int_equal(sc_arena_init(&a, memory, 0), SC_EINVAL);
    assert_int_equal(sc_arena_init(&a, memory, SC_ARENA_BLOCK_MAX + 4096), SC_EINVAL);
    assert_int_equal(sc_arena_init(&a, memory, SC_ARENA_BLOCK_MAX), 0);
    uint64_t off;
    assert_null(sc_arena_alloc(&a, 0, &off, NULL));
    assert_null(sc_arena_alloc(&a, SC_ARENA_BLOCK_MAX + 1, &off, NULL));
    assert_null(sc_arena_alloc(&a, SIZE_MAX, &off, NULL));

    assert_non_null(sc_arena_alloc(&a, 1000, &off, NULL));
    assert_int_equal(sc_arena_release(&a, off + 1), SC_EINVAL);
    assert_int_equal(sc_arena_release(&a, off + SC_ARENA_BLOCK_MIN), SC_EINVAL); /* inside the block */
    assert_int_equal(sc_arena_release(&a, SC_ARENA_BLOCK_MAX), SC_EINVAL);
    assert_int_equal(sc_arena_release(&a, UINT64_MAX - 255), SC_EINVAL);
    assert_int_equal(a.used, 1024);
    assert_int_equal(sc_arena_release(&a, off), 0);
    sc_arena_free(&a);
}

static void a_sealed_file_holds_its_size_and_its_readers_off(void **state)
{
    (void)state;
    void *base;
    int fd = sc_shm_create("test", 8192, true, &base);
    assert_true(fd >= 0);
    memcpy(base, "still writable", 14);

    assert_int_equal(ftruncate(fd, 4096), -1);
    assert_int_equal(ftruncate(fd, 16384), -1);
    assert_int_equal(pwrite(fd, "x", 1, 0), -1);
    assert_ptr_equal(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
    assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
    char *peer = mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(peer, MAP_FAILED);
    assert_int_equal(mprotect(peer, 8192, PROT_READ | PROT_WRITE), -1);
    assert_memory_equal(peer, "still writable", 14);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    munmap(peer, 8192);
    munmap(base, 8192);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_use_agrees_with_a_model),
        cmocka_unit_test(refuses_what_it_cannot_do),
        cmocka_unit_test(a_sealed_file_holds_its_size_and_its_readers_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
