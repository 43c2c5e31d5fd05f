/* Doubles as text: the shortest digits that read back as the same value, in the notations that clients know.
 */
#ifndef SC_PROTO_NUMBER_H
#define SC_PROTO_NUMBER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"

#define SC_NUMBER_MAX 32 /* bytes of any text written here */

/* Java's Double.toString, in which TorchServe writes every metric: 3.0, 1.0E7, 9.9E-4, NaN, Infinity. Returns
 * the length; no NUL. */
size_t sc_number_java(char out[SC_NUMBER_MAX], double v);
/* As Python and JavaScript: 3.0, 0.998, 1e+16, 1e-05. v is finite. `single`: v is a float, and the digits are
 * the shortest for one. */
size_t sc_number_json(char out[SC_NUMBER_MAX], double v, bool single);
/* The value of a number by JSON's grammar, correctly rounded; out of range gives an infinity. False if s is
 * no such number. */
bool sc_number_read(struct sc_span s, double *out);

#endif
