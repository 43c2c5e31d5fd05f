#include "gpu/mps_control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/array.h"
#include "gpu/child.h"
#include "gpu/mps_find.h"

#define ANSWER_BYTES 4096

int sc_mps_ask(const struct sc_mps_control *c, const char *command, int timeout_ms, char *answer, size_t size,
               struct sc_msg *msg)
{
    char pipe[sizeof c->pipe + sizeof SC_MPS_ENV_PIPE], line[128];
    char name[] = SC_MPS_CONTROL;
    char *argv[] = {name, NULL}, **env;
    size_t n = 0, k = 0;
    while (environ[n])
        n++;
    env = calloc(n + 2, sizeof *env);
    if (!env)
        return sc_fail(msg, SC_ENOMEM, "no memory");
    for (size_t i = 0; i < n; i++)
        if (strncmp(environ[i], SC_MPS_ENV_PIPE "=", sizeof SC_MPS_ENV_PIPE) != 0)
            env[k++] = environ[i];
    snprintf(pipe, sizeof pipe, "%s=%s", SC_MPS_ENV_PIPE, c->pipe);
    env[k] = pipe;
    int len = snprintf(line, sizeof line, "%s\n", command);
    struct sc_child_run run = {.exe = c->program,
                               .argv = argv,
                               .env = env,
                               .input = sc_span(line, (size_t)len),
                               .timeout_ms = timeout_ms,
                               .stop_fd = c->stop_fd};
    int rc = sc_child_run(&run, answer, size), error = errno;
    free(env);
    if (rc == SC_ESYS)
        return sc_fail(msg, rc, "%s: %s", c->program, strerror(error));
    if (rc < 0)
        return sc_fail(msg, rc, "the MPS daemon in %s does not answer \"%s\" in %d ms", c->pipe, command,
                       timeout_ms);
    struct sc_span text = sc_span_trim(sc_span_str(answer));
    memmove(answer, text.p, text.n);
    answer[text.n] = '\0';
    if (!WIFEXITED(run.status) || WEXITSTATUS(run.status) != 0)
        return sc_fail(msg, SC_ENOTFOUND, "%.300s (%s)", *answer ? answer : "no MPS daemon answers", c->pipe);
    return 0;
}

/* ---- answers --------------------------------------------------------------------------------------- */

static struct sc_span next_word(struct sc_span *text)
{
    size_t from = 0;
    while (from < text->n && (text->p[from] == ' ' || text->p[from] == '\n' || text->p[from] == '\t'))
        from++;
    size_t to = from;
    while (to < text->n && text->p[to] != ' ' && text->p[to] != '\n' && text->p[to] != '\t')
        to++;
    struct sc_span word = sc_span_sub(*text, from, to - from);
    *text = sc_span_sub(*text, to, text->n);
    return word;
}

unsigned sc_mps_read_pids(struct sc_span text, pid_t *out, unsigned max)
{
    unsigned n = 0;
    int32_t pid;
    while (n < max && sc_span_i32(next_word(&text), &pid) && pid > 0)
        out[n++] = (pid_t)pid;
    return n;
}

void sc_mps_read_server(struct sc_span text, struct sc_mps_state *out)
{
    struct sc_span word = next_word(&text);
    if (!word.n || sc_span_find(text, ' ') != text.n) /* "Server 4242 not found": it has just gone */
        return;
    snprintf(out->status, sizeof out->status, "%.*s", (int)SC_MIN(word.n, sizeof out->status - 1), word.p);
    out->nclients += sc_mps_read_pids(text, out->clients + out->nclients,
                                      (unsigned)SC_COUNT(out->clients) - out->nclients);
}

bool sc_mps_is_news(struct sc_span line, bool *fault)
{
    static const char *const news[] = {
        "fatal GPU error", "sticky error", "is INACTIVE", "exited with status",
        "Cannot ",         "Failed ",      "Warning",     "Server has started"};
    *fault = false;
    for (size_t i = 0; i < SC_COUNT(news); i++) {
        struct sc_span what = sc_span_str(news[i]);
        if (line.n && memmem(line.p, line.n, what.p, what.n)) {
            *fault = i == 0;
            return true;
        }
    }
    return false;
}

pid_t sc_mps_line_server(struct sc_span line)
{
    static const char word[] = "Server ";
    int32_t pid;
    const char *at = line.n ? memmem(line.p, SC_MIN(line.n, 64u), word, sizeof word - 1) : NULL;
    if (!at)
        return 0;
    struct sc_span rest = sc_span_sub(line, (size_t)(at - line.p) + sizeof word - 1, line.n);
    while (rest.n && *rest.p == ' ')
        rest = sc_span_sub(rest, 1, rest.n);
    return sc_span_i32(sc_span_sub(rest, 0, sc_span_find(rest, ']')), &pid) ? (pid_t)pid : 0;
}

/* ---- commands -------------------------------------------------------------------------------------- */

int sc_mps_look(const struct sc_mps_control *c, int timeout_ms, struct sc_mps_state *out, struct sc_msg *msg)
{
    static char answer[ANSWER_BYTES];
    pid_t servers[8];
    char command[96];
    *out = (struct sc_mps_state){0};
    int rc = sc_mps_ask(c, "get_server_list", timeout_ms, answer, sizeof answer, msg);
    if (rc < 0)
        return rc;
    unsigned n = sc_mps_read_pids(sc_span_str(answer), servers, SC_COUNT(servers));
    for (unsigned i = 0; i < n; i++) {
        snprintf(command, sizeof command, "get_server_status %d\nget_client_list %d", (int)servers[i],
                 (int)servers[i]);
        rc = sc_mps_ask(c, command, timeout_ms, answer, sizeof answer, msg);
        if (rc < 0)
            return rc;
        sc_mps_read_server(sc_span_str(answer), out);
    }
    out->server = n ? servers[0] : 0;
    return 0;
}

int sc_mps_terminate(const struct sc_mps_control *c, pid_t server, pid_t client, int timeout_ms,
                     struct sc_msg *msg)
{
    char command[64], answer[512];
    snprintf(command, sizeof command, "terminate_client %d %d", (int)server, (int)client);
    int rc = sc_mps_ask(c, command, timeout_ms, answer, sizeof answer, msg);
    if (rc < 0)
        return rc;
    const char *last = strrchr(answer, '\n');
    last = last ? last + 1 : answer;
    /* "... not found" is said of a client that has gone by itself. */
    if (strcmp(last, "0") == 0 || strstr(answer, "not found"))
        return 0;
    return sc_fail(msg, SC_EINVAL, "the MPS daemon does not end client %d: %.200s", (int)client, answer);
}
