/* How `sconce status` shows a server. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "cli/status.h"

#define COLUMNS 5

static const char *text_of(const json_t *object, const char *key)
{
    const char *v = json_string_value(json_object_get(object, key));
    return v ? v : "";
}

static long long int_of(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

static bool is_ready(const json_t *worker)
{
    return strcmp(text_of(worker, "status"), "READY") == 0;
}

static long long ready_workers(const json_t *version)
{
    long long n = 0;
    size_t i;
    json_t *w;
    json_array_foreach(json_object_get(version, "workers"), i, w) n += is_ready(w);
    return n;
}

bool sc_status_well(const struct sc_status *s)
{
    size_t i;
    json_t *v;
    json_array_foreach(s->models, i, v)
    {
        if (ready_workers(v) < int_of(v, "minWorkers"))
            return false;
    }
    return true;
}

/* ---- text ------------------------------------------------------------------------------------------ */

static const char green[] = "\033[32m", yellow[] = "\033[33m", bold[] = "\033[1m", normal[] = "\033[0m";

/* Columns that a text takes on a terminal, if each character takes one. */
static size_t width_of(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += (*text & 0xC0) != 0x80;
    return n;
}

/* A text from the server, which must not steer the terminal. */
static void put_plain(struct sc_buf *out, const char *text)
{
    for (; *text; text++)
        sc_buf_char(out, (unsigned char)*text < 0x20 || *text == 0x7F ? '?' : *text);
}

static void put_cell(struct sc_buf *out, const char *text, size_t width)
{
    put_plain(out, text);
    for (size_t n = width_of(text); n < width + 2; n++)
        sc_buf_char(out, ' ');
}

struct row {
    char text[COLUMNS][272];
    bool well;
};

static void make_row(const json_t *v, struct row *r)
{
    const json_t *queue = json_object_get(v, "jobQueueStatus");
    long long ready = ready_workers(v), wanted = int_of(v, "minWorkers");
    r->well = ready >= wanted;
    snprintf(r->text[0], sizeof r->text[0], "%s", text_of(v, "modelName"));
    snprintf(r->text[1], sizeof r->text[1], "%.200s%s", text_of(v, "modelVersion"),
             json_is_true(json_object_get(v, "default")) ? " *" : "");
    snprintf(r->text[2], sizeof r->text[2], "%lld/%lld", ready, wanted);
    snprintf(r->text[3], sizeof r->text[3], "%lld", int_of(queue, "pendingRequests"));
    snprintf(r->text[4], sizeof r->text[4], "%s", text_of(v, "runtime"));
}

static void put_size(struct sc_buf *out, long long bytes)
{
    if (bytes >= 1ll << 30)
        sc_buf_printf(out, "%7.1f GiB", (double)bytes / (1 << 30));
    else
        sc_buf_printf(out, "%7.1f MiB", (double)bytes / (1 << 20));
}

static void put_workers(const json_t *version, bool colour, struct sc_buf *out)
{
    size_t i;
    json_t *w;
    json_array_foreach(json_object_get(version, "workers"), i, w)
    {
        sc_buf_str(out, "  worker ");
        put_cell(out, text_of(w, "id"), 5);
        sc_buf_str(out, colour ? is_ready(w) ? green : yellow : "");
        put_cell(out, text_of(w, "status"), 9);
        sc_buf_str(out, colour ? normal : "");
        sc_buf_printf(out, "pid %-7lld ", int_of(w, "pid"));
        put_size(out, int_of(w, "memoryUsage"));
        if (json_is_true(json_object_get(w, "gpu"))) {
            sc_buf_str(out, "  ");
            put_plain(out, text_of(w, "gpuUsage"));
            sc_buf_str(out, *text_of(w, "gpuSharing") ? "  " : "");
            put_plain(out, text_of(w, "gpuSharing"));
        }
        sc_buf_char(out, '\n');
    }
}

static void put_up(struct sc_buf *out, int64_t s)
{
    if (s >= 2 * 86400)
        sc_buf_printf(out, "%lld d", (long long)s / 86400);
    else if (s >= 2 * 3600)
        sc_buf_printf(out, "%lld h", (long long)s / 3600);
    else if (s >= 2 * 60)
        sc_buf_printf(out, "%lld min", (long long)s / 60);
    else
        sc_buf_printf(out, "%lld s", (long long)s);
}

static void put_server(const struct sc_status *s, struct sc_buf *out)
{
    if (s->server.pid) {
        sc_buf_printf(out, "%s, pid %d, up ", s->server.pidfile ? "torchserve" : "sconce",
                      (int)s->server.pid);
        put_up(out, s->server.up_s);
        sc_buf_str(out, ", in ");
        put_plain(out, s->server.folder);
        sc_buf_char(out, '\n');
    }
    if (s->inference)
        sc_buf_printf(out, "inference %s, ", s->inference);
    sc_buf_printf(out, "management %s\n", s->management);
}

void sc_status_text(const struct sc_status *s, bool colour, struct sc_buf *out)
{
    static const char *const heads[COLUMNS] = {"MODEL", "VERSION", "WORKERS", "QUEUE", "RUNTIME"};
    size_t width[COLUMNS], i, n = json_array_size(s->models);
    struct row *rows = calloc(n + 1, sizeof *rows);
    put_server(s, out);
    if (!rows || n == 0)
        sc_buf_str(out, "no models\n");
    for (unsigned c = 0; c < COLUMNS; c++)
        width[c] = strlen(heads[c]);
    for (i = 0; rows && i < n; i++) {
        make_row(json_array_get(s->models, i), &rows[i]);
        for (unsigned c = 0; c < COLUMNS; c++)
            width[c] = SC_MAX(width[c], width_of(rows[i].text[c]));
    }
    for (i = 0; rows && n && i <= n; i++) {
        bool head = i == 0;
        if (head)
            sc_buf_printf(out, "\n%s", colour ? bold : "");
        else if (colour && !rows[i - 1].well)
            sc_buf_str(out, yellow);
        for (unsigned c = 0; c < COLUMNS; c++) {
            const char *text = head ? heads[c] : rows[i - 1].text[c];
            if (c + 1 < COLUMNS)
                put_cell(out, text, width[c]);
            else
                put_plain(out, text);
        }
        sc_buf_printf(out, "%s\n", colour ? normal : "");
        if (!head)
            put_workers(json_array_get(s->models, i - 1), colour, out);
    }
    free(rows);
}

/* ---- JSON ------------------------------------------------------------------------------------------ */

static int append(const char *text, size_t n, void *out)
{
    sc_buf_add(out, text, n);
    return 0;
}

void sc_status_json(const struct sc_status *s, struct sc_buf *out)
{
    json_t *j = json_pack("{s:o?, s:s?, s:s, s:b, s:O}", "server",
                          s->server.pid ? json_pack("{s:i, s:I, s:s, s:s}", "pid", (int)s->server.pid,
                                                    "uptimeSeconds", (json_int_t)s->server.up_s, "face",
                                                    s->server.pidfile ? "torchserve" : "sconce", "folder",
                                                    s->server.folder)
                                        : NULL,
                          "inferenceAddress", s->inference, "managementAddress", s->management, "well",
                          sc_status_well(s), "models", s->models);
    if (j)
        (void)json_dump_callback(j, append, out, JSON_COMPACT);
    sc_buf_char(out, '\n');
    json_decref(j);
}
