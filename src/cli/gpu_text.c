/* How `sconce gpu` shows the GPUs. Everything is put into one JSON object; the text is written from it. */
#include "cli/gpu_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MIB (INT64_C(1) << 20)

static json_t *known(int64_t v)
{
    return v < 0 ? json_null() : json_integer(v);
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *v = json_string_value(json_object_get(object, key));
    return v ? v : "";
}

static long long int_of(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

/* ---- gathering ------------------------------------------------------------------------------------- */

static const char *mode_name(int mode)
{
    static const char *const names[] = {"DEFAULT", "EXCLUSIVE_THREAD", "PROHIBITED", "EXCLUSIVE_PROCESS"};
    return mode >= 0 && (size_t)mode < SC_COUNT(names) ? names[mode] : "unknown";
}

static void add_bytes(json_t *to, const char *name, const json_t *w, const char *key)
{
    if (json_object_get(w, key))
        json_object_set_new(to, name, json_integer(int_of(to, name) + int_of(w, key)));
}

/* What a server of ours says of the process: its model, or models, and ids of its workers (lanes have one
 * each). */
static void add_worker(json_t *process, const json_t *models, long long pid)
{
    const json_t *v, *w, *of = NULL;
    size_t i, k;
    json_array_foreach(models, i, v) json_array_foreach(json_object_get(v, "workers"), k, w)
    {
        if (int_of(w, "pid") != pid)
            continue;
        if (!json_object_get(process, "model")) {
            json_object_set(process, "model", json_object_get(v, "modelName"));
            json_object_set(process, "version", json_object_get(v, "modelVersion"));
            json_object_set_new(process, "workers", json_array());
            if (json_object_get(w, "gpuSharing"))
                json_object_set(process, "gpuSharing", json_object_get(w, "gpuSharing"));
        } else if (v != of) { /* of one executorGroup */
            json_object_set_new(process, "model",
                                json_sprintf("%s, %s", json_string_value(json_object_get(process, "model")),
                                             json_string_value(json_object_get(v, "modelName"))));
        }
        json_array_append(json_object_get(process, "workers"), json_object_get(w, "id"));
        if (v != of)
            add_bytes(process, "weights", w, "gpuWeights");
        add_bytes(process, "activations", w, "gpuActivations");
        if (v != of)
            add_bytes(process, "context", w, "gpuContext");
        of = v;
    }
}

/* The name that a process goes by in ps. */
static json_t *command_of(int pid)
{
    char path[64], text[160] = "";
    snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        fclose(f);
    while (n && text[n - 1] == '\0')
        n--;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] < 0x20 || (unsigned char)text[i] >= 0x7F)
            text[i] = ' ';
    return n ? json_stringn(text, n) : json_null();
}

static json_t *gather_processes(const struct sc_gpu_view *v, const struct sc_gpu_info *g)
{
    json_t *all = json_array();
    for (unsigned i = 0; i < v->report.nprocesses; i++) {
        const struct sc_gpu_process *p = &v->report.processes[i];
        if (p->gpu != g->index)
            continue;
        json_t *one = json_pack("{s:i, s:o, s:b, s:o}", "pid", p->pid, "memoryUsed", known(p->memory_used),
                                "mps", p->mps, "command", command_of(p->pid));
        add_worker(one, v->status.models, p->pid);
        json_array_append_new(all, one);
    }
    return all;
}

/* How near a daemon is to who asks: that of the server asked, what a process started here would find, that of
 * another server, another's. */
static int nearness(const struct sc_gpu_view *v, const struct sc_mps_daemon *d)
{
    char mark[64];
    snprintf(mark, sizeof mark, "/" SC_MPS_FOLDER "%d-", v->status.models ? (int)v->status.server.pid : 0);
    if (d->managed && strstr(d->pipe, mark))
        return 4;
    if (d->known && strcmp(d->pipe, sc_mps_pipe()) == 0)
        return 3;
    return d->managed ? 2 : 1;
}

/* The nearest of those that serve the GPU; *others: how many more do. */
static const struct sc_mps_daemon *daemon_of(const struct sc_gpu_view *v, const struct sc_gpu_info *g,
                                             unsigned *others)
{
    const struct sc_mps_daemon *found = NULL;
    unsigned n = 0;
    for (unsigned i = 0; i < v->ndaemons; i++) {
        const struct sc_mps_daemon *d = &v->daemons[i];
        if (!sc_mps_serves(d, g))
            continue;
        n++;
        if (!found || nearness(v, d) > nearness(v, found))
            found = d;
    }
    *others = n ? n - 1 : 0;
    return found;
}

static json_t *gather_mps(const struct sc_mps_daemon *d)
{
    if (d)
        return json_pack("{s:s, s:i, s:i, s:s?}", "state", d->managed ? "managed" : "external", "pid",
                         (int)d->pid, "uid", (int)d->uid, "pipe", d->known ? d->pipe : NULL);
    if (sc_mps_is_stale(sc_mps_pipe()))
        return json_pack("{s:s, s:s}", "state", "stale", "pipe", sc_mps_pipe());
    return json_pack("{s:s}", "state", "none");
}

static void note(json_t *notes, const char *fmt, ...) SC_PRINTF(2, 3);
static void note(json_t *notes, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    json_array_append_new(notes, json_string(text));
}

/* What stands in the way, and what to type. */
static json_t *gather_notes(const struct sc_gpu_info *g, const struct sc_mps_daemon *d, unsigned others)
{
    json_t *notes = json_array();
    if (g->compute_mode == SC_COMPUTE_PROHIBITED)
        note(notes, "compute mode PROHIBITED: no process can use this GPU; nvidia-smi -i %u -c 0 permits it",
             g->index);
    if (g->compute_mode == SC_COMPUTE_EXCLUSIVE_PROCESS && !d)
        note(notes,
             "compute mode EXCLUSIVE_PROCESS and no MPS daemon: one process at a time can use this GPU. A "
             "server with mps=auto or mps=managed runs MPS; nvidia-smi -i %u -c 0 permits several processes",
             g->index);
    if (g->mig == 1)
        note(notes,
             "MIG is on: managed MPS is not offered, and a process sees one instance; nvidia-smi -i %u -mig "
             "0 makes one GPU of it again",
             g->index);
    if (!d && sc_mps_is_stale(sc_mps_pipe()))
        note(notes,
             "%s has the files of an MPS daemon that is dead: programs run without MPS and do not say so. "
             "%s -d starts one; rm -r %s forgets it",
             sc_mps_pipe(), SC_MPS_CONTROL, sc_mps_pipe());
    if (d && !d->managed && d->uid != geteuid())
        note(notes,
             d->uid ? "the MPS daemon (pid %d) is another user's (uid %d), and serves that user alone"
                    : "the MPS daemon (pid %d) is root's (uid %d): it serves one user at a time, the others "
                      "wait",
             (int)d->pid, (int)d->uid);
    if (others)
        note(notes,
             "%u further MPS daemon%s serve%s this GPU: the clients of one take turns with those of another",
             others, others == 1 ? "" : "s", others == 1 ? "s" : "");
    return notes;
}

static json_t *gather_gpu(const struct sc_gpu_view *v, const struct sc_gpu_info *g)
{
    unsigned others;
    const struct sc_mps_daemon *d = daemon_of(v, g, &others);
    json_t *instances = json_array();
    for (unsigned i = 0; i < v->report.ninstances; i++) {
        const struct sc_gpu_instance *p = &v->report.instances[i];
        if (p->gpu == g->index)
            json_array_append_new(instances,
                                  json_pack("{s:s, s:o, s:o}", "uuid", p->uuid, "memoryUsed",
                                            known(p->memory_used), "memoryTotal", known(p->memory_total)));
    }
    json_t *j =
        json_pack("{s:i, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:s}", "index", (int)g->index, "uuid",
                  g->uuid, "name", g->name, "memoryUsed", known(g->memory_used), "memoryTotal",
                  known(g->memory_total), "utilization", known(g->utilization), "memoryUtilization",
                  known(g->memory_utilization), "powerMilliwatts", known(g->power), "powerLimitMilliwatts",
                  known(g->power_limit), "computeMode", mode_name(g->compute_mode));
    json_object_set_new(j, "smUtilization", known(g->sm_utilization));
    json_object_set_new(j, "bandwidthUtilization", known(g->bandwidth_utilization));
    json_object_set_new(j, "mig", g->mig < 0 ? json_null() : json_boolean(g->mig));
    json_object_set_new(j, "instances", instances);
    json_object_set_new(j, "mps", gather_mps(d));
    json_object_set_new(j, "processes", gather_processes(v, g));
    json_object_set_new(j, "notes", gather_notes(g, d, others));
    return j;
}

static json_t *gather(const struct sc_gpu_view *v)
{
    json_t *gpus = json_array(), *notes = json_array();
    for (unsigned i = 0; i < v->report.ngpus; i++)
        json_array_append_new(gpus, gather_gpu(v, &v->report.gpus[i]));
    if (v->hangs)
        note(notes, "%s; its processes can only be freed by a reset of the GPU or of the machine",
             v->trouble);
    else if (*v->trouble)
        note(notes, "No GPU can be seen: %s. Is the NVIDIA driver installed and loaded (nvidia-smi)?",
             v->trouble);
    else if (!v->report.ngpus)
        note(notes, "The NVIDIA driver has no GPU");
    if (*v->no_server)
        note(notes, "The workers of the server are not named: %s", v->no_server);
    return json_pack("{s:s?, s:o, s:o, s:o}", "driver", *v->report.driver ? v->report.driver : NULL, "server",
                     v->status.models ? json_integer(v->status.server.pid) : json_null(), "gpus", gpus,
                     "notes", notes);
}

/* ---- JSON ------------------------------------------------------------------------------------------ */

static int append(const char *text, size_t n, void *out)
{
    sc_buf_add(out, text, n);
    return 0;
}

void sc_gpu_view_json(const struct sc_gpu_view *v, struct sc_buf *out)
{
    json_t *j = gather(v);
    (void)json_dump_callback(j, append, out, JSON_COMPACT);
    sc_buf_char(out, '\n');
    json_decref(j);
}

/* ---- text ------------------------------------------------------------------------------------------ */

static const char yellow[] = "\033[33m", bold[] = "\033[1m", normal[] = "\033[0m";

static void put_figure(struct sc_buf *out, const json_t *o, const char *key, long long unit)
{
    if (json_is_integer(json_object_get(o, key)))
        sc_buf_printf(out, "%lld", int_of(o, key) / unit);
    else
        sc_buf_char(out, '?');
}

static void put_notes(struct sc_buf *out, const json_t *notes, bool colour, const char *indent)
{
    size_t i;
    const json_t *n;
    json_array_foreach(notes, i, n) sc_buf_printf(out, "%s%s! %s%s\n", indent, colour ? yellow : "",
                                                  json_string_value(n), colour ? normal : "");
}

static void put_process(struct sc_buf *out, const json_t *p)
{
    sc_buf_printf(out, "  pid %-7lld ", int_of(p, "pid"));
    static const char *const parts[] = {"weights", "activations", "context"};
    const char *before = " MiB (";
    put_figure(out, p, "memoryUsed", MIB);
    for (size_t i = 0; i < SC_COUNT(parts); i++)
        if (json_object_get(p, parts[i])) {
            sc_buf_printf(out, "%s%s %lld", before, parts[i], int_of(p, parts[i]) / MIB);
            before = ", ";
        }
    sc_buf_printf(out, "%s%s  ", *before == ',' ? ")" : " MiB",
                  json_is_true(json_object_get(p, "mps")) ? ", MPS" : "");
    const json_t *workers = json_object_get(p, "workers");
    size_t n = json_array_size(workers);
    if (n == 0)
        sc_buf_printf(out, "%s\n", text_of(p, "command"));
    else if (n == 1)
        sc_buf_printf(out, "%s %s, worker %s\n", text_of(p, "model"), text_of(p, "version"),
                      json_string_value(json_array_get(workers, 0)));
    else
        sc_buf_printf(out, "%s %s, %zu lanes: workers %s to %s\n", text_of(p, "model"), text_of(p, "version"),
                      n, json_string_value(json_array_get(workers, 0)),
                      json_string_value(json_array_get(workers, n - 1)));
}

static void put_mps(struct sc_buf *out, const json_t *m)
{
    sc_buf_printf(out, "  MPS %s", text_of(m, "state"));
    if (json_object_get(m, "pid"))
        sc_buf_printf(out, ", pid %lld", int_of(m, "pid"));
    if (*text_of(m, "pipe"))
        sc_buf_printf(out, ", %s", text_of(m, "pipe"));
    sc_buf_char(out, '\n');
}

static void put_gpu(struct sc_buf *out, const json_t *g, bool colour)
{
    size_t i;
    const json_t *x;
    sc_buf_printf(out, "\n%sGPU %lld  %s  %s%s\n  memory ", colour ? bold : "", int_of(g, "index"),
                  text_of(g, "name"), text_of(g, "uuid"), colour ? normal : "");
    put_figure(out, g, "memoryUsed", MIB);
    sc_buf_str(out, " of ");
    put_figure(out, g, "memoryTotal", MIB);
    sc_buf_str(out, " MiB, busy ");
    put_figure(out, g, "utilization", 1);
    sc_buf_str(out, " %, its memory ");
    put_figure(out, g, "memoryUtilization", 1);
    if (json_is_integer(json_object_get(g, "smUtilization"))) {
        sc_buf_str(out, " %, of its multiprocessors ");
        put_figure(out, g, "smUtilization", 1);
        sc_buf_str(out, " %, of its memory's bandwidth ");
        put_figure(out, g, "bandwidthUtilization", 1);
    }
    sc_buf_str(out, " %, power ");
    put_figure(out, g, "powerMilliwatts", 1000);
    sc_buf_str(out, " of ");
    put_figure(out, g, "powerLimitMilliwatts", 1000);
    sc_buf_printf(out, " W, compute mode %s%s\n", text_of(g, "computeMode"),
                  json_is_true(json_object_get(g, "mig")) ? ", MIG" : "");
    json_array_foreach(json_object_get(g, "instances"), i, x)
    {
        sc_buf_printf(out, "  instance %s  memory ", text_of(x, "uuid"));
        put_figure(out, x, "memoryUsed", MIB);
        sc_buf_str(out, " of ");
        put_figure(out, x, "memoryTotal", MIB);
        sc_buf_str(out, " MiB\n");
    }
    put_mps(out, json_object_get(g, "mps"));
    json_array_foreach(json_object_get(g, "processes"), i, x) put_process(out, x);
    put_notes(out, json_object_get(g, "notes"), colour, "  ");
}

void sc_gpu_view_text(const struct sc_gpu_view *v, bool colour, struct sc_buf *out)
{
    json_t *j = gather(v);
    const json_t *g;
    size_t i;
    if (*text_of(j, "driver"))
        sc_buf_printf(out, "driver %s, %zu GPU%s\n", text_of(j, "driver"),
                      json_array_size(json_object_get(j, "gpus")), v->report.ngpus == 1 ? "" : "s");
    json_array_foreach(json_object_get(j, "gpus"), i, g) put_gpu(out, g, colour);
    put_notes(out, json_object_get(j, "notes"), colour, "");
    json_decref(j);
}
