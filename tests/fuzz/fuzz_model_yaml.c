/* Any bytes as the model-config.yaml of a Python model and of a native one: numbers within their limits, a
 * spec that the journal gives back as it was; what is refused says why. */
#include <stdlib.h>

#include "base/alloc.h"
#include "model/spec_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void note(void *ctx, enum sc_log_level level, const char *text)
{
    (void)ctx, (void)level;
    check(text && *text);
}

static void through_journal(const struct sc_model_spec *s)
{
    struct sc_model_spec copy = {0};
    struct sc_buf first, second;
    sc_buf_init(&first, 64u << 20);
    sc_buf_init(&second, 64u << 20);
    sc_spec_write(s, &first);
    check(!first.failed && sc_spec_read(&copy, sc_buf_view(&first)) == 0);
    sc_spec_write(&copy, &second);
    check(sc_span_eq(sc_buf_view(&first), sc_buf_view(&second)));
    sc_buf_free(&first);
    sc_buf_free(&second);
    sc_spec_free(&copy);
}

static void begin(struct sc_model_spec *s, const char *backend)
{
    sc_spec_init(s);
    strcpy(s->name, "m");
    strcpy(s->version, "1");
    strcpy(s->backend, backend);
    s->dir = sc_strdup("");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sc_span text = sc_span(data, size);
    struct sc_model_spec s, native;
    struct sc_spec_yaml y = {0};
    struct sc_msg msg = {""};
    char backend[32];
    check(sc_spec_yaml_backend(backend, text, "f", &msg) == 0 || *msg.text);
    begin(&s, "python");
    begin(&native, "identity");
    *msg.text = '\0';
    if (sc_spec_yaml_read(&s, &y, text, "f", size % 4 ? (int)(size % 4) : -1, note, NULL, &msg) == 0) {
        check(y.min_workers >= 0 && y.min_workers <= SC_WORKERS_MAX && y.max_workers <= SC_WORKERS_MAX);
        check(y.batch_size >= 0 && y.batch_size <= SC_BATCH_SIZE_MAX && s.ndevices <= SC_DEVICES_MAX);
        through_journal(&s);
    } else {
        check(*msg.text);
    }
    *msg.text = '\0';
    if (sc_spec_native_read(&native, text, &msg) == 0)
        through_journal(&native);
    else
        check(*msg.text);
    sc_spec_free(&s);
    sc_spec_free(&native);
    return 0;
}
