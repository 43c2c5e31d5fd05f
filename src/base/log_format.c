#include <stdio.h>

#include "base/limits.h"
#include "base/log_sink.h"

static const char *const levels[] = {"DEBUG", "INFO ", "WARN ", "ERROR"};
/* TorchServe's names: what is filtered by name there is found here. */
static const char *const loggers[] = {
    "org.pytorch.serve.ModelServer",        "MODEL_LOG", "ACCESS_LOG", "TS_METRICS", "MODEL_METRICS",
    "org.pytorch.serve.wlm.WorkerLifeCycle"};

void sc_log_time_init(struct sc_log_time *t)
{
    *t = (struct sc_log_time){.second = INT64_MIN, .ms = INT64_MIN};
}

static void second_of(struct sc_log_time *t, int64_t second)
{
    if (t->second == second)
        return;
    time_t at = (time_t)second;
    t->second = second;
    if (!localtime_r(&at, &t->tm))
        memset(&t->tm, 0, sizeof t->tm);
    if (strftime(t->text, sizeof t->text, "%Y-%m-%dT%H:%M:%S,000", &t->tm) != SC_LOG_TIME_BYTES)
        memcpy(t->text, "0000-00-00T00:00:00,000", SC_LOG_TIME_BYTES + 1); /* of a year beyond 9999 */
    long minutes = t->tm.tm_gmtoff / 60;
    unsigned east = (unsigned)(minutes < 0 ? -minutes : minutes);
    snprintf(t->offset, sizeof t->offset, "%c%02u:%02u", minutes < 0 ? '-' : '+', east / 60 % 100, east % 60);
}

static char *put(char *o, const char *p, size_t n)
{
    memcpy(o, p, n);
    return o + n;
}

static char *put_str(char *o, const char *s)
{
    return put(o, s, strlen(s));
}

static char *put_time(char *o, struct sc_log_time *t, int64_t wall_ms, char separator)
{
    if (t->ms != wall_ms) {
        second_of(t, wall_ms / 1000);
        unsigned ms = (unsigned)(wall_ms % 1000);
        t->ms = wall_ms;
        t->text[SC_LOG_TIME_BYTES - 3] = (char)('0' + ms / 100);
        t->text[SC_LOG_TIME_BYTES - 2] = (char)('0' + ms / 10 % 10);
        t->text[SC_LOG_TIME_BYTES - 1] = (char)('0' + ms % 10);
    }
    o = put(o, t->text, SC_LOG_TIME_BYTES);
    o[-4] = separator;
    return o;
}

static char *put_thread(char *o, struct sc_span name)
{
    name = sc_span_sub(name, 0, SC_LOG_THREAD_MAX);
    for (size_t i = 0; i < name.n; i++) {
        unsigned char c = (unsigned char)name.p[i];
        *o++ = c == ':' || c == '|' || c < ' ' || c == '"' || c == '\\' ? '_' : (char)c;
    }
    return o;
}

static char *put_json(char *o, struct sc_span s)
{
    static const char hex[] = "0123456789abcdef";
    bool utf8 = sc_utf8_valid(s);
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\') {
            *o++ = '\\';
            *o++ = (char)c;
        } else if (c < ' ' || (c >= 0x80 && !utf8)) {
            /* Bytes that are no UTF-8 are shown as the Latin-1 letters of their values: the line stays JSON.
             */
            o = put(o, "\\u00", 4);
            *o++ = hex[c >> 4];
            *o++ = hex[c & 15];
        } else {
            *o++ = (char)c;
        }
    }
    return o;
}

static size_t format_json(char *out, const struct sc_log_record *r, struct sc_log_time *t)
{
    char *o = put_str(out, "{\"time\":\"");
    o = put_time(o, t, r->wall_ms, '.');
    o = put_str(o, t->offset);
    o = put_str(o, "\",\"level\":\"");
    o = put(o, levels[r->level], levels[r->level][4] == ' ' ? 4 : 5);
    o = put_str(o, "\",\"thread\":\"");
    /* Through the plain copy, for the same replacements. */
    char name[SC_LOG_THREAD_MAX];
    size_t n = (size_t)(put_thread(name, r->thread) - name);
    o = put_json(o, sc_span(name, n));
    o = put_str(o, "\",\"logger\":\"");
    o = put_str(o, loggers[r->logger]);
    o = put_str(o, "\",\"message\":\"");
    o = put_json(o, r->text);
    o = put_str(o, "\"}\n");
    return (size_t)(o - out);
}

static void blank_out(char *p, size_t n, char c)
{
    char *end = p + n;
    while (p < end && (p = memchr(p, c, (size_t)(end - p))))
        *p++ = ' ';
}

size_t sc_log_format(char *out, const struct sc_log_record *r, bool full, bool json, struct sc_log_time *t)
{
    if (json)
        return format_json(out, r, t);
    char *o = put_time(out, t, r->wall_ms, ',');
    if (full) {
        o = put(o, " [", 2);
        o = put(o, levels[r->level], 5);
        o = put(o, "] ", 2);
        o = put_thread(o, r->thread);
        *o++ = ' ';
        o = put_str(o, loggers[r->logger]);
    }
    o = put(o, " - ", 3);
    char *text = o;
    if (r->text.n)
        o = put(o, r->text.p, r->text.n);
    if (r->logger != SC_LOGGER_SERVER) {
        blank_out(text, (size_t)(o - text), '\n');
        blank_out(text, (size_t)(o - text), '\r');
    }
    *o++ = '\n';
    return (size_t)(o - out);
}

size_t sc_log_shorten(char *out, const char *full, size_t n, const struct sc_log_record *r)
{
    size_t text = r->text.n + 1;
    char *o = put(out, full, SC_LOG_TIME_BYTES);
    o = put(o, " - ", 3);
    o = put(o, full + n - text, text);
    return (size_t)(o - out);
}
