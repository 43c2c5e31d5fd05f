/* Counting GPUs in a child that can be given up. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "gpu/agent.h"
#include "gpu/assign.h"
#include "gpu/child.h"
#include "gpu/inventory.h"

int sc_gpu_count_main(void)
{
    struct sc_nvml n;
    struct sc_msg msg;
    int count = sc_nvml_open(&n, &msg);
    if (count == 0) {
        count = sc_inventory_count(&n, &msg);
        sc_nvml_close(&n);
    }
    if (count < 0)
        printf("0\n%s\n", msg.text);
    else
        printf("%d\n", count);
    return 0;
}

int sc_gpu_look(const char *exe, int timeout_ms, struct sc_gpu_report *out, struct sc_msg *msg)
{
    static char said[SC_GPU_LINE_BYTES + 1];
    static char title[] = "sconce: gpu look", role[] = "--role=gpu-agent", once[] = "--once";
    char *argv[] = {title, role, once, NULL};
    struct sc_child_run q = {.exe = exe, .argv = argv, .timeout_ms = timeout_ms, .stop_fd = -1};
    int rc = sc_child_run(&q, said, sizeof said);
    if (rc == SC_ESYS)
        return sc_fail(msg, rc, "%s: %s", exe, strerror(errno));
    if (rc < 0)
        return sc_fail(msg, rc, "the NVIDIA driver has not answered within %d ms: it hangs", timeout_ms);
    struct sc_span line = sc_span_str(said);
    line.n = sc_span_find(line, '\n');
    if (WIFEXITED(q.status) && WEXITSTATUS(q.status) == 0 && sc_gpu_parse_line(line, out) == 0)
        return *out->error ? sc_fail(msg, SC_ENOTFOUND, "%s", out->error) : 0;
    if (WIFSIGNALED(q.status))
        return sc_fail(msg, SC_ESYS, "asking the NVIDIA driver ended with signal %d", WTERMSIG(q.status));
    return sc_fail(msg, SC_ENOTFOUND, "%.*s", (int)SC_MIN(line.n, 400u), line.p);
}

int sc_gpu_count(const char *exe, int timeout_ms, struct sc_msg *note)
{
    static char title[] = "sconce: gpu count", role[] = "--role=gpu-count";
    char said[1024];
    char *argv[] = {title, role, NULL};
    struct sc_child_run q = {.exe = exe, .argv = argv, .timeout_ms = timeout_ms, .stop_fd = -1};
    note->text[0] = '\0';
    int rc = sc_child_run(&q, said, sizeof said), status = q.status;
    if (rc == SC_ESYS) {
        sc_fail(note, SC_ESYS, "GPUs are not looked for: %s: %s", exe, strerror(errno));
        return 0;
    }
    if (rc < 0) {
        sc_fail(note, rc, "GPUs are not used: the NVIDIA driver has not answered within %d ms", timeout_ms);
        return 0;
    }
    char *end;
    long n = strtol(said, &end, 10);
    if (end == said || *end != '\n' || n < 0 || n > SC_GPUS_MAX) {
        if (WIFSIGNALED(status))
            sc_fail(note, SC_ESYS, "GPUs are not used: counting them ended with signal %d", WTERMSIG(status));
        else
            sc_fail(note, SC_ESYS, "GPUs are not used: counting them ended with code %d",
                    WEXITSTATUS(status));
        return 0;
    }
    if (end[1]) {
        end[1 + strcspn(end + 1, "\n")] = '\0';
        sc_fail(note, SC_ENOTFOUND, "No GPU is used: %.400s", end + 1);
    }
    return (int)n;
}

int sc_gpu_detect(const char *exe, int timeout_ms, struct sc_msg *msg)
{
    msg->text[0] = '\0';
    int n = sc_gpu_visible_count(getenv("CUDA_VISIBLE_DEVICES"), msg);
    return n == SC_ENOTFOUND ? sc_gpu_count(exe, timeout_ms, msg) : SC_MIN(n, SC_GPUS_MAX);
}
