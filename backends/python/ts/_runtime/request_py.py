"""From a request's metadata and body to (id, headers, row): the twin of ext/row.c and ext/convert.c."""
import struct

_PAIR = struct.Struct("<HI")
_PART = struct.Struct("<QQH")
_U16 = struct.Struct("<H")


class Malformed(Exception):
    """The frontend sent what it should not."""


def pairs(meta):
    """The (key, value) pairs of a block of metadata (src/worker/meta.h), as bytes."""
    n = len(meta)
    if n < 2:
        raise Malformed("metadata that is not well-formed")
    out = []
    at = 2
    while n - at >= 6:
        k, v = _PAIR.unpack_from(meta, at)
        at += 6
        if k > n - at or v > n - at - k:
            raise Malformed("metadata that is not well-formed")
        out.append((meta[at:at + k], meta[at + k:at + k + v]))
        at += k + v
    if at != n or len(out) != _U16.unpack_from(meta)[0]:
        raise Malformed("metadata that is not well-formed")
    return out


def block(items):
    """Metadata of (key, value) pairs of bytes; keys that are too long are left out, as in C."""
    parts = []
    for key, value in items:
        if len(key) <= 0xFFFF and len(value) <= 0xFFFFFFFF:
            parts += (_PAIR.pack(len(key), len(value)), key, value)
    return b"".join((_U16.pack(len(parts) // 3), *parts))


def _text(raw):
    return raw.decode("utf-8", "replace")


def _part(value, body):
    """(name, view of the bytes, media type) of a parameter that lies in the body."""
    if len(value) < 18:
        raise _misplaced()
    off, n, name = _PART.unpack_from(value)
    if off > len(body) or n > len(body) - off or name > len(value) - 18:
        raise _misplaced()
    return value[18:18 + name], body[off:off + n], value[18 + name:]


def _param(value):
    if len(value) < 2:
        raise _misplaced()
    name = _U16.unpack_from(value)[0]
    if name > len(value) - 2:
        raise _misplaced()
    return value[2:2 + name], value[2 + name:], b""


def _misplaced():
    return Malformed("a parameter that is malformed or lies outside of the body")


def convert(meta, body, decode):
    """(id, headers, row). `meta` is bytes, `body` a view into shared memory: each value's bytes are copied out once."""
    request_id = media_type = b""
    form = False
    fields = []
    sent = []
    for key, value in pairs(meta):
        if key[:1] != b":":
            sent.append((key, value))
        elif key == b":id":
            request_id = value
        elif key == b":content-type":
            media_type = value
        elif key == b":form":
            form = True
        elif key == b":part":
            fields.append(_part(value, body))
        elif key == b":param":
            fields.append(_param(value))
        else:
            raise _misplaced()
    if not form:
        fields.append((b"body", body, media_type))
    headers = {}
    row = {}
    for name, value, kind in fields:
        name = _text(name)
        kind = _text(kind)
        headers[name] = {"content-type": kind}
        value = bytearray(value)
        row[name] = value if decode is None else decode(value, kind)
    for key, value in sent:
        headers[key.decode("latin-1")] = _text(value) if key == b"url_path" else value.decode("latin-1")
    return _text(request_id), headers, row
