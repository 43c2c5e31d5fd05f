#!/usr/bin/env python3
"""A Python handler that does nothing: TorchServe, Triton's Python backend and Sconce, one core for the server."""
# needs: taskset
import argparse
import json
import os
import sys
from pathlib import Path

from common import die, floor, load, median, rounds, say, table, undisturbed, write_section
from peers import (IDENTITY_BODY, Served, Triton, noop, sconce_command, torchserve_command)

BODY = "0123456789abcdef"
SEND = ("-b", BODY, "-H", "content-type: application/octet-stream", "--expect", "ok")
MEGABYTE = ("--random", str(1 << 20), "-H", "content-type: application/octet-stream", "--expect", "ok")
ARCHIVES = {"w1_b1": noop(1, 1), "w1_b32": noop(1, 32, 1), "w2_b1": noop(2, 1), "w2_b32": noop(2, 32, 1),
            "lone": noop(1, 32)}
# (what, least, stretch) by batch and whether quiet
GOALS = {(1, False): (10, 20), (32, False): (5, 8), (1, True): (5, None), (32, True): (3, None)}


def cases(quiet, connections):
    """(label, model, connections, what to send, (floor, stretch) of the rate or None)"""
    for workers in (1, 2):
        for batch in (1, 32):
            for n in connections:
                yield (f"{workers} worker{'s' * (workers > 1)}, batch {batch}", f"w{workers}_b{batch}", n, SEND,
                       GOALS[batch, quiet])
    yield "1 MB bodies, batch 1", "w1_b1", 8, MEGABYTE, (3, None)
    yield "1 MB bodies, batch 32", "w1_b32", 8, MEGABYTE, (3, None)


def shown(reports):
    """Medians: requests per second, p99 in us, requests per second of the server's CPU time."""
    return (median([r["rate"] for r in reports]), median([r["latency_us"]["p99"] for r in reports]),
            median([r["per_cpu_second"] for r in reports]))


def part(servers, quiet, a, kept):
    rows = []
    for label, model, connections, send, goal in cases(quiet, a.connections):
        say(f"{label}, {connections} connections, {'quiet' if quiet else 'logging as it comes'}")
        results = rounds(a.rounds, list(servers.items()), lambda s: undisturbed(lambda: load(
            s.url(model), connections=connections, seconds=a.seconds, warmup=a.warmup, more=send, of=s)))
        kept.append({"case": label, "connections": connections, "quiet": quiet,
                     **{name: [(r["rate"], r["latency_us"]["p99"], r["per_cpu_second"], r["disturbed"]) for r in reports]
                        for name, reports in results.items()}})
        row = [label, connections, f"{max(r['disturbed'] for reports in results.values() for r in reports):.0%}"]
        sides = {name: shown(reports) for name, reports in results.items()}
        for name in ("TorchServe", "Sconce"):
            rate, p99, per_cpu = sides.get(name, (0, 0, 0))
            row.append(f"{rate:,.0f} ({p99 / 1e3:,.1f}; {per_cpu:,.0f})" if name in sides else "–")
        if len(sides) == 2:
            each = [o["rate"] / t["rate"] for o, t in zip(results["Sconce"], results["TorchServe"])]
            slower = sides["Sconce"][1] / sides["TorchServe"][1]
            row += [f"**{median(each):.1f}** ({min(each):.1f}–{max(each):.1f})",
                    f"{sides['Sconce'][2] / sides['TorchServe'][2]:.1f}", f"1/{1 / slower:.1f}",
                    floor(median(each), *goal) + ("" if slower <= 0.2 else "; p99 above 1/5")]
        else:
            row += [""] * 4
        rows.append(row)
    figures = "req/s (p99, ms; per CPU second)"
    return table(["", "connections", "disturbed", f"TorchServe, {figures}", f"Sconce, {figures}", "ratio",
                  "per CPU second", "p99", "goal"], rows)


def lone(servers, a, kept):
    """One request at a time where a batch could hold 32, the delay as it comes."""
    results = rounds(a.rounds, list(servers.items()),
                     lambda s: load(s.url("lone"), connections=1, seconds=a.seconds, more=SEND))
    kept.append({"case": "lone", **{n: [r["latency_us"]["p50"] for r in reports] for n, reports in results.items()}})
    rows = [[n, f"{median([r['latency_us']['p50'] for r in reports]) / 1e3:.2f}",
             f"{median([r['latency_us']['p99'] for r in reports]) / 1e3:.2f}"] for n, reports in results.items()]
    return table(["", "median, ms", "p99, ms"], rows)


def triton_part(servers, a, kept):
    with Triton(os.environ.get("SCONCE_TRITON_PYTHON", sys.executable)) as triton:
        sends = {"Triton": ("-b", IDENTITY_BODY, "-H", "content-type: application/json")}
        contestants = [("Triton", triton), *((n, s) for n, s in servers.items() if n == "Sconce")]
        results = rounds(a.rounds, contestants, lambda s: load(
            s.url("w1_b32"), connections=64, seconds=a.seconds, warmup=a.warmup, of=s,
            more=sends["Triton"] if s is triton else SEND))
    kept.append({"case": "triton", **{n: [r["rate"] for r in reports] for n, reports in results.items()}})
    rows = [[n, f"{shown(reports)[0]:,.0f}", f"{shown(reports)[1] / 1e3:.1f}"] for n, reports in results.items()]
    text = table(["", "req/s", "p99, ms"], rows)
    if "Sconce" in results:
        ratio = median([o["rate"] / t["rate"] for o, t in zip(results["Sconce"], results["Triton"])])
        text += f"\n\nRatio **{ratio:.2f}**: {floor(ratio, 1.5)}."
    return text


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=float, default=4)
    p.add_argument("--warmup", type=float, default=1)
    p.add_argument("--connections", type=int, nargs="+", default=[64, 600])
    p.add_argument("--only", choices=["torchserve", "sconce"], help="one side alone, for its absolute figures")
    p.add_argument("--parts", nargs="+", default=["logging", "quiet", "lone", "triton"])
    p.add_argument("--json", help="also write every round's figures there")
    a = p.parse_args()
    if os.cpu_count() < 2:
        die("one core for the server and one for the load are needed")
    if a.only != "sconce" and not torchserve_command():
        die("TorchServe or a Java runtime (openjdk-17-jre-headless) is not here")
    commands = {}
    if a.only != "sconce":
        commands["TorchServe"] = torchserve_command()
    if a.only != "torchserve":
        commands["Sconce"] = sconce_command()

    kept, parts = [], [
        f"Server with all its workers on core 0, `sconce bench` on core 1 in a closed loop; medians of {a.rounds} rounds "
        f"of {a.seconds:g} s that take turns (lowest and highest ratio in brackets). The handler answers `ok`; 16 bytes "
        "are sent. `maxBatchDelay` 1 ms where batches hold 32. The same archives, started by the same command. The ratio per "
        "second of the server's CPU time is hardly moved by other work on the machine. Measured again, up to five times, "
        "when others (processes, the host) took more than 3 % of one of the cores; `disturbed` is the most that was kept."]
    for quiet in (False, True):
        if ("quiet" if quiet else "logging") not in a.parts:
            continue
        servers = {}
        try:
            for name, command in commands.items():
                servers[name] = Served(command, name.lower(), ARCHIVES, quiet=quiet)
            for server in servers.values():  # a virtual machine compiles what it sees often
                for model in ("w1_b1", "w2_b32"):
                    load(server.url(model), connections=64, seconds=6, more=SEND)
            title = "Both quiet (no log lines, no metrics)" if quiet else "Both with default logging"
            parts.append(f"{title}:\n\n" + part(servers, quiet, a, kept))
            if not quiet and "lone" in a.parts:
                parts.append("Lone requests, batch 32, default delay:\n\n" + lone(servers, a, kept))
            if quiet and "triton" in a.parts:
                try:
                    parts.append("Triton's Python backend (identity, 16 bytes as JSON, dynamic batcher), one worker, 64 "
                                 "connections:\n\n" + triton_part(servers, a, kept))
                except (RuntimeError, OSError, StopIteration) as e:
                    parts.append(f"Triton did not start: not compared ({type(e).__name__}).")
                    say(str(e))
        finally:
            for server in servers.values():
                server.stop()
    if a.json:
        Path(a.json).write_text(json.dumps(kept, indent=1))
    write_section("torchserve_noop", "A Python handler that does nothing", "\n\n".join(parts))


if __name__ == "__main__":
    main()
