"""TorchServe's protocol between its frontend and its workers, as bytes (workers-and-handlers.md §17 of the contract).

Integers have four bytes, signed, big-endian; a string is its length and its UTF-8; a list ends with -1. Sconce's own
workers do not speak it: it is here for drivers that do (ts.protocol.otf_worker) and for code that imports it.
`send_intermediate_predict_response` has moved to ts.handler_utils.utils.
"""
import logging
import struct

from ts.encoding import decode, encode, text
from ts.utils.util import deprecated

logger = logging.getLogger(__name__)

LOAD_MSG = b"L"
PREDICT_MSG = b"I"
END_OF_LIST = -1
int_size = 4
bool_size = 1

_INT = struct.Struct("!i")
_END = _INT.pack(END_OF_LIST)
_PIECE = 1 << 20  # what is read at once: a length that lies costs no memory


def retrieve_msg(conn):
    """The next message of a connection: its command byte and what it says, a dict for a load and a list of requests
    for an inference. SystemExit when the other side has closed, ValueError for what is no message."""
    command = _retrieve_buffer(conn, 1)
    if command == LOAD_MSG:
        return command, _retrieve_load_msg(conn)
    if command == PREDICT_MSG:
        return command, _retrieve_inference_msg(conn)
    raise ValueError("Invalid command: %s" % (command,))


def create_load_model_response(code, message):
    """The answer to a load."""
    return bytearray(_INT.pack(code) + _string(message) + _END)


def create_predict_response(ret, req_id_map, message, code, context=None, ts_stream_next=False):
    """The answer to a batch, or a part of it: `ret[i]` for each index of `req_id_map`, or the body `error` for each if
    `ret` is None. The context gives status, phrase and headers; without it the status is `code`.

    `ts_stream_next` says that more will come; without it the context's stopping criteria decide, and without those a
    stream that was begun ends. What cannot be encoded makes the whole answer a 503.
    """
    out = bytearray(_INT.pack(code) + _string(message))
    try:
        for index, request_id in req_id_map.items():
            _append_prediction(out, ret, index, request_id, code, context, ts_stream_next)
    except MemoryError:
        logger.exception("System out of memory")
        return create_predict_response(None, req_id_map, "Out of resources", 507)
    except (TypeError, ValueError):
        logger.warning("Unable to serialize model output.", exc_info=True)
        return create_predict_response(None, req_id_map, "Unsupported model output data type.", 503)
    out += _END
    return out


def encode_response_headers(resp_hdr_map):
    """How many headers there are, then name and value of each."""
    out = bytearray(_INT.pack(len(resp_hdr_map)))
    for name, value in resp_hdr_map.items():
        out += _string(text(name)) + _string(text(value))
    return out


@deprecated(version="1.0.0", replacement="ts.handler_utils.utils.send_intermediate_predict_response")
def send_intermediate_predict_response(ret, req_id_map, message, code, context=None):
    from ts.handler_utils import utils

    utils.send_intermediate_predict_response(ret, req_id_map, message, code, context)


def read_predict_response(data):
    """Code, message and predictions, each (id, body, status, phrase, content type or None, [(header, value), …]), of
    what create_predict_response makes. ValueError for anything else."""
    conn = _Bytes(data)
    code = _retrieve_int(conn)
    message = _retrieve_string(conn).decode("utf-8", "replace")
    predictions = _retrieve_list(conn, _retrieve_prediction)
    if conn.recv(1):
        raise ValueError("there is more than one answer")
    return code, message, predictions


class _Bytes:
    """Bytes in memory, read as a connection is."""

    def __init__(self, data):
        self._data = bytes(data)
        self._at = 0

    def recv(self, length):
        piece = self._data[self._at:self._at + length]
        self._at += len(piece)
        return piece


def _append_prediction(out, ret, index, request_id, code, context, ts_stream_next):
    kind, status, phrase, headers = "", code, "", {}
    if context is not None:
        _mark_stream(ret, index, context, ts_stream_next)
        kind = context.get_response_content_type(index) or ""
        status, phrase = context.get_response_status(index)
        headers = context.get_response_headers(index)
    body = b"error" if ret is None else encode(ret[index])
    if isinstance(body, str):
        body = body.encode()
    out += _string(request_id) + _string(text(kind)) + _INT.pack(int(status))
    out += _string("" if phrase is None else text(phrase)) + encode_response_headers(headers)
    out += _INT.pack(len(body))
    out += body


def _mark_stream(ret, index, context, more):
    """The header that tells whether this request gets another part."""
    if more:
        said = "true"
    elif context.stopping_criteria and ret is not None:
        done = context.stopping_criteria[index](ret[index])
        said = None if done is None else "false" if done else "true"
    else:
        begun = context.get_response_headers(index).get("ts_stream_next") == "true"
        said = "false" if begun else None
    if said is not None:
        context.set_response_header(index, "ts_stream_next", said)


def _string(value):
    value = bytes(value) if isinstance(value, (bytes, bytearray)) else value.encode("utf-8")
    return _INT.pack(len(value)) + value


def _retrieve_buffer(conn, length):
    """So many bytes; SystemExit(0) when there are no more, ValueError for a negative number."""
    if length < 0:
        raise ValueError("Invalid length: %d" % length)
    data = bytearray()
    while len(data) < length:
        piece = conn.recv(min(length - len(data), _PIECE))
        if not piece:
            if isinstance(conn, _Bytes):
                raise ValueError("the answer is cut short")
            logger.info("Frontend disconnected.")
            raise SystemExit(0)
        data += piece
    return data


def _retrieve_int(conn):
    return _INT.unpack(_retrieve_buffer(conn, int_size))[0]


def _retrieve_bool(conn):
    return _retrieve_buffer(conn, bool_size) != b"\0"


def _retrieve_string(conn):
    return _retrieve_buffer(conn, _retrieve_int(conn))


def _retrieve_list(conn, item):
    """Items, each of which begins with a length that is not -1 and that `item` is given."""
    items = []
    while True:
        length = _retrieve_int(conn)
        if length == END_OF_LIST:
            return items
        items.append(item(conn, length))


def _retrieve_load_msg(conn):
    message = {"modelName": _retrieve_string(conn), "modelPath": _retrieve_string(conn), "batchSize": _retrieve_int(conn),
               "handler": _retrieve_string(conn)}
    gpu = _retrieve_int(conn)
    if gpu >= 0:
        message["gpu"] = gpu
    message["envelope"] = _retrieve_string(conn)
    message["limitMaxImagePixels"] = _retrieve_bool(conn)
    return message


def _retrieve_inference_msg(conn):
    return _retrieve_list(conn, _retrieve_request)


def _retrieve_request(conn, length):
    return {"requestId": _retrieve_buffer(conn, length), "headers": _retrieve_list(conn, _retrieve_header),
            "parameters": _retrieve_list(conn, _retrieve_parameter)}


def _retrieve_prediction(conn, length):
    request_id = _retrieve_buffer(conn, length).decode("utf-8", "replace")
    kind = _retrieve_string(conn).decode("utf-8", "replace")
    status = _retrieve_int(conn)
    phrase = _retrieve_string(conn).decode("utf-8", "replace")
    headers = []
    for _ in range(_retrieve_int(conn)):
        name = _retrieve_string(conn).decode("utf-8", "replace")
        value = _retrieve_string(conn).decode("utf-8", "replace")
        if name.lower() != "content-type":
            headers.append((name, value))
    return request_id, bytes(_retrieve_string(conn)), status, phrase, kind or None, headers


def _retrieve_header(conn, length):
    return {"name": _retrieve_buffer(conn, length), "value": _retrieve_string(conn)}


def _retrieve_parameter(conn, length):
    name = _retrieve_buffer(conn, length).decode("utf-8", "replace")
    kind = _retrieve_string(conn).decode("utf-8", "replace")
    value = _retrieve_string(conn)
    return {"name": name, "contentType": kind, "value": decode(value, kind)}
