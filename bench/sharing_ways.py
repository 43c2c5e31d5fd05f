#!/usr/bin/env python3
"""Ways to share one GPU beside each other, over HTTP: MPS that the server runs and a hand-made one, lanes and processes under MPS

The page's Python handler, four workers, batch 8: under mps=managed, and under a daemon started by hand. The encoder from the same
archive, small batches: four lanes, and four processes under MPS. 600 connections, in turns; ROUNDS (4), SECONDS (4) of each.
Ends with 1 below managed 0.98 of hand-made, or lanes 1.05 of MPS.
"""
# needs: nvidia-cuda-mps-control nvidia-smi
import math
import os
import shutil
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples" / "mps-benchmark"))
import servers  # noqa: E402
from common import die, floor, free_ports, rounds, say, table, write_section  # noqa: E402
from document import interval  # noqa: E402

WORKERS, BATCH = 4, 8
ROUNDS, SECONDS = int(os.environ.get("ROUNDS", 4)), float(os.environ.get("SECONDS", 4))
STORE = Path(os.environ.get("STORE", "/tmp/mps-benchmark-store"))
# What is compared -> (name, server, archive, the `gpuSharing` that its workers must show), the better one last.
PAIRS = {"the page's handler": ((("hand-made MPS", "external", "page", "mps"), ("managed MPS", "managed", "page", "mps")), 0.98),
         "the encoder": ((("processes under MPS", "processes", "encoder_process", "mps"), ("lanes", "lanes", "encoder", "lanes")), 1.05)}


def measure(where):
    return servers.measure(*where, STORE, SECONDS)


def start(up, daemon):
    """A server for each, so that none has idle workers of another beside it; `up` is for the caller to stop."""
    python = shutil.which("python3")
    how = {"managed": ({"mps": "managed"}, {}), "external": ({}, daemon.env), "processes": ({"mps": "managed"}, {}),
           "lanes": ({"mps": "off"}, {})}
    ports = free_ports(len(how) * servers.Server.PORTS)
    for i, (name, (settings, env)) in enumerate(how.items()):
        at = ports[i * servers.Server.PORTS:(i + 1) * servers.Server.PORTS]
        up[name] = servers.Server(name, STORE, python, at, settings=settings, env=env)
    asked = {}
    for entries, _ in PAIRS.values():
        for _, server, archive, _ in entries:
            asked.setdefault(server, []).append((archive, archive, WORKERS, BATCH))
    for server, models in asked.items():
        for name, wrong in up[server].register_all(models).items():
            if wrong:
                die(f"{server}, {name}: {wrong}\n{up[server].tail()}")


def main():
    servers.make_store(STORE, sys.executable)
    up, rows, good = {}, [], True
    daemon = servers.Mps()
    try:
        start(up, daemon)
        for what, (entries, least) in PAIRS.items():
            for name, server, archive, way in entries:
                ways = {w.get("gpuSharing") for w in up[server].workers(archive)}
                if ways != {way}:
                    die(f"{name}: the workers go by {ways}, not {way}\n{up[server].tail()}")
            say(what)
            contestants = [(name, (up[server], archive)) for name, server, archive, _ in entries]
            for _, where in contestants:
                measure(where)  # warm
            got = rounds(ROUNDS, contestants, measure)
            one, two = ([r["rate"] for r in got[name]] for name, _ in contestants)
            ratio, factor = interval([b / a for a, b in zip(one, two)])
            good &= ratio >= least
            for name, rates in zip(got, (one, two)):
                p99 = statistics.median(r["latency_us"]["p99"] for r in got[name]) / 1e3
                last = name == contestants[-1][0]
                rows.append([what, name, f"{statistics.median(rates):,.0f} ({min(rates):,.0f}–{max(rates):,.0f})", f"{p99:,.0f}",
                             f"**{ratio:.3f}** ({ratio / factor:.3f}–{ratio * factor:.3f}), {floor(ratio, least)}"
                             if last and math.isfinite(factor) else ""])
    finally:
        for server in up.values():
            server.stop()
        daemon.stop()
    write_section("sharing_ways", "Ways to share a GPU, beside each other",
                  f"{WORKERS} workers, batch {BATCH}, one text of 15 tokens, 600 connections; requests a second, median and range of {ROUNDS} rounds of "
                  f"{SECONDS:g} s in turns; the ratio is the geometric mean of the rounds', with its 95 % interval.\n\n"
                  + table(["", "way", "requests/s", "p99, ms", "ratio"], rows))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
