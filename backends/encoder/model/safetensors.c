#include "model/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/mix.h"
#include "proto/json_read.h"

struct sc_safetensors {
    uint64_t identity;
    void *map; /* NULL if the bytes are the caller's */
    size_t map_size;
    struct sc_json_reader json;
    struct sc_buf decoded;     /* names that were written with escapes */
    struct sc_tensor *tensors; /* sorted by place */
    struct sc_tensor **named;  /* sorted by name */
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

static int refuse(struct sc_safetensors *s, const char *problem)
{
    return sc_json_refuse(&s->json, SC_EINVAL, problem);
}

/* The latest key or string. Room for the escaped ones of the whole header is made once: none may move. */
static int latest_text(struct sc_safetensors *s, struct sc_span *out)
{
    if (s->json.escaped && !s->decoded.p)
        sc_buf_reserve(&s->decoded, s->json.text.n);
    return sc_json_text(&s->json, &s->decoded, out);
}

/* The latest event as an element of a shape or of offsets. */
static int element(struct sc_safetensors *s, int ev, uint64_t *out)
{
    if (ev < 0)
        return ev;
    if (ev != SC_JSON_NUMBER || !sc_span_u64(s->json.raw, INT64_MAX, out))
        return refuse(s, "a whole number from 0 to 2^63 - 1 was expected");
    return 0;
}

static int expect(struct sc_safetensors *s, int event, const char *otherwise)
{
    int ev = sc_json_next(&s->json);
    return ev < 0 ? ev : ev == event ? 0 : refuse(s, otherwise);
}

static int read_shape(struct sc_safetensors *s, struct sc_tensor *t)
{
    int ev, rc = expect(s, SC_JSON_ARRAY, "a shape must be a list of numbers");
    t->count = 1;
    while (rc == 0 && (ev = sc_json_next(&s->json)) != SC_JSON_ARRAY_END) {
        uint64_t d;
        rc = element(s, ev, &d);
        if (rc < 0)
            return rc;
        if (t->dims == SC_ENCODER_TENSOR_DIMS)
            return sc_json_refuse(&s->json, SC_ELIMIT, "a tensor has too many dimensions");
        if (__builtin_mul_overflow(t->count, d, &t->count))
            return refuse(s, "a tensor's shape is too large");
        t->shape[t->dims++] = d;
    }
    return rc;
}

static int read_offsets(struct sc_safetensors *s, struct sc_tensor *t)
{
    static const char problem[] = "data_offsets must be two numbers";
    int rc = expect(s, SC_JSON_ARRAY, problem);
    if (rc == 0)
        rc = element(s, sc_json_next(&s->json), &t->begin);
    if (rc == 0)
        rc = element(s, sc_json_next(&s->json), &t->end);
    return rc == 0 ? expect(s, SC_JSON_ARRAY_END, problem) : rc;
}

static int read_dtype(struct sc_safetensors *s, struct sc_tensor *t)
{
    int rc = expect(s, SC_JSON_STRING, "a dtype must be a string");
    return rc == 0 ? latest_text(s, &t->dtype_name) : rc;
}

/* One member of the header. Which fields came is kept in bits 1, 2, 4. */
static int read_tensor(struct sc_safetensors *s, struct sc_tensor *t)
{
    struct sc_json_reader *r = &s->json;
    unsigned seen = 0;
    int ev = 0, rc = expect(s, SC_JSON_OBJECT, "a tensor must be an object");
    while (rc == 0 && (ev = sc_json_next(r)) == SC_JSON_KEY) {
        unsigned bit = sc_json_is(r, SC_SPAN("dtype"))          ? 1
                       : sc_json_is(r, SC_SPAN("shape"))        ? 2
                       : sc_json_is(r, SC_SPAN("data_offsets")) ? 4
                                                                : 0;
        if (seen & bit)
            return refuse(s, "a tensor has the same field twice");
        seen |= bit;
        rc = bit == 1   ? read_dtype(s, t)
             : bit == 2 ? read_shape(s, t)
             : bit == 4 ? read_offsets(s, t)
                        : sc_json_skip(r);
    }
    if (rc < 0 || ev < 0)
        return SC_MIN(rc, ev);
    return seen == 7 ? 0 : refuse(s, "a tensor lacks dtype, shape or data_offsets");
}

static int add_tensor(struct sc_safetensors *s)
{
    struct sc_span name;
    int rc = latest_text(s, &name);
    if (rc < 0)
        return rc;
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 64;
        struct sc_tensor *more = realloc(s->tensors, cap * sizeof *more);
        if (!more)
            return SC_ENOMEM;
        s->tensors = more;
        s->cap = cap;
    }
    struct sc_tensor *t = &s->tensors[s->n];
    *t = (struct sc_tensor){.name = name};
    rc = read_tensor(s, t);
    if (rc == 0)
        s->n++;
    return rc;
}

static int read_header(struct sc_safetensors *s, struct sc_span text)
{
    struct sc_json_reader *r = &s->json;
    sc_json_read_init(r, text);
    sc_buf_init(&s->decoded, text.n);
    int ev = 0, rc = expect(s, SC_JSON_OBJECT, "an object was expected");
    while (rc == 0 && (ev = sc_json_next(r)) == SC_JSON_KEY)
        rc = sc_json_is(r, SC_SPAN("__metadata__")) ? sc_json_skip(r) : add_tensor(s);
    if (rc < 0 || ev < 0)
        return SC_MIN(rc, ev);
    return sc_json_next(r); /* SC_JSON_END, or what is wrong behind the object */
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
    int rc = read_header(s, text);
    if (rc == SC_ENOMEM) {
        sc_fail(msg, rc, "%s: no memory", name);
        goto fail;
    }
    if (rc < 0) {
        sc_fail(msg, rc, "%s: header, byte %zu: %s; the file is damaged, fetch or save it again", name,
                s->json.problem_at, s->json.problem);
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

static uint64_t identity_of(const struct stat *st)
{
    const uint64_t parts[] = {(uint64_t)st->st_dev,          (uint64_t)st->st_ino,
                              (uint64_t)st->st_size,         (uint64_t)st->st_mtim.tv_sec,
                              (uint64_t)st->st_mtim.tv_nsec, (uint64_t)st->st_ctim.tv_sec,
                              (uint64_t)st->st_ctim.tv_nsec};
    return sc_mix_bytes(SC_MIX_START, parts, sizeof parts);
}

uint64_t sc_safetensors_identity(const struct sc_safetensors *s)
{
    return s->identity;
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
    (*out)->identity = identity_of(&st);
    return 0;
}

void sc_safetensors_close(struct sc_safetensors *s)
{
    if (!s)
        return;
    if (s->map)
        munmap(s->map, s->map_size);
    sc_buf_free(&s->decoded);
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

void sc_tensor_floats_at(const struct sc_tensor *t, uint64_t first, uint64_t count, float *out)
{
    const unsigned char *p = t->data + first * (t->dtype == SC_DTYPE_F32 ? 4 : 2);
    if (t->dtype == SC_DTYPE_F32) {
        if (count)
            memcpy(out, p, count * sizeof *out);
        return;
    }
    for (uint64_t i = 0; i < count; i++) {
        uint16_t h = (uint16_t)(p[2 * i] | p[2 * i + 1] << 8);
        uint32_t bits = (uint32_t)h << 16;
        if (t->dtype == SC_DTYPE_F16)
            out[i] = from_half(h);
        else
            memcpy(&out[i], &bits, sizeof bits);
    }
}

void sc_tensor_floats(const struct sc_tensor *t, float *out)
{
    sc_tensor_floats_at(t, 0, t->count, out);
}
