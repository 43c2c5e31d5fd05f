/*
 * Which metrics there are: metrics.yaml (docs/contract.md §7). Those that it does not name are not recorded.
 */
#ifndef SC_METRICS_DECLARED_H
#define SC_METRICS_DECLARED_H

#include "base/error.h"
#include "base/limits.h"
#include "metrics/registry.h"

struct sc_declared {
    struct sc_declared *next;
    enum sc_metric_type type;
    char *name, *unit;
    unsigned ndims;
    char *dims[SC_METRIC_LABELS_MAX];
    struct sc_family *family; /* what /metrics shows of it; NULL: nothing */
};

/* Two lists in the order of the file. The last dimension of each is the host's name: the file says so for the
 * server's; it is appended for the models'. */
struct sc_declarations {
    struct sc_declared *server, *model;
    unsigned n;
};

/*
 * Reads the text of a metrics.yaml; `name` stands in messages. SC_EINVAL: not YAML, a key that the schema
 * does not know, an empty name or unit, a metric of a model without dimensions; SC_ELIMIT. After a failure *d
 * is empty.
 */
int sc_declarations_read(struct sc_declarations *d, struct sc_span text, const char *name,
                         struct sc_msg *msg) SC_MUST_USE;
void sc_declarations_free(struct sc_declarations *d);
/* What holds where no file is named. */
struct sc_span sc_declarations_default(void);

/* The last of that name, or NULL. */
struct sc_declared *sc_declared_find(struct sc_declared *list, struct sc_span name);
/* Appends one more metric of models; its dimensions are those in dims ("k:v,k:v") and Hostname. NULL: there
 * are SC_METRIC_FAMILIES_MAX, or it has too many dimensions. */
struct sc_declared *sc_declared_add(struct sc_declarations *d, enum sc_metric_type type, struct sc_span name,
                                    struct sc_span unit, const struct sc_span *dims, unsigned ndims);
/* SC_EINVAL if Prometheus could not show them: a name twice, or one with other characters than it takes. */
int sc_declarations_check_prometheus(const struct sc_declarations *d, struct sc_msg *msg) SC_MUST_USE;
/* One of them. */
int sc_declared_check_prometheus(const struct sc_declarations *d, const struct sc_declared *m,
                                 struct sc_msg *msg) SC_MUST_USE;

#endif
