"""A Python worker played against the C host (tests/tools/python_host.c): the frontend's and supervisor's side of it."""
import json
import os
import secrets
import struct
import subprocess
import sys
import time
from pathlib import Path

ALONE = 1
LOADED, FAILED = 3, 4


def build_dir():
    root = Path(__file__).resolve().parents[2]
    return Path(os.environ.get("SCONCE_BUILD", root / "build" / "release")).resolve()


def u16(n):
    return struct.pack("<H", n)


def meta(*pairs):
    """Metadata (src/worker/meta.h) of (key, value) pairs."""
    out = [u16(len(pairs))]
    for key, value in pairs:
        key, value = (x.encode() if isinstance(x, str) else bytes(x) for x in (key, value))
        out += [u16(len(key)), struct.pack("<I", len(value)), key, value]
    return b"".join(out)


def pairs(block):
    """The pairs of an answer's metadata."""
    out, at = [], 2
    while at < len(block):
        k, v = struct.unpack_from("<HI", block, at)
        at += 6
        out.append((block[at:at + k].decode(), block[at + k:at + k + v].decode()))
        at += k + v
    return out


def part(name, off, n, kind=""):
    return (":part", struct.pack("<QQ", off, n) + u16(len(name.encode())) + name.encode() + kind.encode())


def param(name, value):
    return (":param", u16(len(name.encode())) + name.encode() + value)


class Answer:
    def __init__(self, number, status, block, body, more=False):
        self.id, self.status, self.meta, self.body, self.more = number, status, pairs(block), body, more

    def __repr__(self):
        return f"Answer({self.id}, {self.status}, {self.meta}, {self.body[:80]!r})"


class Worker:
    """A handler (source text) in a worker process, and the host beside it."""

    def __init__(self, folder, source, *, pure=False, python=None, channels=1, batch_size=1, delay_ms=100, policy="eager", env=None,
                 attach=True, load=True, handler="handler.py", max_response=6553500, home=None):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        if source is not None:
            (self.folder / "handler.py").write_text(source)
        address = "@sconce-test-" + secrets.token_hex(8)
        self.host = subprocess.Popen([build_dir() / "tests" / "python_host", address], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE)
        assert self._line() == "listening"
        home = home or build_dir() / "python"
        environ = {k: v for k, v in os.environ.items() if not k.startswith("SCONCE_")}
        environ.update(SCONCE_SOCKET=address, SCONCE_TOKEN="00" * 16, SCONCE_RANK="0", SCONCE_MODEL="m", SCONCE_MODEL_VERSION="1.0",
                       SCONCE_MODEL_DIR=str(self.folder), SCONCE_HANDLER=handler, SCONCE_GPU_ID="-1",
                       SCONCE_BATCH_SIZE=str(batch_size), SCONCE_MAX_BATCH_DELAY_MS=str(delay_ms), SCONCE_BATCH_POLICY=policy,
                       SCONCE_MAX_RESPONSE=str(max_response), PYTHONPATH=f"{home}:{self.folder}", PYTHONDONTWRITEBYTECODE="1")
        if pure:
            environ["SCONCE_PURE_PYTHON"] = "1"
        environ.update(env or {})
        self.log = open(self.folder / "log", "wb")
        self.spawned = time.monotonic()
        self.process = subprocess.Popen([python or os.environ.get("SCONCE_TEST_PYTHON", sys.executable), home / "ts" / "model_service_worker.py", "--model", "m",
                                         "--model-version", "1.0"], cwd=self.folder, env=environ, stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True)
        self.number = 0
        said = self.ask("accept")
        assert said.startswith("hello "), said
        if attach:
            self.ask(f"attach {channels}")
        if load:
            state, text = self.status()
            assert state == LOADED, (text, self.output())
            self.ready_after = time.monotonic() - self.spawned
            assert json.loads(text)["pid"] == self.process.pid

    def _line(self):
        return self.host.stdout.readline().decode().rstrip("\n")

    def ask(self, command):
        self.host.stdin.write(command.encode() + b"\n")
        self.host.stdin.flush()
        return self._line()

    def status(self, ms=20000):
        words = self.ask(f"status {ms}").split()
        if words[0] != "status":
            return words[0], ""
        return int(words[1]), "" if words[2] == "-" else bytes.fromhex(words[2]).decode()

    def submit(self, body=b"", *more, kind=None, flags=0, channel=0, block=None, flush=True):
        """Submits a request; its number. `more` are further metadata pairs."""
        self.number += 1
        head = [(":id", f"id-{self.number}")] + ([(":content-type", kind)] if kind is not None else [])
        block = meta(*head, *more) if block is None else block
        said = self.ask(f"submit {channel} {self.number} {flags} {block.hex() or '-'} {bytes(body).hex() or '-'}")
        assert said == "submitted", said
        if flush:
            self.flush()
        return self.number

    def flush(self):
        assert self.ask("flush") == "flushed"

    def answer(self, ms=10000):
        words = self.ask(f"answer {ms}").split()
        if words[0] != "answer":
            assert words[0] == "none", words
            return None
        raw = [b"" if w == "-" else bytes.fromhex(w) for w in words[3:5]]
        return Answer(int(words[1]), int(words[2]), *raw)

    def cancel(self, number, channel=0):
        assert self.ask(f"cancel {channel} {number}") == "cancelled"
        self.flush()

    def piece(self, ms=10000):
        """As answer, but it may be a part of one."""
        words = self.ask(f"answer {ms}").split()
        if words[0] not in ("answer", "part"):
            assert words[0] == "none", words
            return None
        raw = [b"" if w == "-" else bytes.fromhex(w) for w in words[3:5]]
        return Answer(int(words[1]), int(words[2]), *raw, more=words[0] == "part")

    def whole(self, *numbers, ms=10000):
        """All that comes until these requests have their last answers: number -> pieces, in order."""
        out = {number: [] for number in numbers}
        while not all(pieces and not pieces[-1].more for pieces in out.values()):
            piece = self.piece(ms)
            assert piece is not None, (out, self.output())
            assert piece.id in out and not (out[piece.id] and not out[piece.id][-1].more), (piece, out)
            out[piece.id].append(piece)
        return out

    def call(self, body=b"", *more, **options):
        number = self.submit(body, *more, **options)
        answer = self.answer()
        assert answer is not None, self.output()
        assert answer.id == number
        return answer

    def running(self):
        return [int(word) for word in self.ask("running").split()[1:]]

    def load(self, seconds, window, body=b"", kind=None, headers=()):
        """Keeps `window` requests waiting: (answers a second, mean batch, errors)."""
        block = meta((":id", "0" * 36), *([(":content-type", kind)] if kind else []), *headers)
        words = self.ask(f"load {seconds} {window} {block.hex()} {bytes(body).hex() or '-'}").split()
        answers, ns, batches, errors = (int(word) for word in words[1:])
        return answers * 1e9 / ns, answers / max(batches, 1), errors

    def output(self):
        return (self.folder / "log").read_text(errors="replace")

    def wait(self, seconds=10):
        return self.process.wait(seconds)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        try:
            self.host.stdin.close()
        except BrokenPipeError:
            pass  # it has said on standard error why it ended
        self.host.wait(30)
        self.log.close()
