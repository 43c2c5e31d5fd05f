"""A real server for tests: started on free ports in a folder of its own, watched, stopped, and searched for leftovers.

    server = Server(build=..., folder=..., models={"echo": "identity"}).start()
    server.post("/predictions/echo", data=b"hi").content
    server.pid("frontend"); server.pids("executor")
    server.stop()      # asserts that no process, shared memory or sanitizer report remains

`wire(server)` gives a raw connection for tests of the protocol itself.
"""
import os
import re
import signal
import socket
import subprocess
import time
import uuid
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parent.parent.parent
MARK = "SCONCE_TEST_ID"  # in the environment of everything that a server starts: how leftovers are found
GRPC = ("grpc_inference", "grpc_management")
NO_GRPC = {f"{n}_port": 0 for n in GRPC}
START_SECONDS = 60  # sanitizers are slow
STOP_SECONDS = 30
# pytest-xdist runs several of us at once.
US = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
ALL_OF_US = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


def build_dir():
    return Path(os.environ.get("SCONCE_BUILD", ROOT / "build" / "release")).resolve()


def sanitized():
    """Whether it is a build with AddressSanitizer, whose memory grows by itself."""
    cache = build_dir() / "CMakeCache.txt"
    return cache.exists() and "SCONCE_SANITIZE:STRING=address" in cache.read_text()


def free_ports(n):
    """Ports that were free a moment ago, all different, and from that part of the numbers that is ours: a server binds them
    only later, and another of us must not be given them until then. The kernel prefers odd ones, hence the half."""
    held, ours = [], []
    try:
        while len(ours) < n:
            held.append(socket.socket())
            held[-1].bind(("127.0.0.1", 0))
            port = held[-1].getsockname()[1]
            if port // 2 % ALL_OF_US == US:
                ours.append(port)
        return ours
    finally:
        for s in held:
            s.close()


def wait_for(condition, seconds=10, what="condition"):
    """The condition's first true value; fails the test when it does not come."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        time.sleep(0.02)


def read_proc(pid, name):
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def send(pid, sig):
    """A signal to a process that may be gone by now."""
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        pass


def alive(pid):
    """True while the process runs; a zombie does not."""
    stat = read_proc(pid, "stat")
    return bool(stat) and stat.rpartition(b")")[2].split()[0] not in (b"Z", b"X")


def title(pid):
    return read_proc(pid, "cmdline").rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace").strip()


def all_stats():
    """pid -> (state, parent, session, start time) of every process."""
    stats = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (stat := read_proc(name, "stat")):
            f = stat.rpartition(b")")[2].split()
            stats[int(name)] = (f[0], int(f[1]), int(f[3]), int(f[19]))
    return stats


class Server:
    """One `sconce serve`. Settings of config.properties go into `config`; addresses, model store and models have
    defaults. `unix=True` listens on sockets in the server's folder instead of ports."""

    def __init__(self, *, build, folder, models=None, config=None, args=(), env=None, unix=False, store=None):
        self.program = Path(build) / "sconce"
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.store = Path(store) if store else self.folder / "store"
        self.store.mkdir(exist_ok=True)
        self.mark = uuid.uuid4().hex
        self.output = self.folder / "output.txt"
        self.process = None
        # In the kernel's ticks since boot, one less for rounding: who is older is none of ours and need not be looked at.
        self.born = int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")) - 1
        self.seen = {}  # pid -> start time of processes known to be this server's
        self.shm_before = set(os.listdir("/dev/shm"))

        names = ("inference", "management", "metrics")
        if unix:
            # A path of a socket has at most 107 bytes, and pytest's folders are long.
            self.sockets = {n: Path(f"/tmp/sc-{self.mark[:12]}-{n}.sock") for n in names}
            self.ports = {}
            addresses = {f"{n}_address": f"unix:{p}" for n, p in self.sockets.items()}
            addresses.update(NO_GRPC)
        else:
            self.sockets = {}
            self.ports = dict(zip((*names, *GRPC), free_ports(5)))
            addresses = {f"{n}_address": f"http://127.0.0.1:{self.ports[n]}" for n in names}
            addresses.update((f"{n}_port", self.ports[n]) for n in GRPC)
        self.config = {**addresses, "model_store": self.store, **(config or {})}
        self.config_file = self.folder / "config.properties"
        self.config_file.write_text("".join(f"{k}={v}\n" for k, v in self.config.items() if v is not None))

        self.command = [str(self.program), "serve", "--config", str(self.config_file), "--foreground"]
        if models:
            self.command += ["--models", *(f"{name}={path}" for name, path in models.items())]
        self.command += map(str, args)
        reports = f"log_path={self.folder}/sanitizer:exitcode=97:allocator_may_return_null=1"
        self.env = {**os.environ, MARK: self.mark, "ASAN_OPTIONS": f"detect_leaks=1:{reports}",
                    "UBSAN_OPTIONS": f"print_stacktrace=1:{reports}",
                    "TSAN_OPTIONS": f"{reports}:suppressions={Path(__file__).resolve().parents[1] / 'tsan.supp'}", **(env or {})}

    # ---- life ----

    def launch(self):
        """Starts the process without waiting for it to serve."""
        with open(self.output, "ab") as out:
            self.process = subprocess.Popen(self.command, cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        return self

    def start(self, seconds=START_SECONDS):
        began = time.monotonic()
        self.launch()
        try:
            self.wait_healthy(seconds)
            self.started_in = time.monotonic() - began
        except BaseException:
            self.kill()
            raise
        return self

    def wait_healthy(self, seconds=START_SECONDS):
        def healthy():
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode} at start\n{self.log_tail()}")
            try:
                return self.get("/ping", timeout=5).status_code == 200
            except (OSError, EOFError):  # requests' exceptions among them
                return False
            finally:
                self.processes()
        try:
            wait_for(healthy, seconds, "/ping to be healthy")
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.log_tail()}") from None

    def refused(self, seconds=START_SECONDS):
        """Starts a server that should refuse to: its exit status and all it said."""
        self.launch()
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server did not refuse to start\n{self.log_tail()}") from None
        return status, self.output.read_text(errors="replace")

    def stop(self, sig=signal.SIGTERM, seconds=STOP_SECONDS):
        """Ends the server with a signal; asserts that nothing is left. Returns its exit status."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            tree = self.tree()
            self.kill()
            raise AssertionError(f"still running {seconds} s after {sig.name}:\n{tree}\n{self.log_tail()}") from None
        self.assert_nothing_left()
        return status

    def kill(self):
        """The hard way, for clean-up: every process of this server, whatever its state."""
        for _ in range(50):
            left = self.processes()
            if not left:
                break
            for pid in left:
                send(pid, signal.SIGKILL)
            time.sleep(0.02)
        if self.process:
            self.process.wait()

    def assert_nothing_left(self, seconds=1.0):
        end = time.monotonic() + seconds
        while (left := self.processes()) and time.monotonic() < end:
            time.sleep(0.02)
        if left:
            tree = self.tree()
            self.kill()
            raise AssertionError(f"processes left behind:\n{tree}")
        shm = [n for n in set(os.listdir("/dev/shm")) - self.shm_before if "sconce" in n or n.startswith("sc-")]
        assert not shm, f"shared memory left behind in /dev/shm: {shm}"
        sockets = [str(p) for p in self.sockets.values() if p.exists()]
        for path in sockets:
            os.unlink(path)
        self.assert_no_sanitizer_report()

    def assert_no_sanitizer_report(self):
        reports = sorted(self.folder.glob("sanitizer.*"))
        said = [l for l in self.output.read_text(errors="replace").splitlines() if "runtime error:" in l or "ERROR: LeakSanitizer" in l]
        assert not said, "\n".join(said[:20])
        assert not reports, "\n".join(p.read_text(errors="replace")[:6000] for p in reports)

    # ---- processes ----

    def processes(self):
        """Living processes of this server, orphans included. One belongs to it that carries the mark in its
        environment, is in the server's session, works in its folder, descends from such a one, or did so before."""
        stats = {p: s for p, s in all_stats().items() if s[0] not in (b"Z", b"X") and s[3] >= self.born}
        entry = f"{MARK}={self.mark}".encode()
        folder = str(self.folder.resolve())
        self.seen = {p: start for p, start in self.seen.items() if p in stats and stats[p][3] == start}

        def belongs(pid):
            if self.process and self.process.pid in (pid, stats[pid][2]):
                return True
            try:
                if os.readlink(f"/proc/{pid}/cwd") == folder:
                    return True
            except OSError:
                pass
            return entry in read_proc(pid, "environ").split(b"\0")

        for pid in stats:
            if pid != os.getpid() and pid not in self.seen and belongs(pid):
                self.seen[pid] = stats[pid][3]
        grown = True
        while grown:
            children = [p for p, s in stats.items() if s[1] in self.seen and p not in self.seen]
            self.seen.update((p, stats[p][3]) for p in children)
            grown = bool(children)
        return sorted(self.seen)

    def tree(self):
        return "\n".join(f"{p} {title(p)}" for p in self.processes())

    def pids(self, role):
        """Processes whose title starts with `sconce: ROLE` (supervisor, frontend, `executor echo`, ...)."""
        start = f"sconce: {role}"
        return [p for p in self.processes() if (t := title(p)).startswith(start) and not t[len(start):][:1].isalnum()]

    def pid(self, role):
        """The one process of that role; waits for it."""
        return wait_for(lambda: p[0] if len(p := self.pids(role)) == 1 else None, 10, f"one process '{role}'\n{self.tree()}")

    def rss(self, role):
        """Resident bytes of all processes of a role."""
        kib = (re.search(rb"VmRSS:\s+(\d+)", read_proc(p, "status")) for p in self.pids(role))
        return sum(int(m[1]) * 1024 for m in kib if m)

    def fds(self, role):
        """Open descriptors of all processes of a role."""
        return sum(len(os.listdir(f"/proc/{p}/fd")) for p in self.pids(role))

    def kill_role(self, role, sig=signal.SIGKILL):
        """Sends a signal to the one process of that role; returns its pid."""
        pid = self.pid(role)
        send(pid, sig)
        return pid

    # ---- requests ----

    def url(self, path, api="inference"):
        return f"http://127.0.0.1:{self.ports[api]}{path}"

    def request(self, method, path, api="inference", **more):
        more.setdefault("timeout", 30)
        if self.sockets:
            return wire(self, api).ask(method, path, more.get("data", b""), more.get("headers"))
        return requests.request(method, self.url(path, api), **more)

    def get(self, path, api="inference", **more):
        return self.request("GET", path, api, **more)

    def post(self, path, api="inference", **more):
        return self.request("POST", path, api, **more)

    def put(self, path, api="management", **more):
        return self.request("PUT", path, api, **more)

    def delete(self, path, api="management", **more):
        return self.request("DELETE", path, api, **more)

    # ---- counters ----

    def metric(self, name, model=None):
        """A counter or gauge of the metrics address, summed over its labels, or over those of one model."""
        text = self.get("/metrics", "metrics").text
        samples = re.findall(rf"^{name}(?:{{([^}}]*)}})? (\S+)$", text, re.M)
        return sum(float(value) for labels, value in samples if model is None or f'model_name="{model}"' in labels)

    def wait_busy(self, running=1, waiting=None):
        """Until workers have so many requests; and so many more wait, if that is said."""
        def state():
            return self.metric("sconce_in_flight"), waiting if waiting is None else self.metric("sconce_queue_depth")
        wait_for(lambda: state() == (running, waiting), 20, f"{running} requests with workers, {waiting} behind them")

    def wait_accepted(self, n):
        """Until so many requests wait or are with workers, those in a worker's ring among them."""
        wait_for(lambda: self.metric("sconce_in_flight") + self.metric("sconce_queue_depth") == n, 20, f"{n} open requests")

    # ---- logs ----

    def logs(self):
        """File name -> text of everything the server has written, its output included."""
        files = [self.output, *sorted((self.folder / "logs").glob("*"))]
        return {f.name: f.read_text(errors="replace") for f in files if f.is_file()}

    def log_tail(self, lines=30):
        return "\n".join(f"--- {name}\n" + "\n".join(text.splitlines()[-lines:]) for name, text in self.logs().items())


def stop_all(servers):
    """Stops every server even if one fails to; then fails with the first failure."""
    failures = []
    for server in servers:
        try:
            server.stop()
        except AssertionError as e:
            failures.append(e)
        finally:
            server.kill()
    if failures:
        raise failures[0]


# ---- the wire ----


class Reply:
    """A response as it came: status, reason, headers in order, body, and whether the body came chunked."""

    def __init__(self, version, status, reason, fields, body, chunks):
        self.version, self.status_code, self.reason, self.fields, self.content = version, status, reason, fields, body
        self.chunks = chunks  # list of chunks, or None
        self.headers = requests.structures.CaseInsensitiveDict(fields)

    @property
    def text(self):
        return self.content.decode()

    def json(self):
        return requests.models.complexjson.loads(self.content)


class Wire:
    """A connection that sends exactly the bytes it is given."""

    def __init__(self, address, timeout=10):
        family = socket.AF_UNIX if isinstance(address, (str, Path)) else socket.AF_INET
        self.socket = socket.socket(family)
        self.socket.settimeout(timeout)
        self.socket.connect(str(address) if family == socket.AF_UNIX else address)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)
        return self

    def finish(self):
        """Half-close: the server sees the end of the requests."""
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def more(self):
        """Reads what is there; False at the end of the stream."""
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            return False
        self.buffer += data
        return bool(data)

    def take(self, n):
        while len(self.buffer) < n:
            if not self.more():
                raise EOFError(f"closed after {len(self.buffer)} of {n} bytes: {self.buffer[:200]!r}")
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def line(self):
        while b"\r\n" not in self.buffer:
            if not self.more():
                raise EOFError(f"closed in mid-line: {self.buffer[:200]!r}")
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line.decode("latin-1")

    def reply(self, head=False):
        """The next response, 100 Continue included. head=True: it answers a HEAD, so no body follows."""
        version, _, rest = self.line().partition(" ")
        status, _, reason = rest.partition(" ")
        fields = []
        while line := self.line():
            name, colon, value = line.partition(":")
            assert colon, f"not a header field: {line!r}"
            fields.append((name, value.strip()))
        lower = {n.lower(): v for n, v in fields}
        body, chunks = b"", None
        if not head and int(status) >= 200 and int(status) not in (204, 304):
            if lower.get("transfer-encoding") == "chunked":
                chunks = []
                while size := int(self.line(), 16):
                    chunks.append(self.take(size))
                    assert self.line() == ""
                while self.line():
                    pass
                body = b"".join(chunks)
            elif "content-length" in lower:
                body = self.take(int(lower["content-length"]))
            else:
                while self.more():
                    pass
                body, self.buffer = self.buffer, b""
        return Reply(version, int(status), reason, fields, body, chunks)

    def ask(self, method, path, body=b"", headers=None):
        """A well-formed request and its response."""
        body = body.encode() if isinstance(body, str) else body
        fields = {"Host": "localhost", **({"Content-Length": len(body)} if body else {}), **(headers or {})}
        self.send(f"{method} {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items()) + "\r\n")
        if body:
            self.send(body)
        return self.reply(head=method == "HEAD")

    def closed(self, seconds=10):
        """True if the server closes without sending anything more."""
        self.socket.settimeout(seconds)
        try:
            while self.more():
                pass
        except TimeoutError:
            return False
        return not self.buffer


def wire(server, api="inference", timeout=10):
    """A raw connection to one of the server's listeners."""
    return Wire(server.sockets.get(api) or ("127.0.0.1", server.ports[api]), timeout)
