"""HTTP/2 as clients and abusers speak it: every route works over it, and what breaks the protocol ends its own stream, or
its own connection, and nothing else (RFC 9113)."""
import base64
import json
import re
import subprocess
import time

import harness
import pytest
from harness import wait_for
from hpack import Decoder, Encoder
from hyperframe.frame import (ContinuationFrame, DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, PriorityFrame,
                              RstStreamFrame, SettingsFrame, WindowUpdateFrame)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED = 0, 1, 3, 5, 6, 7
CANCEL, COMPRESSION_ERROR, CALM = 8, 9, 11
PENDULUM = "/predictions/echo"


def raw(kind, flags=0, stream=0, payload=b""):
    """A frame as it should not be."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


class Client:
    """One connection, frame by frame. Answers are collected per stream: `headers`, `body`, `trailers`, `ended`, `reset`."""

    def __init__(self, server, api="inference", settings=None, preface=PREFACE, window=True):
        self.wire = harness.wire(server, api)
        self.socket = self.wire.socket
        self.socket.settimeout(30)
        self.encoder, self.decoder = Encoder(), Decoder()
        self.streams, self.goaway, self.closed, self.pongs, self.acks = {}, None, False, [], 0
        self.rest, self.next, self.window = b"", 1, window
        self.socket.sendall(preface + SettingsFrame(settings=settings or {}).serialize())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *frames):
        try:
            self.socket.sendall(b"".join(f if isinstance(f, bytes) else f.serialize() for f in frames))
        except OSError:
            self.closed = True

    def fields(self, method, path, more=()):
        return [(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path), *more]

    def head(self, method="POST", path=PENDULUM, more=(), end=False, fields=None, stream=None):
        stream = stream or self.next
        self.next = max(self.next, stream) + 2
        block = self.encoder.encode(self.fields(method, path, more) if fields is None else fields)
        frame = HeadersFrame(stream, block, flags=["END_HEADERS"] + ["END_STREAM"] * end)
        return stream, frame

    def request(self, method="POST", path=PENDULUM, body=b"", more=(), end=True):
        """Sends a request whole (bodies up to what windows allow); its stream."""
        stream, head = self.head(method, path, more, end=end and not body)
        frames = [head] + [DataFrame(stream, body[i:i + 16384]) for i in range(0, len(body), 16384)]
        if body and end:
            frames[-1].flags.add("END_STREAM")
        self.send(*frames)
        return stream

    def stream(self, number):
        return self.streams.setdefault(number, {"headers": None, "body": b"", "trailers": None, "ended": False, "reset": None})

    def receive(self):
        """One read's frames; False at the end."""
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionError:
            data = b""
        if not data:
            self.closed = True
            return False
        self.rest += data
        while len(self.rest) >= 9:
            frame, length = Frame.parse_frame_header(memoryview(self.rest[:9]))
            if len(self.rest) < 9 + length:
                break
            frame.parse_body(memoryview(self.rest[9:9 + length]))
            self.rest = self.rest[9 + length:]
            self.note(frame)
        return True

    def note(self, frame):
        s = self.stream(frame.stream_id) if frame.stream_id else None
        if isinstance(frame, HeadersFrame):
            fields = {k: v for k, v in self.decoder.decode(frame.data)}
            if fields.get(":status") != "100":
                s["headers" if s["headers"] is None else "trailers"] = fields
            else:
                s["continue"] = True
        elif isinstance(frame, DataFrame):
            s["body"] += frame.data
            if self.window and frame.data:
                self.send(WindowUpdateFrame(0, len(frame.data)), WindowUpdateFrame(frame.stream_id, len(frame.data)))
        elif isinstance(frame, RstStreamFrame):
            s["reset"] = frame.error_code
        elif isinstance(frame, GoAwayFrame):
            self.goaway = frame.error_code
        elif isinstance(frame, PingFrame):
            self.pongs.append(frame.opaque_data) if "ACK" in frame.flags else self.send(PingFrame(0, frame.opaque_data, flags=["ACK"]))
        elif isinstance(frame, SettingsFrame):
            if "ACK" in frame.flags:
                self.acks += 1
            else:
                self.send(SettingsFrame(flags=["ACK"]))
        if s and "END_STREAM" in frame.flags:
            s["ended"] = True

    def until(self, condition):
        while not condition():
            assert self.receive(), f"closed; GOAWAY {self.goaway}, {self.streams}"

    def answer(self, stream):
        s = self.stream(stream)
        self.until(lambda: s["ended"] or s["reset"] is not None)
        return s

    def works(self):
        """The connection, whatever happened on it, still serves."""
        s = self.answer(self.request(body=b"works"))
        assert (s["headers"][":status"], s["body"]) == ("200", b"works"), s

    def ends(self, *codes):
        """The connection is told to end, with one of those codes, and does."""
        while self.receive():
            pass
        assert self.goaway in codes, self.goaway

    def resets(self, stream, *codes):
        s = self.stream(stream)
        self.until(lambda: s["reset"] is not None)
        assert s["reset"] in codes, s


@pytest.fixture
def client(echo):
    with Client(echo) as c:
        yield c


# ---- it is the same API ----


def test_an_answer_has_the_fields_of_http_1(client):
    s = client.answer(client.request("GET", "/ping"))
    names = [":status", "content-type", "x-request-id", "pragma", "cache-control", "expires", "content-length"]
    assert list(s["headers"]) == names
    assert s["headers"]["content-length"] == "26"
    assert s["body"] == b'{\n  "status": "Healthy"\n}\n'


@pytest.mark.parametrize("api,method,path,status", [
    ("inference", "GET", "/nothing", "404"), ("inference", "GET", "/predictions/none", "404"), ("management", "GET", "/models", "200"),
    ("management", "GET", "/models/echo", "200"), ("management", "PATCH", "/models", "405"), ("metrics", "GET", "/metrics", "200")])
def test_routes_answer_as_over_http_1(echo, api, method, path, status):
    plain = echo.request(method, path, api)
    with Client(echo, api) as c:
        s = c.answer(c.request(method, path))
    assert s["headers"][":status"] == status == str(plain.status_code)
    assert s["headers"]["content-type"] == plain.headers["content-type"]
    if api == "inference":
        assert s["body"] == plain.content


def test_a_hundred_streams_at_once_get_their_own_answers(client):
    bodies = {client.request(body=bytes([i]) * (i * 37 + 1)): bytes([i]) * (i * 37 + 1) for i in range(100)}
    for stream, body in bodies.items():
        assert client.answer(stream)["body"] == body


def test_head_has_no_body(client):
    s = client.answer(client.request("HEAD", "/ping"))
    assert (s["headers"]["content-length"], s["body"]) == ("26", b"")


def test_streams_that_wait_for_windows(echo):
    body = bytes(range(256)) * 3000
    with Client(echo, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 100}, window=False) as c:
        streams = [c.request(body=body) for _ in range(3)]
        c.until(lambda: all(len(c.stream(n)["body"]) == 100 for n in streams))
        c.send(*(WindowUpdateFrame(n, 1 << 20) for n in streams), WindowUpdateFrame(0, 1 << 24))
        for n in streams:
            assert c.answer(n)["body"] == body


def test_an_upload_of_20_mb_through_the_server_s_windows(serve, tmp_path):
    server = serve(models={"echo": "identity"}, config={"max_request_size": 30 << 20, "max_response_size": 30 << 20})
    body = bytes(range(256)) * (80 << 10)
    (tmp_path / "body").write_bytes(body)
    done = subprocess.run(["curl", "-sS", "--max-time", "120", "--http2-prior-knowledge", "--data-binary", f"@{tmp_path / 'body'}",
                           "-w", "%{stderr}%{http_version}", server.url(PENDULUM)], capture_output=True)
    assert done.stdout == body, done.stderr
    assert done.stderr == b"2"


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_is_too_large_ends_its_stream_alone(serve, announced):
    server = serve(models={"echo": "identity"}, config={"max_request_size": 1000})
    with Client(server) as c:
        stream = c.request(body=b"x" * 1001, more=[("content-length", "1001")] if announced else [], end=announced)
        s = c.answer(stream)
        assert s["headers"] == {":status": "413", "content-length": "0"}
        if not announced:
            c.resets(stream, NO_ERROR)  # the rest is not wanted
        assert c.answer(c.request(body=b"x" * 1000))["body"] == b"x" * 1000


def test_continue_is_said_to_who_waits_for_it(client):
    stream, head = client.head(more=[("expect", "100-continue"), ("content-length", "2")])
    client.send(head)
    client.until(lambda: client.stream(stream).get("continue"))
    client.send(DataFrame(stream, b"hi", flags=["END_STREAM"]))
    assert client.answer(stream)["body"] == b"hi"
    assert client.answer(client.request(body=b"x", more=[("expect", "tea")]))["headers"][":status"] == "417"


def test_the_access_log_has_http_2_lines(echo, client):
    client.answer(client.request(path=PENDULUM + "?line=2", body=b"x"))
    wait_for(lambda: re.search(r'/127\.0\.0\.1:\d+ "POST /predictions/echo\?line=2 HTTP/2\.0" 200 \d+', "".join(echo.logs().values())), 30,
             "the line")


# ---- how a connection becomes HTTP/2 ----


def test_the_preface_may_come_byte_by_byte(echo):
    with harness.wire(echo) as w:
        for byte in PREFACE:
            w.socket.sendall(bytes([byte]))
            time.sleep(0.001)
        w.socket.sendall(SettingsFrame().serialize())
        assert w.socket.recv(9)[3] == SettingsFrame.type


def upgrade(server, path, *more):
    return subprocess.run(["curl", "-sS", "--http2", "--max-time", "30", "-w", " %{http_version}", *more, server.url(path), server.url(path)],
                          capture_output=True, text=True).stdout


def test_http_1_may_be_upgraded(echo):
    assert upgrade(echo, "/nothing").count(" 2") == 2
    assert "Healthy" in upgrade(echo, "/ping")


def test_a_request_with_a_body_stays_as_it_is(echo):
    assert upgrade(echo, PENDULUM, "-d", "hello") == "hello 1.1hello 1.1"


@pytest.mark.parametrize("settings", ["", "!!!!", "AAAA", "A" * 3000])
def test_an_upgrade_with_broken_settings_is_none(echo, settings):
    with harness.wire(echo) as w:
        w.socket.sendall(f"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                         f"HTTP2-Settings: {settings}\r\n\r\n".encode())
        w.socket.settimeout(30)
        w.socket.recv(65536)
    assert echo.get("/ping").status_code == 200


def test_upgraded_settings_are_obeyed(echo):
    payload = base64.urlsafe_b64encode(SettingsFrame(settings={SettingsFrame.INITIAL_WINDOW_SIZE: 5}).serialize_body()).rstrip(b"=")
    with harness.wire(echo) as w:
        w.socket.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: "
                         + payload + b"\r\n\r\n" + PREFACE + SettingsFrame(settings={SettingsFrame.INITIAL_WINDOW_SIZE: 5}).serialize())
        c = Client.__new__(Client)
        c.wire, c.socket = w, w.socket
        c.encoder, c.decoder = Encoder(), Decoder()
        c.streams, c.goaway, c.closed, c.pongs, c.acks = {}, None, False, [], 0
        c.rest, c.next, c.window = b"", 3, False
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += w.socket.recv(1)
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        c.until(lambda: c.stream(1)["body"] == b'{\n  "')
        c.send(WindowUpdateFrame(1, 100))
        assert c.answer(1)["body"] == b'{\n  "status": "Healthy"\n}\n'


# ---- what ends a stream, and not its neighbours ----

BASE = [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", "/ping")]


@pytest.mark.parametrize("fields", [
    BASE + [("Upper", "x")], BASE + [("connection", "close")], BASE + [("transfer-encoding", "chunked")], BASE + [("te", "gzip")],
    BASE + [("upgrade", "h2c")], BASE + [("keep-alive", "1")], BASE + [(":status", "200")], BASE + [(":strange", "x")],
    BASE + [("x", "y"), (":path", "/late")], BASE + [(":path", "/twice")], BASE[:3], BASE[1:], BASE[:1] + BASE[2:],
    BASE[:3] + [(":path", "")], BASE + [("content-length", "5")], BASE + [("content-length", "x")], BASE + [("bad name", "x")],
    BASE + [("x", "a\r\nb")], BASE + [("x", "a\0b")]])
def test_malformed_requests_are_reset(client, fields):
    stream, head = client.head(fields=fields, end=True)
    client.send(head)
    client.resets(stream, PROTOCOL_ERROR)
    client.works()


def test_a_body_longer_or_shorter_than_announced_is_reset(client):
    for body in (b"12", b"1234"):
        stream = client.request(body=body, more=[("content-length", "3")])
        client.resets(stream, PROTOCOL_ERROR)
    client.works()


@pytest.mark.parametrize("more", [[("x", "y" * 9000)], [(f"h{i}", "v") for i in range(120)]])
def test_heads_that_are_too_large_are_answered(client, more):
    s = client.answer(client.request("GET", "/ping", more=more))
    assert s["headers"][":status"] == "400"
    assert json.loads(s["body"])["message"] == "Invalid HTTP message."
    client.works()


def test_a_long_target_is_answered(client):
    assert client.answer(client.request("GET", "/ping?" + "x" * 5000))["headers"][":status"] == "400"


def test_a_window_that_overflows_resets_its_stream(client):
    stream, head = client.head()
    client.send(head, WindowUpdateFrame(stream, 0x7fffffff))
    client.resets(stream, FLOW_CONTROL_ERROR)
    client.works()


def test_unknown_frames_and_settings_are_ignored(client):
    client.send(bytes([0, 0, 4, 0x77, 0]) + bytes(4) + b"what", SettingsFrame(settings={0x99: 7}), PriorityFrame(9, depends_on=3))
    client.works()


def test_trailers_of_a_request_are_taken(client):
    stream, head = client.head(more=[])
    client.send(head, DataFrame(stream, b"body"),
                HeadersFrame(stream, client.encoder.encode([("checksum", "1")]), flags=["END_HEADERS", "END_STREAM"]))
    assert client.answer(stream)["body"] == b"body"


def test_a_head_in_many_pieces_is_one(client):
    stream, head = client.head("GET", "/ping", end=True)
    block = head.data
    head.data, head.flags = block[:1], type(head.flags)(head.defined_flags)
    head.flags.add("END_STREAM")
    client.send(head, ContinuationFrame(stream, block[1:5]), ContinuationFrame(stream, block[5:], flags=["END_HEADERS"]))
    assert client.answer(stream)["headers"][":status"] == "200"


def test_padding_and_priority_change_nothing(client):
    stream, head = client.head()
    head.flags |= {"PADDED", "PRIORITY"}
    head.pad_length, head.depends_on, head.stream_weight = 10, 0, 5
    data = DataFrame(stream, b"abc", flags=["PADDED", "END_STREAM"])
    data.pad_length = 200
    client.send(head, data)
    assert client.answer(stream)["body"] == b"abc"


def test_requests_reset_by_their_client_leave_the_others(client):
    streams = [client.request(body=b"%d" % i) for i in range(40)]
    client.send(*(RstStreamFrame(n, CANCEL) for n in streams[::2]))
    for i, n in list(enumerate(streams))[1::2]:
        assert client.answer(n)["body"] == b"%d" % i
    client.works()


# ---- what ends the connection ----


DATA, HEADERS, RST, SETTINGS, PUSH, PING, WINDOW, CONTINUATION = 0, 1, 3, 4, 5, 6, 8, 9


@pytest.mark.parametrize("frames,codes", [
    ([raw(DATA, payload=b"x")], (PROTOCOL_ERROR,)),
    ([raw(HEADERS, 4, 0, b"\x82")], (PROTOCOL_ERROR,)),
    ([raw(PING, payload=bytes(4))], (FRAME_SIZE_ERROR,)),
    ([raw(SETTINGS, payload=bytes(5))], (FRAME_SIZE_ERROR,)),
    ([raw(SETTINGS, 1, payload=bytes(6))], (FRAME_SIZE_ERROR,)),
    ([raw(SETTINGS, payload=b"\0\2\0\0\0\2")], (PROTOCOL_ERROR,)),
    ([raw(SETTINGS, payload=b"\0\4\xff\xff\xff\xff")], (FLOW_CONTROL_ERROR,)),
    ([raw(DATA, stream=1, payload=bytes(0x4100))], (FRAME_SIZE_ERROR, PROTOCOL_ERROR)),
    ([raw(CONTINUATION, 4, 1, b"\x82")], (PROTOCOL_ERROR,)),
    ([raw(RST, stream=1, payload=bytes(4))], (PROTOCOL_ERROR,)),
    ([raw(RST, stream=0, payload=bytes(4))], (PROTOCOL_ERROR,)),
    ([raw(WINDOW, stream=1, payload=b"\0\0\0\5")], (PROTOCOL_ERROR,)),
    ([raw(WINDOW, payload=b"\0\0\0\0")], (PROTOCOL_ERROR,)),
    ([raw(WINDOW, payload=b"\x7f\xff\xff\xff")], (FLOW_CONTROL_ERROR,)),
    ([raw(HEADERS, 4, 1, b"\xff" * 6)], (COMPRESSION_ERROR,)),
    ([raw(HEADERS, 5, 2, Encoder().encode(BASE))], (PROTOCOL_ERROR,)),
    ([raw(HEADERS, 0, 1, b"\x82"), raw(DATA, stream=1, payload=b"x")], (PROTOCOL_ERROR,)),
    ([raw(PUSH, 4, 1, bytes(4))], (PROTOCOL_ERROR,))])
def test_broken_frames_end_the_connection(echo, frames, codes):
    with Client(echo) as c:
        c.send(*frames)
        c.ends(*codes)
    assert echo.get("/ping").status_code == 200


def test_what_is_no_preface_is_closed(echo):
    for junk in (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / HTTP/1.1\r\n\r\n"):
        with harness.wire(echo) as w:
            w.socket.settimeout(30)
            w.socket.sendall(junk)
            try:
                while w.socket.recv(65536):
                    pass
            except ConnectionError:
                pass


@pytest.mark.parametrize("flood", [
    PingFrame(0, b"01234567"), SettingsFrame(settings={1: 4096}), PriorityFrame(1, depends_on=0), WindowUpdateFrame(0, 1)],
    ids=["ping", "settings", "priority", "window"])
def test_frames_that_bring_nothing_try_our_patience(echo, flood):
    with Client(echo) as c:
        for _ in range(40):
            c.send(*[flood] * 100)
            if c.closed:
                break
        c.ends(CALM)
    assert echo.get("/ping").status_code == 200


def test_empty_data_tries_our_patience(client):
    stream, head = client.head()
    client.send(head, *(DataFrame(stream, b"") for _ in range(3000)))
    client.ends(CALM)


def test_rapid_resets_try_our_patience(client):
    for _ in range(40):
        frames = []
        for _ in range(50):
            stream, head = client.head("GET", PENDULUM, end=True)
            frames += [head, RstStreamFrame(stream, CANCEL)]
        client.send(*frames)
        if client.closed:
            break
    client.ends(CALM)


def test_continuations_without_end_try_our_patience(client):
    stream, head = client.head()
    head.flags = type(head.flags)(head.defined_flags)
    client.send(head, *(ContinuationFrame(stream, client.encoder.encode([("x%d" % i, "y" * 1000)])) for i in range(300)))
    while client.receive():
        pass
    assert client.closed


def test_the_server_outlives_all_of_it(echo):
    before = echo.pid("frontend")
    with Client(echo) as c:
        c.works()
    assert echo.pid("frontend") == before
    assert echo.fds("frontend") < 100


# ---- the end of a server ----


def test_a_server_that_stops_says_goaway_and_answers_what_it_has(serve):
    server = serve(models={"echo": "identity"})
    with Client(server) as c:
        c.works()
        stream, head = c.head()
        c.send(head, PingFrame(0, b"arrived!"))
        c.until(lambda: c.pongs)
        server.process.terminate()
        c.until(lambda: c.goaway is not None)
        c.send(DataFrame(stream, b"late", flags=["END_STREAM"]))
        assert c.answer(stream)["body"] == b"late"
        c.ends(NO_ERROR)
    assert server.process.wait(60) == 0


@pytest.mark.skipif(harness.sanitized(), reason="memory under AddressSanitizer grows by itself")
def test_no_memory_stays_behind(echo):
    def round():
        with Client(echo) as c:
            for _ in range(20):
                for n in [c.request(body=b"x" * 1000) for _ in range(50)]:
                    c.answer(n)
    round()
    before = echo.rss("frontend")
    for _ in range(5):
        round()
    assert echo.rss("frontend") - before < 4 << 20
