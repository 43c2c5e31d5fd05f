/*
 * `torchserve`: the command of TorchServe 0.12, to the word (docs/contract.md; its messages go to standard
 * output). It starts the server and stops it; the server is this program again as a supervisor, under the
 * option SC_TORCHSERVE_OPTION=<PID file>, by which later commands know it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/limits.h"
#include "cli/live.h"
#include "cli/pidfile.h"
#include "cli/roles.h"
#include "cli/serve_options.h"
#include "cli/torchserve_usage.h"
#include "proto/properties.h"

#define KEY_FILE "key_file.json" /* of the server's token authorization, in its working folder */
#define STOP_WAIT_MS 60000
#define ARGUMENTS_MAX 32

static struct sc_argument args[] = {
    [TS_HELP] = {.names = {"-h", "--help"}, .kind = SC_ARG_HELP},
    [TS_VERSION] = {.names = {"-v", "--version"}, .kind = SC_ARG_FLAG, .group = 1},
    [TS_START] = {.names = {"--start"}, .kind = SC_ARG_FLAG, .group = 1},
    [TS_STOP] = {.names = {"--stop"}, .kind = SC_ARG_FLAG, .group = 1},
    [TS_CONFIG] = {.names = {"--ts-config"}, .kind = SC_ARG_VALUE},
    [TS_MODEL_STORE] = {.names = {"--model-store"}, .kind = SC_ARG_VALUE},
    [TS_WORKFLOW_STORE] = {.names = {"--workflow-store"}, .kind = SC_ARG_VALUE},
    [TS_MODELS] = {.names = {"--models"}, .kind = SC_ARG_LIST},
    [TS_LOG_CONFIG] = {.names = {"--log-config"}, .kind = SC_ARG_VALUE},
    [TS_CPP_LOG_CONFIG] = {.names = {"--cpp-log-config"}, .kind = SC_ARG_VALUE},
    [TS_FOREGROUND] = {.names = {"--foreground"}, .kind = SC_ARG_FLAG},
    [TS_NO_SNAPSHOTS] = {.names = {"--no-config-snapshots", "--ncs"}, .kind = SC_ARG_FLAG},
    [TS_PLUGINS] = {.names = {"--plugins-path", "--ppath"}, .kind = SC_ARG_VALUE},
    [TS_DISABLE_TOKEN] = {.names = {"--disable-token-auth", "--dt"}, .kind = SC_ARG_FLAG},
    [TS_MODEL_API] = {.names = {"--enable-model-api"}, .kind = SC_ARG_FLAG},
};

/* ---- stop ------------------------------------------------------------------------------------------ */

static int stop(const struct sc_pidfile *f, enum sc_pidfile_state state, pid_t pid)
{
    if (state != SC_PIDFILE_RUNNING) {
        puts("TorchServe is not currently running.");
        return 0;
    }
    int err = kill(pid, SIGTERM) < 0 ? errno : 0;
    if (err == EPERM) {
        fprintf(stderr, "torchserve: the server (pid %d) belongs to another user, who may stop it\n",
                (int)pid);
        return 1;
    }
    if (err) {
        puts("TorchServe already stopped.");
    } else {
        unlink(KEY_FILE);
        if (!args[TS_FOREGROUND].given)
            puts("TorchServe has stopped.");
        else if (sc_live_wait(pid, STOP_WAIT_MS) < 0)
            puts("Stopping TorchServe took too long.");
    }
    sc_pidfile_remove(f);
    return 0;
}

/* ---- start: what TorchServe looks at before there is a server -------------------------------------- */

static bool is_kind(const char *path, mode_t kind)
{
    struct stat st;
    return stat(path, &st) == 0 && (st.st_mode & S_IFMT) == kind;
}

/* The settings file that the launcher itself looks into; NULL: none was named. */
static const char *named_config(void)
{
    const char *file = getenv("TS_CONFIG_FILE");
    return file && *file ? file : args[TS_CONFIG].value;
}

static int missing(const char *what, const char *path)
{
    printf("--%s not found: %s\n", what, path);
    return 1;
}

/* Looks into the settings file: has it a model store? Mistakes in it are the server's to report. */
static bool look_into(const char *file)
{
    struct sc_buf text;
    struct sc_properties p = {0};
    bool store = false;
    sc_buf_init(&text, SC_SETTINGS_FILE_BYTES);
    if (sc_file_read(file, &text, NULL) == 0 && sc_properties_read(&p, sc_buf_view(&text), file, NULL) == 0) {
        const char *vmargs = sc_properties_get(&p, "vmargs");
        const char *value = sc_properties_get(&p, "model_store");
        if (vmargs && *vmargs)
            printf("Warning: TorchServe is using non-default JVM parameters: %s\n", vmargs);
        store = value && *value;
    }
    sc_properties_free(&p);
    sc_buf_free(&text);
    return store;
}

/* TorchServe makes some paths absolute before it looks. */
static int missing_absolute(const char *what, const char *path)
{
    char here[PATH_MAX], whole[2 * PATH_MAX];
    bool relative = *path != '/' && getcwd(here, sizeof here);
    snprintf(whole, sizeof whole, "%s%s%s", relative ? here : "", relative ? "/" : "", path);
    return missing(what, whole);
}

/* 0, or the exit code after a message. */
static int check(void)
{
    const char *temp = getenv("TEMP"), *config = named_config(), *store = args[TS_MODEL_STORE].value;
    const char *log = args[TS_LOG_CONFIG].value, *cpp_log = args[TS_CPP_LOG_CONFIG].value;
    const char *workflows = args[TS_WORKFLOW_STORE].value;
    if (log && !is_kind(log, S_IFREG))
        return missing_absolute("log-config file", log);
    if (temp && *temp && !is_kind(temp, S_IFDIR)) {
        printf("Invalid temp directory: %s, please check TEMP environment variable.\n", temp);
        return 1;
    }
    if (config && !is_kind(config, S_IFREG))
        return missing("ts-config file", config);
    /* TorchServe does not look into a config.properties that was not named, which only its operators know. */
    bool has_store = look_into(config ? config : "config.properties");
    if (cpp_log && !is_kind(cpp_log, S_IFREG))
        return missing_absolute("cpp-log-config file", cpp_log);
    if (store && !is_kind(store, S_IFDIR))
        return missing("model-store directory", store);
    if (!store && !has_store) {
        puts("Missing mandatory parameter --model-store");
        return 1;
    }
    if (workflows && !is_kind(workflows, S_IFDIR))
        return missing("workflow-store directory", workflows);
    return 0;
}

/* ---- start: the server ----------------------------------------------------------------------------- */

struct command {
    char *argv[ARGUMENTS_MAX + 1];
    unsigned n;
};

static void add(struct command *c, const char *prefix, const char *text)
{
    size_t size = strlen(prefix) + strlen(text) + 1;
    char *word = sc_alloc(size);
    snprintf(word, size, "%s%s", prefix, text);
    if (c->n < ARGUMENTS_MAX)
        c->argv[c->n++] = word;
    else
        free(word);
}

static void set(struct command *c, const char *key, const char *value)
{
    if (value) {
        add(c, "--set", "");
        add(c, key, value);
    }
}

static void set_models(struct command *c)
{
    struct sc_buf list;
    sc_buf_init(&list, SC_SETTINGS_FILE_BYTES);
    for (unsigned i = 0; i < args[TS_MODELS].nwords; i++)
        sc_buf_printf(&list, "%s%s", i ? "," : "", args[TS_MODELS].words[i]);
    sc_buf_char(&list, '\0');
    if (args[TS_MODELS].given && !list.failed)
        set(c, "load_models=", list.p);
    sc_buf_free(&list);
}

static void make_command(struct command *c, const char *pidfile)
{
    add(c, SC_SUPERVISOR_TITLE, "");
    add(c, SC_SUPERVISOR_ROLE, "");
    add(c, SC_TORCHSERVE_OPTION "=", pidfile);
    if (args[TS_FOREGROUND].given)
        add(c, "--foreground", "");
    if (args[TS_NO_SNAPSHOTS].given)
        add(c, "--no-config-snapshots", "");
    if (args[TS_CONFIG].value)
        add(c, "--config=", args[TS_CONFIG].value);
    set(c, "model_store=", args[TS_MODEL_STORE].value);
    set(c, "workflow_store=", args[TS_WORKFLOW_STORE].value);
    set_models(c);
    set(c, "log_config=", args[TS_LOG_CONFIG].value);
    set(c, "cpp_log_config=", args[TS_CPP_LOG_CONFIG].value);
    set(c, "plugins_path=", args[TS_PLUGINS].value);
    if (args[TS_DISABLE_TOKEN].given)
        set(c, "disable_token_authorization=", "true");
    if (args[TS_MODEL_API].given)
        set(c, "enable_model_api=", "true");
}

/* Becomes the server. */
static void become(char *const *argv)
{
    execv("/proc/self/exe", argv);
    fprintf(stderr, "torchserve: the server cannot be started: %s\n", strerror(errno));
    _exit(1);
}

static int spawn(char *const *argv, struct sc_pidfile *f, struct sc_msg *msg)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        return sc_fail(msg, SC_ESYS, "the server cannot be started: %s", strerror(errno));
    if (pid == 0) {
        /* Output stays the terminal's; what is typed there is for the shell. */
        int null = open("/dev/null", O_RDONLY);
        if (null >= 0)
            dup2(null, STDIN_FILENO);
        if (null > STDIN_FILENO)
            close(null);
        become(argv);
    }
    return sc_pidfile_write(f, pid, msg);
}

static int start(struct sc_pidfile *f, enum sc_pidfile_state state)
{
    struct command c = {.n = 0};
    struct sc_msg msg = {""};
    if (state == SC_PIDFILE_RUNNING) {
        puts("TorchServe is already running, please use torchserve --stop to stop TorchServe.");
        return 1;
    }
    if (check() != 0)
        return 1;
    make_command(&c, f->path);
    /* Before there is a server: one whose PID cannot be written down could not be stopped. */
    int rc = sc_pidfile_write(f, getpid(), &msg);
    if (rc == 0 && args[TS_FOREGROUND].given) {
        /* This process is the server from here on, so a signal to it is one to the server. */
        fflush(NULL);
        become(c.argv);
    }
    if (rc == 0)
        rc = spawn(c.argv, f, &msg);
    for (unsigned i = 0; i < c.n; i++)
        free(c.argv[i]);
    if (rc < 0)
        fprintf(stderr, "torchserve: %s\n", msg.text);
    return rc < 0 ? 1 : 0;
}

/* ---- the command ----------------------------------------------------------------------------------- */

static int run(void)
{
    struct sc_pidfile f;
    struct sc_msg msg = {""};
    pid_t pid = 0;
    if (sc_pidfile_open(&f, &msg) < 0) {
        fprintf(stderr, "torchserve: %s\n", msg.text);
        sc_pidfile_close(&f);
        return 1;
    }
    enum sc_pidfile_state state = sc_pidfile_read(&f, &pid);
    int rc = 0;
    if (state == SC_PIDFILE_DEAD) {
        puts("Removing orphan pid file.");
        sc_pidfile_remove(&f);
    }
    if (args[TS_VERSION].given)
        puts("TorchServe Version is " SC_TORCHSERVE_VERSION);
    else if (args[TS_STOP].given)
        rc = stop(&f, state, pid);
    else
        rc = start(&f, state);
    sc_pidfile_close(&f);
    return rc;
}

int sc_cli_torchserve(int argc, char **argv)
{
    struct sc_msg msg = {""};
    int rc = sc_arguments_read(args, SC_COUNT(args), argc - 1, argv + 1, &msg);
    if (rc == 1)
        printf("%s\n%s", sc_torchserve_usage, sc_torchserve_help);
    else if (rc < 0)
        fprintf(stderr, "%storchserve: error: %s\n", sc_torchserve_usage, msg.text);
    rc = rc == 0 ? run() : rc < 0 ? 2 : 0;
    sc_arguments_free(args, SC_COUNT(args));
    return rc;
}
