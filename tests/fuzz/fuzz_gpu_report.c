/* Lines of a gpu agent: what is read is written and read alike. */
#include <stdlib.h>

#include "gpu/report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sc_gpu_report r, again;
    struct sc_buf b;
    char text[256];
    if (sc_gpu_parse_line(sc_span(data, size), &r) < 0)
        return 0;
    for (unsigned i = 0; i < r.ngpus; i++)
        sc_gpu_usage(&r, (int)i, r.gpus[i].index, text, sizeof text);
    sc_buf_init(&b, 4 * SC_GPU_LINE_BYTES);
    sc_gpu_report_write(&r, &b);
    if (b.failed || (*r.error == '\0' && (sc_gpu_parse_line(sc_buf_view(&b), &again) < 0 ||
                                          again.ngpus != r.ngpus || again.nprocesses != r.nprocesses)))
        abort();
    sc_buf_free(&b);
    return 0;
}
