"""Answers in parts over HTTP (docs/contract.md §4.6): chunks, ends, and everything that can happen half-way."""
import socket
import threading
import time

import pytest
from python_models import PYTHON, folder
from harness import wait_for, wire

# The body is a list of steps, one a line; `batch` takes the steps of its first request for all.
STEPS = """
    import os, time
    from ts.utils.util import PredictionException
    from ts.handler_utils.utils import send_intermediate_predict_response

    def handle(data, context):
        if data is None:
            return None
        steps = bytes(data[0]["body"]).decode().split("\\n")
        for step in steps:
            word, _, rest = step.partition(" ")
            if word == "part":
                send_intermediate_predict_response([rest] * len(data), context.request_ids, "Intermediate Prediction success", 200, context)
            if word == "big":
                send_intermediate_predict_response([b"x" * int(rest)] * len(data), context.request_ids, "ok", 200, context)
            if word == "header":
                name, _, value = rest.partition(" ")
                for i in range(len(data)):
                    context.set_response_header(i, name, value)
            if word == "status":
                for i in range(len(data)):
                    context.set_response_status(int(rest), "", i)
            if word == "sleep":
                time.sleep(float(rest))
            if word == "wait":
                while not os.path.exists(rest):
                    time.sleep(0.005)
            if word == "kill":
                os.kill(os.getpid(), 9)
            if word == "raise":
                raise PredictionException("half-way", 599)
            if word == "crash":
                raise ValueError("half-way")
            if word == "pid":
                return [str(os.getpid())] * len(data)
        return [b"last"] * len(data)
"""


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "store"
    path.mkdir()
    return path


@pytest.fixture
def server(serve, store):
    folder(store, "s", STEPS, config={"responseTimeout": 3})
    one = serve(models={"s": "s"}, store=store, config={**PYTHON, "default_workers_per_model": 1})
    wait_for(lambda: worker(one), 30, "the worker")
    return one


def worker(server):
    found = server.get("/models/s", api="management").json()[0]["workers"]
    return [w["pid"] for w in found if w["status"] == "READY"]


def ask(*steps, version="1.1", path="/predictions/s"):
    body = "\n".join(steps)
    return f"POST {path} HTTP/{version}\r\nHost: h\r\nContent-Type: application/octet-stream\r\nContent-Length: {len(body)}\r\n\r\n{body}"


def head(w):
    """Status and fields, lower-case; the body is still to come."""
    status = int(w.line().split()[1])
    fields = {}
    while line := w.line():
        name, _, value = line.partition(": ")
        fields[name.lower()] = value
    return status, fields


def chunk(w):
    size = int(w.line(), 16)
    data = w.take(size)
    assert w.line() == ""
    return data


@pytest.mark.parametrize("path", ["/predictions/s", "/predictions/s/1.0", "/explanations/s"])
def test_three_chunks_and_the_last(server, path):
    with wire(server) as w:
        r = w.send(ask("part hello", "part hello", "part hello", path=path)).reply()
        assert r.status_code == 200 and r.chunks == [b"hello", b"hello", b"hello", b"last"]
        assert r.headers["ts_stream_next"] == "true" and r.headers["transfer-encoding"] == "chunked"
        assert "content-length" not in r.headers
        again = w.ask("POST", "/predictions/s", "nothing")
        assert again.chunks is None and again.content == b"last" and "ts_stream_next" not in again.headers


def test_the_head_is_that_of_the_first_part(server):
    with wire(server) as w:
        r = w.send(ask("status 206", "header X-First a", "part one", "status 500", "header X-Second b", "part two")).reply()
        assert r.status_code == 206 and r.headers["X-First"] == "a" and "X-Second" not in r.headers
        assert r.chunks == [b"one", b"two", b"last"]


def test_an_empty_part_is_no_chunk(server):
    with wire(server) as w:
        assert w.send(ask("part ", "part a", "part ")).reply().chunks == [b"a", b"last"]


def test_the_first_reply_may_be_the_last(server):
    with wire(server) as w:
        r = w.send(ask("header ts_stream_next false")).reply()
        assert (r.status_code, r.chunks, r.content) == (200, None, b"last")
        assert r.headers["ts_stream_next"] == "false"


def test_parts_arrive_when_they_are_sent(server, tmp_path):
    """Each is here before the handler may go on to the next."""
    go_on = [tmp_path / f"go on {i}" for i in range(3)]
    with wire(server) as w:
        w.send(ask(*(step for i, file in enumerate(go_on) for step in (f"part {i}", f"wait {file}"))))
        head(w)
        for i, file in enumerate(go_on):
            assert chunk(w) == b"%d" % i
            file.touch()
        assert chunk(w) == b"last"


def test_http_1_0(server):
    with wire(server) as w:
        w.send(ask("part a", "part b", version="1.0"))
        status, fields = head(w)
        assert status == 200 and "transfer-encoding" not in fields and fields["connection"] == "close"
        while w.more():
            pass
        assert w.buffer == b"ablast"
    with wire(server) as w:
        w.send(ask("part a", "sleep 0.2", "crash", version="1.0"))
        head(w)
        assert w.take(1) == b"a"
        with pytest.raises((EOFError, ConnectionResetError)):  # an orderly end would look like the whole answer
            w.socket.settimeout(5)
            data = w.socket.recv(1)
            assert data != b"", "an orderly end"
            raise EOFError


def test_pipelining(server):
    with wire(server) as w:
        w.send(ask("part a", "sleep 0.1", "part b") + ask("x") + ask("part c") + "GET /ping HTTP/1.1\r\nHost: h\r\n\r\n")
        assert w.reply().chunks == [b"a", b"b", b"last"]
        assert w.reply().content == b"last"
        assert w.reply().chunks == [b"c", b"last"]
        assert w.reply().json()["status"] == "Healthy"


def test_an_error_after_the_third_chunk_closes_the_connection(server):
    for step in ("raise", "crash"):
        with wire(server) as w:
            w.send(ask("part a", "part b", "part c", step))
            status, fields = head(w)
            assert [chunk(w) for _ in range(3)] == [b"a", b"b", b"c"]
            with pytest.raises(EOFError):
                w.line()
            assert w.buffer == b""
    with wire(server) as w:
        assert w.send(ask("raise")).reply().status_code == 599
        assert w.send  # the worker lives
    assert len(worker(server)) == 1


def test_a_worker_killed_in_mid_stream(server):
    (pid,) = worker(server)
    with wire(server, timeout=30) as w, wire(server, timeout=60) as behind:
        w.send(ask("part a", "sleep 0.5", "kill"))
        head(w)
        assert chunk(w) == b"a"
        behind.send(ask("pid"))
        with pytest.raises(EOFError):
            w.line()
        r = behind.reply()  # had not begun: somebody else's death is none of its business
        assert r.status_code == 200 and int(r.content) != pid
    assert server.metric("sconce_replays_total") <= 1


def test_a_stream_that_falls_silent_ends_with_responsetimeout(server):
    (pid,) = worker(server)
    with wire(server, timeout=30) as w:
        w.send(ask("part a", "sleep 2", "part b", "sleep 2", "part c", "sleep 60"))
        head(w)
        start = time.monotonic()
        assert [chunk(w) for _ in range(3)] == [b"a", b"b", b"c"]
        assert time.monotonic() - start > 3.5, "each part starts the clock anew"
        with pytest.raises(EOFError):
            w.line()
    wait_for(lambda: worker(server) and worker(server) != [pid], 30, "another worker")


def test_a_client_that_leaves_in_mid_stream(server):
    fds = server.fds("frontend")
    for _ in range(3):
        w = wire(server)
        w.send(ask("part a", *["sleep 0.05", "part b"] * 10))
        head(w)
        assert chunk(w) == b"a"
        w.close()
        with wire(server) as other:
            assert other.send(ask("x")).reply().content == b"last"
    wait_for(lambda: server.fds("frontend") <= fds, 10, "its descriptors given back")
    server.wait_busy(0)


def test_a_slow_reader_gets_all_and_delays_nobody(server):
    with wire(server, timeout=60) as slow, wire(server) as other:
        slow.send(ask(*["big 1000000"] * 12))
        assert slow.socket.recv(1, socket.MSG_PEEK), "it has begun"
        assert other.send(ask("x")).reply().content == b"last"
        r = slow.reply()
        assert [len(c) for c in r.chunks] == [1000000] * 12 + [4]


def test_a_reader_that_stops_reading_is_cut_off(server):
    with wire(server, timeout=60) as slow, wire(server, timeout=60) as other:
        slow.send(ask(*["big 1000000"] * 60))
        other.send(ask("x"))
        assert other.reply().content == b"last", "the worker was not held up"
        wait_for(lambda: "reads its stream too slowly" in (server.folder / "logs" / "ts_log.log").read_text(), 10, "the line about it")
        with pytest.raises(EOFError):
            slow.reply()
    assert len(worker(server)) == 1


def test_parts_that_are_too_large(server):
    with wire(server) as w:
        r = w.send(ask("big 7000000", "part more")).reply()
        assert r.status_code == 500 and b"max_response_size" in r.content
    with wire(server) as w:
        w.send(ask("part a", "big 7000000", "part more"))
        head(w)
        assert chunk(w) == b"a"
        with pytest.raises(EOFError):
            w.line()


def test_streams_in_the_logs_and_counters(server):
    before = server.metric("Requests2XX"), server.metric("ts_inference_latency_microseconds")
    with wire(server) as w:
        w.send(ask("part a", "sleep 0.3", "part b")).reply()
    assert server.metric("Requests2XX") > before[0]
    assert server.metric("ts_inference_latency_microseconds") - before[1] > 300000

    def lines():
        text = (server.folder / "logs" / "access_log.log").read_text()
        return [line for line in text.splitlines() if "/predictions/s" in line and " 200 " in line]

    wait_for(lines, 10, "the access line")
    assert len(lines()) == 1


def test_streams_beside_normal_requests(serve, store):
    folder(store, "s", STEPS, config={"minWorkers": 2, "maxWorkers": 2})
    server = serve(models={"s": "s"}, store=store, config=PYTHON)
    wait_for(lambda: len(worker(server)) == 2, 30, "the workers")
    wrong, stop = [], threading.Event()

    def plain(n):
        with wire(server) as w:
            while not stop.is_set():
                if w.ask("POST", "/predictions/s", "x").content != b"last":
                    wrong.append("plain")
                    return

    def streamed(n):
        with wire(server) as w:
            for i in range(40):
                r = w.send(ask(*[f"part {n}.{i}.{k}" for k in range(5)])).reply()
                if r.chunks != [b"%d.%d.%d" % (n, i, k) for k in range(5)] + [b"last"]:
                    wrong.append(r.chunks)
                    return

    threads = [threading.Thread(target=streamed, args=(n,)) for n in range(4)]
    others = [threading.Thread(target=plain, args=(n,)) for n in range(4)]
    for t in threads + others:
        t.start()
    for t in threads:
        t.join()
    stop.set()
    for t in others:
        t.join()
    assert not wrong, wrong[:3]


def test_a_batch_of_streams(serve, store):
    folder(store, "s", STEPS, config={"batchSize": 4, "maxBatchDelay": 2000, "batchPolicy": "fill"})
    server = serve(models={"s": "s"}, store=store, config={**PYTHON, "default_workers_per_model": 1})
    wait_for(lambda: worker(server), 30, "the worker")
    wires = [wire(server) for _ in range(4)]
    for w in wires:
        w.send(ask("part a", "part b"))
    for w in wires:
        assert w.reply().chunks == [b"a", b"b", b"last"]
        w.close()


# Writes completions into the ring behind the runtime's back, once: a flag in the model's folder says that it was done.
HOSTILE = """
    import os, re, struct

    def base(name):
        for line in open("/proc/self/maps"):
            if "memfd:" + name in line and "rw-s" in line:
                return int(line.split("-")[0], 16)

    def publish(*descriptors):
        rings = base("sconce-rings")
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            def at(where, n):
                memory.seek(where)
                return memory.read(n)
            def put(where, data):
                memory.seek(where)
                memory.write(data)
            (epoch,) = struct.unpack("=Q", at(rings + 8, 8))
            (own,) = struct.unpack("=Q", at(base("sconce-board") + 256 + 16, 8))
            for number, flags in descriptors:
                (tail,) = struct.unpack("=I", at(rings + 512, 4))
                desc = struct.pack("=QQQQIII20x", own if number is None else number, epoch, 0, 0, 0, flags, 200)
                put(rings + 1024 + 64 * 1024 + 64 * (tail % 1024), desc)
                put(rings + 512, struct.pack("=I", (tail + 1) & 0xFFFFFFFF))

    def handle(data, context):
        if data is None:
            return None
        flag = os.path.join(context.system_properties["model_dir"], "done")
        if not os.path.exists(flag):
            open(flag, "w").close()
            publish(*eval(bytes(data[0]["body"]).decode()))
            import time
            time.sleep(30)
        return [b"well"] * len(data)
"""


@pytest.mark.parametrize("lies, answer", [
    ("[(12345, 1)]", b"well"),          # a part of nobody's answer: the request itself runs again
    ("[(None, 0), (None, 1)]", b""),    # a part after the end: the end was good
    ("[(None, 2)]", b"well"),           # a flag that means nothing
])
def test_a_worker_that_lies_about_parts_is_replaced(serve, store, lies, answer):
    folder(store, "s", HOSTILE)
    server = serve(models={"s": "s"}, store=store, config={**PYTHON, "default_workers_per_model": 1})
    (pid,) = wait_for(lambda: worker(server), 30, "the worker")
    with wire(server, timeout=60) as w:
        r = w.send(ask(lies)).reply()
        assert (r.status_code, r.content) == (200, answer)
        wait_for(lambda: worker(server) and worker(server) != [pid], 30, "another worker")
        assert w.send(ask("x")).reply().content == b"well"
    assert "broke the channel's rules" in (server.folder / "logs" / "ts_log.log").read_text()
