/*
 * The kernel lab: every GPU kernel of the encoder against a reference on the CPU, and against what the chip
 * can do.
 *
 *   lab check [NAME...]     odd shapes, compared with the reference in double precision
 *   lab time [NAME...]      the shapes that matter, medians, share of the measured ceiling
 *   --generic               the image for other GPUs, compiled here by the driver
 *
 * A kernel has a file here with its reference, its cases and its timings. CUDA errors end the program: it is
 * no server.
 */
#ifndef SC_LAB_H
#define SC_LAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cuda/kernels.h"

/* ---- the device (device.c) ---- */

void lab_open(bool generic);
/* For struct sc_cu_attention: 0 with the generic image. */
uint32_t lab_multiprocessors(void);
/* A kernel that this GPU cannot run at all (bf16 before 8.0). */
bool lab_can(enum sc_cu_type t);

void *lab_device_alloc(size_t bytes);
void lab_device_free(void *p);
void lab_to_device(void *device, const void *host, size_t bytes);
void lab_from_device(void *host, const void *device, size_t bytes);
void lab_poison(void *device, size_t bytes); /* every number a NaN */
void lab_launch(struct sc_cu_launch l, const void *args, size_t size);
void lab_sync(void);
double lab_copy_ceiling(void); /* bytes a second, read and written, of a copy within the device's memory */

/*
 * The median time of fn(ctx, i) in seconds, by events; i counts up, so that it can take turns among buffers.
 * `batch` calls are captured in a graph and launched together, with programmatic dependent launch if the
 * image has it.
 */
double lab_time(void (*fn)(void *ctx, unsigned i), void *ctx, unsigned batch);

/* ---- arrays on both sides (arrays.c) ---- */

/* n numbers of type t on the device, the same in double on the host (NULL if there are very many). */
struct lab_array {
    enum sc_cu_type type;
    size_t n;
    double *host; /* NULL for lab_output */
    void *device;
};

size_t lab_size_of(enum sc_cu_type t);
void lab_seed(uint64_t seed);
uint32_t lab_below(uint32_t n);
double lab_normal(void); /* mean 0, deviation 1, within 6 */

struct lab_array lab_random(enum sc_cu_type t, size_t n, double deviation);
struct lab_array lab_around(enum sc_cu_type t, size_t n, double mean, double deviation);
/* Poisoned, with a guard behind it. */
struct lab_array lab_output(enum sc_cu_type t, size_t n);
struct lab_array lab_words(const uint32_t *words, size_t n); /* uint32_t on the device, host NULL */
void lab_free(struct lab_array *a);
void lab_poison_again(struct lab_array *a);
/* What is on the device, in double; the caller frees. */
double *lab_read(const struct lab_array *a);

/* ---- verdicts ---- */

/*
 * Compares out with ref where ref is not NaN: |out - ref| / |ref| over all of them. Prints a line, counts a
 * failure if it is above the type's limit times `slack`, if any number is missing, or if the guard behind
 * `out` was written.
 */
void lab_verdict(const char *what, const struct lab_array *out, const double *ref, double slack);
void lab_fail(const char *what, const char *why);
unsigned lab_failures(void);
const char *lab_type_name(enum sc_cu_type t);
/* bytes or flops of 0 are left out of the line. */
void lab_print_time(const char *what, double seconds, double bytes, double flops);

/* act(x) (enum sc_cu_act) in double. */
double lab_act(uint32_t act, double x);

/* ---- the kernels' files ---- */

struct lab_bench {
    const char *name;
    void (*check)(enum sc_cu_type t);
    void (*time)(enum sc_cu_type t);
};
extern const struct lab_bench lab_rows, lab_elements, lab_attention, lab_heads, lab_skinny;

#endif
