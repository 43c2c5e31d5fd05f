#include "cli/archive_usage.h"

static const char model_text[] =
    "  --model-name NAME         the model's name, and the archive's: NAME.mar\n"
    "  -v, --version VERSION     the model's version\n"
    "  --handler HANDLER         a built-in handler (base_handler, image_classifier, ...) or a file:\n"
    "                            FILE.py, FILE, FILE:FUNCTION, FILE.py:FUNCTION\n"
    "  --serialized-file FILE    weights or program: .pt, .pth, .onnx, ...\n"
    "  --model-file FILE         the class of an eager model\n"
    "  --extra-files LIST        more files, separated by commas: paths, wildcards, folders (what they "
    "contain)\n"
    "  -r, --requirements-file FILE   packages that the handler needs\n"
    "  -c, --config-file FILE    model-config.yaml\n"
    "  --runtime {python,python3,LSP}\n"
    "  --archive-format {tgz,no-archive,zip-store,default}\n"
    "                            NAME.tar.gz, a folder NAME, NAME.mar not compressed, NAME.mar\n"
    "  --export-path FOLDER      where it is written; else the current folder\n"
    "  -f, --force               replace what is there\n";

static const char workflow_text[] =
    "  --workflow-name NAME      the workflow's name, and the archive's: NAME.war\n"
    "  --spec-file FILE          YAML: the models and the graph\n"
    "  --handler FILE            functions before and after\n"
    "  --extra-files LIST        more files, separated by commas\n"
    "  --export-path FOLDER      where it is written; else the current folder\n"
    "  -f, --force               replace what is there\n";

void sc_archive_usage(FILE *to, const char *prog, bool workflow)
{
    fprintf(to, "usage: %s [-h] %s [OPTION...]\n\n%s", prog,
            workflow ? "--workflow-name NAME --spec-file FILE"
                     : "--model-name NAME --version VERSION --handler HANDLER",
            workflow ? workflow_text : model_text);
    if (!workflow)
        fputs("\nWith --workflow-name instead of --model-name \"sconce archive\" makes an archive of a "
              "workflow.\n",
              to);
    fputs("\nExit codes: 0 done, 1 it failed (the reason is on stderr), 2 wrong usage.\n", to);
}
