#!/usr/bin/env python3
"""A Python worker that does nothing: resident memory beyond the bare interpreter's, and time from spawn to ready."""
import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path

from common import TICKS, die, fetch, median, read_proc, table, write_section
from peers import Served, noop, sconce_command, torchserve_command

MIB = 1 << 20


def resident(pid):
    """Resident bytes of a process."""
    found = re.search(r"VmRSS:\s+(\d+) kB", read_proc(pid, "status"))
    return int(found[1]) << 10 if found else 0


def cpu_ms(pid):
    """Milliseconds of processor time that a process has used."""
    fields = read_proc(pid, "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / TICKS


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


def scale_up(server, model, rounds):
    """Milliseconds that it takes to add a worker (the call waits for it), and those of processor time it has used then."""
    took, used = [], []
    for _ in range(rounds):
        for n in (0, 1):
            began = time.monotonic()
            status, _, body = fetch(f"{server.management}/models/{model}?min_worker={n}&max_worker={n}&synchronous=true",
                                    method="PUT", timeout=60)
            if status != 200:
                die(f"scaling to {n} was answered with {status}: {body[:300]}")
        took.append((time.monotonic() - began) * 1e3)
        used.append(cpu_ms(workers(server, model)[0]["pid"]))
    return took, used


def measured(command, name, rounds, interpreter):
    with Served(command, name, {"noop": noop(1, 1)}, core=None) as server:
        took, used = scale_up(server, "noop", rounds)
        for _ in range(200):
            fetch(server.url("noop"), b"x")
        worker = workers(server, "noop")[0]
        time.sleep(0.5)
        rss = resident(worker["pid"])
    return {"rss": rss, "beyond": rss - interpreter, "ready": took, "used": used}


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
    rows = [[name, f"{s['rss'] / MIB:.1f}", f"**{s['beyond'] / MIB:.1f}**", f"**{median(s['ready']):.0f}** ({min(s['ready']):.0f}–{max(s['ready']):.0f})", f"{median(s['used']):.0f}"] for name, s in sides.items()]
    text = (f"One worker, a handler without torch, after 200 requests; {Path(sys.executable).name} "
            f"{sys.version.split()[0]} alone has {interpreter / MIB:.1f} MiB. Ready: a synchronous call that scales "
            f"from 0 to 1, median of {a.rounds}.\n\n"
            + table(["", "RSS, MiB", "beyond the interpreter", "ready, ms", "of them processor time of the worker"], rows))
    if "Sconce" in sides:
        s = sides["Sconce"]
        text += (f"\n\nFloors: 25 MiB {'reached' if s['beyond'] < 25 * MIB else 'NOT reached'}, 300 ms "
                 f"{'reached' if median(s['ready']) < 300 else 'NOT reached'}.")
    write_section("worker_footprint", "A Python worker's footprint", text)


if __name__ == "__main__":
    main()
