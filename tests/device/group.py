#!/usr/bin/env python3
"""Two encoders in one executor (executorGroup) on a real GPU, beside the same two apart: group.py [BUILD] [--cpu]

    memory   one process, and what a context takes less; the same answers
    kill     kill -9 of the process, 5 times, both models under load: no request fails, both are back
    leave    one is unregistered while the other serves: no request fails, its weights' memory is free
    mps      the same process as a client of a managed daemon, killed once

BUILD, needs and --cpu as of lanes.py. A line for each; ends with 1 if anything is wrong. About a minute.
"""
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import lanes
from lanes import CPU, MIB, Load, Sconce, fetch, say, settled, word, words

NAMES = ("one", "two")
LEAST = 0 if CPU else 400 * MIB  # a context, and then some
GONE = 0 if CPU else 300 * MIB  # weights of BERT-base in fp16, 194 MiB, and a lane's buffers, 208
KILLS = 5


def workers(server, name):
    status, _, body = fetch(f"{server.management}/models/{name}")
    return json.loads(body)[0]["workers"] if status == 200 else []


def ready(server, pid_not=0, seconds=30):
    """The process of both, once both serve in it."""
    end = time.monotonic() + seconds
    while True:
        found = [w for name in NAMES for w in workers(server, name)]
        pids = {w["pid"] for w in found if w["status"] == "READY" and w["pid"] != pid_not}
        if len(found) == 2 and pids and all(w["status"] == "READY" and w["pid"] != pid_not for w in found):
            return pids
        if time.monotonic() > end:
            raise RuntimeError(f"not both are ready: {json.dumps(found)[:600]}")
        time.sleep(0.02)


def answers(server):
    texts = [" ".join(word(i * k % lanes.WORDS) for k in range(1, 3 + i)) for i in range(1, 33)]
    return [fetch(f"{server.inference}/predictions/{name}", t.encode(), headers={"content-type": "text/plain"})[::2]
            for name in NAMES for t in texts]


def start(folder, settings, **keys):
    for name in NAMES:
        lanes.configure(folder / name, **keys)
    return Sconce(models={n: folder / n for n in NAMES}, settings={"job_queue_size": 1000, **settings}, core=None)


def loads(server, names=NAMES):
    return [Load(server, words, 32, name) for name in names]


def stop(all_):
    for load in all_:
        load.stop()
    return sum(len(x.came) for x in all_), [b for x in all_ for b in x.bad]


def used(server, pids):
    """Bytes, once no quarantine worker is there any more."""
    end = time.monotonic() + 20
    while server.role("sconce: quarantine") and time.monotonic() < end:
        time.sleep(0.2)
    return sum(map(settled, pids)) if CPU else settled(0)


def memory(folder):
    server = start(folder, {"mps": "off"})
    try:
        pids = ready(server)
        apart, expected = used(server, pids), answers(server)
    finally:
        server.stop()
    server = start(folder, {"mps": "off"}, executorGroup="g")
    try:
        pids = ready(server)
        together, got = used(server, pids), answers(server)
        good = say("memory", len(pids) == 1 and apart - together >= LEAST and got == expected and got[0][0] == 200,
                   f"{apart / MIB:.0f} MiB in two processes, {together / MIB:.0f} in {len(pids)} (at least {LEAST / MIB:.0f} less); "
                   f"{sum(a == b for a, b in zip(got, expected))} of {len(got)} answers the same")
        return good & killed(server, "kill", KILLS) & leave(server), server.log.read_text(errors="replace")
    finally:
        server.stop()


def killed(server, name, times):
    running, backs = loads(server), []
    for _ in range(times):
        time.sleep(0.5)
        pid, = ready(server)
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        ready(server, pid_not=pid)
        backs.append(time.monotonic() - began)
    time.sleep(0.5)
    sent, bad = stop(running)
    return say(name, not bad, f"{times} times; {sent} requests, {len(bad)} failed {bad[:2]}; both back after "
                              f"{' '.join(f'{b:.2f}' for b in backs)} s")


def leave(server):
    pids = ready(server)
    before = used(server, pids)
    running = loads(server, NAMES[:1])
    time.sleep(0.5)
    status, _, body = fetch(f"{server.management}/models/two", method="DELETE")
    time.sleep(1)
    sent, bad = stop(running)
    after = used(server, pids)
    same = {w["pid"] for w in workers(server, "one")} == pids
    return say("leave", status == 200 and same and not bad and before - after >= GONE,
               f"{status}; {sent} requests, {len(bad)} failed {bad[:2]}; {before / MIB:.0f} -> {after / MIB:.0f} MiB; "
               f"{'the same process' if same else 'ANOTHER PROCESS'}{'' if status == 200 else body[:200]}")


def mps(folder):
    server = start(folder, {"mps": "managed"}, executorGroup="g")
    try:
        end = time.monotonic() + 10
        while not all(w.get("mpsClient") for n in NAMES for w in workers(server, n)) and time.monotonic() < end:
            time.sleep(0.1)
        ways = [(w["gpuSharing"], w.get("mpsClient")) for n in NAMES for w in workers(server, n)]
        good = say("mps", ways == [("lanes", True)] * 2 or ways == [("mps", True)] * 2, f"{ways}")
        return good & killed(server, "mps, kill", 1), server.log.read_text(errors="replace")
    finally:
        server.stop()


def main():
    good, began = True, time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for seed, name in enumerate(NAMES):
            lanes.make_model(folder / name, seed + 1)
        for scenario in (memory,) if CPU else (memory, mps):
            good &= lanes.attempt(scenario.__name__, scenario, folder)
    print(f"{'ok  ' if good else 'FAIL'} {time.monotonic() - began:.0f} s")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
