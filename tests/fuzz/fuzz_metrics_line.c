/* Any bytes as what a worker prints behind [METRICS], in each mode. */
#include <stdlib.h>

#include "base/log.h"
#include "metrics/backend.h"
#include "metrics/collector.h"
#include "metrics/line.h"
#include "metrics/registry.h"
#include "proto/number.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One set of metrics serves many inputs: reading its declarations takes longer than one of them. */
struct mode {
    struct sc_metrics_config config;
    struct sc_metrics *m;
    unsigned used;
};

static void record(struct mode *mode, struct sc_span s)
{
    struct sc_buf out;
    if (mode->used++ % 512 == 0) {
        sc_metrics_del(mode->m);
        mode->m = sc_metrics_new(1, "vm");
        if (sc_metrics_configure(mode->m, &mode->config, NULL) != 0)
            abort();
    }
    sc_metrics_backend_line(mode->m, s, s, "t");
    sc_metrics_backend_line(mode->m, s, s, "t");
    sc_collector_read(s, mode->m, NULL, NULL);
    sc_buf_init(&out, 1 << 22);
    if (mode->used % 64 == 0)
        sc_metrics_render(mode->m, SC_PROM_TEXT, NULL, 0, &out);
    sc_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool open;
    static struct mode plain = {.config = {.to = SC_METRICS_TO_LOG}};
    static struct mode named = {.config = {.to = SC_METRICS_TO_LOG, .auto_detect = true, .name_lines = true}};
    static struct mode shown = {.config = {.to = SC_METRICS_TO_PROMETHEUS, .auto_detect = true}};
    struct sc_span s = sc_span(data, size);
    struct sc_metric_line l;
    if (!open) {
        struct sc_log_config c = {.level = SC_LOG_INFO};
        open = sc_log_open(&c, NULL) == 0;
    }
    if (sc_metric_line_parse(s, &l)) {
        double v;
        char text[SC_NUMBER_MAX];
        if (l.ndims > SC_METRIC_LABELS_MAX || !l.name.n || !l.unit.n || !l.host.n)
            abort();
        if (sc_metric_value(l.value, &v) && sc_number_java(text, v) > sizeof text)
            abort();
    }
    record(&plain, s);
    record(&named, s);
    record(&shown, s);
    return 0;
}
