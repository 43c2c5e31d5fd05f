#!/usr/bin/env python3
"""The experiment of TorchServe's page on MPS, by one command: BERT-base, one text, 600 requests at once, over batch, workers
and ways to share the GPU, for TorchServe and Sconce in turn. Ends with 3 when there is more to do: call it again."""
import argparse
import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import document
import plan
import servers
from common import die, fetch, free_ports, program, say

MORE = 3


class OutOfTime(Exception):
    pass


class State:
    """The file that one call leaves for the next: settings, machines, runs of each point."""

    def __init__(self, path):
        self.path = Path(path)
        self.all = json.loads(self.path.read_text()) if self.path.exists() else {"version": 1, "calls": [], "points": {}}
        if self.all.get("version") != 1:
            die(f"{path} is no state file of this program")

    def runs(self, point):
        return self.point(point)["runs"]

    def point(self, point):
        return self.all["points"].setdefault(point.name, {"runs": [], "error": "", **point._asdict()})

    def save(self):
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(self.all, indent=1))
        new.replace(self.path)


class Experiment:
    def __init__(self, a, points, state):
        self.a, self.points, self.state = a, points, state
        self.end = time.monotonic() + a.limit if a.limit else float("inf")
        self.expected = (a.store / "expected.txt").read_text()
        self.clock = f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%dT%H:%M:%SZ}"

    def left(self):
        return self.end - time.monotonic()

    # ---- what is still to do ----

    def working(self, pair):
        return [p for p in pair if not self.state.point(p)["error"]]

    def wanted(self, pair):
        """How many more rounds a pair needs: those asked for, then until the ratio is known closely enough."""
        records = [self.state.point(p) for p in self.working(pair)]
        if not records:
            return 0
        n = min(len(r["runs"]) for r in records)
        if n < self.a.runs:
            return self.a.runs - n
        half = document.uncertainty(records)
        return 1 if n < self.a.most and half > self.a.until else 0

    def todo(self):
        found = []
        for mps, pairs in plan.stages(self.points, self.a.at_once):
            if pairs := [self.working(pair) for pair in pairs if self.wanted(pair)]:
                found.append((mps, pairs))
        return found

    # ---- one stage ----

    def start(self, mps, pairs):
        """Servers with all models of the stage: name -> Server."""
        asked = {name: [p for pair in pairs for p in pair if p.server == name] for name in ("torchserve", "sconce")}
        up, self.mps, self.ports = {}, None, free_ports(2 * servers.Server.PORTS)
        try:
            if asked["torchserve"]:
                command, env = servers.torchserve(self.a.torchserve, self.a.python)
                if mps:
                    self.mps = servers.Mps()
                    env = {**env, **self.mps.env}
                self.up(up, "torchserve", asked, command=command, env=env)
            if asked["sconce"]:
                self.up(up, "sconce", asked, settings={"mps": "managed" if mps else "off"})
            for name, server in up.items():
                began = time.monotonic()
                bad = server.register_all([(p.model, p.archive, p.workers, p.batch) for p in asked[name]], self.left() - 30)
                if self.left() < 30:  # late, which is no failure
                    raise OutOfTime
                say(f"  {name}: ready after {time.monotonic() - began:.0f} s")
                for p in asked[name]:
                    if not bad[p.model]:
                        bad[p.model] = self.check(server, p)
                    if bad[p.model]:
                        self.fail(p, bad[p.model] + "\n" + server.tail())
        except BaseException:
            self.stop(up)
            raise
        return up

    def up(self, up, name, asked, **how):
        ports = [self.ports.pop() for _ in range(servers.Server.PORTS)]
        try:
            up[name] = servers.Server(name, self.a.store, self.a.python, ports, **how)
        except RuntimeError as e:  # the other one is measured all the same
            for p in asked[name]:
                self.fail(p, str(e))

    def stop(self, up):
        for server in up.values():
            server.stop()
        if self.mps:
            self.mps.stop()
        servers.wait_gpu_empty()

    def fail(self, point, why):
        self.state.point(point)["error"] = f"{self.clock}: {why[:4000]}"
        say(f"{point.name}: {why[:300]}")

    def check(self, server, point):
        status, _, body = fetch(f"{server.inference}/predictions/{point.model}", servers.TEXT.read_bytes(), timeout=300,
                                headers={"Content-Type": "text/plain"})
        return "" if (status, body.decode(errors="replace")) == (200, self.expected) else f"answer: {status} {body[:300]}"

    # ---- one run ----

    def load(self, server, point, *more):
        command = [program("sconce"), "bench", "--json", "--quiet", "-c", self.a.concurrency, "-t", self.a.load_threads,
                   "-i", servers.TEXT, "-H", "content-type: text/plain", "--expect", self.expected, "--timeout", 300, *more,
                   f"{server.inference}/predictions/{point.model}"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if done.returncode not in (0, 1) or not done.stdout:
            raise RuntimeError(f"sconce bench: {done.returncode} {done.stderr[-500:]}")
        return json.loads(done.stdout)

    def warm(self, server, point):
        """Requests a second, roughly."""
        a = self.a
        how = ("-d", min(a.seconds or 3, 3)) if a.quick or a.seconds else ("-r", a.requests // 10)
        if self.left() < 30:
            raise OutOfTime
        return max(self.load(server, point, "--warmup", 0, *how)["rate"], 0.1)

    def length(self, rate):
        """Seconds of a run: the page's 10,000 requests, but at least ten seconds, and no more than were allowed."""
        a = self.a
        return a.seconds or max(10, min(a.requests / rate, a.bound))

    def measure(self, server, point, rate):
        seconds = self.length(rate)
        if self.left() < seconds + self.a.concurrency / rate + 10:
            raise OutOfTime
        own = server.worker_pids(point.model)
        rest = set(server.pids()) - own
        before = [servers.cpu_seconds(p) for p in (own, rest)]
        began = time.monotonic()
        report = self.load(server, point, "--warmup", 0.5, "-d", seconds)
        wall = time.monotonic() - began
        cores = [(servers.cpu_seconds(p) - b) / wall for p, b in zip((own, rest), before)]
        gpus = report["samples"]["gpus"]
        run = {"call": len(self.state.all["calls"]), "rate": report["rate"], "seconds": report["seconds"],
               "good": report["good"], "failed": report["failed"], "first_wrong": report["first_wrong"],
               "latency_us": report["latency_us"], "histogram": report["runs"][0]["latency_histogram"],
               "saturated": report["saturation"], "generator_busiest": report["runs"][0]["generator_busiest"],
               "worker_cores": cores[0], "server_cores": cores[1], "worker_gpu_mib": servers.gpu_memory(own),
               "gpu": {k: gpus[0][k] for k in ("busy_mean", "watts_mean")} if gpus else {}}
        self.state.runs(point).append(run)
        self.state.save()
        say(f"{point.name:36} {run['rate']:10,.1f}/s  p50 {run['latency_us']['p50'] / 1e3:9.1f} ms  p99 "
            f"{run['latency_us']['p99'] / 1e3:9.1f} ms  workers {cores[0]:5.2f}, server {cores[1]:5.2f} cores, "
            f"{run['gpu'].get('busy_mean', 0):3.0f} % {run['gpu'].get('watts_mean', 0):4.0f} W {run['worker_gpu_mib']:6} MiB"
            + (f"  {run['failed']} FAILED: {run['first_wrong']}" if run["failed"] else "")
            + (f"  {run['saturated']}" if run["saturated"] else ""))

    def stage(self, mps, pairs):
        say(f"\n{'with' if mps else 'without'} MPS: {sum(p.processes for pair in pairs for p in pair)} workers start for "
            f"{sum(map(len, pairs))} points, {self.left():.0f} s left")
        up = self.start(mps, pairs)
        try:
            rates, turn = {}, 0
            while rest := [pair for pair in pairs if self.wanted(pair)]:
                for pair in rest:
                    turn += 1
                    pair = self.working(pair)
                    for p in pair:
                        if p not in rates:
                            rates[p] = self.warm(up[p.server], p)
                    for p in pair if turn % 2 else pair[::-1]:
                        try:
                            self.measure(up[p.server], p, rates[p])
                        except RuntimeError as e:
                            self.fail(p, f"{e}\n{up[p.server].tail()}")
                            break
        finally:
            self.state.save()
            self.stop(up)

    def run(self):
        """True when all is done."""
        while stages := self.todo():
            # The start of Python workers takes its time; a stage that measures nothing would be lost.
            if self.left() < self.a.start_seconds + 30:
                return False
            try:
                self.stage(*stages[0])
            except OutOfTime:
                return False
        return True


def facts(a):
    """What one call ran on; the command without this machine's paths."""
    paths = ("--torchserve", "--python", "--state", "--store")
    command = [w for before, w in zip(["", *sys.argv[1:]], sys.argv[1:]) if w not in paths and before not in paths]
    versions = subprocess.run([a.python, "-c", "import sys, torch, transformers; print(sys.version.split()[0], torch.__version__, "
                               "transformers.__version__)"], capture_output=True, text=True).stdout.split()
    gpu = servers.gpu_query("name,driver_version,power.limit,clocks.max.sm,compute_mode")
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), os.uname().machine)
    sconce = subprocess.run([program("sconce"), "--version"], capture_output=True, text=True).stdout.strip()
    return {"at": f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC", "command": " ".join(command),
            "gpu": ", ".join(gpu[0]) if gpu else "none", "gpus": len(gpu), "cpu": cpu, "cores": os.cpu_count(),
            "python": versions[0] if versions else "?", "torch": versions[1] if len(versions) > 1 else "?",
            "transformers": versions[2] if len(versions) > 2 else "?", "sconce": sconce, "model": "tiny" if a.tiny else "BERT-base",
            "torchserve": "0.12.0" if a.torchserve else "", "concurrency": a.concurrency, "seconds": a.seconds,
            "requests": a.requests, "bound": a.bound if a.bound != float("inf") else 0}


def arguments():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--torchserve", default=os.environ.get("TORCHSERVE") or shutil.which("torchserve"), help="TorchServe's program, or a "
                   "folder with site/ (its packages), jre/ and maybe shim/; else $TORCHSERVE, else PATH. Without it the rest is measured")
    p.add_argument("--python", default=shutil.which("python3"), help="interpreter with torch and transformers (python3)")
    p.add_argument("--state", type=Path, default=Path("mps-benchmark.json"), help="results; a call goes on where the last one ended")
    p.add_argument("--store", type=Path, help="model store; made if it is not there (one in the temporary folder)")
    p.add_argument("--limit", type=float, help="seconds after which this call ends by itself")
    p.add_argument("--points", nargs="+", default=["page1", "page2", "pageN", "tuned", "encoder"],
                   help="sets (page1 page2 pageN tuned encoder headline all), or patterns of names such as '*-page-w8-b32-*'")
    p.add_argument("--quick", action="store_true", help="no run above 15 s, batch 1, 8, 32, 128, two runs")
    p.add_argument("--seconds", type=float, default=0, help="of every run, in place of 10,000 requests; two runs")
    p.add_argument("--requests", type=int, default=10000)
    p.add_argument("--runs", type=int, help="at least, of each point (5)")
    p.add_argument("--most", type=int, help="at most, where the ratio is less certain than --until (twice --runs)")
    p.add_argument("--until", type=float, default=0.05, help="width of the confidence interval of a ratio (0.05)")
    p.add_argument("--concurrency", type=int, default=600)
    p.add_argument("--load-threads", type=int, default=max(1, min(4, (os.cpu_count() or 1) // 4)))
    p.add_argument("--at-once", type=int, help="workers loaded at the same time, of both servers (48; --tiny: 8)")
    p.add_argument("--start-seconds", type=float, default=90, help="what the start of a stage may take, for --limit")
    p.add_argument("--tiny", action="store_true", help="a tiny model, to try this without a GPU")
    p.add_argument("--again", action="store_true", help="points that failed are tried again")
    p.add_argument("--list", action="store_true", help="print the points and what there is of them")
    p.add_argument("--document", type=Path, nargs="?", const=document.DEFAULT, help="measure nothing, write the document from --state")
    a = p.parse_args()
    short = a.quick or a.seconds
    a.runs = a.runs or (2 if short else 5)
    a.most = max(a.runs, a.most or a.runs + (1 if short else a.runs))
    a.at_once = a.at_once or (8 if a.tiny else 48)
    a.bound = 15 if a.quick else float("inf")
    a.store = (a.store or Path("/tmp") / f"mps-benchmark-store{'-tiny' if a.tiny else ''}").resolve()
    return a


def main():
    a = arguments()
    state = State(a.state)
    if a.document:
        return document.write(state.all, a.document)
    try:
        points = plan.choose(a.points, plan.QUICK if a.quick or a.seconds else plan.BATCHES)
    except KeyError as e:
        die(f"{e} is no set and fits no point; --list shows them")
    if a.again:
        for record in state.all["points"].values():
            record["error"] = ""
    if not a.torchserve:
        say("TorchServe is not here: it is left out")
        points = [p for p in points if p.server != "torchserve"]
    if not servers.gpu_query("name"):
        points = [p for p in points if p.sharing in ("none", "lanes")]
    elif not shutil.which("nvidia-cuda-mps-control"):
        say("there is no nvidia-cuda-mps-control: no point with MPS")
        points = [p for p in points if p.sharing != "mps"]
    if a.list:
        for p in points:
            record = state.point(p)
            say(f"{p.name:36} {len(record['runs'])} runs {record['error'][:100]}")
        return 0
    servers.make_store(a.store, a.python, *(["tiny"] if a.tiny else []))
    state.all["calls"].append(facts(a))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    experiment = Experiment(a, points, state)
    done = experiment.run()
    state.save()
    left = sum(experiment.wanted(pair) for _, pairs in experiment.todo() for pair in pairs)
    failed = [p.name for p in points if state.point(p)["error"]]
    say(f"\n{len(points)} points, {left} rounds to go" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 0 if done else MORE


if __name__ == "__main__":
    sys.exit(main())
