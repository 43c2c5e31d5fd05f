#include "base/log_levels.h"

/* Names as in the lines. */
static const struct sc_span names[SC_LOGGERS] = {
    [SC_LOGGER_SERVER] = {"org.pytorch.serve.ModelServer", 29},
    [SC_LOGGER_MODEL] = {"MODEL_LOG", 9},
    [SC_LOGGER_ACCESS] = {"ACCESS_LOG", 10},
    [SC_LOGGER_METRICS] = {"TS_METRICS", 10},
    [SC_LOGGER_MODEL_METRICS] = {"MODEL_METRICS", 13},
    [SC_LOGGER_WORKER] = {"org.pytorch.serve.wlm.WorkerLifeCycle", 37},
};

void sc_log_levels_init(struct sc_log_levels *l, enum sc_log_level server)
{
    for (unsigned i = 0; i < SC_LOGGERS; i++)
        l->of[i] = SC_LOG_DEBUG;
    l->of[SC_LOGGER_SERVER] = l->of[SC_LOGGER_WORKER] = (uint8_t)server;
    l->of[SC_LOGGER_ACCESS] = SC_LOG_INFO;
}

static bool level_of(struct sc_span s, uint8_t *out)
{
    static const struct {
        const char *name;
        uint8_t level;
    } levels[] = {{"all", SC_LOG_DEBUG}, {"trace", SC_LOG_DEBUG}, {"debug", SC_LOG_DEBUG},
                  {"info", SC_LOG_INFO}, {"warn", SC_LOG_WARN},   {"error", SC_LOG_ERROR},
                  {"fatal", SC_LOG_OFF}, {"off", SC_LOG_OFF}};
    for (unsigned i = 0; i < SC_COUNT(levels); i++)
        if (sc_span_eq_nocase(sc_span_trim(s), sc_span_str(levels[i].name))) {
            *out = levels[i].level;
            return true;
        }
    return false;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_end(char c)
{
    return is_blank(c) || c == '/' || c == '>';
}

/* The next element's inside ("Logger name="x" level="y"/"), comments left out. False: there are no more. */
static bool next_tag(struct sc_span *s, struct sc_span *tag)
{
    static const char end_of_comment[] = "-->";
    for (;;) {
        size_t at = sc_span_find(*s, '<');
        *s = sc_span_sub(*s, at + 1, s->n);
        if (s->n == 0)
            return false;
        if (!sc_span_starts(*s, SC_SPAN("!--")))
            break;
        const char *end = memmem(s->p, s->n, end_of_comment, sizeof end_of_comment - 1);
        if (!end)
            return false;
        *s = sc_span_sub(*s, (size_t)(end - s->p) + sizeof end_of_comment - 1, s->n);
    }
    size_t n = sc_span_find(*s, '>');
    *tag = sc_span_sub(*s, 0, n);
    *s = sc_span_sub(*s, n, s->n);
    return true;
}

static struct sc_span word(struct sc_span *s)
{
    size_t n = 0;
    while (n < s->n && !is_end(s->p[n]) && s->p[n] != '=')
        n++;
    struct sc_span w = sc_span_sub(*s, 0, n);
    *s = sc_span_sub(*s, n, s->n);
    return w;
}

/* Takes the next name="value" off *s. */
static bool attribute(struct sc_span *s, struct sc_span *name, struct sc_span *value)
{
    while (s->n && is_end(s->p[0]))
        *s = sc_span_sub(*s, 1, s->n);
    *name = word(s);
    while (s->n && is_blank(s->p[0]))
        *s = sc_span_sub(*s, 1, s->n);
    if (name->n == 0 || s->n == 0 || s->p[0] != '=')
        return false;
    *s = sc_span_sub(*s, 1, s->n);
    while (s->n && is_blank(s->p[0]))
        *s = sc_span_sub(*s, 1, s->n);
    if (s->n == 0 || (s->p[0] != '"' && s->p[0] != '\''))
        return false;
    char quote = s->p[0];
    *s = sc_span_sub(*s, 1, s->n);
    size_t n = sc_span_find(*s, quote);
    *value = sc_span_sub(*s, 0, n);
    *s = sc_span_sub(*s, n + 1, s->n);
    return true;
}

/* What one element says for our loggers; known[i]: how much of the name it was found by. */
static void apply(struct sc_span tag, bool root, struct sc_log_levels *l, size_t known[SC_LOGGERS])
{
    struct sc_span k, v, name = {NULL, 0};
    uint8_t level = SC_LOG_ERROR;
    bool has_level = false;
    while (attribute(&tag, &k, &v)) {
        if (sc_span_eq_nocase(k, SC_SPAN("name")))
            name = v;
        else if (sc_span_eq_nocase(k, SC_SPAN("level")))
            has_level = level_of(v, &level);
    }
    if (!has_level || (!root && name.n == 0))
        return;
    for (unsigned i = 0; i < SC_LOGGERS; i++) {
        bool above = root || sc_span_eq(names[i], name) ||
                     (sc_span_starts(names[i], name) && names[i].p[name.n] == '.');
        size_t depth = root ? 1 : name.n + 1;
        if (above && depth >= known[i]) {
            l->of[i] = level;
            known[i] = depth;
        }
    }
}

int sc_log_levels_read(struct sc_log_levels *l, struct sc_span text)
{
    struct sc_log_levels found;
    size_t known[SC_LOGGERS] = {0};
    struct sc_span tag;
    bool configuration = false;
    memset(found.of, SC_LOG_ERROR, sizeof found.of);
    while (next_tag(&text, &tag)) {
        struct sc_span kind = word(&tag);
        if (sc_span_eq_nocase(kind, SC_SPAN("Configuration")))
            configuration = true;
        else if (sc_span_eq_nocase(kind, SC_SPAN("Logger")) ||
                 sc_span_eq_nocase(kind, SC_SPAN("AsyncLogger")))
            apply(tag, false, &found, known);
        else if (sc_span_eq_nocase(kind, SC_SPAN("Root")) || sc_span_eq_nocase(kind, SC_SPAN("AsyncRoot")))
            apply(tag, true, &found, known);
    }
    if (!configuration)
        return SC_EUNSUPPORTED;
    *l = found;
    return 0;
}
