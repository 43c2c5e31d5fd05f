#!/usr/bin/env python3
"""A Python worker that does nothing: resident memory beyond the bare interpreter's, and time from spawn to ready."""
import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path

from common import die, fetch, median, read_proc, table, write_section
from peers import Served, noop, sconce_command, torchserve_command

MIB = 1 << 20


def resident(pid):
    """Resident and proportional bytes of a process."""
    text = read_proc(pid, "smaps_rollup")
    found = dict(re.findall(r"(Rss|Pss):\s+(\d+) kB", text))
    return int(found.get("Rss", 0)) << 10, int(found.get("Pss", 0)) << 10


def bare(python):
    """The same of an interpreter that has nothing to do."""
    with subprocess.Popen([python, "-c", "import sys; print(1, flush=True); sys.stdin.read()"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as p:
        p.stdout.readline()
        found = resident(p.pid)
        p.stdin.close()
    return found


def workers(server, model):
    return json.loads(fetch(f"{server.management}/models/{model}")[2])[0]["workers"]


def ready_after(server, model, began):
    """Milliseconds until a model has a worker that is ready."""
    while time.monotonic() - began < 60:
        status, _, body = fetch(f"{server.management}/models/{model}")
        if status == 200 and any(w["status"] == "READY" for w in json.loads(body)[0]["workers"]):
            return (time.monotonic() - began) * 1e3
        time.sleep(0.002)
    die(f"{model} was not ready in a minute\n{server.log.read_text(errors='replace')[-2000:]}")


def scale_up(server, model, rounds):
    """Milliseconds that it takes to add a worker: the call waits for it."""
    took = []
    for i in range(rounds):
        for n in (0, 1):
            began = time.monotonic()
            status, _, body = fetch(f"{server.management}/models/{model}?min_worker={n}&max_worker={n}&synchronous=true",
                                    method="PUT", timeout=60)
            if status != 200:
                die(f"scaling to {n} was answered with {status}: {body[:300]}")
        took.append((time.monotonic() - began) * 1e3)
    return took


def measured(command, name, rounds, interpreter):
    with Served(command, name, {"noop": noop(1, 1)}, core=None) as server:
        took = scale_up(server, "noop", rounds)
        for _ in range(200):
            fetch(server.url("noop"), b"x")
        worker = workers(server, "noop")[0]
        time.sleep(0.5)
        rss, pss = resident(worker["pid"])
    return {"rss": rss, "beyond": rss - interpreter[0], "pss": pss, "ready": took}


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--only", choices=["torchserve", "sconce"])
    a = p.parse_args()
    interpreter = bare(sys.executable)
    sides = {}
    if a.only != "torchserve":
        sides["Sconce"] = measured(sconce_command(), "sconce", a.rounds, interpreter)
    if a.only != "sconce" and torchserve_command():
        sides["TorchServe"] = measured(torchserve_command(), "torchserve", a.rounds, interpreter)
    rows = [[name, f"{s['rss'] / MIB:.1f}", f"**{s['beyond'] / MIB:.1f}**", f"{s['pss'] / MIB:.1f}",
             f"**{median(s['ready']):.0f}** ({min(s['ready']):.0f}–{max(s['ready']):.0f})"] for name, s in sides.items()]
    text = (f"One worker, a handler without torch, after 200 requests; {Path(sys.executable).name} "
            f"{sys.version.split()[0]} alone has {interpreter[0] / MIB:.1f} MiB. Ready: a synchronous call that scales "
            f"from 0 to 1, median of {a.rounds}.\n\n"
            + table(["", "RSS, MiB", "beyond the interpreter", "PSS", "ready, ms"], rows))
    if "Sconce" in sides:
        s = sides["Sconce"]
        text += (f"\n\nFloors: 25 MiB {'reached' if s['beyond'] < 25 * MIB else 'NOT reached'}, 300 ms "
                 f"{'reached' if median(s['ready']) < 300 else 'NOT reached'}.")
    write_section("worker_footprint", "A Python worker's footprint", text)


if __name__ == "__main__":
    main()
