/* What a model says of sharing a GPU: its keys, and what contradicts what. */
#include <stdio.h>
#include <string.h>

#include "model/spec_parts.h"
#include "proto/number.h"
#include "proto/yaml.h"

static int refuse(struct sc_span key, struct sc_span value, const char *must, struct sc_msg *msg)
{
    return sc_fail(msg, SC_EINVAL, "model-config.yaml: %.*s is \"%.*s\": it must be %s", SC_FMT(key),
                   (int)SC_MIN(value.n, 64u), value.n ? value.p : "", must);
}

static void keep(char *to, size_t size, struct sc_span value)
{
    snprintf(to, size, "%.*s", SC_FMT(value));
}

static int percentage(struct sc_model_spec *s, struct sc_span key, struct sc_span v, struct sc_msg *msg)
{
    double n;
    if (v.n >= sizeof s->mps.percentage || !sc_number_read(v, &n) || !(n >= 1) || n > 100)
        return refuse(key, v, "a number from 1 to 100", msg);
    keep(s->mps.percentage, sizeof s->mps.percentage, v);
    return 1;
}

/* The driver ignores a figure without its unit, and says nothing. */
static int memory(struct sc_model_spec *s, struct sc_span key, struct sc_span v, struct sc_msg *msg)
{
    uint64_t n;
    bool unit = v.n > 1 && (v.p[v.n - 1] == 'G' || v.p[v.n - 1] == 'M');
    if (v.n >= sizeof s->mps.memory || !unit || !sc_span_u64(sc_span_sub(v, 0, v.n - 1), 1u << 24, &n) ||
        n == 0)
        return refuse(key, v, "a whole number and G or M, as in 20G or 1500M", msg);
    if (v.p[v.n - 1] == 'M' && n < 600)
        return refuse(key, v, "at least 600M: a worker's context alone takes about 520 MiB", msg);
    keep(s->mps.memory, sizeof s->mps.memory, v);
    return 1;
}

static int priority(struct sc_model_spec *s, struct sc_span key, struct sc_span v, struct sc_msg *msg)
{
    if (!sc_span_eq(v, SC_SPAN("normal")) && !sc_span_eq(v, SC_SPAN("low")))
        return refuse(key, v, "normal or low", msg);
    s->mps.priority = sc_span_eq(v, SC_SPAN("low")) ? 2 : 1;
    return 1;
}

static int kind(struct sc_model_spec *s, struct sc_span key, struct sc_span v, struct sc_msg *msg)
{
    if (!sc_span_eq(v, SC_SPAN("lane")) && !sc_span_eq(v, SC_SPAN("process")))
        return refuse(key, v, "lane or process", msg);
    s->mps.kind_said = true;
    s->mps.process = sc_span_eq(v, SC_SPAN("process"));
    return 1;
}

static int shared_weights(struct sc_model_spec *s, struct sc_span key, struct sc_span v, struct sc_msg *msg)
{
    struct sc_yaml_value truth;
    if (sc_yaml_type(v, &truth) != SC_YAML_BOOL)
        return refuse(key, v, "true or false", msg);
    s->shared_weights = truth.truth ? SC_WEIGHTS_SHARED : SC_WEIGHTS_PRIVATE;
    return 1;
}

static int standby(struct sc_model_spec *s, struct sc_span key, struct sc_span v, struct sc_msg *msg)
{
    struct sc_yaml_value truth;
    if (sc_yaml_type(v, &truth) != SC_YAML_BOOL)
        return refuse(key, v, "true or false", msg);
    s->mps.standby = truth.truth;
    return 1;
}

/* It becomes part of a process's title. */
static int executor_group(struct sc_model_spec *s, struct sc_span key, struct sc_span v, struct sc_msg *msg)
{
    bool good = v.n > 0 && v.n <= SC_GROUP_NAME_MAX;
    for (size_t i = 0; good && i < v.n; i++)
        good = (v.p[i] >= '0' && v.p[i] <= '9') || ((v.p[i] | 32) >= 'a' && (v.p[i] | 32) <= 'z') ||
               strchr("._-", v.p[i]);
    if (!good)
        return refuse(key, v, "a name of letters, digits, '.', '_' and '-', 64 of them at most", msg);
    keep(s->mps.group, sizeof s->mps.group, v);
    return 1;
}

int sc_spec_mps_key(struct sc_model_spec *s, struct sc_span key, struct sc_span value, struct sc_msg *msg)
{
    static const struct {
        const char *name;
        int (*take)(struct sc_model_spec *, struct sc_span, struct sc_span, struct sc_msg *);
    } keys[] = {{"mpsActiveThreadPercentage", percentage},
                {"mpsPinnedMemoryLimit", memory},
                {"mpsPriority", priority},
                {"workerKind", kind},
                {"sharedWeights", shared_weights},
                {"standby", standby},
                {"executorGroup", executor_group}};
    for (size_t i = 0; i < SC_COUNT(keys); i++)
        if (sc_span_eq(key, sc_span_str(keys[i].name)))
            return keys[i].take(s, key, value, msg);
    return 0;
}

int sc_spec_mps_check(const struct sc_model_spec *s, const struct sc_settings *settings, struct sc_msg *msg)
{
    const char *key = s->mps.percentage[0] ? "mpsActiveThreadPercentage"
                      : s->mps.memory[0]   ? "mpsPinnedMemoryLimit"
                      : s->mps.priority    ? "mpsPriority"
                                           : NULL;
    if (s->mps.bad[0])
        return sc_fail(msg, SC_EINVAL, "%s", s->mps.bad);
    if (key && sc_settings_mps_is_off(settings))
        return sc_fail(
            msg, SC_EINVAL,
            "model %s says %s, and the server says mps=off: take the one out, or set mps=auto, managed "
            "or external",
            s->name, key);
    if (s->mps.kind_said && !sc_spec_is_native(s))
        return sc_fail(
            msg, SC_EINVAL,
            "model %s says workerKind, and its backend is python, whose workers are processes: take "
            "workerKind out",
            s->name);
    if (s->mps.standby && !sc_spec_is_native(s))
        return sc_fail(msg, SC_EINVAL,
                       "model %s says standby, which is for native models, and its backend is python: take "
                       "standby out",
                       s->name);
    if (s->mps.standby && s->mps.process)
        return sc_fail(msg, SC_EINVAL,
                       "model %s says standby and workerKind: process, whose processes stand by for each "
                       "other: take one of them out",
                       s->name);
    if (s->mps.group[0] && !sc_spec_is_native(s))
        return sc_fail(msg, SC_EINVAL,
                       "model %s says executorGroup, which is for native models, and its backend is python: "
                       "take executorGroup out",
                       s->name);
    const char *against = s->mps.process   ? "workerKind: process, whose workers have a process each"
                          : s->mps.standby ? "standby, for which a process of its own stands by"
                                           : NULL;
    if (s->mps.group[0] && against)
        return sc_fail(msg, SC_EINVAL, "model %s says executorGroup and %s: take one of them out", s->name,
                       against);
    if (s->mps.group[0] && key)
        return sc_fail(msg, SC_EINVAL,
                       "model %s says executorGroup and %s, which is a whole process's: take one of them out",
                       s->name, key);
    if (s->shared_weights && sc_spec_is_native(s))
        return sc_fail(
            msg, SC_EINVAL,
            "model %s says sharedWeights, and its backend is %s, whose workers share their weights anyhow: "
            "take sharedWeights out",
            s->name, s->backend);
    if (s->shared_weights && s->parallel_type[0] && strcmp(s->parallel_type, "custom") != 0)
        return sc_fail(msg, SC_EINVAL,
                       "model %s says sharedWeights and parallelType: %s, whose processes have a part of the "
                       "weights each: take one of them out",
                       s->name, s->parallel_type);
    return 0;
}
