/*
 * Memory for the program's own structures, of a size that no client decides: it is there or
 * the process ends. Client-sized memory goes through malloc or sc_buf and is checked.
 */
#ifndef SC_BASE_ALLOC_H
#define SC_BASE_ALLOC_H

#include <stddef.h>

/* n zeroed bytes; never NULL. */
void *sc_alloc(size_t n) __attribute__((malloc, returns_nonnull));
/* count * size zeroed bytes, never NULL; overflow ends the process. */
void *sc_alloc_array(size_t count, size_t size) __attribute__((malloc, returns_nonnull));
/* Grows an array; what is new is not zeroed. */
void *sc_realloc_array(void *p, size_t count, size_t size) __attribute__((returns_nonnull));
char *sc_strdup(const char *s) __attribute__((malloc, returns_nonnull));

#endif
