/*
 * The model that is tuned, and the server that it runs in: a server of ours on free ports, in which the model
 * is registered anew for each configuration, with the file beside it that --apply would leave
 * (<model>.sconce.yaml).
 */
#ifndef SC_CLI_TUNE_MODEL_H
#define SC_CLI_TUNE_MODEL_H

#include "cli/bench_server.h"
#include "cli/tune_space.h"

struct sc_tune_model {
    const struct sc_bench_options *o;
    const atomic_bool *stop;
    char path[4096], name[256];   /* of its file or folder, without links; its last component */
    char store[4096], given[256]; /* the folder that it was named in, its model store; as what */
    char content[SC_TUNE_CONTENT];
    struct sc_buf own; /* what lies beside it already */
    struct sc_tune_facts facts;
    struct sc_bench_server server;
    bool mps; /* how the server was started */
    int64_t memory;
    double loaded_s; /* what the last load took */
};

/* Finds it, names its content. SC_ENOTFOUND, SC_EINVAL, SC_ESYS with *msg. Free it in every case. */
int sc_tune_model_open(struct sc_tune_model *m, const struct sc_bench_options *o, const atomic_bool *stop,
                       struct sc_msg *msg) SC_MUST_USE;
void sc_tune_model_free(struct sc_tune_model *m);

/* Has the model run like that: facts, memory and loaded_s are then its. SC_ECANCELED when stopped (also by
 * sc_tune_model_interrupt), SC_EINVAL: it does not load, others as sc_bench_server_start; all with *msg. */
int sc_tune_model_load(struct sc_tune_model *m, const struct sc_tune_config *c,
                       struct sc_msg *msg) SC_MUST_USE;
/* Memory of its workers now, bytes; 0: not known. */
int64_t sc_tune_model_memory(struct sc_tune_model *m);
/* Ends the server. */
void sc_tune_model_stop(struct sc_tune_model *m);
/* For a signal handler: a load that is under way ends. */
void sc_tune_model_interrupt(void);

/*
 * Writes the configuration where a server finds it: model-config.yaml of a folder, <archive>.sconce.yaml
 * beside an archive; `where` is its path. SC_EINVAL, SC_ELIMIT, SC_ESYS with *msg; nothing has changed then.
 */
int sc_tune_model_apply(const struct sc_tune_model *m, const struct sc_tune_config *c, char *where,
                        size_t size, struct sc_msg *msg) SC_MUST_USE;

#endif
