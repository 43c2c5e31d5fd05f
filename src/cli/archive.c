/* `sconce archive`, and the commands torch-model-archiver and torch-workflow-archiver that it takes the place
 * of. */
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "archive/pack.h"
#include "base/alloc.h"
#include "base/span.h"
#include "cli/archive_usage.h"
#include "cli/arguments.h"
#include "cli/roles.h"

/* What archives say of their maker: the layout's version, then whose. */
#define ARCHIVER_VERSION "0.12.0+sconce" SCONCE_VERSION

enum model_argument {
    A_HELP,
    A_NAME,
    A_SERIALIZED,
    A_MODEL_FILE,
    A_HANDLER,
    A_EXTRA,
    A_RUNTIME,
    A_EXPORT,
    A_FORMAT,
    A_FORCE,
    A_VERSION,
    A_REQUIREMENTS,
    A_CONFIG,
    A_SPEC,
    A_COUNT
};

/* A run of either command. */
struct run {
    const char *prog;
    bool workflow;
    struct sc_argument *args;
    struct sc_pack_list list;
    struct sc_msg msg;
};

static const char *const runtimes[] = {"python", "python3", "LSP"};
static const char *const formats[] = {"tgz", "no-archive", "zip-store", "default"};
static const char *const builtin_handlers[] = {
    "base_handler",    "text_classifier",       "image_classifier", "object_detector",
    "image_segmenter", "dali_image_classifier", "vllm_handler",     "trt_llm_handler",
};
static const char *const builtin_lsp_handlers[] = {"BaseHandler", "TorchScriptHandler"};

static bool is_among(const char *s, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(s, list[i]) == 0)
            return true;
    return false;
}

static const char *value(const struct run *r, enum model_argument a)
{
    return r->args[a].given ? r->args[a].value : NULL;
}

static const char *last_component(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int usage_error(const struct run *r, const char *text)
{
    sc_archive_usage(stderr, r->prog, r->workflow);
    fprintf(stderr, "%s: error: %s\n", r->prog, text);
    return 2;
}

static int check_choice(struct run *r, enum model_argument a, const char *const *choices, size_t n)
{
    char list[128] = "";
    const char *v = value(r, a);
    size_t used = 0;
    if (!v || is_among(v, choices, n))
        return 0;
    for (size_t i = 0; i < n; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s'%s'", i ? ", " : "", choices[i]);
    return sc_fail(&r->msg, SC_EINVAL, "argument %s: invalid choice: '%.200s' (choose from %s)",
                   r->args[a].names[0], v, list);
}

static int check_required(struct run *r, const enum model_argument *required, size_t n)
{
    char list[128] = "";
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        const struct sc_argument *a = &r->args[required[i]];
        if (!a->given)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s%s%s", used ? ", " : "",
                                     a->names[0], a->names[1] ? "/" : "", a->names[1] ? a->names[1] : "");
    }
    return used ? sc_fail(&r->msg, SC_EINVAL, "the following arguments are required: %s", list) : 0;
}

/* ^[A-Za-z0-9][A-Za-z0-9_\-.]*$ */
static bool is_name(const char *s)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.";
    return *s && !strchr("_-.", *s) && strspn(s, letters) == strlen(s);
}

/* Files of a comma-separated list of paths and wildcards; a folder gives what it contains. */
static int add_extra(struct run *r, const char *pattern)
{
    struct stat st;
    glob_t found = {0};
    int rc = 0;
    bool wild = strpbrk(pattern, "*?") || (strchr(pattern, '[') && strchr(pattern, ']'));
    if (!wild && stat(pattern, &st) < 0)
        return sc_fail(&r->msg, SC_ENOTFOUND, "File does not exist: %.300s", pattern);
    if (wild && glob(pattern, GLOB_NOESCAPE, NULL, &found) != 0)
        fprintf(stderr, "WARNING - Given wildcard pattern did not match any file: %s\n", pattern);
    size_t n = wild ? found.gl_pathc : 1;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        const char *path = wild ? found.gl_pathv[i] : pattern;
        bool folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
        rc = folder ? sc_pack_add_folder(&r->list, path, &r->msg) : sc_pack_add_file(&r->list, path, &r->msg);
    }
    globfree(&found);
    return rc;
}

static int add_list(struct run *r, const char *list, int (*add)(struct run *r, const char *path))
{
    struct sc_span rest = sc_span_str(list);
    int rc = 0;
    while (rc == 0 && rest.n > 0) {
        size_t n = sc_span_find(rest, ',');
        char *path = sc_span_dup(sc_span_trim(sc_span_sub(rest, 0, n)));
        rest = sc_span_sub(rest, n + 1, rest.n);
        if (path && *path)
            rc = add(r, path);
        free(path);
    }
    return rc;
}

static int add_file(struct run *r, const char *path)
{
    return sc_pack_add_file(&r->list, path, &r->msg);
}

/* The handler's file, unless it is one of the server's own: x.py, x and x:func mean x.py, as does x.py:func,
 * which servers take but the Python archiver does not. */
static int add_handler(struct run *r, const char *handler)
{
    const char *runtime = value(r, A_RUNTIME), *end;
    bool lsp = runtime && strcmp(runtime, "LSP") == 0;
    char *path = NULL;
    if (lsp ? is_among(handler, builtin_lsp_handlers, SC_COUNT(builtin_lsp_handlers))
            : is_among(handler, builtin_handlers, SC_COUNT(builtin_handlers)))
        return 0;
    if (!lsp && (end = strstr(handler, ".py:")))
        path = sc_span_dup(sc_span(handler, (size_t)(end + 3 - handler)));
    else if (!lsp && strstr(handler, ".py"))
        path = sc_strdup(handler);
    else if (asprintf(&path, "%.*s%s", (int)strcspn(handler, ":"), handler, lsp ? ".so" : ".py") < 0)
        path = NULL;
    int rc = path ? add_file(r, path) : sc_fail(&r->msg, SC_ENOMEM, "no memory");
    free(path);
    return rc;
}

/* Later files replace earlier ones of the same name. */
static int collect(struct run *r)
{
    static const enum model_argument before[] = {A_MODEL_FILE, A_SERIALIZED, A_SPEC};
    static const enum model_argument after[] = {A_REQUIREMENTS, A_CONFIG};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < SC_COUNT(before); i++)
        if (value(r, before[i]))
            rc = add_file(r, value(r, before[i]));
    if (rc == 0 && value(r, A_HANDLER))
        rc = r->workflow ? add_file(r, value(r, A_HANDLER)) : add_handler(r, value(r, A_HANDLER));
    if (rc == 0 && value(r, A_EXTRA))
        rc = add_list(r, value(r, A_EXTRA), r->workflow ? add_file : add_extra);
    for (size_t i = 0; rc == 0 && i < SC_COUNT(after); i++)
        if (value(r, after[i]))
            rc = add_file(r, value(r, after[i]));
    return rc;
}

/* An absent text is left out. */
static void put_text(json_t *object, const char *key, const char *text)
{
    if (text && *text)
        json_object_set_new(object, key, json_string(text));
}

static void put_name(json_t *object, const char *key, const char *path)
{
    put_text(object, key, path ? last_component(path) : NULL);
}

/* The manifest's text, for free(). NULL: a value is no UTF-8. */
static char *manifest(const struct run *r)
{
    char now[32];
    struct tm tm = {0};
    time_t t = time(NULL);
    json_t *root = json_object(), *model = json_object();
    localtime_r(&t, &tm);
    strftime(now, sizeof now, "%d/%m/%Y %H:%M:%S", &tm);
    put_text(root, "createdOn", now);
    if (r->workflow) {
        put_text(model, "workflowName", value(r, A_NAME));
        put_name(model, "specFile", value(r, A_SPEC));
        put_name(model, "handler", value(r, A_HANDLER));
    } else {
        put_text(root, "runtime", value(r, A_RUNTIME) ? value(r, A_RUNTIME) : "python");
        put_text(model, "modelName", value(r, A_NAME));
        put_name(model, "serializedFile", value(r, A_SERIALIZED));
        put_name(model, "handler", value(r, A_HANDLER));
        put_name(model, "modelFile", value(r, A_MODEL_FILE));
        put_text(model, "modelVersion", value(r, A_VERSION));
        put_name(model, "requirementsFile", value(r, A_REQUIREMENTS));
        put_name(model, "configFile", value(r, A_CONFIG));
    }
    json_object_set_new(root, r->workflow ? "workflow" : "model", model);
    put_text(root, "archiverVersion", ARCHIVER_VERSION);
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_ENSURE_ASCII);
    json_decref(root);
    return text;
}

static enum sc_pack_format format_of(const struct run *r)
{
    const char *f = value(r, A_FORMAT);
    if (f && strcmp(f, "zip-store") == 0)
        return SC_PACK_ZIP_STORED;
    if (f && strcmp(f, "tgz") == 0)
        return SC_PACK_TGZ;
    return f && strcmp(f, "no-archive") == 0 ? SC_PACK_FOLDER : SC_PACK_ZIP;
}

/* Everything up to the write; *path is where to. */
static int prepare(struct run *r, const char *suffix, char **path)
{
    const char *kind = r->workflow ? "Workflow" : "Model", *name = value(r, A_NAME),
               *folder = value(r, A_EXPORT);
    struct stat st;
    char *cwd = folder ? NULL : get_current_dir_name();
    int rc = 0;
    if (!folder)
        folder = cwd ? cwd : ".";
    size_t n = strlen(folder);
    if (!is_name(name))
        rc = sc_fail(
            &r->msg, SC_EINVAL,
            "%s name contains special characters.\nThe allowed regular expression filter for %s name is: "
            "^[A-Za-z0-9][A-Za-z0-9_\\-.]*$",
            kind, r->workflow ? "workflow" : "model");
    else if (stat(folder, &st) < 0 || !S_ISDIR(st.st_mode))
        rc = sc_fail(&r->msg, SC_ENOTFOUND,
                     "Given export-path %.300s is not a directory. Point to a valid export-path directory.",
                     folder);
    else if (asprintf(path, "%s%s%s%s", folder, n && folder[n - 1] == '/' ? "" : "/", name, suffix) < 0)
        rc = sc_fail(&r->msg, SC_ENOMEM, "no memory");
    free(cwd);
    if (rc < 0 || lstat(*path, &st) < 0)
        return rc;
    if (r->args[A_FORCE].given) {
        fprintf(stderr, "WARNING - Overwriting %s ...\n", *path);
        return 0;
    }
    return sc_fail(
        &r->msg, SC_EEXIST,
        "%.300s already exists.\nPlease specify --force/-f option to overwrite the %s archive output file.\n"
        "See -h/--help for more details.",
        *path, r->workflow ? "workflow" : "model");
}

static int make(struct run *r)
{
    static const char *const suffixes[] = {[SC_PACK_ZIP] = ".mar",
                                           [SC_PACK_ZIP_STORED] = ".mar",
                                           [SC_PACK_TGZ] = ".tar.gz",
                                           [SC_PACK_FOLDER] = ""};
    enum sc_pack_format format = r->workflow ? SC_PACK_ZIP : format_of(r);
    char *path = NULL, *text = NULL;
    int rc = prepare(r, r->workflow ? ".war" : suffixes[format], &path);
    if (rc == 0)
        rc = collect(r);
    if (rc == 0 && !(text = manifest(r)))
        rc = sc_fail(&r->msg, SC_EINVAL, "an argument is no proper UTF-8");
    if (rc == 0) {
        const struct sc_pack_want want = {
            .format = format,
            .path = path,
            .root = value(r, A_NAME),
            .manifest_name = r->workflow ? "WAR-INF/MANIFEST.json" : "MAR-INF/MANIFEST.json",
            .manifest = sc_span_str(text),
            .force = r->args[A_FORCE].given,
        };
        rc = sc_pack_write(&r->list, &want, &r->msg);
        if (rc < 0)
            fprintf(stderr,
                    "ERROR - Failed to save the %s-archive to %s-path \"%s\". Check the file permissions and "
                    "retry.\n",
                    r->workflow ? "workflow" : "model", r->workflow ? "workflow" : "model", path);
    }
    if (rc < 0)
        fprintf(stderr, "ERROR - %s\n", r->msg.text);
    free(text);
    free(path);
    sc_pack_free(&r->list);
    return rc < 0 ? 1 : 0;
}

static int archiver(const char *prog, bool workflow, int argc, char **argv)
{
    static const enum model_argument model_needs[] = {A_NAME, A_HANDLER, A_VERSION};
    static const enum model_argument workflow_needs[] = {A_NAME, A_SPEC};
    struct sc_argument args[A_COUNT] = {
        [A_HELP] = {.names = {"-h", "--help"}, .kind = SC_ARG_HELP},
        [A_NAME] = {.names = {workflow ? "--workflow-name" : "--model-name"}, .kind = SC_ARG_VALUE},
        [A_HANDLER] = {.names = {"--handler"}, .kind = SC_ARG_VALUE},
        [A_EXTRA] = {.names = {"--extra-files"}, .kind = SC_ARG_VALUE},
        [A_EXPORT] = {.names = {"--export-path"}, .kind = SC_ARG_VALUE},
        [A_FORCE] = {.names = {"-f", "--force"}, .kind = SC_ARG_FLAG},
    };
    if (workflow) {
        args[A_SPEC] = (struct sc_argument){.names = {"--spec-file"}, .kind = SC_ARG_VALUE};
    } else {
        args[A_SERIALIZED] = (struct sc_argument){.names = {"--serialized-file"}, .kind = SC_ARG_VALUE};
        args[A_MODEL_FILE] = (struct sc_argument){.names = {"--model-file"}, .kind = SC_ARG_VALUE};
        args[A_RUNTIME] = (struct sc_argument){.names = {"--runtime"}, .kind = SC_ARG_VALUE};
        args[A_FORMAT] = (struct sc_argument){.names = {"--archive-format"}, .kind = SC_ARG_VALUE};
        args[A_VERSION] = (struct sc_argument){.names = {"-v", "--version"}, .kind = SC_ARG_VALUE};
        args[A_REQUIREMENTS] =
            (struct sc_argument){.names = {"-r", "--requirements-file"}, .kind = SC_ARG_VALUE};
        args[A_CONFIG] = (struct sc_argument){.names = {"-c", "--config-file"}, .kind = SC_ARG_VALUE};
    }
    struct run r = {.prog = prog, .workflow = workflow, .args = args};
    int rc = sc_arguments_read(args, A_COUNT, argc, argv, &r.msg), code;
    if (rc == 0)
        rc = check_choice(&r, A_RUNTIME, runtimes, SC_COUNT(runtimes));
    if (rc == 0)
        rc = check_choice(&r, A_FORMAT, formats, SC_COUNT(formats));
    if (rc == 0)
        rc = workflow ? check_required(&r, workflow_needs, SC_COUNT(workflow_needs))
                      : check_required(&r, model_needs, SC_COUNT(model_needs));
    if (rc == 1)
        code = (sc_archive_usage(stdout, prog, workflow), 0);
    else
        code = rc < 0 ? usage_error(&r, r.msg.text) : make(&r);
    sc_arguments_free(args, A_COUNT);
    return code;
}

int sc_cli_model_archiver(int argc, char **argv)
{
    return archiver("torch-model-archiver", false, argc - 1, argv + 1);
}

int sc_cli_workflow_archiver(int argc, char **argv)
{
    return archiver("torch-workflow-archiver", true, argc - 1, argv + 1);
}

int sc_cli_archive(int argc, char **argv)
{
    static const char name[] = "--workflow-name";
    bool workflow = false;
    for (int i = 1; i < argc; i++)
        workflow |= strncmp(argv[i], name, strlen(name)) == 0;
    return archiver("sconce archive", workflow, argc - 1, argv + 1);
}
