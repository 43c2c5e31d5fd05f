/* <model store>/<model>.sconce.yaml: what it says goes over the model's own file. */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "model/spec_parts.h"
#include "proto/yaml.h"

static json_t *as_json(struct sc_span yaml, const char *file, struct sc_msg *msg)
{
    struct sc_buf text;
    json_error_t error = {0};
    json_t *j = NULL;
    sc_buf_init(&text, 4 * SC_SETTINGS_FILE_BYTES);
    int rc = sc_yaml_to_json(yaml, &text);
    if (rc == 0)
        j = json_loadb(text.n ? text.p : "", text.n, JSON_DECODE_ANY, &error);
    if (!json_is_object(j)) {
        json_decref(j);
        j = NULL;
        (void)sc_fail(msg, SC_EINVAL,
                      "%.200s is no YAML mapping that can be put together with another (no anchors, tags, "
                      "timestamps)",
                      file);
    }
    sc_buf_free(&text);
    return j;
}

int sc_spec_override(const char *store, struct sc_span name, const char *file, struct sc_buf *yaml,
                     struct sc_msg *msg)
{
    char path[PATH_MAX], entry[PATH_MAX];
    struct sc_buf text;
    struct stat st;
    if (!store || name.n == 0 || memchr(name.p, '/', name.n) ||
        snprintf(entry, sizeof entry, "%s/%.*s", store, SC_FMT(name)) >= (int)sizeof entry ||
        snprintf(path, sizeof path, "%s%s", entry, SC_SPEC_OVERRIDE) >= (int)sizeof path ||
        stat(entry, &st) < 0)
        return 0;
    sc_buf_init(&text, SC_SETTINGS_FILE_BYTES);
    int rc = sc_file_read(path, &text, msg);
    if (rc < 0) {
        sc_buf_free(&text);
        return rc == SC_ENOTFOUND ? 0 : rc;
    }
    json_t *over = as_json(sc_buf_view(&text), path, msg);
    json_t *own = !over ? NULL : file ? as_json(sc_buf_view(yaml), file, msg) : json_object();
    sc_buf_free(&text);
    char *both = own && json_object_update(own, over) == 0 ? json_dumps(own, 0) : NULL;
    if (both) {
        sc_buf_free(yaml);
        sc_buf_init(yaml, 4 * SC_SETTINGS_FILE_BYTES);
        sc_buf_str(yaml, both);
    }
    rc = both && !yaml->failed ? 1
         : both || own         ? sc_fail(msg, SC_ELIMIT, "%.200s: it is too large", path)
                               : SC_EINVAL;
    free(both);
    json_decref(own);
    json_decref(over);
    return rc;
}
