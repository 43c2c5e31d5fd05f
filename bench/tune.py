#!/usr/bin/env python3
"""What `sconce tune` recommends for the demo model on the CPU against the full grid, measured beside it."""
import argparse
import itertools
import json
import math
import os
import subprocess
import tempfile
from pathlib import Path

from common import BUILD, ROOT, die, program, rounds, say, table, write_section

MODEL = ROOT / "models" / "demo-langid"
BATCHES = [1, 2, 4, 8, 16, 32, 64, 128]
THREADS = [0, 1]
BEST = 3  # of the grid, measured again beside the recommendation
STUDENT = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}


def tune(out, budget, *args):
    done = subprocess.run([program("sconce"), "tune", str(MODEL), "--lines", str(out.parent / "texts"), "-H", "content-type: text/plain",
                           "--same", "--quiet", "--budget", str(budget), "-o", str(out), *map(str, args)],
                          capture_output=True, text=True, cwd=out.parent)
    if done.returncode not in (0, 1):
        die(f"sconce tune: {done.returncode}\n{done.stdout}{done.stderr}")
    return json.loads((out / "tune.json").read_text())


def recommended(found):
    c = found["configurations"][found["recommended"]]
    return c["batchSize"], c["workers"], c["threads"]


def rate(folder, c, seconds):
    """Requests a second of one configuration, at its best load."""
    found = tune(folder / "one", seconds, "--batches", c[0], "-w", c[1], "--tokenizer-threads", c[2])
    points = found["configurations"][0]["points"]
    return max((p["rate"] for p in points if len(p["runs"]) > 1), default=0)


def interval(values):
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    return mean, STUDENT[len(values)] * deviation / math.sqrt(len(values))


def name(c):
    return f"batch {c[0]}, {c[1]} worker{'s' * (c[1] > 1)}, {c[2]} threads"


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--budget", type=float, default=300, help="seconds of the search (300: its default)")
    p.add_argument("--each", type=float, default=4, help="seconds for each configuration of the grid")
    p.add_argument("--rounds", type=int, default=5)
    o = p.parse_args()
    if not (BUILD / "sconce").exists():
        die(f"there is no program in {BUILD}")
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        texts = [line.split("\t")[-1] for line in (MODEL / "sentences.tsv").read_text().splitlines() if line]
        (tmp / "texts").write_text("\n".join(texts) + "\n")
        found = tune(tmp / "search", o.budget)
        choice = recommended(found)
        measured = sum(bool(c["points"]) for c in found["configurations"])
        say(found["reason"])
        workers = sorted({c["workers"] for c in found["configurations"]})
        grid = {}
        for c in itertools.product(BATCHES, workers, THREADS):
            grid[c] = rate(tmp, c, o.each)
            say(f"{name(c)}: {grid[c]:.0f}/s")
        best = sorted(grid, key=grid.get, reverse=True)[:BEST]
        again = rounds(o.rounds, [(name(c), c) for c in dict.fromkeys([choice, *best])], lambda c: rate(tmp, c, o.each))
    ends = {n: interval(values) for n, values in again.items()}
    top = max(ends, key=lambda n: ends[n][0])
    mine = ends[name(choice)]
    within = mine[0] >= ends[top][0] - ends[top][1] or mine[0] + mine[1] >= ends[top][0]
    rows = [[f"{b}", *[f"{grid[b, w, t]:.0f}" for w in workers for t in THREADS]] for b in BATCHES]
    text = (f"`sconce tune` with a budget of {o.budget:.0f} s, of which {found['spent_s']:.0f} s were used, measured {measured} of "
            f"{len(found['configurations'])} configurations (the others had lost by then) and recommended: {found['reason']}.\n\n"
            f"The full grid, {o.each:g} s for each, requests/s:\n\n"
            + table(["batch", *[f"{w} worker{'s' * (w > 1)}, {t} threads" for w in workers for t in THREADS]], rows)
            + f"\n\nThe recommendation beside the {BEST} best of the grid, in turns, {o.rounds} rounds, 95 % intervals:\n\n"
            + table(["", "requests/s", "±", ""], [[n, f"{m:.0f}", f"{h:.0f}", "recommended" if n == name(choice) else ""]
                                                  for n, (m, h) in sorted(ends.items(), key=lambda e: -e[1][0])])
            + f"\n\nThe recommendation is {'within' if within else 'NOT within'} the interval of the best: "
              f"{mine[0] / ends[top][0]:.3f} of its rate. Load of the machine at the end: {os.getloadavg()[0]:.1f} on "
              f"{os.cpu_count()} cores.")
    write_section("tune", "What tune recommends, and the full grid", text)


if __name__ == "__main__":
    main()
