/* `sconce status`: finds a server and tells what it is doing. */
#include "cli/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/limits.h"
#include "cli/find_server.h"
#include "cli/options.h"
#include "cli/roles.h"
#include "cli/watch.h"
#include "load/http_client.h"

#define KEY_FILE "key_file.json"
#define ASK_MS 5000
#define MANAGEMENT_PORT 8081

static void usage(FILE *to)
{
    fputs("usage: sconce status [OPTION...]\n"
          "\n"
          "Models, versions, workers and queues of a server that runs here.\n"
          "\n"
          "  --watch[=S]    again and again, every S seconds (default 1)\n"
          "  --json         one JSON object (with --watch: one a line)\n"
          "  --pid PID      which server, if several run here\n"
          "  --address A    the management API of a server anywhere: http://HOST:PORT or unix:/PATH\n"
          "  --key-file F   where its management key is, if it wants one (default: key_file.json in the\n"
          "                 server's folder, with --address in this one)\n"
          "\n"
          "Exit codes: 0 all models have the workers that they should have; 1 some have not; 2 the command\n"
          "line is wrong; 3 no server is running; 4 it does not answer, or several run.\n",
          to);
}

struct options {
    struct sc_watch watch;
    int32_t pid;
    const char *address, *key_file;
};

/* ---- asking ---------------------------------------------------------------------------------------- */

static char *read_key(const char *path)
{
    struct sc_buf b;
    const char *key = NULL;
    sc_buf_init(&b, 65536);
    int rc = sc_file_read(path, &b, NULL);
    json_t *j = rc == 0 && b.n ? json_loadb(b.p, b.n, 0, NULL) : NULL;
    (void)json_unpack(j, "{s:{s:s}}", "management", "key", &key);
    char *copy = key ? sc_strdup(key) : NULL;
    json_decref(j);
    sc_buf_free(&b);
    return copy;
}

/* The beginning of an answer that was not wanted, fit for a message. */
static void quote(const struct sc_fetched *a, char *to, size_t size)
{
    size_t n = SC_MIN(a->body.n, size - 1);
    for (size_t i = 0; i < n; i++)
        to[i] = (unsigned char)a->body.p[i] < 0x20 || a->body.p[i] == 0x7F ? ' ' : a->body.p[i];
    to[n] = '\0';
}

static json_t *get(const struct sc_status *s, const char *path, struct sc_msg *msg)
{
    struct sc_fetched a;
    json_t *j = NULL;
    char body[200];
    int rc = sc_http_get(&a, s->management, MANAGEMENT_PORT, path, s->token, ASK_MS, msg);
    if (rc == 0 && a.status == 200)
        j = a.body.n ? json_loadb(a.body.p, a.body.n, 0, NULL) : NULL;
    quote(&a, body, sizeof body);
    if (rc == 0 && !j)
        sc_fail(msg, SC_EPROTO, "%s: %s answers %d: %s", s->management, path, a.status, body);
    sc_fetched_free(&a);
    return j;
}

static json_t *describe(const struct sc_status *s, const char *name, const char *more, struct sc_msg *msg)
{
    struct sc_buf path;
    sc_buf_init(&path, 4096);
    sc_buf_str(&path, "/models/");
    sc_http_escape(&path, name, "");
    sc_buf_str(&path, more);
    sc_buf_char(&path, '\0');
    json_t *j = path.failed ? NULL : get(s, path.p, msg);
    sc_buf_free(&path);
    return j;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *v = json_string_value(json_object_get(object, key));
    return v ? v : "";
}

/* All versions of one model, the default marked. A model that has gone meanwhile adds nothing. */
static void add_model(struct sc_status *s, const char *name)
{
    json_t *normal = describe(s, name, "", NULL), *all = describe(s, name, "/all", NULL), *v;
    const char *version = text_of(json_array_get(normal, 0), "modelVersion");
    size_t i;
    json_array_foreach(all, i, v)
    {
        bool is_default = strcmp(text_of(v, "modelVersion"), version) == 0;
        json_object_set_new(v, "default", json_boolean(is_default));
        json_array_append(s->models, v);
    }
    json_decref(normal);
    json_decref(all);
}

int sc_status_fetch(struct sc_status *s, struct sc_msg *msg)
{
    char path[128] = "/models?limit=100", next[64] = "";
    json_decref(s->models);
    s->models = json_array();
    do {
        json_t *page = get(s, path, msg), *m;
        size_t i;
        if (!page)
            return SC_EPROTO;
        json_array_foreach(json_object_get(page, "models"), i, m) add_model(s, text_of(m, "modelName"));
        snprintf(next, sizeof next, "%.20s", text_of(page, "nextPageToken"));
        snprintf(path, sizeof path, "/models?limit=100&next_page_token=%s", next);
        json_decref(page);
    } while (*next);
    return 0;
}

/* ---- the command ----------------------------------------------------------------------------------- */

static int learn_addresses(struct sc_status *s, const char *key_file, struct sc_msg *msg)
{
    struct sc_settings settings = {0};
    struct sc_buf text;
    sc_buf_init(&text, 2 * SC_SETTINGS_FILE_BYTES);
    int rc = sc_live_settings(s->server.pid, &text, msg);
    if (rc == 0)
        rc = sc_settings_read(&settings, sc_buf_view(&text), "", msg);
    if (rc == 0) {
        s->management = sc_strdup(settings.management_address);
        s->inference = sc_strdup(settings.inference_address);
        if (!key_file) {
            struct sc_buf file;
            sc_buf_init(&file, 8192);
            sc_buf_printf(&file, "%s/" KEY_FILE, s->server.folder);
            sc_buf_char(&file, '\0');
            s->token = file.failed ? NULL : read_key(file.p);
            sc_buf_free(&file);
        }
    }
    sc_settings_free(&settings);
    sc_buf_free(&text);
    return rc == 0 ? 0 : SC_EXIT_UNKNOWN;
}

int sc_status_find(struct sc_status *s, int pid, const char *address, const char *key_file,
                   struct sc_msg *msg)
{
    int rc = 0;
    if (address)
        s->management = sc_strdup(address);
    else
        rc = sc_find_server(&s->server, pid, msg);
    if (rc == 0 && !address)
        rc = learn_addresses(s, key_file, msg);
    if (rc == 0 && (key_file || address))
        s->token = read_key(key_file ? key_file : KEY_FILE);
    return rc;
}

void sc_status_forget(struct sc_status *s)
{
    sc_find_server_free(&s->server);
    free(s->inference);
    free(s->management);
    free(s->token);
    json_decref(s->models);
    *s = (struct sc_status){0};
}

static int look(const struct sc_watch *w, void *context)
{
    const struct options *o = context;
    struct sc_status s = {0};
    struct sc_msg msg = {""};
    struct sc_buf out;
    sc_buf_init(&out, SC_CLI_ANSWER_BYTES);
    int rc = sc_status_find(&s, o->pid, o->address, o->key_file, &msg);
    if (rc == 0 && sc_status_fetch(&s, &msg) < 0)
        rc = SC_EXIT_UNKNOWN;
    if (rc == 0) {
        rc = sc_status_well(&s) ? 0 : SC_EXIT_NOT_WELL;
        if (w->json)
            sc_status_json(&s, &out);
        else
            sc_status_text(&s, w->colour, &out);
    }
    sc_watch_show(w, &out);
    if (*msg.text)
        fprintf(stderr, "sconce status: %s\n", msg.text);
    sc_buf_free(&out);
    sc_status_forget(&s);
    return rc;
}

int sc_cli_status(int argc, char **argv)
{
    struct options o = {0};
    const struct sc_option options[] = {
        {"watch", SC_OPTION_NUMBER_OR_LEAST, &o.watch.every_s, 1, 0},
        {"json", SC_OPTION_FLAG, &o.watch.json, 0, 0},
        {"pid", SC_OPTION_NUMBER, &o.pid, 1, 0},
        {"address", SC_OPTION_TEXT, &o.address, 0, 0},
        {"key-file", SC_OPTION_TEXT, &o.key_file, 0, 0},
    };
    int rc = sc_options_read("sconce status", usage, options, SC_COUNT(options), argc, argv);
    return rc >= 0 ? rc : sc_watch_run(&o.watch, look, &o);
}
