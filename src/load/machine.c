/* What the machine is, as /proc and /sys have it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/span.h"
#include "load/measure.h"

/* The first line of a file, or the value of its line "NAME : value"; false if there is none. */
static bool look_up(const char *path, const char *name, char *to, size_t size)
{
    char line[512];
    FILE *f = fopen(path, "re");
    bool found = false;
    while (f && !found && fgets(line, sizeof line, f)) {
        struct sc_span s = sc_span_str(line);
        if (s.n && s.p[s.n - 1] == '\n')
            s.n--;
        if (name && !sc_span_starts(s, sc_span_str(name)))
            continue;
        if (name)
            s = sc_span_sub(s, sc_span_find(s, ':') + 1, s.n);
        s = sc_span_trim(s);
        snprintf(to, size, "%.*s", SC_FMT(s));
        found = s.n > 0;
    }
    if (f)
        fclose(f);
    return found;
}

static unsigned from_file(struct sc_fact *f, const char *name, const char *path, const char *key)
{
    f->name = name;
    return look_up(path, key, f->value, sizeof f->value);
}

unsigned sc_machine_facts(struct sc_fact facts[SC_FACTS_MAX])
{
    static const char cpuinfo[] = "/proc/cpuinfo", scaling[] = "/sys/devices/system/cpu/cpu0/cpufreq/";
    struct utsname u;
    unsigned n = 0;
    char path[128], text[160];
    n += from_file(&facts[n], "processor", cpuinfo, "model name");
    facts[n].name = "cores";
    snprintf(facts[n++].value, sizeof facts->value, "%ld", sysconf(_SC_NPROCESSORS_ONLN));
    n += from_file(&facts[n], "clock of a core at the end, MHz", cpuinfo, "cpu MHz");
    snprintf(path, sizeof path, "%sscaling_governor", scaling);
    n += from_file(&facts[n], "frequency governor", path, NULL);
    n += from_file(&facts[n], "clock source",
                   "/sys/devices/system/clocksource/clocksource0/current_clocksource", NULL);
    n += from_file(&facts[n], "memory", "/proc/meminfo", "MemTotal");
    if (look_up("/proc/loadavg", NULL, text, sizeof text)) {
        facts[n].name = "load of the last minute at the end";
        snprintf(facts[n++].value, sizeof facts->value, "%.*s", (int)strcspn(text, " "), text);
    }
    if (uname(&u) == 0) {
        facts[n].name = "system";
        snprintf(facts[n++].value, sizeof facts->value, "%.60s %.60s %.30s", u.sysname, u.release, u.machine);
    }
    facts[n].name = "measured by";
    snprintf(facts[n++].value, sizeof facts->value, "sconce %s, %s, clock CLOCK_MONOTONIC", SCONCE_VERSION,
#ifdef __OPTIMIZE__
             "optimised"
#else
             "not optimised: its figures mean little"
#endif
    );
    return n;
}
