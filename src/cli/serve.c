/* `sconce serve`: the command line of a server. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "cli/roles.h"
#include "cli/serve_options.h"
#include "model/settings.h"

static char role[] = SC_SUPERVISOR_ROLE;
static char title[] = SC_SUPERVISOR_TITLE;
static char command[] = "sconce serve"; /* what getopt calls the program */

static void usage(FILE *to)
{
    fputs(
        "usage: sconce serve [OPTION...]\n"
        "\n"
        "  --config FILE, --ts-config FILE   settings in TorchServe's config.properties form (default: "
        "./config.properties if it is there)\n"
        "  --model-store DIR        folder in which models are looked up\n"
        "  --models NAME=PATH ...   models to serve: Hugging Face folders, or the word identity for an "
        "echo;\n"
        "                           all: everything in the model store\n"
        "  --inference-address A    http://HOST:PORT or unix:/PATH (default http://127.0.0.1:8080)\n"
        "  --management-address A   (default http://127.0.0.1:8081)\n"
        "  --metrics-address A      (default http://127.0.0.1:8082)\n"
        "  --set KEY=VALUE          any setting of config.properties\n"
        "  --no-config-snapshots    neither write nor read snapshots of settings and models (short: --ncs)\n"
        "  --insecure               allow the management API on addresses that are not loopback\n"
        "  --foreground             accepted; the server always runs in the foreground\n"
        "\n"
        "Signals: TERM or INT finishes what is in flight and stops, a second one stops at once, HUP "
        "reopens the logs and reads the certificates of TLS again.\n",
        to);
}

/* ---- command line ------------------------------------------------------------------------------------ */

struct command_line {
    struct sc_serve_options *o;
    bool failed; /* more settings than there may be */
};

static void override(struct command_line *c, const char *key, const char *value)
{
    if (sc_properties_set(&c->o->overrides, key, value) < 0)
        c->failed = true;
}

/* A path that means the same for a process with another working directory. */
static void override_path(struct command_line *c, const char *key, const char *path)
{
    char *real = realpath(path, NULL);
    override(c, key, real ? real : path);
    free(real);
}

/* KEY=VALUE; 0 or an exit code. */
static int set(struct command_line *c, const char *text)
{
    struct sc_span key = sc_span_sub(sc_span_str(text), 0, sc_span_find(sc_span_str(text), '='));
    if (!text[key.n]) {
        fprintf(stderr, "sconce serve: --set wants KEY=VALUE, not \"%s\"\n", text);
        return 2;
    }
    char *name = sc_span_dup(key);
    int rc = name ? 0 : 2;
    /* What TorchServe's command passes on is right, whatever it is called. */
    if (name && !c->o->pidfile && !sc_settings_known(name)) {
        fprintf(stderr, "sconce serve: --set %s: there is no setting of that name\n", name);
        rc = 2;
    }
    if (rc == 0)
        override(c, name, text + key.n + 1);
    free(name);
    return rc;
}

enum {
    OPT_CONFIG = 1,
    OPT_STORE,
    OPT_MODELS,
    OPT_INFERENCE,
    OPT_MANAGEMENT,
    OPT_METRICS,
    OPT_SET,
    OPT_INSECURE,
    OPT_FOREGROUND,
    OPT_NO_SNAPSHOTS,
    OPT_TORCHSERVE,
    OPT_HELP
};

static int parse(int argc, char **argv, struct sc_serve_options *o)
{
    static const struct option longs[] = {
        {"config", required_argument, NULL, OPT_CONFIG},
        {"ts-config", required_argument, NULL, OPT_CONFIG},
        {"model-store", required_argument, NULL, OPT_STORE},
        {"models", required_argument, NULL, OPT_MODELS},
        {"inference-address", required_argument, NULL, OPT_INFERENCE},
        {"management-address", required_argument, NULL, OPT_MANAGEMENT},
        {"metrics-address", required_argument, NULL, OPT_METRICS},
        {"set", required_argument, NULL, OPT_SET},
        {"insecure", no_argument, NULL, OPT_INSECURE},
        {"foreground", no_argument, NULL, OPT_FOREGROUND},
        {"no-config-snapshots", no_argument, NULL, OPT_NO_SNAPSHOTS},
        {"ncs", no_argument, NULL, OPT_NO_SNAPSHOTS},
        {"torchserve", required_argument, NULL, OPT_TORCHSERVE}, /* torchserve.c alone says that */
        {"help", no_argument, NULL, OPT_HELP},
        {NULL, 0, NULL, 0},
    };
    struct command_line c = {.o = o};
    struct sc_buf models;
    int rc = 0, opt;
    sc_buf_init(&models, SC_SETTINGS_FILE_BYTES);
    while (rc == 0 && (opt = getopt_long(argc, argv, "+h", longs, NULL)) != -1) {
        switch (opt) {
        case OPT_CONFIG: o->config = optarg; break;
        case OPT_STORE: override_path(&c, "model_store", optarg); break;
        case OPT_MODELS:
            sc_buf_printf(&models, "%s%s", models.n ? "," : "", optarg);
            while (optind < argc && argv[optind][0] != '-')
                sc_buf_printf(&models, ",%s", argv[optind++]);
            break;
        case OPT_INFERENCE: override(&c, "inference_address", optarg); break;
        case OPT_MANAGEMENT: override(&c, "management_address", optarg); break;
        case OPT_METRICS: override(&c, "metrics_address", optarg); break;
        case OPT_SET: rc = set(&c, optarg); break;
        case OPT_INSECURE: o->insecure = true; break;
        case OPT_FOREGROUND: o->foreground = true; break;
        case OPT_NO_SNAPSHOTS: o->no_snapshots = true; break;
        case OPT_TORCHSERVE: o->pidfile = optarg; break;
        case OPT_HELP:
        case 'h':
            usage(stdout);
            rc = -1;
            break;
        default: fputs("Try `sconce serve --help`.\n", stderr); rc = 2;
        }
    }
    if (rc == 0 && optind < argc) {
        fprintf(stderr, "sconce serve: \"%s\" is no option. Try `sconce serve --help`.\n", argv[optind]);
        rc = 2;
    }
    if (rc == 0 && models.n) {
        sc_buf_char(&models, '\0');
        override(&c, "load_models", models.p);
    }
    if (rc == 0 && (c.failed || models.failed)) {
        fputs("sconce serve: the command line says more than settings can hold\n", stderr);
        rc = 2;
    }
    sc_buf_free(&models);
    return rc;
}

int sc_cli_serve(int argc, char **argv)
{
    struct sc_serve_options o = {0};
    /* Process listings show who is who: the same program under its title. */
    if (strcmp(argv[0], title) != 0) {
        char **again = sc_alloc_array((size_t)argc + 2, sizeof *again);
        again[0] = title;
        again[1] = role;
        for (int i = 2; i < argc; i++)
            again[i] = argv[i];
        execv("/proc/self/exe", again);
        free(again); /* without /proc the title stays as it is */
    }
    argv[1] = command;
    int rc = parse(argc - 1, argv + 1, &o);
    rc = rc == 0 ? sc_serve_run(&o) : SC_MAX(rc, 0);
    sc_properties_free(&o.overrides);
    return rc;
}
