"""TorchServe and whoever takes its place, started by the same command on a folder of its own.

    with Peer("torchserve", archives={"probe": probe_archive}, models="all") as server:
        server.ask("POST", "/predictions/probe", b"hi").status_code

Everything the server writes lies in `folder`: config.properties, store/, logs/, tmp/ (PID file, sockets), output.txt.
"""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import harness

LISTENERS = ("inference", "management", "metrics")
STARTED = "Model server started"


class Peer:
    """`program` is a `torchserve` command. Settings go into config.properties; a value of None leaves a key out."""

    def __init__(self, program, *, config=None, models=None, args=(), env=None, snapshots=False, archives=None,
                 python=None, model_api=True, tokens=False, named_config=True):
        self.folder = Path(tempfile.mkdtemp(prefix="peer-"))  # short: paths of sockets have 107 bytes at most
        self.store = self.folder / "store"
        self.tmp = self.folder / "tmp"
        self.store.mkdir()
        self.tmp.mkdir()
        for name, write in (archives or {}).items():
            write(self.store, name)
        self.ports = dict(zip((*LISTENERS, *harness.GRPC), harness.free_ports(5)))
        self.sockets = {}  # what harness.wire looks for
        settings = {f"{n}_address": f"http://127.0.0.1:{self.ports[n]}" for n in LISTENERS}
        settings.update({f"{n}_port": self.ports[n] for n in harness.GRPC}, disable_system_metrics="true")
        if python:
            settings["python"] = python
        settings.update(config or {})
        self.config = self.folder / "config.properties"
        self.config.write_text("".join(f"{k}={v}\n" for k, v in settings.items() if v is not None))
        self.program = str(program)
        self.command = [self.program, "--start", "--foreground", "--model-store", "store"]
        if named_config:  # else it is found in the working folder
            self.command += ["--ts-config", "config.properties"]
        self.command += [] if snapshots else ["--ncs"]
        self.command += ["--enable-model-api"] if model_api else []
        self.command += [] if tokens else ["--disable-token-auth"]
        if models:
            self.command += ["--models", *(models if isinstance(models, list) else [models])]
        self.command += list(args)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("TS_", "SCONCE_", "PYTHON"))}
        self.env.update(TMPDIR=str(self.tmp), TEMP=str(self.tmp), LOG_LOCATION=str(self.folder / "logs"),
                        METRICS_LOCATION=str(self.folder / "logs"), LC_ALL="C.UTF-8", **(env or {}))
        self.output = self.folder / "output.txt"
        self.process = None
        self.read = {}  # log file -> offset up to which it was looked through

    # ---- life ----

    def launch(self):
        with open(self.output, "ab") as out:
            self.process = subprocess.Popen(self.command, cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        return self

    def start(self, seconds=90):
        self.launch()
        end = time.monotonic() + seconds
        while STARTED not in self.text("output.txt"):
            if self.process.poll() is not None or time.monotonic() > end:
                said = self.text("output.txt")[-4000:]
                self.stop()
                raise AssertionError(f"{self.program} did not start\n{said}")
            time.sleep(0.05)
        return self

    def wait_ready(self, models, seconds=90):
        end = time.monotonic() + seconds
        for model in models:
            while not self.ready(model):
                if time.monotonic() > end:
                    raise AssertionError(f"model {model} is not ready\n{self.text('output.txt')[-4000:]}")
                time.sleep(0.05)
        return self

    def ready(self, model):
        reply = self.ask("GET", f"/models/{model}", api="management")
        return reply.status_code == 200 and all(w["status"] == "READY" for w in reply.json()[0]["workers"])

    def stop(self, seconds=20):
        if self.process is None:
            return None
        if self.process.poll() is None:
            for pid in self.servers():
                harness.send(pid, signal.SIGTERM)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                pass
        self.kill()
        return self.process.returncode

    def kill(self):
        """What is left of it: all that carries its temporary folder in its environment."""
        mark = f"TMPDIR={self.tmp}".encode()
        for _ in range(20):
            left = [p for p in harness.all_stats() if mark in harness.read_proc(p, "environ").split(b"\0")
                    and harness.alive(p)]
            if not left:
                break
            for pid in left:
                harness.send(pid, signal.SIGKILL)
            time.sleep(0.05)
        if self.process:
            self.process.wait()

    def servers(self):
        """Who ends in order at SIGTERM: the process that the PID file names, else the command itself."""
        try:
            return [int((self.tmp / ".model_server.pid").read_text())]
        except (OSError, ValueError):
            return [self.process.pid]

    def __enter__(self):
        return self.start() if self.process is None else self

    def __exit__(self, *_):
        self.stop()
        if not os.environ.get("SCONCE_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)

    # ---- talking ----

    def ask(self, method, path, body=b"", headers=None, api="inference", timeout=60):
        with harness.wire(self, api, timeout) as w:
            return w.ask(method, path, body, headers)

    def send(self, raw, api="inference", timeout=60):
        with harness.wire(self, api, timeout) as w:
            return w.send(raw).reply()

    def run(self, *args, timeout=60, env=None):
        """Another command of the same program beside the server: (exit status, stdout, stderr)."""
        done = subprocess.run([self.program, *args], cwd=self.folder, env={**self.env, **(env or {})}, text=True,
                              capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout, done.stderr

    # ---- what it wrote ----

    def text(self, name):
        for path in (self.folder / name, self.folder / "logs" / name):
            try:
                return path.read_text(errors="replace")
            except OSError:
                continue
        return ""

    def line(self, name, pattern, seconds=6, from_start=False):
        """The first line of a log file, behind those seen so, that matches; None if none comes."""
        end = time.monotonic() + seconds
        while True:
            text = self.text(name)
            at = 0 if from_start else self.read.get(name, 0)
            for line in re.finditer(r"[^\n]*\n", text[at:]):
                if re.search(pattern, line[0]):
                    if not from_start:
                        self.read[name] = at + line.end()
                    return line[0].rstrip("\n")
            if time.monotonic() > end:
                return None
            time.sleep(0.05)

    def plain(self, text):
        """A text without what differs from run to run."""
        text = text.replace(str(self.folder), "<folder>")
        for name, port in self.ports.items():
            text = re.sub(rf"\b{port}\b", f"<{name}>", text)
        return plain(text)


VOLATILE = (
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uuid>"),
    (r"\b[0-9a-f]{32}\b", "<hex32>"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,]\d{3}Z?", "<time>"),
    (r'"pid": -?\d+', '"pid": <n>'),
    (r'"memoryUsage": \d+', '"memoryUsage": <n>'),
    (r"/127\.0\.0\.1:\d+ ", "/127.0.0.1:<port> "),
    (r"timestamp:\d{10}", "timestamp:<s>"),
    (r"\b1\d{9}(\.\d+)?\b", "<s>"),
    ("hostname:" + re.escape(socket.gethostname()) + r"\b", "hostname:<host>"),
    (r"0x[0-9a-f]{8,16}", "<address>"),
    (r'"key": ?"[\w-]{8}"', '"key": "<key>"'),
    (r'"expiration time": ?"[^"]+"', '"expiration time": "<time>"'),
)


def plain(text):
    for pattern, by in VOLATILE:
        text = re.sub(pattern, by, text)
    return text


def can_import(python, modules):
    return subprocess.run([python, "-c", f"import {modules}"], capture_output=True).returncode == 0


def show(reply):
    """For failures: a reply as one reads it."""
    return json.dumps(reply, indent=1, ensure_ascii=False)
