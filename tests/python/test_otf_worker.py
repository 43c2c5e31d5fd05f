"""A driver that speaks TorchServe's protocol gets from our worker script what TorchServe's gives it: start, load, batches,
streams, async calls, bad input, end. SCONCE_OTF_SCRIPT names another script, to try the test itself against TorchServe's."""
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

import runner
import scenarios
from named import i, s

HERE = Path(__file__).resolve().parents[2]
SCRIPT = os.environ.get("SCONCE_OTF_SCRIPT") or str(HERE / "backends" / "python" / "ts" / "model_service_worker.py")
OURS = "SCONCE_OTF_SCRIPT" not in os.environ
METRICS = str(Path(SCRIPT).parent / "configs" / "metrics.yaml")

HANDLER = """
import os, time
from ts.handler_utils.utils import send_intermediate_predict_response
def handle(data, context):
    if data is None:
        return None
    word = bytes(data[0]["body"])
    if word == b"stream":
        for part in "abc":
            send_intermediate_predict_response([part] * len(data), context.request_ids, "part", 200, context)
    if word == b"raise":
        raise ValueError("no")
    if word == b"exit":
        raise SystemExit(3)
    context.set_response_header(0, "X-Word", "w")
    return [bytes(row["body"]) + b"!" for row in data]
"""
ASYNC = """
import asyncio
class H:
    def initialize(self, context):
        self.running = 0
    async def handle(self, data, context):
        self.running += 1
        await asyncio.sleep(0.2)
        together = self.running
        await asyncio.sleep(0.1)
        return ["%s of %d" % (bytes(data[0]["body"]).decode(), together)]
"""


class Driver:
    """Starts the script and talks to it as TorchServe's frontend does."""

    def __init__(self, handler, tcp=False, more=(), env=None):
        self.folder = tempfile.mkdtemp(prefix="otf-")
        Path(self.folder, "handler.py").write_text(handler)
        self.name = os.path.join(self.folder, ".ts.sock.9000")
        if tcp:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
        where = ["--sock-type", "tcp", "--port", str(self.port)] if tcp else ["--sock-type", "unix", "--sock-name", self.name]
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("SCONCE_", "TS_", "PYTHON"))}
        environ.update({"PYTHONPATH": self.folder}, **env or {})
        self.process = subprocess.Popen([sys.executable, SCRIPT, *where, "--metrics-config", METRICS, *more], env=environ,
                                        cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.said = []
        self.started = threading.Event()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        assert self.started.wait(30), self.said
        self.conn = socket.socket(socket.AF_INET if tcp else socket.AF_UNIX)
        end = time.monotonic() + 5
        while self.conn.connect_ex(("127.0.0.1", self.port) if tcp else self.name) and time.monotonic() < end:
            time.sleep(0.02)
        self.conn.settimeout(20)
        self.data = b""

    def _read(self):
        for line in self.process.stdout:
            self.said.append(line.rstrip("\n"))
            if "Torch worker started." in line:
                self.started.set()

    def load(self, handler="handler.py", batch=1, envelope=""):
        self.conn.sendall(b"L" + s("m") + s(self.folder) + i(batch) + s(handler) + i(-1) + s(envelope) + b"\1")
        code, length = int.from_bytes(self.octets(4), "big"), int.from_bytes(self.octets(4), "big")
        text = self.octets(length).decode()
        assert self.octets(4) == i(-1)
        return code, text

    def octets(self, count):
        while len(self.data) < count:
            piece = self.conn.recv(65536)
            if not piece:
                raise EOFError
            self.data += piece
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def ask(self, *bodies, name="id"):
        self.conn.sendall(runner.frame([scenarios.request("%s-%d" % (name, n), body=body) for n, body in enumerate(bodies)]))

    def answer(self):
        """(code, message, [[id, type, status, phrase, headers, body], …])"""
        took = bytearray()

        def number():
            took.extend(self.octets(4))
            return int.from_bytes(took[-4:], "big", signed=True)

        def string():
            took.extend(self.octets(number()))

        number(), string()
        while True:
            length = number()
            if length < 0:
                break
            took.extend(self.octets(length))
            string(), number(), string()
            for _ in range(number()):
                string(), string()
            string()
        return whole(bytes(took))

    def close(self):
        self.conn.close()
        try:
            return self.process.wait(10)
        finally:
            self.process.kill()
            self.reader.join(5)


def whole(data):
    if data[:4] == i(200):
        return runner.unframed(data)
    length = int.from_bytes(data[4:8], "big")
    return int.from_bytes(data[:4], "big"), data[8:8 + length].decode(), []


@pytest.fixture
def driver():
    made = []

    def start(*args, **options):
        made.append(Driver(*args, **options))
        return made[-1]

    yield start
    for one in made:
        one.process.kill()
        one.process.wait()


@pytest.mark.parametrize("tcp", [False, True])
def test_a_model_is_loaded_and_answers_until_the_driver_leaves(driver, tcp):
    worker = driver(HANDLER, tcp=tcp)
    assert worker.load(batch=4) == (200, "loaded model m")
    worker.ask(b"one", b"two")
    assert worker.answer() == (200, "Prediction success", [
        ["id-0", "", 200, "", [("X-Word", "w")], "one!"], ["id-1", "", 200, "", [], "two!"]])
    worker.ask(b"raise")
    assert worker.answer() == (503, "Prediction failed", [])
    worker.ask(b"again")
    assert worker.answer()[2][0][5] == "again!"
    assert worker.load() == (200, "loaded model m")
    assert worker.close() == 0
    assert not os.path.exists(worker.name)
    lines = worker.said
    starts = [lines.index("[PID]%d" % worker.process.pid), lines.index("Torch worker started.")]
    assert starts == sorted(starts) and lines[starts[1] + 1].startswith("Python runtime: 3.")
    assert sum(line.startswith("Backend received inference at: ") for line in lines) == 3
    assert sum(line.startswith("[METRICS]PredictionTime.Milliseconds:") for line in lines) == 2
    assert "Frontend disconnected." in lines


def test_the_envelope_of_the_load_is_put_around_the_handler(driver):
    worker = driver("import json\ndef handle(data, context):\n    return data\n")
    assert worker.load(envelope="json")[0] == 200
    worker.conn.sendall(runner.frame([scenarios.request(body=("application/json", b'{"rows": [1]}'))]))
    assert worker.answer()[0] == 503
    worker.conn.sendall(runner.frame([scenarios.request(body=("application/json", b'{"instances": [1, [2]]}'))]))
    assert json.loads(worker.answer()[2][0][5]) == {"predictions": [1, [2]]}


@pytest.mark.parametrize("source, code, text", [
    ("def handle(d, c):\n    raise MemoryError('x')\n", 507, "System out of memory"),
    ("def handle(d, c):\n    raise RuntimeError('CUDA x')\n", 507, "System out of memory"),
    ("def handle(d, c):\n    raise RuntimeError('x')\n", 500, "Unknown exception"),
])
def test_a_load_that_fails_is_answered_and_ends_the_process(driver, source, code, text):
    worker = driver(source)
    assert worker.load() == (code, text)
    assert worker.process.wait(10) == 1


def test_a_load_that_raises_anything_else_only_ends_the_process(driver):
    worker = driver("raise KeyError('k')\n")
    with pytest.raises((EOFError, ConnectionResetError)):
        worker.load()
    assert worker.close() == 1
    assert "Backend worker process died." in worker.said


@pytest.mark.parametrize("sent", [b"X", b"I" + i(-1), b"L" + i(-7)], ids=["command", "before-load", "length"])
def test_what_is_no_conversation_ends_the_process(driver, sent):
    if sent[:1] == b"L" and not OURS:
        pytest.skip("TorchServe's does not notice")
    worker = driver(HANDLER)
    worker.conn.sendall(sent)
    assert worker.process.wait(10) == 1


def test_parts_of_an_answer_leave_one_by_one(driver):
    worker = driver(HANDLER)
    worker.load()
    worker.ask(b"stream")
    seen = [worker.answer()[2][0] for _ in range(4)]
    assert [item[5] for item in seen] == ["a", "b", "c", "stream!"]
    assert [dict(item[4])["ts_stream_next"] for item in seen] == ["true"] * 3 + ["false"]


def test_async_handlers_run_together_and_answer_by_id(driver):
    worker = driver(ASYNC, more=["--async"])
    worker.load()
    for n in range(5):
        worker.ask(b"call %d" % n, name="n%d" % n)
    answers = {item[0]: item[5] for _, _, items in (worker.answer() for _ in range(5)) for item in items}
    assert answers == {"n%d-0" % n: "call %d of 5" % n for n in range(5)}
    worker.conn.close()
    if OURS:  # TorchServe's does not end
        assert worker.process.wait(10) == 0
