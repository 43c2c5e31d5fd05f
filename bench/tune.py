#!/usr/bin/env python3
"""What `sconce tune` recommends against the full grid, measured beside it: the demo model on the CPU, or any --model

On a GPU: ./dev bench tune needs --model and --input, as in tune.py --model store/encoder --input text.txt --threads 4
--batches 8,32,128 --workers 1,2,4 -c 600. Its section is then that of the GPU.
"""
import argparse
import json
import math
import os
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from common import BUILD, ROOT, die, program, rounds, say, table, write_section

DEMO = ROOT / "models" / "demo-langid"
BEST = 3  # of the grid, measured again beside the recommendation
STUDENT = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}


class Config(NamedTuple):
    batch: int
    workers: int
    threads: int  # -1: as it is
    way: str

    @classmethod
    def of(cls, c):
        return cls(c["batchSize"], c["workers"], c["threads"], c["gpuSharing"])

    @property
    def column(self):
        return (f"{self.workers} worker{'s' * (self.workers > 1)}" + (f", {self.threads} threads" if self.threads >= 0 else "")
                + (f", {self.way}" if self.way != "cpu" else ""))

    def __str__(self):
        return f"batch {self.batch}, {self.column}"

    def alone(self):
        """Options that leave nothing else to try."""
        return ["--batches", self.batch, "-w", self.workers, *(["--tokenizer-threads", self.threads] if self.threads >= 0 else []),
                *(["--sharing", self.way] if self.way != "cpu" else [])]


class Tuner:
    def __init__(self, o, folder):
        self.o, self.folder = o, folder
        self.request = ["-i", str(Path(o.input).resolve())] if o.input else ["--lines", str(folder / "texts")]
        if not o.input:
            texts = [line.split("\t")[-1] for line in (DEMO / "sentences.tsv").read_text().splitlines() if line]
            (folder / "texts").write_text("\n".join(texts) + "\n")

    def run(self, out, budget, *args):
        done = subprocess.run([program("sconce"), "tune", str(Path(self.o.model).resolve()), *self.request, "-H",
                               "content-type: text/plain", "--same", "--quiet", "--budget", str(budget), "-t", str(self.o.threads),
                               "-c", str(self.o.concurrency), "-o", str(out), *map(str, args)],
                              capture_output=True, text=True, cwd=self.folder)
        if done.returncode not in (0, 1):
            die(f"sconce tune: {done.returncode}\n{done.stdout}{done.stderr}")
        return json.loads((out / "tune.json").read_text())

    def rate(self, config):
        """Requests a second of one configuration, at its best load; longer where there was no time for a second run."""
        for budget in (self.o.each, 2 * self.o.each, 4 * self.o.each):
            found = self.run(self.folder / "one", budget, *config.alone())
            if rates := [p["rate"] for p in found["configurations"][0]["points"] if len(p["runs"]) > 1]:
                return max(rates)
        return die(f"{config}: no two runs in {budget:g} s\n{found}")


def interval(values):
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    return mean, STUDENT[len(values)] * deviation / math.sqrt(len(values))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default=str(DEMO), help="archive or folder (the demo model)")
    p.add_argument("--input", help="body of its requests: a file or a folder")
    p.add_argument("--budget", type=float, default=300, help="seconds of the search (300: its default)")
    p.add_argument("--each", type=float, default=4, help="seconds for each configuration of the grid")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--threads", type=int, default=1, help="of the load")
    p.add_argument("-c", "--concurrency", type=int, default=512)
    p.add_argument("--batches", default="1,2,4,8,16,32,64,128")
    p.add_argument("--workers", help="as of tune's -w")
    o = p.parse_args()
    if not (BUILD / "sconce").exists():
        die(f"there is no program in {BUILD}")
    if o.model != str(DEMO) and not o.input:
        die("--model wants an --input")
    with tempfile.TemporaryDirectory() as tmp:
        tuner = Tuner(o, Path(tmp))
        found = tuner.run(tuner.folder / "search", o.budget, "--batches", o.batches, *(["-w", o.workers] if o.workers else []))
        choice = Config.of(found["configurations"][found["recommended"]])
        measured = sum(bool(c["points"]) for c in found["configurations"])
        say(found["reason"])
        grid = {}
        for c in map(Config.of, found["configurations"]):
            grid[c] = tuner.rate(c)
            say(f"{c}: {grid[c]:,.0f}/s")
        best = sorted(grid, key=grid.get, reverse=True)[:BEST]
        again = rounds(o.rounds, [(str(c), c) for c in dict.fromkeys([choice, *best])], tuner.rate)
    ends = {n: interval(values) for n, values in again.items()}
    top = max(ends, key=lambda n: ends[n][0])
    mine = ends[str(choice)]
    within = mine[0] >= ends[top][0] - ends[top][1] or mine[0] + mine[1] >= ends[top][0]
    columns = list(dict.fromkeys(c._replace(batch=0) for c in sorted(grid, key=lambda c: (c.way, c.workers, c.threads))))
    rows = [[f"{b}", *[f"{grid.get(c._replace(batch=b), 0):,.0f}" for c in columns]] for b in sorted({c.batch for c in grid})]
    lost = " (the others had lost by then)" if measured < len(found["configurations"]) else ""
    text = (f"`sconce tune` with a budget of {o.budget:.0f} s, of which {found['spent_s']:.0f} s were used, measured {measured} of "
            f"{len(found['configurations'])} configurations{lost} and recommended: {found['reason']}.\n\n"
            f"The full grid, {o.each:g} s for each, requests/s:\n\n"
            + table(["batch", *[c.column for c in columns]], rows)
            + f"\n\nThe recommendation beside the {BEST} best of the grid, in turns, {o.rounds} rounds, 95 % intervals:\n\n"
            + table(["", "requests/s", "±", ""], [[n, f"{m:,.0f}", f"{h:,.0f}", "recommended" if n == str(choice) else ""]
                                                  for n, (m, h) in sorted(ends.items(), key=lambda e: -e[1][0])])
            + f"\n\nThe recommendation is {'within' if within else 'NOT within'} the interval of the best: "
              f"{mine[0] / ends[top][0]:.3f} of its rate. Load of the machine at the end: {os.getloadavg()[0]:.1f} on "
              f"{os.cpu_count()} cores.")
    gpu = any(c.way != "cpu" for c in grid)
    write_section("tune", f"What tune recommends, and the full grid{', on a GPU' if gpu else ''}", text, " on a GPU" if gpu else "")


if __name__ == "__main__":
    main()
