"""A service that takes and gives what goes over TorchServe's wire."""
import asyncio
import struct
import threading

from ts.encoding import text
from ts.protocol.otf_message_handler import create_predict_response, encode_response_headers
from ts.service import Service

_INT = struct.Struct("!i")
STREAM_NEXT = "ts_stream_next"


class OtfService(Service):
    """`predict` answers what retrieve_msg returned with the bytes of a reply."""

    continuous = True  # a stopping criterion may ask for another turn: it is the driver who decides on it

    def set_cl_socket(self, cl_socket):
        super().set_cl_socket(cl_socket if cl_socket is None else Connection(cl_socket))

    def predict(self, batch):
        rows = requests(batch)
        reply = super().predict(rows)
        return framed(reply, [row[0] for row in rows], bool(self.context.stopping_criteria))

    def run_async(self, batches):
        """Answers the batches of a queue, many at a time, until None comes out of it."""
        asyncio.run(self._run_async(batches))

    async def _run_async(self, batches):
        loop = asyncio.get_running_loop()
        calls = set()
        while True:
            batch = await loop.run_in_executor(None, batches.get)
            if batch is None:
                break
            call = loop.create_task(self._answer(batch))
            calls.add(call)
            call.add_done_callback(calls.discard)
        for call in calls:
            call.cancel()

    async def _answer(self, batch):
        rows = requests(batch)
        reply = await self.predict_async(rows)
        self.context.cl_socket.sendall(framed(reply, [row[0] for row in rows]))


class Connection:
    """The driver's socket, as handlers know it: they may write to it, or send parts of answers. For many threads."""

    def __init__(self, conn):
        self._conn = conn
        self._lock = threading.Lock()
        self.ended = set()

    def __getattr__(self, name):
        return getattr(self._conn, name)

    def __deepcopy__(self, memo):
        return self

    def sendall(self, data):
        with self._lock:
            self._conn.sendall(data)

    def send_intermediate(self, ret, req_id_map, message, code, context):
        """A part of the answers to the requests of `req_id_map`."""
        self.sendall(create_predict_response(ret, req_id_map, message, code, context, ts_stream_next=True))


def requests(batch):
    """[(id, headers, row), …] of the requests that retrieve_msg returned."""
    if batch is None:
        raise ValueError("Received invalid inputs")
    rows = []
    for request in batch:
        headers, row = {}, {}
        for parameter in request["parameters"]:
            name = text(parameter["name"])
            row[name] = parameter["value"]
            headers[name] = {"content-type": text(parameter.get("contentType") or "")}
        for header in request.get("headers") or ():
            headers[text(header["name"])] = text(header["value"])
        rows.append((text(request["requestId"]), headers, row))
    return rows


def framed(reply, ids, more=False):
    """The bytes of a Reply of ts.service. Unless there may be `more`, it ends the streams that were begun."""
    if reply.code != 200:
        return create_predict_response(None, dict(enumerate(ids)), reply.message, reply.code)
    out = create_predict_response([], {}, reply.message, 200)
    end = bytes(out[-4:])
    del out[-4:]
    for request_id, (body, status, phrase, kind, headers) in zip(ids, reply.items):
        body = body.encode() if isinstance(body, str) else bytes(body)
        pairs = dict(headers)
        if not more and pairs.get(STREAM_NEXT) == "true":
            pairs[STREAM_NEXT] = "false"
        if kind is not None:
            pairs["content-type"] = kind
        for part in (request_id, kind or ""):
            out += _string(part)
        out += _INT.pack(status) + _string(phrase) + encode_response_headers(pairs) + _INT.pack(len(body)) + body
    return out + end


def _string(value):
    value = value.encode("utf-8")
    return _INT.pack(len(value)) + value
