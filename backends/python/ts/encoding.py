"""From a request's bytes to the values that a handler sees, and from its results to bytes."""
import json
import logging
import os
import sys

logger = logging.getLogger(__name__)

_indented = json.JSONEncoder(indent=2).encode
# The same for what holds no list or dict: with this separator the encoder in C is used, where an indent excludes it.
_flat = json.JSONEncoder(separators=(",\n  ", ": ")).encode
_SCALARS = frozenset((str, float, int, bool, type(None)))

_decode_wanted = os.environ.get("TS_DECODE_INPUT_REQUEST", "true") == "true"


def decode(value, content_type):
    """The value of a parameter: the result of json.loads for exactly `application/json`, a str for `text…`, else
    `value` itself (a bytearray). What cannot be decoded stays as it is, with a warning in the log."""
    if not content_type or not _decode_wanted:
        return value
    if content_type == "application/json":
        try:
            return json.loads(value.decode("utf-8"))
        except (ValueError, RecursionError):
            logger.warning("Failed json decoding of input data. Forwarding encoded payload", exc_info=True)
    elif content_type.startswith("text"):
        try:
            return value.decode("utf-8")
        except ValueError:
            logger.warning("Failed utf-8 decoding of input data. Forwarding encoded payload", exc_info=True)
    return value


def encode(item):
    """The body of one result: bytes and bytearray as they are; a str as a str that is valid in UTF-8; a tensor by
    torch.save; anything else as JSON. Raises TypeError for what has no such form."""
    if isinstance(item, (bytes, bytearray)):
        return item
    if isinstance(item, str):
        if not item.isascii():
            try:
                return item.encode("utf-8")
            except UnicodeEncodeError as error:
                raise TypeError(str(error)) from error
        return item
    # A handler that returns tensors has imported torch; the others do not pay for it.
    tensor = getattr(sys.modules.get("torch"), "Tensor", None)
    if tensor is not None and isinstance(item, tensor):
        return _tensor_bytes(item)
    try:
        return _json(item)
    except (ValueError, RecursionError) as error:
        raise TypeError(str(error)) from error


def _json(item):
    """json.dumps(item, indent=2), faster for labels with probabilities and for vectors."""
    kind = type(item)
    if (kind is dict or kind is list) and item and _SCALARS.issuperset(map(type, item.values() if kind is dict else item)):
        compact = _flat(item)
        return "%s\n  %s\n%s" % (compact[0], compact[1:-1], compact[-1])
    return _indented(item)


def _tensor_bytes(tensor):
    import io

    import torch

    buffer = io.BytesIO()
    torch.save(tensor, buffer)
    return buffer.getbuffer()


def text(value):
    """A header's name or value, or a phrase, as a str; handlers set numbers and bytes, too."""
    if isinstance(value, str):
        return value
    if isinstance(value, (bytes, bytearray)):
        return value.decode("utf-8", "replace")
    return str(value)


def response_head(processor):
    """Status, phrase, content type (or None) and the other headers of one answer. Raises ValueError or TypeError for a
    status that is no number."""
    status = int(processor.get_response_status_code())
    phrase = processor.get_response_status_phrase()
    content_type = None
    headers = []
    for name, value in processor.get_response_headers().items():
        name = text(name)
        if name.lower() == "content-type":
            content_type = text(value)
        else:
            headers.append((name, text(value)))
    return status, "" if phrase is None else text(phrase), content_type, headers
