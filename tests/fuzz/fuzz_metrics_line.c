/* Any bytes as what a worker prints behind [METRICS], in each mode. */
#include <stdlib.h>

#include "base/log.h"
#include "metrics/backend.h"
#include "metrics/collector.h"
#include "metrics/line.h"
#include "metrics/registry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void record(enum sc_metrics_to to, bool detect, struct sc_span s)
{
    struct sc_metrics *m = sc_metrics_new(1, "vm");
    struct sc_metrics_config c = {.to = to, .auto_detect = detect, .name_lines = detect};
    struct sc_buf out;
    sc_buf_init(&out, 1 << 20);
    if (sc_metrics_configure(m, &c, NULL) != 0)
        abort();
    sc_metrics_backend_line(m, s, s, "t");
    sc_metrics_backend_line(m, s, s, "t");
    sc_collector_read(s, m, NULL, NULL);
    sc_metrics_render(m, NULL, 0, &out);
    sc_buf_free(&out);
    sc_metrics_del(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool open;
    struct sc_span s = sc_span(data, size);
    struct sc_metric_line l;
    if (!open) {
        struct sc_log_config c = {.level = SC_LOG_INFO};
        open = sc_log_open(&c, NULL) == 0;
    }
    if (sc_metric_line_parse(s, &l)) {
        double v;
        char text[SC_METRIC_NUMBER_MAX];
        if (l.ndims > SC_METRIC_LABELS_MAX || !l.name.n || !l.unit.n || !l.host.n)
            abort();
        if (sc_metric_value(l.value, &v) && sc_metric_number(text, v) > sizeof text)
            abort();
    }
    record(SC_METRICS_TO_LOG, false, s);
    record(SC_METRICS_TO_LOG, true, s);
    record(SC_METRICS_TO_PROMETHEUS, true, s);
    return 0;
}
