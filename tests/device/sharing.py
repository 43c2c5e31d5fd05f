#!/usr/bin/env python3
"""Several workers on one real GPU, and everything that can die there: sharing.py BUILD [--times N] [--native] [SCENARIO...]

A server with MPS of its own, a Python model (four processes that run kernels of 5 ms) and a native one (two processes), both
under load from 64 connections all the time. Each scenario breaks something or changes something; but for what
docs/gpu-sharing.md allows, every request must be answered with 200. A line for each: what was sent, failed and run again,
seconds until the first answer and until 0.8 of the rate were back, the GPU's memory before and after. With --times N it
happens N times under one load, and the seconds are the worst of them; with --limit, as often as there is time for. Ends with
1 if anything is wrong. The compute mode is left alone. Needs torch with CUDA in this interpreter; with --native, the native
model alone, without.
"""
import argparse
import datetime
import http.client
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HANDLER = '''
import os
import torch

SOURCE = r"""
extern "C" __global__ void busy(int ms)
{
    unsigned long long begin, now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(begin));
    do
        asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    while (now - begin < ms * 1000000ull);
}
extern "C" __global__ void wild(int *p) { p[1ull << 40] = 1; }
extern "C" __global__ void hang(volatile int *p) { while (*p == 0) { } }
"""
BLOCK = {"grid": (1, 1, 1), "block": (1, 1, 1)}


class Handler:
    def initialize(self, context):
        self.device = torch.device("cuda", context.system_properties["gpu_id"])
        torch.cuda.set_device(self.device)
        self.kernels = {n: torch.cuda._compile_kernel(SOURCE, n) for n in ("busy", "wild", "hang")}
        torch.manual_seed(1)
        self.net = torch.nn.Sequential(*(torch.nn.Linear(512, 512) for _ in range(4))).to(self.device).eval()
        self.ones = torch.zeros(4, dtype=torch.int32, device=self.device)
        self.compute(1)

    @torch.no_grad()
    def compute(self, n):
        self.kernels["busy"](args=(5,), **BLOCK)
        return self.net(torch.ones(n, 512, device=self.device)).sum(1).tolist()

    def handle(self, data, context):
        for row in data:
            order = row["body"] if isinstance(row["body"], str) else bytes(row["body"]).decode()
            if order in ("wild", "hang"):
                self.kernels[order](args=(self.ones,), **BLOCK)
            if order == "memory":
                torch.empty(1 << 42, dtype=torch.uint8, device=self.device)
        return ["%.3f" % v for v in self.compute(len(data))]
'''
SEEN = 3.0  # seconds of load before and after
BETWEEN = 1.0  # and between two of a row


def smi(query):
    return subprocess.run(["nvidia-smi", "-i", "0", f"--query-gpu={query}", "--format=csv,noheader,nounits"],
                          capture_output=True, text=True, check=False).stdout.strip()


def used():
    return int(smi("memory.used"))


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def named(name):
    """Processes of that program: daemons, not the short-lived ones that bring them orders."""
    out = []
    for p in Path("/proc").iterdir():
        if p.name.isdigit():
            try:
                words = (p / "cmdline").read_text().split("\0")
            except OSError:
                continue
            if words[0].rpartition("/")[2] == name and (name.endswith("server") or len(words) > 2) and alive(p.name):
                out.append(int(p.name))
    return out


def client(host, model, connections, over, results):
    """A process of the load: closed loops, what came and when. An interrupt is for the parent, which ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    came, bad = [], []

    def loop(seed):
        at, connection = seed, http.client.HTTPConnection(host, timeout=90)
        while not over.is_set():
            at += 1
            text = " ".join(word(at * k % 20000) for k in range(1, 15)) if model == "enc" else f"work {at}"
            try:
                connection.request("POST", f"/predictions/{model}", text, {"content-type": "text/plain"})
                answer = connection.getresponse()
                body = answer.read()
                if answer.status == 200:
                    came.append(time.monotonic())
                else:
                    bad.append((time.monotonic(), f"{answer.status} {body[:120]!r}"))
            except (OSError, http.client.HTTPException) as e:
                bad.append((time.monotonic(), repr(e)))
                connection.close()
                time.sleep(0.02)

    threads = [threading.Thread(target=loop, args=(i * 100003,)) for i in range(connections)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    results.put((model, came, bad))


class Load:
    def __init__(self, server, models, connections):
        self.over, self.results = multiprocessing.Event(), multiprocessing.Queue()
        host = server.inference.removeprefix("http://")
        self.parts = [multiprocessing.Process(target=client, args=(host, m, connections // 2 // len(models), self.over, self.results))
                      for m in models for _ in range(2)]
        for p in self.parts:
            p.start()

    def stop(self):
        self.over.set()
        got = [self.results.get(timeout=120) for _ in self.parts]
        for p in self.parts:
            p.join()
        came = {}
        for model, times, _ in got:
            came.setdefault(model, []).extend(times)
        return {m: sorted(t) for m, t in came.items()}, sorted(b for _, _, bad in got for b in bad)


def rate(times, begin, end):
    return sum(begin <= t < end for t in times) / (end - begin)


def recovery(came, when, end, usual):
    """The slower model's seconds to its first answer after `when` (answers on their way then come at once) and to its rate."""
    first = full = 0.0
    for model, times in came.items():
        later = [t for t in times if when + 0.05 < t < end]
        if not later:
            return 99.0, 99.0
        gap, last = 0.0, when
        for t in later:  # the longest silence is where nothing answered
            if t - last > gap:
                gap, back = t - last, t
            last = t
        first = max(first, back - when if gap > 0.1 else 0.0)
        at = max(when, back if gap > 0.1 else when)
        while at < last - 0.5 and rate(times, at, at + 0.5) < 0.8 * usual[model]:
            at += 0.05
        full = max(full, at - when)
    return first, full


class Bed:
    """A server and what is asked of it."""

    def __init__(self, temporary, settings, workers=4, native=2, models=("py", "enc")):
        self.models = models
        self.workers, self.native = workers, native
        base = {"job_queue_size": 4000, "python": sys.executable, "default_response_timeout": 60, "disable_system_metrics": "true"}
        self.server = Sconce(models={m: temporary / "store" / m for m in models}, settings={**base, **settings}, core=None,
                             wait=False)
        self.server.wait_for(self.server.inference + "/ping", 120)

    def describe(self, model):
        status, _, body = fetch(f"{self.server.management}/models/{model}")
        return json.loads(body)[0]["workers"] if status == 200 else []

    def clients(self, sharing="mps", want=None, seconds=60):
        """The workers of all models once there are as many as wanted, ready, of that way and seen as clients."""
        want = want or {"py": self.workers, "enc": self.native}
        end = time.monotonic() + seconds
        while True:
            all_ = {m: self.describe(m) for m in self.models}
            good = {m: [w for w in ws if w["status"] == "READY" and w["gpuSharing"] == sharing and w.get("mpsClient", True)]
                    for m, ws in all_.items()}
            if all(len(good[m]) == len(all_[m]) == want[m] for m in self.models):
                return good
            if time.monotonic() > end:
                raise Wrong(f"not {want} workers by {sharing}: {json.dumps(all_)[:600]}")
            time.sleep(0.05)

    def pid(self, model, i=0):
        return self.describe(model)[i]["pid"]

    def post(self, model, body):
        return fetch(f"{self.server.inference}/predictions/{model}", body.encode(), timeout=120,
                     headers={"content-type": "application/octet-stream"})

    def scale(self, model, n):
        status, _, body = fetch(f"{self.server.management}/models/{model}?min_worker={n}&max_worker={n}&synchronous=true",
                                method="PUT", timeout=180)
        if status != 200:
            raise Wrong(f"scaling to {n}: {status} {body[:200]!r}")

    def replays(self):
        _, _, body = fetch(f"{self.server.metrics}/metrics")
        return sum(float(v) for v in re.findall(r"^sconce_replays_total\{[^}]*\} (\S+)", body.decode(), re.M))

    def mps(self):
        state = json.loads(subprocess.run([str(BUILD / "sconce"), "gpu", "--json"], capture_output=True, text=True,
                                          check=False).stdout)
        return state["gpus"][0] if "gpus" in state else state

    def news(self, lines=60, since=""):
        """Lines of the logs, but for those of requests and of loading: the last ones, or the first since a time as it stands there."""
        dull = (' HTTP/1.1" ', "Backend received", "]   File ", "^^^^", "TS_METRICS", "Torch worker", "Python runtime", "[PID]")
        with open(self.server.log, errors="replace") as f:
            found = [t.rstrip() for t in f if not any(w in t for w in dull) and t[:len(since)] >= since]
        return "\n".join(found[:lines] if since else found[-lines:])


class Wrong(Exception):
    pass


def need(condition, text):
    if not condition:
        raise Wrong(text)


# ---- what breaks: each gets the bed under load, returns what it wants to say; `allowed` answers may fail ----------


def kill_python(bed):
    os.kill(bed.pid("py"), signal.SIGKILL)


def kill_native(bed):
    os.kill(bed.pid("enc"), signal.SIGKILL)


def poison(bed):
    status, _, body = bed.post("py", "wild")
    need(status in (500, 507), f"the poison itself got {status} {body[:100]!r}")
    return f"the poison {status}"


def out_of_memory(bed):
    pids = [w["pid"] for w in bed.describe("py")]
    status, _, body = bed.post("py", "memory")
    need(status == 507, f"{status} {body[:100]!r}")
    need(pids == [w["pid"] for w in bed.describe("py")], "a worker was replaced")


def kill_daemon(bed):
    os.kill(named("nvidia-cuda-mps-control")[0], signal.SIGKILL)


def kill_mps_server(bed):
    os.kill(named("nvidia-cuda-mps-server")[0], signal.SIGKILL)


def kill_keeper(bed):
    os.kill(bed.server.role("sconce: mps")[0], signal.SIGKILL)


def kill_agent(bed):
    os.kill(bed.server.role("sconce: gpu")[0], signal.SIGKILL)


def scale_in(bed):
    for n in (8, 1, bed.workers):
        bed.scale("py", n)
        bed.clients(want={"py": n, "enc": bed.native})


def scale_native(bed):
    for n in (8, 1, bed.native):
        bed.scale("enc", n)
        bed.clients(want={"py": bed.workers, "enc": n})


def kill_frontend(bed):
    daemon, pids = named("nvidia-cuda-mps-control"), [w["pid"] for m in bed.models for w in bed.describe(m)]
    os.kill(bed.server.role("sconce: frontend")[0], signal.SIGKILL)
    time.sleep(1)
    need(daemon == named("nvidia-cuda-mps-control"), "the daemon was replaced")
    need(pids == [w["pid"] for m in bed.models for w in bed.describe(m)], "workers were replaced")


def hang(bed):
    began = time.monotonic()
    status, _, body = bed.post("py", "hang")
    need(status == 500 and b"hang" not in body, f"the hanging request got {status} {body[:100]!r}")
    return f"time-out after {time.monotonic() - began:.1f} s"


# name -> (what, answers of others that may fail; None: one for each connection)
SCENARIOS = {
    "kill-python": (kill_python, 0), "kill-native": (kill_native, 0), "poison": (poison, 0), "memory": (out_of_memory, 8),
    "hang": (hang, 8), "daemon": (kill_daemon, 0), "mps-server": (kill_mps_server, 0), "keeper": (kill_keeper, 0),
    "agent": (kill_agent, 0), "scale-python": (scale_in, 0), "scale-native": (scale_native, 0), "frontend": (kill_frontend, None),
}
PYTHON = ("kill-python", "poison", "memory", "hang", "scale-python")  # need the Python model


def run(bed, name, connections, times, until):
    what, allowed = SCENARIOS[name]
    allowed = connections if allowed is None else allowed
    bed.clients()
    before, replays = used(), bed.replays()
    load = Load(bed.server, bed.models, connections)
    said, wrong, when, clock, settled = "", "", [], [], 0.0
    try:
        time.sleep(SEEN)
        try:
            while len(when) < times and (time.monotonic() < until or not when):
                when.append(time.monotonic())
                clock.append(f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%dT%H:%M:%S}")
                said = what(bed) or ""
                time.sleep(0.3)
                bed.clients()
                settled = max(settled, time.monotonic() - when[-1])
                time.sleep(BETWEEN)
        except (Wrong, IndexError, KeyError) as e:
            wrong = f"{len(when)}: {type(e).__name__} {e}"
        time.sleep(SEEN - BETWEEN)
    finally:
        came, bad = load.stop()
    usual = {m: rate(t, when[0] - 2, when[0]) for m, t in came.items()}
    recovered = [recovery(came, *span, usual) for span in zip(when, [*when[1:], float("inf")])]
    first, full = (max(column) for column in zip(*recovered))
    again = max(0, bed.replays() - replays)  # a new frontend counts anew
    at = len(when) - 1
    if len(bad) > allowed * len(when):
        at = max(0, sum(w <= bad[0][0] for w in when) - 1)
        wrong = wrong or f"failed, {at + 1}: +{bad[0][0] - when[at]:.2f} s: {bad[0][1]}"
    sent = sum(map(len, came.values())) + len(bad)
    print(f"{'FAIL' if wrong else 'ok  '} {name:13} {len(when):2} x {connections}: {sent:7} sent {len(bad):4} failed {again:5.0f} again; first answer "
          f"{first:5.2f} s, rate {full:5.2f} s, all clients {settled:5.2f} s; {before} -> {used()} MiB {said} {wrong}", flush=True)
    if times > 1:
        print("     first answers, s: " + " ".join(f"{f:.2f}" for f, _ in recovered), flush=True)
    if wrong:
        print(bed.news(since=clock[at]), flush=True)
    return not wrong


def gone(seconds, *pids):
    """Nothing of MPS and of these is left."""
    end = time.monotonic() + seconds
    while left := [*named("nvidia-cuda-mps-control"), *named("nvidia-cuda-mps-server"), *filter(alive, pids)]:
        if time.monotonic() > end:
            return [f"{p} {Path(f'/proc/{p}/comm').read_text().strip()}" for p in left if alive(p)]
        time.sleep(0.02)
    return []


def memory_back(start, seconds):
    end = time.monotonic() + seconds
    while used() > start + 20:
        if time.monotonic() > end:
            return f"{used()} MiB, {start} at the start"
        time.sleep(0.05)
    return ""


def ending(temporary, start, how):
    """The whole server ends, in order or not, in mid-load."""
    bed = Bed(temporary, {"mps": "managed"})
    wrong = ""
    try:
        bed.clients()
        pids = bed.server.pids()
        load = Load(bed.server, bed.models, 64)
        time.sleep(2)
        began = time.monotonic()
        bed.server.process.send_signal(how)
        left = gone(2 if how == signal.SIGKILL else 20, *pids[1:])
        took = time.monotonic() - began
        back = memory_back(start, 2)
        wrong = (f"left: {left[:5]} " if left else "") + back
        load.over.set()
        came, bad = load.stop()
    finally:
        bed.server.stop()
    lost = [b for b in bad if not any(w in b[1] for w in ("Connection", "Remote", "BadStatus", "Incomplete", "503"))]
    print(f"{'FAIL' if wrong else 'ok  '} {'stop' if how == signal.SIGTERM else 'supervisor':13} {sum(map(len, came.values()))} answered; "
          f"nothing left after {took:.2f} s; {used()} MiB {wrong} {lost[:1]}", flush=True)
    return not wrong


def external(temporary):
    """The commands of TorchServe's page, but for the compute mode, then the server."""
    pipe = Path(tempfile.mkdtemp(prefix="mps"))
    os.environ["CUDA_MPS_PIPE_DIRECTORY"], os.environ["CUDA_MPS_LOG_DIRECTORY"] = str(pipe), str(pipe / "log")
    wrong = said = ""
    bed = None
    try:
        subprocess.run(["nvidia-cuda-mps-control", "-d"], check=True, timeout=30)
        daemon = named("nvidia-cuda-mps-control")
        bed = Bed(temporary, {})
        bed.clients()
        need(named("nvidia-cuda-mps-control") == daemon, "another daemon was started")
        bed.scale("py", 1)
        bed.clients(want={"py": 1, "enc": 2})
        bed.server.stop()
        need(named("nvidia-cuda-mps-control") == daemon, "the daemon was stopped")
        bed = Bed(temporary, {})
        bed.clients()
        load = Load(bed.server, bed.models, 64)
        time.sleep(2)
        os.kill(daemon[0], signal.SIGKILL)
        time.sleep(1)
        bed.clients(sharing="timeslice", seconds=60)
        time.sleep(2)
        came, bad = load.stop()
        need(not bad, f"{len(bad)} failed when the daemon disappeared: {bad[:1]}")
        said = f"{sum(map(len, came.values()))} answered while the daemon disappeared"
    except (Wrong, subprocess.SubprocessError, OSError) as e:
        wrong = f"{type(e).__name__} {e}"
    finally:
        if bed:
            bed.server.stop()
        subprocess.run(["nvidia-cuda-mps-control"], input="quit -t 1\n", text=True, timeout=30, check=False)
        for pid in named("nvidia-cuda-mps-control"):
            os.kill(pid, signal.SIGKILL)
        del os.environ["CUDA_MPS_PIPE_DIRECTORY"], os.environ["CUDA_MPS_LOG_DIRECTORY"]
    print(f"{'FAIL' if wrong else 'ok  '} external      {said} {wrong}", flush=True)
    return not wrong


def make_models(store):
    for name in ("py", "enc"):
        (store / name).mkdir(parents=True)
    (store / "py" / "MAR-INF").mkdir()
    (store / "py" / "handler.py").write_text(HANDLER)
    (store / "py" / "model-config.yaml").write_text("minWorkers: 4\nmaxWorkers: 8\nbatchSize: 8\nmaxBatchDelay: 2\nresponseTimeout: 8\n"
                                                    "startupTimeout: 60\n")
    (store / "py" / "MAR-INF" / "MANIFEST.json").write_text(json.dumps({"runtime": "python", "model": {
        "modelName": "py", "handler": "handler.py", "modelVersion": "1.0", "configFile": "model-config.yaml"}}))
    make_model(store / "enc")
    (store / "enc" / "model-config.yaml").write_text("device: gpu\ndtype: fp16\nminWorkers: 2\nmaxWorkers: 8\nworkerKind: process\n"
                                                     "maxBatchTokens: 4096\n")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("build")
    p.add_argument("--times", type=int, default=1)
    p.add_argument("--limit", type=float, default=float("inf"), metavar="SECONDS", help="nothing is repeated after so long")
    p.add_argument("--connections", type=int, default=64)
    p.add_argument("--log", metavar="FILE", help="keeps the server's log there")
    p.add_argument("--native", action="store_true", help="without the Python model")
    p.add_argument("scenario", nargs="*", help=f"of {' '.join(SCENARIOS)} external stop supervisor")
    a = p.parse_intermixed_args()
    chosen = a.scenario or ([n for n in SCENARIOS if n not in PYTHON] if a.native else [*SCENARIOS, "external", "stop", "supervisor"])
    models = ("enc",) if a.native else ("py", "enc")
    good = True
    start, until = used(), time.monotonic() + a.limit
    print(f"{smi('name,driver_version,compute_mode')}; {start} MiB in use", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        temporary = Path(temporary)
        make_models(temporary / "store")
        mine = [n for n in chosen if n in SCENARIOS]
        if mine:
            began = time.monotonic()
            bed = Bed(temporary, {"mps": "managed"}, models=models)
            try:
                bed.clients(seconds=90)
                print(f"ok   start         all clients after {time.monotonic() - began:.1f} s; {start} -> {used()} MiB", flush=True)
                for name in mine:
                    good &= run(bed, name, a.connections, a.times, until)
            except Wrong as e:
                good = False
                print(f"FAIL {e}\n{bed.news(60)}", flush=True)
            finally:
                if a.log:
                    shutil.copyfile(bed.server.log, a.log)
                bed.server.stop()
        if "external" in chosen:
            good &= external(temporary)
        if "stop" in chosen:
            good &= ending(temporary, start, signal.SIGTERM)
        if "supervisor" in chosen:
            good &= ending(temporary, start, signal.SIGKILL)
    return 0 if good else 1


if __name__ == "__main__":
    BUILD = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else Path("build/portable").resolve()
    os.environ["SCONCE_BUILD"] = str(BUILD)
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
    from common import Sconce, fetch  # noqa: E402
    from encoder_http import make_model, word  # noqa: E402
    sys.exit(main())
