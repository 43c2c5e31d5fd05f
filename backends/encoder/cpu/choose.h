/* Who multiplies: the model's setting `matmul`, what the processor is, and what is installed. */
#ifndef SC_ENCODER_CHOOSE_H
#define SC_ENCODER_CHOOSE_H

#include "base/error.h"
#include "cpu/matmul.h"

/*
 * `setting` is "auto", "builtin", "onednn" or NULL (auto); `dir` is where libsconce_encoder_onednn.so lies.
 *
 * auto takes oneDNN where it is faster, which is with AVX-512 and above; there, if it cannot be loaded,
 * *warning says what to install and the project's own code is taken. "onednn" does the same everywhere.
 * warning->text is empty if there is nothing to say. Any other setting is SC_EINVAL and *msg names the
 * choices. Main thread, before any other of the process uses OpenMP: it sets OMP_NUM_THREADS and
 * OMP_WAIT_POLICY, which OpenMP reads when it is loaded.
 *
 * A loaded module stays for the life of the process.
 */
int sc_matmul_choose(const struct sc_matmul_ops **out, const char *setting, const char *dir,
                     struct sc_msg *warning, struct sc_msg *msg);

#endif
