#!/usr/bin/env python3
"""A Python worker by itself: requests/s of a no-op handler, time to ready, memory, and what decoding ahead is worth."""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

from common import BUILD, ROOT, TICKS, die, median, say, table, write_section

os.environ["SCONCE_BUILD"] = str(BUILD)
sys.path.insert(0, str(ROOT / "tests" / "python"))
from data_path import Worker  # noqa: E402

HANDLER = """
import hashlib, time
BYTES = bytes(1 << 20)
def handle(data, context):
    if data is None:
        return
    {act}
    return ["OK"] * len(data)
"""
HEADERS = [("Host", "127.0.0.1:8080"), ("User-Agent", "python-requests/2.31"), ("Accept", "*/*"), ("Content-Length", "64"),
           ("explain", "False"), ("url_path", "")]
DOCUMENT = json.dumps({"instances": [{"text": f"some words {i}", "x": [1.5, i]} for i in range(1000)]}).encode()


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return sum(int(x) for x in file.read().rsplit(")", 1)[1].split()[11:13]) / TICKS


def rss_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def bare_rss_kib():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as bare:
        time.sleep(0.5)
        used = rss_kib(bare.pid)
        bare.communicate(b"\n")
    return used


class Play:
    """A worker in a folder of its own."""

    def __init__(self, act="pass", **options):
        self.folder = tempfile.TemporaryDirectory()
        options["env"] = {"PYTHONDONTWRITEBYTECODE": "", **options.get("env", {})}
        self.worker = Worker(self.folder.name, HANDLER.format(act=act), **options)

    def measure(self, seconds, *load):
        """(requests/s, requests/s of a whole core of the worker's)"""
        before = cpu_seconds(self.worker.process.pid)
        rate, _, errors = self.worker.load(seconds, *load)
        if errors:
            die(f"{errors} requests failed:\n{self.worker.output()[-2000:]}")
        return rate, rate * seconds / max(cpu_seconds(self.worker.process.pid) - before, 1 / TICKS)

    def close(self):
        self.worker.close()
        self.folder.cleanup()


def rates(seconds, rounds):
    rows = []
    for title, pure, batch, window, body in (("batch 1", False, 1, 64, b"x" * 64), ("batch 32", False, 32, 128, b"x" * 64),
                                             ("batch 1, 1 MB bodies", False, 1, 8, b"x" * 1000000),
                                             ("plain Python, batch 1", True, 1, 64, b"x" * 64),
                                             ("plain Python, batch 32", True, 32, 128, b"x" * 64)):
        play = Play(pure=pure, batch_size=batch)
        play.measure(0.3, window, body, "application/octet-stream", HEADERS)
        got = [play.measure(seconds, window, body, "application/octet-stream", HEADERS) for _ in range(rounds)]
        play.close()
        rows.append((title, f"{max(r for r, _ in got):.0f}", f"{max(c for _, c in got):.0f}"))
        say(f"  {title}: {rows[-1][1]}/s")
    return table(("no-op handler", "requests/s", "per core of the worker's CPU time"), rows)


def ahead(seconds, rounds):
    """Both ways take turns. Where the handler keeps the interpreter, or there is nothing to decode, nothing may be lost."""
    rows = []
    for title, act in (("10 ms elsewhere (a GPU)", "time.sleep(0.01)"), ("10 ms of Python", "for _ in range(300000): pass"),
                       ("10 ms of a library", "for _ in range(10): hashlib.sha256(BYTES).digest()")):
        for kind, body in (("application/json", DOCUMENT), ("image/jpeg", b"x" * 300000)):
            plays = [Play(act, batch_size=8, env={"SCONCE_DECODE_AHEAD": on}) for on in "10"]
            for play in plays:
                play.measure(0.5, 24, body, kind)
            got = [[play.measure(seconds, 24, body, kind) for play in plays] for _ in range(rounds)]
            best = [f"{max(one[i][0] for one in got):.0f}" for i in (0, 1)]
            cpu = [f"{median([1e3 / one[i][1] for one in got]):.2f}" for i in (0, 1)]
            for play in plays:
                play.close()
            rows.append((f"{title}, {len(body) >> 10} KiB {kind}", *best, *cpu))
            say(f"  {rows[-1][0]}: {best[0]}/s, {best[1]}/s")
    return table(("handler, body; batch 8", "requests/s decoding ahead", "without", "CPU ms a request", "without"), rows)


def footprint(rounds):
    Play().close()  # leaves compiled modules behind
    plays, ready = [], []
    for _ in range(rounds):
        plays.append(Play())
        ready.append(plays[-1].worker.ready_after * 1e3)
        plays[-1].measure(0.2, 16, b"x" * 64, "application/octet-stream", HEADERS)
    used = median([rss_kib(play.worker.process.pid) for play in plays])
    for play in plays:
        play.close()
    return (f"Spawn to ready: best {min(ready):.0f} ms, median {median(ready):.0f} ms. Resident beyond a bare interpreter: "
            f"{(used - bare_rss_kib()) / 1024:.1f} MiB.")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    parts = [part(*arguments) for part, arguments in (
        (rates, (options.seconds, options.rounds)), (footprint, (options.rounds,)), (ahead, (options.seconds, options.rounds)))]
    write_section("python_worker", "A Python worker by itself", "Best of the rounds; the other side is a C program.\n\n" + "\n\n".join(parts))


if __name__ == "__main__":
    main()
