"""What the comparisons share: servers pinned to a core, rounds that take turns, medians, docs/performance.md."""
import datetime
import json
import os
import re
import resource
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("SCONCE_BUILD", ROOT / "build" / "release")).resolve()
DOCUMENT = ROOT / "docs" / "performance.md"
TICKS = os.sysconf("SC_CLK_TCK")
SERVER_CORE, LOAD_CORE = "0", "1"
UNVERIFIED = ssl._create_unverified_context()  # servers that a comparison started itself


def say(text=""):
    print(text, flush=True)


def die(text):
    sys.exit(f"{Path(sys.argv[0]).name}: {text}")


def program(name):
    path = BUILD / name
    if not os.access(path, os.X_OK):
        die(f"there is no program {path}: ./dev bench builds it")
    return str(path)


def free_ports(n):
    """All different, free a moment ago, and below the range from which clients get theirs: thousands of connections
    of a load would otherwise take one."""
    first = int(os.environ.get("SCONCE_BENCH_PORT", 21000))
    found = []
    for port in range(first, first + 4000):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == n:
            return found
    die("there are no free ports")


def read_proc(pid, name):
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""


def fetch(url, data=None, method=None, timeout=30, headers=None):
    """(status, headers, body); 0 for the status when nobody answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers or {}, method=method), timeout=timeout,
                                    context=UNVERIFIED) as r:
            return r.status, r.headers, r.read()
    except urllib.error.HTTPError as e:
        return e.code, e.headers, e.read()
    except OSError:
        return 0, {}, b""


class Process:
    """A server in a folder of its own, on one core, with all that it starts."""

    def __init__(self, command, *, name, core=SERVER_CORE, env=None, folder=None):
        self.name = name
        self.folder = Path(folder or tempfile.mkdtemp(prefix=f"sconce-bench-{name}-"))
        pin = ["taskset", "-c", core] if core is not None and shutil.which("taskset") else []
        self.log = self.folder / "output.txt"
        self.began = time.monotonic()
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen([*pin, *command], cwd=self.folder, env={**os.environ, **(env or {})},
                                            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                            start_new_session=True)

    def wait_for(self, url, seconds=60, data=None):
        end = time.monotonic() + seconds
        while fetch(url, data, timeout=5)[0] != 200:
            if self.process.poll() is not None or time.monotonic() > end:
                text = self.log.read_text(errors="replace")[-3000:]
                self.stop()
                raise RuntimeError(f"{self.name} does not answer at {url}\n{text}")
            time.sleep(0.02)
        return self

    def pids(self):
        """The process and its descendants."""
        parents = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit() and (stat := read_proc(entry, "stat")):
                parents[int(entry)] = int(stat.rpartition(")")[2].split()[1])
        mine = {self.process.pid}
        while more := {p for p, parent in parents.items() if parent in mine} - mine:
            mine |= more
        return sorted(mine)

    def role(self, title):
        """Processes whose title begins so (sconce: frontend, ...)."""
        return [p for p in self.pids() if read_proc(p, "cmdline").startswith(title)]

    def cpu_seconds(self):
        total = 0
        for pid in self.pids():
            if stat := read_proc(pid, "stat"):
                fields = stat.rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Sconce(Process):
    """`sconce serve`, ready to answer. models: name -> path; settings: keys of config.properties;
    grpc: with the gRPC port `grpc`."""

    def __init__(self, models=None, settings=None, core=SERVER_CORE, store=None, wait=True, scheme="http",
                 grpc=False):
        *self.ports, self.grpc = free_ports(4)
        self.inference, self.management, self.metrics = (f"{scheme}://127.0.0.1:{p}" for p in self.ports)
        command = [program("sconce"), "serve", "--inference-address", self.inference, "--management-address",
                   self.management, "--metrics-address", self.metrics]
        if store:
            command += ["--model-store", str(store)]
        if models:
            command += ["--models", *(f"{k}={v}" for k, v in models.items())]
        for key, value in {"grpc_inference_port": self.grpc if grpc else 0, "grpc_management_port": 0,
                           **(settings or {})}.items():
            command += ["--set", f"{key}={value}"]
        super().__init__(command, name="sconce", core=core)
        if wait:
            self.wait_for(self.inference + "/ping")
            for model in models or ():
                self.wait_ready(model)

    def wait_ready(self, model, seconds=120):
        end = time.monotonic() + seconds
        while True:
            status, _, body = fetch(f"{self.management}/models/{model}")
            if status == 200 and any(w["status"] == "READY" for w in json.loads(body)[0]["workers"]):
                return
            if time.monotonic() > end:
                raise RuntimeError(f"model {model} is not ready: {body[:500]}\n{self.log.read_text()[-2000:]}")
            time.sleep(0.02)

    def rss(self, title):
        """Resident bytes of processes whose title begins so; those of the whole tree for ''."""
        return sum(int(m[1]) << 10 for p in self.role(title)
                   if (m := re.search(r"VmRSS:\s+(\d+)", read_proc(p, "status"))))


def core_seconds(core):
    """What processes (not interrupts) took of a core so far, with what the machine's host kept from it."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{core} "):
            user, nice, system, _, _, _, _, steal, *_ = map(int, line.split()[1:])
            return (user + nice + system + steal) / TICKS
    return 0


def children_seconds():
    """The CPU time of this process's children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def load(url, *, connections=64, seconds=2.0, warmup=0.3, core=LOAD_CORE, more=(), of=None):
    """One run of `sconce bench`: its report; with `of` (a Process) also requests per second of that server's CPU time, and
    `disturbed`, the share of its core's time, or of the load's if that is more, that other processes and the machine's
    host took. Fails when a request fails."""
    pin = ["taskset", "-c", core] if core is not None and shutil.which("taskset") else []
    command = [*pin, program("sconce"), "bench", "--json", "--quiet", "-c", str(connections), "--warmup", str(warmup), *map(str, more)]
    if "-r" not in more:
        command += ["-d", str(seconds)]
    before, began = (of.cpu_seconds() if of else 0, children_seconds()), time.monotonic()
    cores = [core_seconds(c) for c in (SERVER_CORE, LOAD_CORE)]
    done = subprocess.run([*command, url], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the load on {url} failed: {done.stderr or done.stdout}")
    report = json.loads(done.stdout)
    if of:
        # The CPU time has the warm-up in it, so the requests must, too: bytes tell how many there were.
        each = report["bytes_in"] / max(report["good"], 1)
        wall = time.monotonic() - began
        spent, sent = of.cpu_seconds() - before[0], children_seconds() - before[1]
        others = [core_seconds(c) - then - own for c, then, own in zip((SERVER_CORE, LOAD_CORE), cores, (spent, sent))]
        report["disturbed"] = max(0.0, *others) / wall
        share = report["seconds"] / (report["seconds"] + warmup)
        report["per_cpu_second"] = report["bytes_in"] / each / share / spent if spent else 0
    return report


def undisturbed(measure, share=0.03, tries=5):
    """measure() until a report says that no more than `share` of the server's or the load's core was taken by others: a few ms of
    somebody else's are a p99 of their own where requests take one. The least disturbed of `tries` if none is."""
    reports = []
    while len(reports) < tries:
        reports.append(measure())
        if reports[-1]["disturbed"] <= share:
            break
    return min(reports, key=lambda r: r["disturbed"])


def median(values):
    return statistics.median(values)


def rounds(n, contestants, measure):
    """Runs measure(contestant) in turns, n times, every other round backwards. name -> list of what it returned. Numbers and
    rates are told as they come: a run that is interrupted has not been for nothing."""
    results = {name: [] for name, _ in contestants}
    for i in range(n):
        for name, contestant in contestants if i % 2 == 0 else reversed(contestants):
            results[name].append(measure(contestant))
        last = [results[name][-1] for name, _ in contestants]
        figures = [v.get("rate") if isinstance(v, dict) else v for v in last]
        told = "  ".join(f"{v:,.6g}" for v in figures if isinstance(v, (int, float)))
        say(f"  round {i + 1} of {n}  {told}".rstrip())
    return results


# ---- docs/performance.md ----


def machine():
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return (f"{model[1].strip() if model else os.uname().machine}, {os.cpu_count()} cores, Linux "
            f"{os.uname().release.split('-')[0]}, load {os.getloadavg()[0]:.1f} at the end")


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(c) for c in row) + " |" for row in rows])


def write_section(name, title, text, part="", keep=True):
    """Prints a section and puts it between its markers in docs/performance.md, behind the others if it is new; `part` tells
    sections of one program apart. keep=False and SCONCE_BENCH_DRY=1 only print."""
    body = (f"## {title}\n\n`./dev bench {name}` · {datetime.date.today().isoformat()} · {machine()}\n\n"
            f"{text.strip()}\n")
    say("\n" + body)
    if not keep or os.environ.get("SCONCE_BENCH_DRY"):
        return
    begin, end = f"<!-- bench {name}{part}: written by ./dev bench {name} -->", f"<!-- end {name}{part} -->"
    old = DOCUMENT.read_text() if DOCUMENT.exists() else "# Performance\n"
    section = f"{begin}\n{body}{end}"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.S)
    new = pattern.sub(lambda _: section, old) if pattern.search(old) else f"{old.rstrip()}\n\n{section}\n"
    DOCUMENT.write_text(new)
    say(f"written to {DOCUMENT.relative_to(ROOT)}")


def floor(value, least, stretch=None):
    """How a ratio stands to what it should reach."""
    if value < least:
        return f"below the floor {least}"
    if stretch is not None and value < stretch:
        return f"floor {least} reached, not {stretch}"
    return f"{stretch or least} reached"
