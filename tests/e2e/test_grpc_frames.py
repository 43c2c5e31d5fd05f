"""gRPC frame by frame as no library sends it: wrong content types, malformed messages, truncated and oversized frames. Each ends its
own call with a code, and nothing else."""
import harness
import pytest
import rpc
from harness import wait_for
from hyperframe.frame import DataFrame
from test_death import wait_ready
from test_grpc_auth import METHODS
from test_http2 import CANCEL, Client

PREDICT = f"/{rpc.SERVICES['inference']}/Predictions"
PING = f"/{rpc.SERVICES['inference']}/Ping"
HEAD = [("content-type", "application/grpc"), ("te", "trailers")]
OK, UNKNOWN, INTERNAL, UNIMPLEMENTED = "0", "2", "13", "12"


@pytest.fixture(scope="module")
def server(build, tmp_path_factory):
    s = harness.Server(build=build, folder=tmp_path_factory.mktemp("frames"), models={"echo": "identity"},
                       config={"ts_open_inference_protocol": "true", "max_request_size": 100_000})
    s.start()
    wait_ready(s, "echo")  # its descriptors are counted from here on
    assert s.post("/predictions/echo", data=b"x").content == b"x"
    yield s
    harness.stop_all([s])


@pytest.fixture
def client(server):
    frontend, fds = server.pid("frontend"), server.fds("frontend")
    with Client(server, "grpc_inference") as c:
        yield c
        c.send()
        assert call(c, PREDICT, frame(b"\x0a\x04echo\x1a\x09\x0a\x04data\x12\x01x")) == (OK, frame(b"\x0a\x01x")), "the connection serves"
    wait_for(lambda: server.fds("frontend") <= fds, 20, "its descriptors given back")
    assert server.pid("frontend") == frontend


def frame(message, flag=0, length=None):
    return bytes([flag]) + (len(message) if length is None else length).to_bytes(4, "big") + message


def call(client, path, body, more=(), head=HEAD):
    """The code and the body, or ("reset", code)."""
    s = client.answer(client.request("POST", path, body, [*head, *more]))
    if s["reset"] is not None and not s["ended"]:
        return "reset", s["reset"]
    return {**s["headers"], **(s["trailers"] or {})}["grpc-status"], s["body"]


@pytest.mark.parametrize("kind,status", [
    (None, "415"), ("application/json", "415"), ("application/grpc-web", "415"), ("application/grpcx", "415"), ("", "415"),
    ("text/plain", "415"), ("Application/Grpc", "415"), ("x" * 3000, "415"), ("application/grpc", "200"), ("application/grpc+proto", "200"),
    ("application/grpc;charset=utf-8", "200"),
])
def test_content_types(client, kind, status):
    s = client.answer(client.request("POST", PING, frame(b""), [("content-type", kind)] if kind is not None else []))
    assert s["headers"][":status"] == status
    assert {**s["headers"], **(s["trailers"] or {})}["grpc-status"] == (OK if status == "200" else INTERNAL)


@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS", "FOO"])
def test_methods(client, method):
    s = client.answer(client.request(method, PING, frame(b""), HEAD))
    assert (s["headers"][":status"], s["headers"]["grpc-status"]) == ("405", INTERNAL)


@pytest.mark.parametrize("path", ["/", "//", "/a", "/a/b", PING + "/", PING.lower(), "/" + "x" * 3000, "/%00/x", "*"])
def test_paths_that_are_none(client, path):
    s = client.answer(client.request("POST", path, frame(b""), HEAD))
    assert s["reset"] is not None or {**s["headers"]}.get("grpc-status") == UNIMPLEMENTED or s["headers"][":status"] == "400", s


# ---- the length prefix ----


@pytest.mark.parametrize("body,code", [
    (b"", INTERNAL), (b"\0", "reset"), (b"\0\0\0\0", "reset"), (frame(b"", length=1), "reset"), (frame(b"x" * 10, length=11), "reset"),
    (frame(b"", length=0xffffffff), "reset"), (frame(b"", length=100_001), "reset"), (frame(b"", flag=2), "reset"), (frame(b"", flag=255), "reset"),
    (frame(b"", flag=1), "reset"), (frame(b"") + b"\0", "reset"), (frame(b"") + frame(b""), INTERNAL), (b"\xff" * 50_000, "reset"),
], ids=lambda v: repr(v[:12]))
def test_frames_that_are_cut_or_too_long(client, body, code):
    got = call(client, PING, body)
    assert got[0] == code, got
    if code == "reset":
        assert got[1] == CANCEL, "as TorchServe"


def test_pieces_of_any_size_are_one_message(client):
    message = frame(b"\x0a\x04echo\x1a\x0d\x0a\x04data\x12\x05hello")
    for step in (1, 2, 3, 7, len(message)):
        stream, head = client.head("POST", PREDICT, HEAD)
        client.send(head, *(DataFrame(stream, message[i:i + step]) for i in range(0, len(message), step)), DataFrame(stream, b"", flags=["END_STREAM"]))
        assert client.answer(stream)["body"] == frame(b"\x0a\x05hello")


def test_connections_cut_in_mid_message(server, client):
    for cut in (0, 1, 4, 5, 9):
        with Client(server, "grpc_inference") as other:
            stream, head = other.head("POST", PREDICT, HEAD)
            other.send(head, DataFrame(stream, frame(b"\x0a\x04echo" + b"x" * 1000)[:cut]))


# ---- the messages ----


def test_every_method_with_messages_that_are_none(server, client):
    """As grpc-java says it: UNKNOWN, and no text."""
    for kind, services in METHODS.items():
        with Client(server, f"grpc_{kind}") as c:
            for service, methods in services:
                for method, _ in methods:
                    # No message at all, a varint without end, a group, a field zero, a length beyond the end, a wrong wire type 7.
                    for junk in (b"\xff" * 50, b"\x80", b"\x0b", b"\x00\x00", b"\x0a\x7f", b"\x0a\xff\xff\xff\xff\x0f", b"\x0f", b"\x08" + b"\x80" * 20):
                        code, body = call(c, f"/{service}/{method}", frame(junk))
                        assert (code, body) == (UNKNOWN, b""), (method, junk)


def test_texts_that_are_no_utf_8_and_fields_that_nobody_knows(client):
    assert call(client, PREDICT, frame(b"\x0a\x02\xff\xfe"))[0] == UNKNOWN
    unknown = b"\xa2\x06\x03abc" + b"\xf8\xff\xff\xff\x0f\x01"  # field 100, field 536870911
    assert call(client, PREDICT, frame(b"\x0a\x04echo" + unknown))[0] == OK
    assert call(client, PREDICT, frame(b"\x0a\x04nope\x0a\x04echo"))[0] == OK, "of a field given twice the last counts"
    assert call(client, PREDICT, frame(b"\x0a\x00"))[0] == INTERNAL, "an empty name"
    assert call(client, PREDICT, frame(b"\x0a\x04echo\x12\x02-1"))[0] == INTERNAL, "no such version"


def test_numbers_of_management(server, client):
    """Negative ones, the largest, and those of 64 bits, of which 32 are taken."""
    scale, listing = (f"/{rpc.SERVICES['management']}/{m}" for m in ("ScaleWorker", "ListModels"))
    before = server.get("/models/echo", "management").json()
    huge, minus = b"\xff\xff\xff\xff\x07", b"\xff" * 9 + b"\x01"
    with Client(server, "grpc_management") as c:
        for number in (huge, minus, b"\x80" * 9 + b"\x01", b"\0"):
            for field in (b"\x08", b"\x10"):
                assert call(c, listing, frame(field + number))[0] == OK
            assert call(c, scale, frame(b"\x0a\x04nope\x18" + number + b"\x20" + number))[0] == ("3" if number == huge else "5")
        assert call(c, scale, frame(b"\x0a\x04echo\x20" + huge))[0] == "3"
        assert call(c, scale, frame(b"\x0a\x04echo\x18\x01\x20\x02"))[0] == "3", "max below min"
    assert server.get("/models/echo", "management").json() == before


# ---- the head ----


@pytest.mark.parametrize("value,code", [("1S", OK), ("99999999H", OK), ("10m", {"4", OK}), ("", OK), ("x", OK), ("S", OK), ("-1S", OK), ("1", OK),
                                        ("1s", OK), ("999999999S", OK), ("1.5S", OK), ("1S1S", OK), ("\x7f" * 100, {OK, "reset"})])
def test_time_outs_that_are_none_are_no_time_outs(client, value, code):
    assert call(client, PING, frame(b""), [("grpc-timeout", value)])[0] in (code if isinstance(code, set) else {code})


@pytest.mark.parametrize("coding,code", [("identity", OK), ("snappy", UNIMPLEMENTED), ("", {OK, UNIMPLEMENTED}), ("gzip,deflate", UNIMPLEMENTED),
                                         ("GZIP", UNIMPLEMENTED), ("x" * 3000, UNIMPLEMENTED)])
def test_codings(client, coding, code):
    assert call(client, PING, frame(b""), [("grpc-encoding", coding)])[0] in (code if isinstance(code, set) else {code})


def test_a_compressed_message_that_is_none(client):
    for coding in ("gzip", "deflate"):
        for body in (b"", b"x" * 100, b"\x1f\x8b\x08\0", b"\x78\x9c"):
            got = call(client, PING, frame(body, flag=1), [("grpc-encoding", coding)])
            assert got[0] in ("reset", INTERNAL, OK if not body else "reset"), (coding, body, got)


def test_a_call_without_te_and_with_bad_metadata(client):
    assert call(client, PING, frame(b""), head=HEAD[:1])[0] == OK
    more = [("x-bin", "!!!"), ("x-bin", "AAAA"), ("grpc-accept-encoding", "x" * 1000), ("user-agent", "")]
    assert call(client, PING, frame(b""), more)[0] == OK
    for flood in ([("x", "y" * 9000)], [(f"h{i}", "v") for i in range(120)]):
        s = client.answer(client.request("POST", PING, frame(b""), [*HEAD, *flood]))
        assert s["headers"][":status"] in ("400", "431") or s["headers"].get("grpc-status") not in (None, OK), s
