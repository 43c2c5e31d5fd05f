/* What a worker finds in its environment. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "worker/supervisor_parts.h"

static bool same_name(const char *a, const char *b)
{
    size_t n = strcspn(a, "=");
    return strncmp(a, b, n) == 0 && b[n] == '=';
}

static bool named_in(const char *const *list, const char *entry)
{
    for (; *list; list++) {
        if (same_name(*list, entry))
            return true;
    }
    return false;
}

char **sc_slot_environment(const struct sc_slot *slot, const char *const *ours)
{
    size_t n = 0, max = 1;
    for (char **e = environ; e && *e; e++)
        max++;
    for (const char **e = slot->env; *e; e++)
        max++;
    for (const char *const *e = ours; *e; e++)
        max++;
    char **env = calloc(max, sizeof *env);
    if (!env)
        return NULL;
    for (char **e = environ; e && *e; e++) {
        if (!named_in(slot->env, *e) && !named_in(ours, *e))
            env[n++] = *e;
    }
    for (const char **e = slot->env; *e; e++) {
        if (strchr(*e, '=') && !named_in(ours, *e))
            env[n++] = (char *)(uintptr_t)*e;
    }
    for (const char *const *e = ours; *e; e++)
        env[n++] = (char *)(uintptr_t)*e;
    return env;
}
