/* sconce-load: the load generator as a program. */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "loadgen/loadgen.h"

#define BODY_FILE_MAX (256u << 20)

static const char usage[] =
    "usage: sconce-load [OPTION...] URL     URL: http://HOST:PORT/PATH or unix:SOCKET:/PATH\n\n"
    "  -c, --connections N    keep-alive connections (1)\n"
    "  -t, --threads N        threads (1)\n"
    "  -r, --rate R           open loop: R requests a second; without it a closed loop\n"
    "      --constant         open loop: evenly spaced (default: Poisson)\n"
    "  -d, --duration S       seconds to measure (5)\n"
    "  -n, --count N          requests to measure, instead of a duration\n"
    "  -w, --warmup S         seconds before that (1)\n"
    "      --timeout S        of one request (30)\n"
    "  -m, --method M         (GET, or POST if there is a body)\n"
    "  -H, --header LINE      a further header; may be repeated\n"
    "  -b, --body TEXT        the body\n"
    "      --body-file FILE   the body, from a file\n"
    "      --lines FILE       every line of the file is a body; taken in turn\n"
    "      --random MIN[:MAX] bodies of random bytes\n"
    "      --echo             the answer must equal the request's body\n"
    "      --expect TEXT      the answer must be this\n"
    "      --status N         the expected status (any below 400)\n"
    "      --seed N\n"
    "      --json             the report as JSON\n\n"
    "Exit status: 0; 1 if a request failed; 2 if the load could not be made.\n";

enum { CONSTANT = 256, TIMEOUT, BODY_FILE, LINES, RANDOM, ECHO, EXPECT, STATUS, SEED, JSON, HELP };
static const struct option options[] = {
    {"connections", 1, NULL, 'c'},   {"threads", 1, NULL, 't'},     {"rate", 1, NULL, 'r'},
    {"constant", 0, NULL, CONSTANT}, {"duration", 1, NULL, 'd'},    {"count", 1, NULL, 'n'},
    {"warmup", 1, NULL, 'w'},        {"timeout", 1, NULL, TIMEOUT}, {"method", 1, NULL, 'm'},
    {"header", 1, NULL, 'H'},        {"body", 1, NULL, 'b'},        {"body-file", 1, NULL, BODY_FILE},
    {"lines", 1, NULL, LINES},       {"random", 1, NULL, RANDOM},   {"echo", 0, NULL, ECHO},
    {"expect", 1, NULL, EXPECT},     {"status", 1, NULL, STATUS},   {"seed", 1, NULL, SEED},
    {"json", 0, NULL, JSON},         {"help", 0, NULL, HELP},       {0}};

static atomic_bool stop;

static void on_signal(int sig)
{
    (void)sig;
    atomic_store(&stop, true);
}

static _Noreturn void die(const char *text, const char *what)
{
    fprintf(stderr, "sconce-load: %s%s%s\n", text, what ? ": " : "", what ? what : "");
    exit(2);
}

static double number(const char *s)
{
    char *end;
    double v = strtod(s, &end);
    if (*s == '\0' || *end != '\0' || !isfinite(v) || v < 0)
        die("this is no number", s);
    return v;
}

static uint64_t whole(struct sc_span s, uint64_t max)
{
    uint64_t v;
    if (!sc_span_u64(s, max, &v))
        die("this is no number in range", s.p);
    return v;
}

static struct sc_span file(const char *path)
{
    struct sc_buf b;
    struct sc_msg msg;
    sc_buf_init(&b, BODY_FILE_MAX);
    if (sc_file_read(path, &b, &msg) < 0)
        die(msg.text, NULL);
    return sc_buf_view(&b);
}

static void lines(struct sc_load_config *c, struct sc_span text)
{
    struct sc_span *list = NULL;
    size_t n = 0, cap = 0;
    for (size_t at = 0; at < text.n;) {
        struct sc_span line = sc_span_sub(text, at, text.n);
        line.n = sc_span_find(line, '\n');
        at += line.n + 1;
        if (line.n == 0)
            continue;
        if (n == cap) {
            cap = cap ? 2 * cap : 256;
            list = sc_realloc_array(list, cap, sizeof *list);
        }
        list[n++] = line;
    }
    if (n == 0)
        die("the file of bodies has no lines", NULL);
    c->bodies = list;
    c->nbodies = n;
}

static void random_sizes(struct sc_load_config *c, const char *s)
{
    struct sc_span all = sc_span_str(s);
    size_t colon = sc_span_find(all, ':');
    c->random_min = (size_t)whole(sc_span_sub(all, 0, colon), BODY_FILE_MAX);
    c->random_max =
        colon < all.n ? (size_t)whole(sc_span_sub(all, colon + 1, all.n), BODY_FILE_MAX) : c->random_min;
}

static void one_body(struct sc_load_config *c, struct sc_span *memory, struct sc_span body)
{
    *memory = body;
    c->bodies = memory;
    c->nbodies = 1;
}

int main(int argc, char **argv)
{
    static struct sc_load_config c;
    static struct sc_load_result r;
    static struct sc_span body;
    struct sc_buf headers, out;
    struct sc_msg msg;
    bool json = false, constant = false;
    sc_load_defaults(&c);
    sc_buf_init(&headers, 32768);
    for (int o; (o = getopt_long(argc, argv, "c:t:r:d:n:w:m:H:b:", options, NULL)) != -1;) {
        switch (o) {
        case 'c': c.connections = (unsigned)whole(sc_span_str(optarg), 1u << 20); break;
        case 't': c.threads = (unsigned)whole(sc_span_str(optarg), 256); break;
        case 'r': c.rate = number(optarg); break;
        case 'd': c.duration = number(optarg); break;
        case 'n':
            c.count = whole(sc_span_str(optarg), UINT64_MAX / 2);
            c.duration = 0;
            break;
        case 'w': c.warmup = number(optarg); break;
        case 'm': c.method = optarg; break;
        case 'H': sc_buf_printf(&headers, "%s\r\n", optarg); break;
        case 'b': one_body(&c, &body, sc_span_str(optarg)); break;
        case CONSTANT: constant = true; break;
        case TIMEOUT: c.timeout = number(optarg); break;
        case BODY_FILE: one_body(&c, &body, file(optarg)); break;
        case LINES: lines(&c, file(optarg)); break;
        case RANDOM: random_sizes(&c, optarg); break;
        case ECHO: c.check = SC_LOAD_ECHO; break;
        case EXPECT:
            c.check = SC_LOAD_EQUAL;
            c.answer = sc_span_str(optarg);
            break;
        case STATUS: c.status = (unsigned)whole(sc_span_str(optarg), 999); break;
        case SEED: c.seed = whole(sc_span_str(optarg), UINT64_MAX / 2); break;
        case JSON: json = true; break;
        case HELP: fputs(usage, stdout); return 0;
        default: fputs(usage, stderr); return 2;
        }
    }
    if (optind + 1 != argc) {
        fputs(usage, stderr);
        return 2;
    }
    c.poisson = !constant;
    sc_buf_char(&headers, '\0');
    if (headers.failed)
        die("too many headers", NULL);
    c.headers = headers.p;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (sc_load_url(&c, argv[argc - 1], &msg) < 0 || sc_load_run(&c, &r, &stop, &msg) < 0)
        die(msg.text, NULL);
    sc_buf_init(&out, 65536);
    if (json)
        sc_load_json(&c, &r, &out);
    else
        sc_load_text(&c, &r, &out);
    fwrite(out.p, 1, out.n, stdout);
    return r.failed ? 1 : 0;
}
