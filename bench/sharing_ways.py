#!/usr/bin/env python3
"""Ways to share one GPU beside each other, over HTTP: MPS that the server runs and a hand-made one, lanes and processes under MPS

The page's Python handler, four workers, batch 8: under mps=managed, and under a daemon started by hand. The encoder from the same
archive: four lanes and four processes under MPS with batches of 8, and two of each with the batches that it chooses. 600
connections, in turns; ROUNDS (4), SECONDS (4) of each. Ends with 1 below managed 0.98 of hand-made, or lanes 1.05 (batches of 8)
and 0.98 of MPS. `sharing_ways.py page`, `small` or `best` compares only those, and prints what the document would get.
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

ROUNDS, SECONDS = int(os.environ.get("ROUNDS", 4)), float(os.environ.get("SECONDS", 4))
STORE = Path(os.environ.get("STORE", "/tmp/mps-benchmark-store"))
MPS, LANES = ("processes under MPS", "processes", "encoder_process", "mps"), ("lanes", "lanes", "encoder", "lanes")
# Model -> (what is compared, workers, batch or 0, two of (name, server, archive, the `gpuSharing` that its workers must show), what
# the second must be of the first).
PAIRS = {"page": ("the page's handler", 4, 8, (("hand-made MPS", "external", "page", "mps"), ("managed MPS", "managed", "page", "mps")), 0.98),
         "small": ("the encoder", 4, 8, (MPS, LANES), 1.05),
         "best": ("the encoder", 2, 0, (MPS, LANES), 0.98)}
HEAD = ["", "way", "requests/s", "p99, ms", "ratio"]


def measure(where):
    return servers.measure(*where, STORE, SECONDS)


def start(models, up, daemon):
    """A server for each, so that none has idle workers of another beside it; `up` is for the caller to stop."""
    python = shutil.which("python3")
    how = {"managed": ({"mps": "managed"}, {}), "external": ({}, daemon.env), "processes": ({"mps": "managed"}, {}),
           "lanes": ({"mps": "off"}, {})}
    asked = {}
    for model in models:
        _, workers, batch, entries, _ = PAIRS[model]
        for _, server, archive, _ in entries:
            asked.setdefault(server, []).append((model, archive, workers, batch))
    ports = free_ports(len(asked) * servers.Server.PORTS)
    for i, (name, wanted) in enumerate(asked.items()):
        settings, env = how[name]
        at = ports[i * servers.Server.PORTS:(i + 1) * servers.Server.PORTS]
        up[name] = servers.Server(name, STORE, python, at, settings=settings, env=env)
        for model, wrong in up[name].register_all(wanted).items():
            if wrong:
                die(f"{name}, {model}: {wrong}\n{up[name].tail()}")


def compare(model, up):
    """Rows of the table, and whether the second way reaches its share of the first."""
    what, workers, batch, entries, least = PAIRS[model]
    for name, server, _, way in entries:
        ways = {w.get("gpuSharing") for w in up[server].workers(model)}
        if ways != {way}:
            die(f"{name}: the workers go by {ways}, not {way}\n{up[server].tail()}")
    what = f"{what}, {workers} workers, batch {batch or 'its own'}"
    say(what)
    contestants = [(name, (up[server], model)) for name, server, _, _ in entries]
    for _, where in contestants:
        measure(where)  # warm
    got = rounds(ROUNDS, contestants, measure)
    one, two = ([r["rate"] for r in got[name]] for name, _ in contestants)
    ratio, factor = interval([b / a for a, b in zip(one, two)])
    rows = []
    for name, rates in zip(got, (one, two)):
        p99 = statistics.median(r["latency_us"]["p99"] for r in got[name]) / 1e3
        rows.append([what, name, f"{statistics.median(rates):,.0f} ({min(rates):,.0f}–{max(rates):,.0f})", f"{p99:,.0f}", ""])
    if math.isfinite(factor):
        rows[-1][-1] = f"**{ratio:.3f}** ({ratio / factor:.3f}–{ratio * factor:.3f}), {floor(ratio, least)}"
    return rows, ratio >= least


def main():
    models = sys.argv[1:] or list(PAIRS)
    if unknown := set(models) - set(PAIRS):
        die(f"there is nothing to compare for {' '.join(sorted(unknown))}: {', '.join(PAIRS)}")
    servers.make_store(STORE, sys.executable)
    up, rows, good = {}, [], True
    daemon = servers.Mps()
    try:
        start(models, up, daemon)
        for model in models:
            more, enough = compare(model, up)
            say(table(HEAD, more))
            rows += more
            good &= enough
    finally:
        for server in up.values():
            server.stop()
        daemon.stop()
    write_section("sharing_ways", "Ways to share a GPU, beside each other",
                  f"One text of 15 tokens, 600 connections; requests a second, median and range of {ROUNDS} rounds of {SECONDS:g} s in turns; "
                  "the ratio is the geometric mean of the rounds', with its 95 % interval.\n\n"
                  + table(HEAD, rows), keep=not sys.argv[1:])
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
