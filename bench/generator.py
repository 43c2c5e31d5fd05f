#!/usr/bin/env python3
"""The load generator against wrk (HTTP/1.1) and h2load (HTTP/2), one thread each, the same nginx."""
# needs: taskset nginx wrk h2load
import argparse
import json
import re
import subprocess

from common import LOAD_CORE, children_seconds, die, floor, median, program, rounds, say, table, write_section
from peers import Nginx

CONNECTIONS, STREAMS = 64, 32


def ours(*args):
    def run(seconds):
        out = command(program("sconce"), "bench", "--json", "--quiet", "--warmup", 0, "-d", seconds, *args)
        report = json.loads(out)
        return report["good"], report["rate"]
    return run


def wrk(url):
    def run(seconds):
        out = command("wrk", "-t", 1, "-c", CONNECTIONS, "-d", f"{seconds}s", url)
        if re.search(r"Non-2xx|Socket errors", out):
            die(out)
        return int(re.search(r"(\d+) requests in", out)[1]), float(re.search(r"Requests/sec:\s*([\d.]+)", out)[1])
    return run


def h2load(url):
    def run(seconds):
        out = command("h2load", "-t", 1, "-c", 1, "-m", STREAMS, "-D", seconds, url)
        done = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed", out)
        if int(done[3]):
            die(out)
        return int(done[2]), int(done[2]) / seconds
    return run


def command(*args):
    return subprocess.run(["taskset", "-c", LOAD_CORE, *map(str, args)], capture_output=True, text=True, check=True).stdout


def measured(run, seconds):
    before = children_seconds()
    requests, rate = run(seconds)
    return rate, requests / (children_seconds() - before)


def compare(what, n, seconds, mine, theirs, least, stretch):
    say(what)
    results = rounds(n, [("ours", mine), ("theirs", theirs)], lambda run: measured(run, seconds))
    rate, cpu = ({k: median([r[i] for r in v]) for k, v in results.items()} for i in (0, 1))
    ratio = cpu["ours"] / cpu["theirs"]
    return [what, f"{rate['ours']:,.0f}", f"{rate['theirs']:,.0f}", f"{rate['ours'] / rate['theirs']:.2f}",
            f"**{ratio:.2f}**", floor(ratio, least, stretch)]


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=int, default=3)
    a = p.parse_args()
    with Nginx() as nginx:
        rows = [compare(f"HTTP/1.1, {CONNECTIONS} connections, wrk", a.rounds, a.seconds, ours("-c", CONNECTIONS, nginx.h1),
                        wrk(nginx.h1), 0.9, 1.0),
                compare(f"HTTP/2, {STREAMS} streams of one connection, h2load", a.rounds, a.seconds,
                        ours("--http2", "-c", STREAMS, nginx.h2), h2load(nginx.h2), 0.8, None)]
    write_section("generator", "The load generator", f"nginx on core 0, the generator on core 1, one thread, a closed loop; medians of {a.rounds} "
                  f"rounds of {a.seconds} s that take turns. Requests per second of the generator's own CPU time say what it costs, whatever "
                  "the server can do and whatever else runs.\n\n" + table(
                      ["", "ours, req/s", "theirs, req/s", "ratio", "ratio per CPU second", "goal"], rows))


if __name__ == "__main__":
    main()
