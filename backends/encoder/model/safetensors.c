#include "model/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "json/json.h"

struct sc_safetensors {
    void *map; /* NULL if the bytes are the caller's */
    size_t map_size;
    struct sc_json_reader json; /* owns decoded names */
    struct sc_tensor *tensors;  /* sorted by place */
    struct sc_tensor **named;   /* sorted by name */
    size_t n, cap;
};

static int by_place(const void *a, const void *b)
{
    const struct sc_tensor *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

static int name_order(struct sc_span a, struct sc_span b)
{
    int c = memcmp(a.p, b.p, SC_MIN(a.n, b.n));
    return c ? c : a.n < b.n ? -1 : a.n > b.n;
}

static int by_name(const void *a, const void *b)
{
    return name_order((*(struct sc_tensor *const *)a)->name, (*(struct sc_tensor *const *)b)->name);
}

/* Bytes of one element, 0 if the type is unknown. */
static unsigned dtype_size(struct sc_span name, enum sc_dtype *dtype)
{
    static const struct {
        struct sc_span name;
        unsigned size;
        enum sc_dtype dtype;
    } known[] = {
        {SC_SPAN("F32"), 4, SC_DTYPE_F32},       {SC_SPAN("F16"), 2, SC_DTYPE_F16},
        {SC_SPAN("BF16"), 2, SC_DTYPE_BF16},     {SC_SPAN("F64"), 8, SC_DTYPE_OTHER},
        {SC_SPAN("I64"), 8, SC_DTYPE_OTHER},     {SC_SPAN("U64"), 8, SC_DTYPE_OTHER},
        {SC_SPAN("I32"), 4, SC_DTYPE_OTHER},     {SC_SPAN("U32"), 4, SC_DTYPE_OTHER},
        {SC_SPAN("I16"), 2, SC_DTYPE_OTHER},     {SC_SPAN("U16"), 2, SC_DTYPE_OTHER},
        {SC_SPAN("I8"), 1, SC_DTYPE_OTHER},      {SC_SPAN("U8"), 1, SC_DTYPE_OTHER},
        {SC_SPAN("BOOL"), 1, SC_DTYPE_OTHER},    {SC_SPAN("F8_E4M3"), 1, SC_DTYPE_OTHER},
        {SC_SPAN("F8_E5M2"), 1, SC_DTYPE_OTHER},
    };
    for (size_t i = 0; i < SC_COUNT(known); i++)
        if (sc_span_eq(known[i].name, name)) {
            *dtype = known[i].dtype;
            return known[i].size;
        }
    return 0;
}

static int read_shape(struct sc_json_reader *r, struct sc_tensor *t)
{
    int rc = sc_json_enter(r, '[');
    t->count = 1;
    while (rc >= 0 && (rc = sc_json_next_item(r)) > 0) {
        if (t->dims == SC_ENCODER_TENSOR_DIMS) {
            r->error = "a tensor has too many dimensions";
            return SC_ELIMIT;
        }
        uint64_t d;
        rc = sc_json_u64(r, INT64_MAX, &d);
        if (rc < 0)
            return rc;
        if (__builtin_mul_overflow(t->count, d, &t->count)) {
            r->error = "a tensor's shape is too large";
            return SC_EINVAL;
        }
        t->shape[t->dims++] = d;
    }
    return rc;
}

static int read_offsets(struct sc_json_reader *r, struct sc_tensor *t)
{
    uint64_t *to[2] = {&t->begin, &t->end};
    unsigned n = 0;
    int rc = sc_json_enter(r, '[');
    while (rc >= 0 && (rc = sc_json_next_item(r)) > 0) {
        if (n == 2)
            break;
        rc = sc_json_u64(r, INT64_MAX, to[n++]);
    }
    if (rc >= 0 && (rc > 0 || n != 2)) {
        r->error = "data_offsets must be two numbers";
        return SC_EINVAL;
    }
    return rc;
}

/* One member of the header. Which fields came is kept in bits 1, 2, 4. */
static int read_tensor(struct sc_json_reader *r, struct sc_tensor *t)
{
    unsigned seen = 0;
    struct sc_span key;
    int rc = sc_json_enter(r, '{');
    while (rc >= 0 && (rc = sc_json_next_key(r, &key)) > 0) {
        unsigned bit = sc_span_eq(key, SC_SPAN("dtype"))          ? 1
                       : sc_span_eq(key, SC_SPAN("shape"))        ? 2
                       : sc_span_eq(key, SC_SPAN("data_offsets")) ? 4
                                                                  : 0;
        if (seen & bit) {
            r->error = "a tensor has the same field twice";
            return SC_EINVAL;
        }
        seen |= bit;
        rc = bit == 1   ? sc_json_string(r, &t->dtype_name)
             : bit == 2 ? read_shape(r, t)
             : bit == 4 ? read_offsets(r, t)
                        : sc_json_skip(r);
    }
    if (rc == 0 && seen != 7) {
        r->error = "a tensor lacks dtype, shape or data_offsets";
        return SC_EINVAL;
    }
    return rc;
}

static int add_tensor(struct sc_safetensors *s, struct sc_span name)
{
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 64;
        struct sc_tensor *more = realloc(s->tensors, cap * sizeof *more);
        if (!more) {
            s->json.error = "no memory";
            return SC_ENOMEM;
        }
        s->tensors = more;
        s->cap = cap;
    }
    struct sc_tensor *t = &s->tensors[s->n];
    *t = (struct sc_tensor){.name = name};
    int rc = read_tensor(&s->json, t);
    if (rc == 0)
        s->n++;
    return rc;
}

/* Every tensor against its own numbers, its neighbour and the file. */
static int check(struct sc_safetensors *s, uint64_t data_size, const char *file, struct sc_msg *msg)
{
    uint64_t last = 0;
    for (size_t i = 0; i < s->n; i++) {
        struct sc_tensor *t = &s->tensors[i];
        int show = (int)SC_MIN(t->name.n, (size_t)100);
        uint64_t bytes;
        unsigned size = dtype_size(t->dtype_name, &t->dtype);
        if (size == 0)
            return sc_fail(
                msg, SC_EUNSUPPORTED,
                "%s: tensor %.*s has the unknown dtype \"%.*s\"; save the model in F32, F16 or BF16", file,
                show, t->name.p, (int)SC_MIN(t->dtype_name.n, (size_t)20), t->dtype_name.p);
        if (t->begin > t->end || __builtin_mul_overflow(t->count, size, &bytes) || t->end - t->begin != bytes)
            return sc_fail(msg, SC_EINVAL,
                           "%s: tensor %.*s: data_offsets do not fit its shape and dtype; the file is "
                           "damaged, fetch or save it again",
                           file, show, t->name.p);
        if (t->end > data_size)
            return sc_fail(msg, SC_EINVAL,
                           "%s: tensor %.*s ends at byte %llu of the data, but the file has only %llu: it is "
                           "cut short, fetch it again",
                           file, show, t->name.p, (unsigned long long)t->end, (unsigned long long)data_size);
        if (t->begin < last)
            return sc_fail(
                msg, SC_EINVAL,
                "%s: tensor %.*s overlaps another one; the file is damaged, fetch or save it again", file,
                show, t->name.p);
        last = t->end;
    }
    if (last != data_size)
        return sc_fail(msg, SC_EINVAL,
                       "%s: the tensors end at byte %llu of the data, the file at %llu; the file is damaged, "
                       "fetch or save it again",
                       file, (unsigned long long)last, (unsigned long long)data_size);
    for (size_t i = 1; i < s->n; i++)
        if (by_name(&s->named[i - 1], &s->named[i]) == 0)
            return sc_fail(msg, SC_EINVAL, "%s: two tensors are named %.*s; save the model again", file,
                           (int)SC_MIN(s->named[i]->name.n, (size_t)100), s->named[i]->name.p);
    return 0;
}

int sc_safetensors_parse(struct sc_safetensors **out, struct sc_span bytes, const char *name,
                         struct sc_msg *msg)
{
    uint64_t header = 0;
    if (bytes.n < 8)
        return sc_fail(msg, SC_EINVAL,
                       "%s: %zu bytes long, too short for a safetensors file: fetch or save it again", name,
                       bytes.n);
    for (int i = 7; i >= 0; i--)
        header = header << 8 | (unsigned char)bytes.p[i];
    if (header > SC_ENCODER_HEADER_BYTES)
        return sc_fail(
            msg, SC_ELIMIT,
            "%s: its header claims %llu bytes (at most %u are read): not a safetensors file, or damaged",
            name, (unsigned long long)header, SC_ENCODER_HEADER_BYTES);
    if (header > bytes.n - 8)
        return sc_fail(msg, SC_EINVAL,
                       "%s: its header claims %llu bytes, the file has %zu: it is cut short, fetch it again",
                       name, (unsigned long long)header, bytes.n);
    struct sc_span text = sc_span_sub(bytes, 8, header), data = sc_span_sub(bytes, 8 + header, bytes.n);

    struct sc_safetensors *s = calloc(1, sizeof *s);
    if (!s)
        return sc_fail(msg, SC_ENOMEM, "%s: no memory", name);
    sc_json_reader_init(&s->json, text);
    struct sc_span key;
    int rc = sc_json_enter(&s->json, '{');
    while (rc >= 0 && (rc = sc_json_next_key(&s->json, &key)) > 0)
        rc = sc_span_eq(key, SC_SPAN("__metadata__")) ? sc_json_skip(&s->json) : add_tensor(s, key);
    if (rc == 0)
        rc = sc_json_end(&s->json);
    if (rc < 0) {
        sc_fail(msg, rc, "%s: header, byte %zu: %s; the file is damaged, fetch or save it again", name,
                sc_json_at(&s->json), s->json.error ? s->json.error : sc_strerror(rc));
        goto fail;
    }
    s->named = malloc((s->n + 1) * sizeof(*s->named));
    if (!s->named) {
        rc = sc_fail(msg, SC_ENOMEM, "%s: no memory", name);
        goto fail;
    }
    if (s->n)
        qsort(s->tensors, s->n, sizeof *s->tensors, by_place);
    for (size_t i = 0; i < s->n; i++)
        s->named[i] = &s->tensors[i];
    qsort(s->named, s->n, sizeof(*s->named), by_name);
    rc = check(s, data.n, name, msg);
    if (rc < 0)
        goto fail;
    for (size_t i = 0; i < s->n; i++)
        s->tensors[i].data = (const unsigned char *)data.p + s->tensors[i].begin;
    *out = s;
    return 0;
fail:
    sc_safetensors_close(s);
    return rc;
}

int sc_safetensors_open(struct sc_safetensors **out, const char *path, struct sc_msg *msg)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0)
        return sc_fail(msg, errno == ENOENT ? SC_ENOTFOUND : SC_ESYS, "%s: %s", path, strerror(errno));
    int rc = 0;
    void *map = NULL;
    if (fstat(fd, &st) < 0)
        rc = sc_fail(msg, SC_ESYS, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        rc = sc_fail(msg, SC_EINVAL, "%s: not a regular file", path);
    else if (st.st_size == 0)
        rc = sc_fail(msg, SC_EINVAL, "%s: the file is empty: fetch or save it again", path);
    else if ((map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0)) == MAP_FAILED)
        rc = sc_fail(msg, SC_ESYS, "%s: %s", path, strerror(errno));
    close(fd);
    if (rc < 0)
        return rc;
    rc = sc_safetensors_parse(out, sc_span(map, (size_t)st.st_size), path, msg);
    if (rc < 0) {
        munmap(map, (size_t)st.st_size);
        return rc;
    }
    (*out)->map = map;
    (*out)->map_size = (size_t)st.st_size;
    return 0;
}

void sc_safetensors_close(struct sc_safetensors *s)
{
    if (!s)
        return;
    if (s->map)
        munmap(s->map, s->map_size);
    sc_json_reader_free(&s->json);
    free(s->tensors);
    free(s->named);
    free(s);
}

const struct sc_tensor *sc_safetensors_find(const struct sc_safetensors *s, struct sc_span name)
{
    size_t low = 0, high = s->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int c = name_order(s->named[mid]->name, name);
        if (c == 0)
            return s->named[mid];
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

size_t sc_safetensors_count(const struct sc_safetensors *s)
{
    return s->n;
}

const struct sc_tensor *sc_safetensors_at(const struct sc_safetensors *s, size_t i)
{
    return &s->tensors[i];
}

static float from_half(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 0x1F, fraction = h & 0x3FF, bits;
    if (exponent == 0) {
        /* Subnormal: fraction * 2^-24, exact in fp32. */
        float f = (float)fraction * 0x1p-24f;
        return sign ? -f : f;
    }
    bits = sign | (exponent == 31 ? 255 : exponent + 112) << 23 | fraction << 13;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

void sc_tensor_floats(const struct sc_tensor *t, float *out)
{
    const unsigned char *p = t->data;
    if (t->dtype == SC_DTYPE_F32) {
        if (t->count)
            memcpy(out, p, t->count * sizeof *out);
        return;
    }
    for (uint64_t i = 0; i < t->count; i++) {
        uint16_t h = (uint16_t)(p[2 * i] | p[2 * i + 1] << 8);
        uint32_t bits = (uint32_t)h << 16;
        if (t->dtype == SC_DTYPE_F16)
            out[i] = from_half(h);
        else
            memcpy(&out[i], &bits, sizeof bits);
    }
}
