#!/usr/bin/env python3
"""How many event loops the encoder on a GPU wants: two lanes and two processes under MPS, with 2, 4, 8 and 16 of them

BERT-base of examples/mps-benchmark, its one text, 600 connections, batches as the backend chooses them. All servers are up; one is
measured at a time, in turns. ROUNDS (3), SECONDS (3) of each.
"""
# needs: nvidia-cuda-mps-control nvidia-smi
import os
import shutil
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples" / "mps-benchmark"))
import servers  # noqa: E402
from common import die, free_ports, rounds, say, table, write_section  # noqa: E402

ROUNDS, SECONDS = int(os.environ.get("ROUNDS", 3)), float(os.environ.get("SECONDS", 3))
STORE = Path(os.environ.get("STORE", "/tmp/mps-benchmark-store"))
LOOPS = (2, 4, 8, 16)
WAYS = {"two lanes": ("encoder", "off"), "two processes under MPS": ("encoder_process", "managed")}


def measure(server):
    pids = list(server.pids())
    before, began = servers.cpu_seconds(pids), time.monotonic()
    report = servers.measure(server, "m", STORE, SECONDS, threads=6)
    return {**report, "cores": (servers.cpu_seconds(pids) - before) / (time.monotonic() - began)}


def cells(reports):
    rates = [r["rate"] for r in reports]
    return [f"{statistics.median(rates):,.0f} ({min(rates):,.0f}–{max(rates):,.0f})",
            f"{statistics.median(r['latency_us']['p99'] for r in reports) / 1e3:.1f}",
            f"{statistics.median(r['cores'] for r in reports):.1f}"]


def main():
    ways = {name: w for name, w in WAYS.items() if shutil.which("nvidia-smi") or w[1] == "off"}
    servers.make_store(STORE, sys.executable)
    ports = free_ports(len(ways) * len(LOOPS) * servers.Server.PORTS)
    up = {}
    try:
        for n in LOOPS:
            for way, (archive, mps) in ways.items():
                at = [ports.pop() for _ in range(servers.Server.PORTS)]
                name = f"{way}, {n} loops"
                up[name] = servers.Server(f"loops-{n}-{mps}", STORE, sys.executable, at,
                                          settings={"mps": mps, "number_of_netty_threads": n})
                if wrong := up[name].register_all([("m", archive, 2, 0)])["m"]:
                    die(f"{name}: {wrong}\n{up[name].tail()}")
        say(", ".join(up))
        got = rounds(ROUNDS, list(up.items()), measure)
    finally:
        for server in up.values():
            server.stop()
    rows = [[n, *(c for way in ways for c in cells(got[f"{way}, {n} loops"]))] for n in LOOPS]
    write_section("event_loops", "Event loops for the encoder on a GPU",
                  f"One text of 15 tokens, 600 connections; requests a second, median and range of {ROUNDS} rounds of {SECONDS:g} s in turns; "
                  "server's cores are those of the server and its workers.\n\n"
                  + table(["event loops", *(h for way in ways for h in (way, "p99, ms", "server's cores"))], rows))


if __name__ == "__main__":
    main()
