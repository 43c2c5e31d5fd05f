#include "metrics/system.h"

#include <fcntl.h>
#include <math.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "metrics/internal.h"

/* Takes the next word of *s; an empty span if there is none. */
static struct sc_span word(struct sc_span *s)
{
    *s = sc_span_trim(*s);
    size_t n = SC_MIN(sc_span_find(*s, ' '), sc_span_find(*s, '\t'));
    struct sc_span w = sc_span_sub(*s, 0, n);
    *s = sc_span_sub(*s, n, s->n);
    return w;
}

bool sc_system_cpu(struct sc_span stat, uint64_t *busy, uint64_t *total)
{
    /* user nice system idle iowait irq softirq steal; guest time is in user already. */
    struct sc_span line = sc_span_sub(stat, 0, sc_span_find(stat, '\n'));
    uint64_t all = 0, idle = 0, v;
    if (!sc_span_eq(word(&line), SC_SPAN("cpu")))
        return false;
    for (unsigned i = 0; i < 8; i++) {
        if (!sc_span_u64(word(&line), UINT64_MAX / 16, &v))
            return false;
        all += v;
        if (i == 3 || i == 4)
            idle += v;
    }
    *busy = all - idle;
    *total = all;
    return true;
}

bool sc_system_memory(struct sc_span meminfo, struct sc_system_memory *out)
{
    static const char *const keys[] = {
        "MemTotal:", "MemFree:", "MemAvailable:", "Buffers:", "Cached:", "SReclaimable:"};
    enum { TOTAL, FREE, AVAILABLE, BUFFERS, CACHED, RECLAIMABLE };
    uint64_t kib[SC_COUNT(keys)] = {0};
    unsigned found = 0;
    while (meminfo.n) {
        size_t end = sc_span_find(meminfo, '\n');
        struct sc_span line = sc_span_sub(meminfo, 0, end), key = word(&line);
        meminfo = sc_span_sub(meminfo, end + 1, meminfo.n);
        for (unsigned i = 0; i < SC_COUNT(keys); i++)
            if (sc_span_eq(key, sc_span_str(keys[i])) && sc_span_u64(word(&line), UINT64_MAX / 1024, &kib[i]))
                found |= 1u << i;
    }
    const unsigned needed = 1u << TOTAL | 1u << FREE | 1u << AVAILABLE;
    if ((found & needed) != needed || kib[TOTAL] == 0)
        return false;
    double total = (double)kib[TOTAL], available = (double)kib[AVAILABLE];
    double cache = (double)kib[FREE] + (double)kib[BUFFERS] + (double)kib[CACHED] + (double)kib[RECLAIMABLE];
    out->used = (cache <= total ? total - cache : total - (double)kib[FREE]) / 1024;
    out->available = available / 1024;
    out->percent = 100 * (total - available) / total;
    return true;
}

static struct sc_span read_proc(const char *path, char *buf, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return sc_span(NULL, 0);
    size_t n = 0;
    for (ssize_t r; n < size && (r = read(fd, buf + n, size - n)) > 0;)
        n += (size_t)r;
    close(fd);
    return sc_span(buf, n);
}

static void set(struct sc_metrics *m, const char *name, double v)
{
    static const char *const values[] = {"Host"};
    sc_metrics_gauge(m, name, values, 1, v);
}

/* Percentages have one decimal, as the original's. */
static double percent(double v)
{
    return round(v * 10) / 10;
}

void sc_metrics_sample_system(struct sc_metrics *m)
{
    char text[8192];
    uint64_t busy, total;
    struct sc_system_memory memory;
    struct statvfs disk;
    if (sc_system_cpu(read_proc("/proc/stat", text, sizeof text), &busy, &total)) {
        if (total > m->cpu_total && busy >= m->cpu_busy)
            set(m, "CPUUtilization",
                percent(100 * (double)(busy - m->cpu_busy) / (double)(total - m->cpu_total)));
        m->cpu_busy = busy;
        m->cpu_total = total;
    }
    if (sc_system_memory(read_proc("/proc/meminfo", text, sizeof text), &memory)) {
        set(m, "MemoryUtilization", percent(memory.percent));
        set(m, "MemoryUsed", memory.used);
        set(m, "MemoryAvailable", memory.available);
    }
    if (statvfs("/", &disk) == 0) {
        const double gib = 1024.0 * 1024 * 1024, block = (double)disk.f_frsize;
        double used = (double)(disk.f_blocks - disk.f_bfree) * block,
               available = (double)disk.f_bavail * block;
        set(m, "DiskUsage", used / gib);
        set(m, "DiskAvailable", available / gib);
        if (used + available > 0)
            set(m, "DiskUtilization", percent(100 * used / (used + available)));
    }
}
