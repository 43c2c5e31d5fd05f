/*
 * What a model's own requirements need before its workers start: a virtual environment, packages
 * (docs/contract.md, archives). On a pool thread; blocks.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "model/engine_private.h"

/* Runs a program in a folder; its last output goes to the log if it fails. True if it exited with 0. */
static bool run(const char *dir, const char *what, char *const *argv)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    int p[2], status = -1;
    char tail[2048];
    size_t n = 0;
    pid_t pid = -1;
    if (pipe2(p, O_CLOEXEC) < 0)
        return false;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, p[1], 1);
    posix_spawn_file_actions_adddup2(&actions, p[1], 2);
    posix_spawn_file_actions_addchdir_np(&actions, dir);
    int rc = posix_spawnp(&pid, argv[0], &actions, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    close(p[1]);
    for (;;) {
        /* Only the end is of interest: half of the room is kept when it is full. */
        if (n == sizeof tail) {
            memmove(tail, tail + n / 2, n - n / 2);
            n -= n / 2;
        }
        ssize_t got = rc == 0 ? read(p[0], tail + n, sizeof tail - n) : 0;
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    close(p[0]);
    while (rc == 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (rc == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    sc_log(SC_LOG_ERROR, "%s failed (%s): %.*s", what, rc ? strerror(rc) : "its last output follows", (int)n,
           tail);
    return false;
}

static int fail(struct sc_model_spec *s, struct sc_archive_error *err, const char *what)
{
    err->status = 400;
    err->type = "ModelException";
    sc_fail(&err->msg, SC_EINVAL, "%s failed for model %s", what, s->name);
    sc_archive_remove(s->remove, s->downloaded);
    sc_spec_free(s);
    return SC_EINVAL;
}

int sc_spec_install(struct sc_model_spec *s, const struct sc_settings *settings, const char *home,
                    struct sc_archive_error *err)
{
    char python[PATH_MAX], script[PATH_MAX], venv[PATH_MAX], file[PATH_MAX];
    bool own = s->use_venv && strcmp(s->runtime, "python") == 0;
    bool packages = settings->install_py_dep_per_model && s->requirements && *s->requirements;
    if (sc_spec_is_native(s) || (!own && !packages))
        return 0;
    snprintf(python, sizeof python, "%s", sc_settings_python(settings));
    snprintf(venv, sizeof venv, "%s/venv", s->dir);
    snprintf(script, sizeof script, "%s/ts/utils/setup_model_venv.py", home);
    if (own) {
        char *make[] = {python, script, venv, NULL};
        if (!run(s->dir, "Virtual environment creation", make))
            return fail(s, err, "Virtual environment creation");
        if (snprintf(python, sizeof python, "%s/venv/bin/python", s->dir) >= (int)sizeof python)
            return fail(s, err, "Virtual environment creation");
    }
    if (!packages)
        return 0;
    snprintf(file, sizeof file, "%s/%s", s->dir, s->requirements);
    char m[] = "-m", pip[] = "pip", install[] = "install", update[] = "-U", r[] = "-r", t[] = "-t",
         strategy[] = "--upgrade-strategy", needed[] = "only-if-needed";
    char *into_venv[] = {python, m, pip, install, update, strategy, needed, r, file, NULL};
    char *into_dir[] = {python, m, pip, install, update, t, s->dir, r, file, NULL};
    if (!run(s->dir, "Custom pip package installation", own ? into_venv : into_dir))
        return fail(s, err, "Custom pip package installation");
    return 0;
}
