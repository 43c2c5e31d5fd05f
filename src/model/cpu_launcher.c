#include "model/cpu_launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/span.h"

#define ARGS_MAX 64

static int wait_for(pid_t pid)
{
    int64_t limit = sc_clock_ms() + SC_CPU_LAUNCHER_MS;
    int status = -1;
    pid_t got;
    while ((got = waitpid(pid, &status, WNOHANG)) == 0 || (got < 0 && errno == EINTR)) {
        if (sc_clock_ms() > limit) {
            kill(-pid, SIGKILL);
            waitpid(pid, NULL, 0);
            return -1;
        }
        usleep(10000);
    }
    return got == pid ? status : -1;
}

static int try(const char *python, char **argv)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    pid_t pid = -1;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP);
    for (int fd = 0; fd < 3; fd++)
        posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
    int rc = posix_spawnp(&pid, python, &actions, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    return rc == 0 ? wait_for(pid) : -1;
}

bool sc_cpu_launcher_works(const struct sc_settings *s)
{
    char python[] = "python3", m[] = "-m", module[] = "torch.backends.xeon.run_cpu", alone[] = "--no_python",
         program[] = "hostname";
    char *argv[ARGS_MAX] = {s->python && *s->python ? s->python : python, m, module};
    char *args = strdup(s->cpu_launcher_args ? s->cpu_launcher_args : ""), *rest = args;
    unsigned n = 3;
    for (char *word; args && (word = strsep(&rest, " ")) && n < ARGS_MAX - 3;)
        if (*word)
            argv[n++] = word;
    argv[n++] = alone;
    argv[n++] = program;
    argv[n] = NULL;
    int status = args ? try(argv[0], argv) : -1;
    free(args);
    if (status >= 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    sc_log(SC_LOG_WARN,
           "cpu_launcher_enable: %s -m torch.backends.xeon.run_cpu %s --no_python hostname does not work; "
           "workers "
           "are started without it",
           s->python && *s->python ? s->python : "python3", s->cpu_launcher_args ? s->cpu_launcher_args : "");
    return false;
}
