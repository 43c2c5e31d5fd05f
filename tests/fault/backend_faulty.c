/*
 * A backend that does on request what no backend should: the request's body names the fault. Tests load it by
 * `backend: faulty` in a model-config.yaml; anything that is no fault is echoed.
 *
 *   crash | exit | hang | sleep MS | silent | refuse TEXT | leak BYTES | big BYTES | scribble NAME
 *
 * scribble fills the shared memory files whose name contains NAME (rings, board, answers) with
 * random bytes, again and again until the process is killed: a hostile worker. Settings: loadDelayMs,
 * loadError, loadAborts PATH (its load ends the process while there is such a file), lanesMost (no more can
 * be made).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "sconce/backend.h"

struct sconce_model {
    struct sconce_host *host;
    unsigned lanes_most;
};

struct sconce_lane {
    struct sconce_model *model;
};

static void sleep_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static struct sconce_error *model_load(struct sconce_host *h, struct sconce_model **m,
                                       struct sconce_model_info *info)
{
    int64_t delay, most;
    (void)info;
    const char *why = sconce_host_setting(h, "loadError"), *aborts = sconce_host_setting(h, "loadAborts");
    struct sconce_error *e = sconce_host_setting_int(h, "loadDelayMs", 0, 600000, 0, &delay);
    if (!e)
        e = sconce_host_setting_int(h, "lanesMost", 1, 64, 64, &most);
    if (e)
        return e;
    sleep_ms((long)delay);
    if (why)
        return sconce_error_new(SCONCE_INTERNAL, "%s", why);
    if (aborts && access(aborts, F_OK) == 0)
        abort();
    *m = malloc(sizeof **m);
    if (!*m)
        return sconce_error_new(SCONCE_OUT_OF_MEMORY, "no memory for a model");
    **m = (struct sconce_model){.host = h, .lanes_most = (unsigned)most};
    return NULL;
}

static void model_unload(struct sconce_model *m)
{
    free(m);
}

static struct sconce_error *lane_create(struct sconce_model *m, unsigned index, struct sconce_lane **l)
{
    if (index >= m->lanes_most)
        return sconce_error_new(SCONCE_OUT_OF_MEMORY, "no room for more than %u lanes", m->lanes_most);
    *l = malloc(sizeof **l);
    if (!*l)
        return sconce_error_new(SCONCE_OUT_OF_MEMORY, "no memory for a lane");
    (*l)->model = m;
    return NULL;
}

static void lane_destroy(struct sconce_lane *l)
{
    free(l);
}

/* Overwrites every writable mapping of a memory file whose name contains `name`. */
static void scribble(const char *name)
{
    char line[512];
    FILE *f = fopen("/proc/self/maps", "re");
    if (!f)
        abort();
    struct {
        unsigned long from, to;
    } areas[64];
    unsigned n = 0;
    while (n < 64 && fgets(line, sizeof line, f)) {
        unsigned long from, to;
        char rights[8];
        if (strstr(line, "memfd:sconce-") && strstr(line, name) &&
            sscanf(line, "%lx-%lx %7s", &from, &to, rights) == 3 && rights[1] == 'w') {
            areas[n].from = from;
            areas[n++].to = to;
        }
    }
    fclose(f);
    unsigned seed = (unsigned)getpid();
    for (unsigned round = 0; round < 200; round++) {
        for (unsigned i = 0; i < n; i++) {
            unsigned char *p = (unsigned char *)areas[i].from;
            size_t size = areas[i].to - areas[i].from;
            if (size > 1u << 20)
                size = 1u << 20;
            for (size_t k = 0; k < size; k += 1 + (size_t)rand_r(&seed) % 13)
                p[k] = (unsigned char)rand_r(&seed);
        }
        sleep_ms(1);
    }
}

static void answer(struct sconce_request *r, const void *bytes, size_t n)
{
    void *to = n ? sconce_response_reserve(r, n) : NULL;
    if (n && !to) {
        sconce_response_fail(r, sconce_error_new(SCONCE_TOO_LARGE, "an answer of %zu bytes has no room", n));
        return;
    }
    if (n)
        memcpy(to, bytes, n);
    sconce_response_send(r, "text/plain", n);
}

static void serve(struct sconce_request *r)
{
    char text[256];
    size_t size;
    const void *body = sconce_request_body(r, &size);
    size_t n = size < sizeof text - 1 ? size : sizeof text - 1;
    if (n)
        memcpy(text, body, n);
    text[n] = '\0';
    const char *argument = strchr(text, ' ') ? strchr(text, ' ') + 1 : "";
    long number = strtol(argument, NULL, 10);

    if (strcmp(text, "crash") == 0)
        abort();
    if (strcmp(text, "exit") == 0)
        _exit(3);
    if (strcmp(text, "hang") == 0)
        for (;;)
            pause();
    if (strncmp(text, "sleep ", 6) == 0)
        sleep_ms(number);
    if (strcmp(text, "silent") == 0)
        return;
    if (strncmp(text, "refuse ", 7) == 0) {
        sconce_response_fail(r, sconce_error_new(SCONCE_BAD_REQUEST, "%s", argument));
        return;
    }
    if (strncmp(text, "leak ", 5) == 0 && number > 0) {
        char *lost = malloc((size_t)number);
        if (lost)
            memset(lost, 1, (size_t)number);
        __asm__ volatile("" : : "r"(lost) : "memory");
    }
    if (strncmp(text, "big ", 4) == 0 && number > 0) {
        char *big = calloc(1, (size_t)number);
        answer(r, big, big ? (size_t)number : 0);
        free(big);
        return;
    }
    if (strncmp(text, "scribble ", 9) == 0)
        scribble(argument);
    answer(r, body, size);
}

static void lane_execute(struct sconce_lane *l, struct sconce_request **requests, size_t n)
{
    (void)l;
    for (size_t i = 0; i < n; i++)
        serve(requests[i]);
}

__attribute__((visibility("default"))) const struct sconce_backend_ops *sconce_backend(void)
{
    static const struct sconce_backend_ops ops = {
        .major = SCONCE_BACKEND_MAJOR,
        .minor = SCONCE_BACKEND_MINOR,
        .name = "faulty",
        .model_load = model_load,
        .model_unload = model_unload,
        .lane_create = lane_create,
        .lane_destroy = lane_destroy,
        .lane_execute = lane_execute,
    };
    return &ops;
}
