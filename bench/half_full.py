#!/usr/bin/env python3
"""Fewer clients than the batches have room for: TorchServe with its delay of 100 ms and with one of 1 ms, and Sconce

The handler waits 10 ms a batch and 0.14 ms a request, as one that runs a small model on a GPU. Closed loop.
"""
# needs: taskset
import argparse

from common import die, load, median, rounds, say, table, write_section
from peers import Served, sconce_command, torchserve_command, write_mar

HANDLER = '''import time


def handle(data, context):
    if data is None:
        return None
    time.sleep(0.010 + 0.00014 * len(data))
    return ["ok"] * len(data)
'''
SEND = ("-b", "0123456789abcdef", "-H", "content-type: application/octet-stream", "--expect", "ok")
CASES = ((1, 8, 1), (1, 8, 4), (2, 8, 12), (2, 32, 40), (4, 32, 32), (4, 32, 160))  # workers, batch, clients


def archives(delay):
    def writer(workers, batch):
        config = f"minWorkers: {workers}\nmaxWorkers: {workers}\nbatchSize: {batch}\n"
        config += f"maxBatchDelay: {delay}\n" if delay else ""
        return lambda path: write_mar(path, {"h.py": HANDLER}, "h.py", config)

    return {f"w{w}_b{b}": writer(w, b) for w, b, _ in CASES}


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=float, default=3)
    a = p.parse_args()
    peer = torchserve_command() or die("TorchServe or a Java runtime (openjdk-17-jre-headless) is not here")
    servers = {}
    try:
        for name, command, delay in (("TorchServe", peer, None), ("TorchServe, 1 ms", peer, 1), ("Sconce", sconce_command(), None)):
            servers[name] = Served(command, name.lower().replace(", ", "-").replace(" ", ""), archives(delay))
        rows = []
        for workers, batch, clients in CASES:
            say(f"{workers} workers, batch {batch}, {clients} clients")
            got = rounds(a.rounds, list(servers.items()), lambda s: load(
                s.url(f"w{workers}_b{batch}"), connections=clients, seconds=a.seconds, warmup=1, more=SEND))
            rate, p99 = ({n: median([pick(r) for r in reports]) for n, reports in got.items()}
                         for pick in (lambda r: r["rate"], lambda r: r["latency_us"]["p99"] / 1e3))
            best = max(rate["TorchServe"], rate["TorchServe, 1 ms"])
            rows.append([workers, batch, clients, *(f"{rate[n]:,.0f} ({p99[n]:.1f})" for n in servers), f"**{rate['Sconce'] / best:.2f}**"])
    finally:
        for server in servers.values():
            server.stop()
    write_section("half_full", "Fewer clients than batches have room for",
                  "A handler that waits 10 ms a batch and 0.14 ms a request; requests a second (p99, ms), medians of "
                  f"{a.rounds} rounds of {a.seconds:g} s in turns. The ratio is to the better of TorchServe's two.\n\n"
                  + table(["workers", "batch", "clients", *servers, "ratio"], rows))


if __name__ == "__main__":
    main()
