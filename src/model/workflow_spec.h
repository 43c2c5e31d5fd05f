/*
 * A workflow's specification: its models, their numbers, and the graph of its nodes (docs/contract.md §13, as
 * TorchServe 0.12 reads it). Plain data, made of a file that a stranger wrote.
 *
 *     models:
 *       batch-size: 3          a number for the models behind it
 *       m1: {url: m1.mar, timeout-ms: 500}
 *     dag:
 *       pre: [m1]              a node, and those that get its output
 */
#ifndef SC_MODEL_WORKFLOW_SPEC_H
#define SC_MODEL_WORKFLOW_SPEC_H

#include "archive/archive.h"
#include "base/limits.h"
#include "base/span.h"

struct sc_workflow_numbers {
    int min_workers, max_workers, batch_size;
    int max_batch_delay; /* ms */
    int retry_attempts;  /* tries of a node beside the first one */
    int timeout_ms;      /* of one try */
};

struct sc_workflow_node {
    char *name; /* without the workflow's; may be the name of a model with it (sc_workflow_model_name) */
    char *url;  /* of a model; NULL: the node is a function of that name in the workflow's handler */
    struct sc_workflow_numbers numbers;
    uint64_t next, before; /* neighbours: bit i is nodes[i] */
};

struct sc_workflow_spec {
    struct sc_workflow_numbers numbers; /* as the file leaves them for the nodes */
    unsigned n, start; /* nodes in the order in which the graph names them; the first to run */
    uint64_t leaves;
    struct sc_workflow_node nodes[SC_WORKFLOW_NODES_MAX];
    char *dag; /* the graph as Java prints a map: {pre=[m1], m1=[post]} */
};

/*
 * Reads the text of `file`. 0, or a negative code with *err as a client is told it: 400 InvalidDAGException
 * for a graph that is none, 500 InvalidWorkflowException for what cannot be read. *s, whatever it held, is to
 * be freed after a success only.
 */
int sc_workflow_spec_read(struct sc_workflow_spec *s, struct sc_span text, const char *file,
                          struct sc_archive_error *err) SC_MUST_USE;
void sc_workflow_spec_free(struct sc_workflow_spec *s);

/* What a node is registered as: WORKFLOW__NODE. SC_EINVAL with *msg if that is no name for a model. */
int sc_workflow_model_name(char out[SC_MODEL_NAME_MAX + 1], const char *workflow, const char *node,
                           struct sc_msg *msg) SC_MUST_USE;

#endif
