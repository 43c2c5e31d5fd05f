#!/usr/bin/env python3
"""600 clients of busy Python workers: how long the unlucky wait, over the number of event loops; TorchServe and Sconce

The handler waits 88 ms a batch, as one that runs BERT-base on a GPU which it shares. Closed loop. Each event loop has a queue of its
own; if they shared the workers unfairly, p99 would be a multiple of the median.
"""
# needs: taskset
import argparse

from common import die, load, median, rounds, say, table, write_section
from peers import Served, sconce_command, torchserve_command, write_mar

HANDLER = '''import time


def handle(data, context):
    if data is None:
        return None
    time.sleep(0.088)
    return ["ok"] * len(data)
'''
SEND = ("-b", "0123456789abcdef", "-H", "content-type: application/octet-stream", "--expect", "ok", "--timeout", 60)
CASES = ((1, 32), (4, 32), (2, 128))  # workers, batch
LOOPS = (1, 4, 16)
CLIENTS = 600


def archive(workers, batch):
    return lambda path: write_mar(path, {"h.py": HANDLER}, "h.py",
                                  f"minWorkers: {workers}\nmaxWorkers: {workers}\nbatchSize: {batch}\n")


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=float, default=5)
    a = p.parse_args()
    peer = torchserve_command() or die("TorchServe or a Java runtime (openjdk-17-jre-headless) is not here")
    archives = {f"w{w}_b{b}": archive(w, b) for w, b in CASES}
    servers, rows = {}, []
    try:
        servers["TorchServe"] = Served(peer, "torchserve", archives)
        for n in LOOPS:
            servers[f"Sconce, {n} loop{'s' * (n > 1)}"] = Served(sconce_command(), f"sconce-{n}", archives,
                                                                 settings={"number_of_netty_threads": n})
        for workers, batch in CASES:
            say(f"{workers} workers, batch {batch}")
            got = rounds(a.rounds, list(servers.items()), lambda s: load(
                s.url(f"w{workers}_b{batch}"), connections=CLIENTS, seconds=a.seconds, warmup=3, more=SEND))
            cells = []
            for reports in got.values():
                rate, p50, p99 = (median([pick(r) for r in reports]) for pick in (
                    lambda r: r["rate"], lambda r: r["latency_us"]["p50"] / 1e3, lambda r: r["latency_us"]["p99"] / 1e3))
                cells.append(f"{rate:,.0f}; {p50:,.0f}, {p99:,.0f} (**{p99 / p50:.2f}**)")
            rows.append([workers, batch, *cells])
    finally:
        for server in servers.values():
            server.stop()
    write_section("busy_workers", "All workers busy: how evenly clients wait",
                  f"{CLIENTS} clients of a handler that waits 88 ms a batch. Requests a second; median and p99 of the latency, ms (and "
                  f"their ratio); medians of {a.rounds} rounds of {a.seconds:g} s in turns.\n\n"
                  + table(["workers", "batch", *servers], rows))


if __name__ == "__main__":
    main()
