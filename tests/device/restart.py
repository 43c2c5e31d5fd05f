#!/usr/bin/env python3
"""kill -9 of a GPU executor under load, again and again: restart.py BUILD [KILLS]

BERT-base in fp16 with random weights, 2 lanes, 64 connections. Every request must be answered with 200. After each kill:
the time to the first answer (under 0.7 s) and until 0.9 of the rate from before is back (under 2 s), from the process's
weights that the supervisor keeps. The first kill may find algorithms that are not on disk yet; it counts like the others.
Needs torch and transformers to write the model. Ends with 1 if anything is wrong.
"""
import os
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

BUILD = Path(sys.argv[1]).resolve()
KILLS = int(sys.argv[2]) if len(sys.argv) > 2 else 10
os.environ["SCONCE_BUILD"] = str(BUILD)
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

from common import Sconce  # noqa: E402
from encoder_http import make_model, set_lanes  # noqa: E402
from text_load import Load  # noqa: E402

CONNECTIONS = 64
FIRST_S, FULL_S, WINDOW_S = 0.7, 2.0, 0.1


def back(load, killed, usual):
    """Seconds to the first answer of the new process, and until the rate is back."""
    while not any(t > killed + 0.02 for t in load.came[-CONNECTIONS:]):  # answers on their way at the kill come at once
        time.sleep(0.005)
    first = min(t for t in load.came[-4000:] if t > killed + 0.02) - killed
    while time.monotonic() < killed + 20:
        now = time.monotonic()
        if now - killed > first + WINDOW_S and load.rate(now - WINDOW_S, now) >= 0.9 * usual:
            return first, now - WINDOW_S - killed
        time.sleep(0.02)
    return first, 20.0


def main():
    failed = False
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "bert"
        folder.mkdir()
        set_lanes(make_model(folder), 2, 16384)
        server = Sconce(models={"bert": folder}, settings={"job_queue_size": 1000}, core=None)
        load = Load(server, lambda _: 14, CONNECTIONS)
        try:
            time.sleep(3)
            rows = []
            for _ in range(KILLS):
                usual = load.rate_of_last(1)
                os.kill(server.role("sconce: executor")[0], signal.SIGKILL)
                rows.append(back(load, time.monotonic(), usual))
                time.sleep(3)
        finally:
            load.stop()
            text = server.log.read_text(errors="replace")
            server.stop()
    firsts, fulls = zip(*rows, strict=True)
    slow = [r for r in rows if r[0] > FIRST_S or r[1] > FULL_S]
    for name, values, most in (("first answer", firsts, FIRST_S), ("0.9 of the rate", fulls, FULL_S)):
        print(f"{'ok  ' if max(values) <= most else 'FAIL'} {name} after kill -9, s: median "
              f"{statistics.median(values):.2f}, all {' '.join(f'{v:.2f}' for v in values)} (at most {most})")
    print(f"{'FAIL' if load.bad else 'ok  '} {len(load.came)} requests, {len(load.bad)} failed {load.bad[:3]}")
    failed = bool(slow or load.bad)
    if failed:
        print("\n".join(text.splitlines()[-60:]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
