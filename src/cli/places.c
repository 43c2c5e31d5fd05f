#include "cli/places.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void sc_place_plugins(char *to, size_t size)
{
    char exe[PATH_MAX - 64], probe[PATH_MAX + 64];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n < 0 ? 0 : n] = '\0';
    char *slash = strrchr(exe, '/');
    if (slash)
        *slash = '\0';
    snprintf(probe, sizeof probe, "%s/libsconce_identity.so", exe);
    snprintf(to, size, "%s%s", exe, access(probe, R_OK) < 0 ? "/../lib/sconce" : "");
}

void sc_place_home(const char *plugins, char *to, size_t size)
{
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/python", plugins);
    char *real = realpath(path, NULL);
    snprintf(to, size, "%s", real ? real : path);
    free(real);
}
