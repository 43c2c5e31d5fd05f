#include "proto/grpc.h"

#include <zlib.h>

enum sc_grpc_code sc_grpc_code_of_http(int status)
{
    static const struct {
        short status;
        unsigned char code;
    } known[] = {
        {400, SC_GRPC_INVALID_ARGUMENT},  {401, SC_GRPC_UNAUTHENTICATED},
        {403, SC_GRPC_PERMISSION_DENIED}, {404, SC_GRPC_NOT_FOUND},
        {409, SC_GRPC_ABORTED},           {413, SC_GRPC_RESOURCE_EXHAUSTED},
        {416, SC_GRPC_OUT_OF_RANGE},      {429, SC_GRPC_RESOURCE_EXHAUSTED},
        {499, SC_GRPC_CANCELLED},         {501, SC_GRPC_UNIMPLEMENTED},
        {503, SC_GRPC_UNAVAILABLE},       {504, SC_GRPC_DEADLINE_EXCEEDED},
    };
    static const unsigned char classes[] = {
        SC_GRPC_UNKNOWN, SC_GRPC_UNKNOWN, SC_GRPC_OK, SC_GRPC_UNKNOWN, SC_GRPC_FAILED_PRECONDITION,
        SC_GRPC_INTERNAL};
    for (size_t i = 0; i < SC_COUNT(known); i++)
        if (known[i].status == status)
            return known[i].code;
    return status >= 0 && status / 100 < (int)SC_COUNT(classes) ? classes[status / 100] : SC_GRPC_UNKNOWN;
}

#define LONGEST_NS (INT64_MAX / 4) /* 73 years, which can be added to any time */

int sc_grpc_timeout(struct sc_span value, int64_t *ns)
{
    static const struct {
        char unit;
        int64_t ns;
    } units[] = {{'n', 1},          {'u', 1000},        {'m', 1000000},
                 {'S', 1000000000}, {'M', 60000000000}, {'H', 3600000000000}};
    uint64_t n;
    if (value.n < 2 || value.n > 9 || !sc_span_u64(sc_span_sub(value, 0, value.n - 1), 99999999, &n))
        return SC_EINVAL;
    for (size_t i = 0; i < SC_COUNT(units); i++)
        if (units[i].unit == value.p[value.n - 1]) {
            *ns = (int64_t)n > LONGEST_NS / units[i].ns ? LONGEST_NS : (int64_t)n * units[i].ns;
            return 0;
        }
    return SC_EINVAL;
}

void sc_grpc_put_text(struct sc_buf *out, struct sc_span text)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c >= ' ' && c <= '~' && c != '%') {
            sc_buf_char(out, (char)c);
        } else {
            const char escaped[] = {'%', hex[c >> 4], hex[c & 15]};
            sc_buf_add(out, escaped, sizeof escaped);
        }
    }
}

int sc_grpc_coding(struct sc_span name, enum sc_grpc_coding *out)
{
    static const struct sc_span names[] = {[SC_GRPC_IDENTITY] = {"identity", 8},
                                           [SC_GRPC_GZIP] = {"gzip", 4},
                                           [SC_GRPC_DEFLATE] = {"deflate", 7}};
    *out = SC_GRPC_IDENTITY;
    for (size_t i = 0; i < SC_COUNT(names); i++)
        if (!name.p || sc_span_eq(name, names[i])) {
            *out = name.p ? (enum sc_grpc_coding)i : SC_GRPC_IDENTITY;
            return 0;
        }
    return SC_EUNSUPPORTED;
}

void sc_grpc_head(char out[SC_GRPC_HEAD], size_t n)
{
    out[0] = 0;
    for (int i = 0; i < 4; i++)
        out[1 + i] = (char)(n >> 8 * (3 - i));
}

/* ---- reading -------------------------------------------------------------------------------- */

void sc_grpc_reader_init(struct sc_grpc_reader *r, enum sc_grpc_coding coding, size_t max)
{
    *r = (struct sc_grpc_reader){.max = SC_MIN(max, (size_t)UINT32_MAX), .coding = coding};
    sc_buf_init(&r->held, SC_GRPC_HEAD + r->max);
    sc_buf_init(&r->plain, r->max);
}

void sc_grpc_reader_free(struct sc_grpc_reader *r)
{
    sc_buf_free(&r->held);
    sc_buf_free(&r->plain);
}

bool sc_grpc_reader_idle(const struct sc_grpc_reader *r)
{
    return r->held.n == 0 || r->taken;
}

static int fail(struct sc_grpc_reader *r, int code, const char *problem)
{
    r->problem = problem;
    return code;
}

static int inflate_all(struct sc_grpc_reader *r, z_stream *z)
{
    int rc = Z_OK;
    while (rc == Z_OK) {
        size_t room = r->max - r->plain.n;
        if (room == 0) { /* a byte more would be too many: is the end all that is missing? */
            unsigned char more;
            z->next_out = &more;
            z->avail_out = 1;
            rc = inflate(z, Z_NO_FLUSH);
            return z->avail_out == 0    ? fail(r, SC_ELIMIT, "Decompressed gRPC message exceeds maximum size")
                   : rc == Z_STREAM_END ? 0
                                        : fail(r, SC_EINVAL, "the compressed message is cut or malformed");
        }
        room = SC_MIN(room, SC_MAX(2 * r->plain.n, (size_t)4096));
        if (sc_buf_reserve(&r->plain, room) < 0)
            return fail(r, SC_ENOMEM, "there is no memory for the message");
        z->next_out = (unsigned char *)r->plain.p + r->plain.n;
        z->avail_out = (unsigned)room;
        rc = inflate(z, Z_NO_FLUSH);
        r->plain.n += room - z->avail_out;
        if (rc == Z_BUF_ERROR || (rc == Z_OK && z->avail_out))
            break; /* the input has ended before the stream */
    }
    return rc == Z_STREAM_END ? 0 : fail(r, SC_EINVAL, "the compressed message is cut or malformed");
}

static int decompress(struct sc_grpc_reader *r, struct sc_span in, struct sc_span *out)
{
    z_stream z = {.next_in = (unsigned char *)(uintptr_t)in.p, .avail_in = (unsigned)in.n};
    if (r->coding == SC_GRPC_IDENTITY)
        return fail(r, SC_EINVAL, "Can't decode compressed gRPC message as compression not configured");
    sc_buf_clear(&r->plain);
    if (inflateInit2(&z, r->coding == SC_GRPC_GZIP ? 16 + MAX_WBITS : MAX_WBITS) != Z_OK)
        return fail(r, SC_ENOMEM, "there is no memory for the message");
    int rc = inflate_all(r, &z);
    inflateEnd(&z);
    *out = sc_buf_view(&r->plain);
    return rc;
}

/* Bytes of the frame that `head` begins; a negative code for one that is refused. */
static int64_t frame_length(struct sc_grpc_reader *r, const char *head)
{
    uint64_t n = 0;
    for (int i = 1; i < SC_GRPC_HEAD; i++)
        n = n << 8 | (unsigned char)head[i];
    if (head[0] & ~1)
        return fail(r, SC_EINVAL, "gRPC frame header malformed: reserved bits not zero");
    if (n > r->max)
        return fail(r, SC_ELIMIT, "gRPC message exceeds maximum size");
    return SC_GRPC_HEAD + (int64_t)n;
}

static int give(struct sc_grpc_reader *r, struct sc_span frame, struct sc_span *message)
{
    bool compressed = frame.p[0] & 1;
    *message = sc_span_sub(frame, SC_GRPC_HEAD, frame.n);
    int rc = compressed ? decompress(r, *message, message) : 0;
    return rc < 0 ? rc : 1;
}

static void take(struct sc_grpc_reader *r, struct sc_span *in, size_t upto)
{
    struct sc_span some = sc_span_sub(*in, 0, upto - r->held.n);
    sc_buf_span(&r->held, some);
    *in = sc_span_sub(*in, some.n, in->n);
}

int sc_grpc_read(struct sc_grpc_reader *r, struct sc_span *in, struct sc_span *message)
{
    if (r->taken) {
        sc_buf_clear(&r->held);
        r->taken = false;
    }
    if (in->n == 0)
        return 0;
    if (r->held.n == 0 && in->n >= SC_GRPC_HEAD) {
        int64_t n = frame_length(r, in->p);
        if (n < 0)
            return (int)n;
        if (in->n >= (uint64_t)n) { /* all of it is here: it need not be copied */
            struct sc_span frame = sc_span_sub(*in, 0, (size_t)n);
            *in = sc_span_sub(*in, (size_t)n, in->n);
            return give(r, frame, message);
        }
    }
    if (r->held.n < SC_GRPC_HEAD)
        take(r, in, SC_GRPC_HEAD);
    if (r->held.n < SC_GRPC_HEAD && !r->held.failed)
        return 0;
    int64_t n = r->held.failed ? SC_ENOMEM : frame_length(r, r->held.p);
    if (n < 0)
        return r->problem ? (int)n : fail(r, (int)n, "there is no memory for the message");
    take(r, in, (size_t)n);
    if (r->held.failed)
        return fail(r, SC_ENOMEM, "there is no memory for the message");
    if (r->held.n < (uint64_t)n)
        return 0;
    r->taken = true;
    return give(r, sc_buf_view(&r->held), message);
}
