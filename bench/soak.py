#!/usr/bin/env python3
"""Growth of memory, descriptors and shared memory over millions of requests and thousands of models, and whether a planted leak is found."""
import argparse
import http.client
import os
import re
import shutil
import tempfile
import time
from pathlib import Path

from common import ROOT, Sconce, die, load, read_proc, say, table, write_section

KIB = 1024
# What the end may be above the middle: allocators keep a little more now and then. A leak is far above it.
SLACK_BYTES = 768 * KIB
SLACK_PER_REQUEST = 0.1
# Connections with bodies of 300 to 900 kB. Each has at most a request and a response in the arena, in blocks of 512 KiB
# or 1 MiB whose pages stay once touched; which of them, and of which event loop's arena, is chance. So much more shared
# memory at the end is no growth; a block that is lost in every request, even the smallest, is soon far above it.
LARGE = 4
LARGE_BYTES = LARGE * 2 * (512 + 1024) * KIB
TEXTS = ["where is the station", "Das Wetter ist heute schön.", "je ne sais pas encore", "¿cuánto cuesta?", "ok",
         "The quick brown fox jumps over the lazy dog and goes on to look for another dog to jump over."]


def sample(server):
    """role -> (private bytes, descriptors); and the bytes of shared memory that exist."""
    roles, shared = {}, {}
    for pid in server.pids():
        title = read_proc(pid, "cmdline").rstrip("\0").removeprefix("sconce: ").split("\0")[0]
        private = sum(int(n) for n in re.findall(r"^Private_(?:Clean|Dirty):\s+(\d+)", read_proc(pid, "smaps_rollup"), re.M))
        descriptors = 0
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = os.readlink(fd)
                if target.startswith("/memfd:"):
                    stat = fd.stat()
                    shared[stat.st_ino] = stat.st_blocks * 512
                descriptors += 1
            except OSError:
                pass
        old = roles.get(title, (0, 0))
        roles[title] = (old[0] + private * KIB, old[1] + descriptors)
    return roles, sum(shared.values())


def settled(server):
    """A sample when the server has seen that the connections of the load are closed: no fewer descriptors for 0.5 s."""
    best, since = sample(server), time.monotonic()
    while time.monotonic() - since < 0.5:
        time.sleep(0.05)
        now = sample(server)
        if sum(fds for _, fds in now[0].values()) < sum(fds for _, fds in best[0].values()):
            since = time.monotonic()
        best = now
    return best


def grown(before, after, requests, held=0, slack=SLACK_BYTES):
    """What is larger than it may be: a list of sentences. `held`: shared memory that may be touched by chance."""
    allowed = slack + SLACK_PER_REQUEST * requests
    found = []
    (old, old_shared), (new, new_shared) = before, after
    for role in sorted(set(old) | set(new)):
        if role not in old or role not in new:
            found.append(f"{role}: {'new' if role in new else 'gone'} since the middle")
            continue
        # Pages of shared memory count as private while only one process has touched them.
        bytes_more = new[role][0] - old[role][0] - max(0, new_shared - old_shared)
        if bytes_more > allowed:
            found.append(f"{role}: {bytes_more / KIB:,.0f} KiB more memory ({bytes_more / requests:.2f} bytes a request)")
        if new[role][1] > old[role][1]:
            found.append(f"{role}: {new[role][1] - old[role][1]} more descriptors")
    if new_shared - old_shared > allowed + held:
        found.append(f"{(new_shared - old_shared) / KIB:,.0f} KiB more shared memory")
    return found


def soak(server, target, requests, more, connections=64):
    """Warm-up of a quarter, then `requests`, each checked; every size and path is used in both. The samples."""
    url = server.inference + target
    samples = []
    for part in (requests // 4 + 1, requests):
        load(url, connections=connections, core=None, warmup=0, more=("-r", part, *more))
        # A few large bodies, which travel in shared memory of their own.
        if "--echo" in more:
            load(url, connections=LARGE, core=None, warmup=0, more=("-r", 40, "--random", "300000:900000", "--echo"))
        samples.append(settled(server))
    return samples


def check(name, server, target, requests, more):
    """One soak: its row for the report and what has grown."""
    before, after = soak(server, target, requests, more)
    found = grown(before, after, requests, LARGE_BYTES if "--echo" in more else 0)
    say(f"{name}: {requests:,} requests, " + ("; ".join(found) or "no growth"))
    total = [sum(r[0] for r in s[0].values()) / KIB for s in (before, after)]
    fds = [sum(r[1] for r in s[0].values()) for s in (before, after)]
    return [name, f"{requests:,}", f"{total[0]:,.0f} → {total[1]:,.0f} KiB", f"{fds[0]} → {fds[1]}",
            f"{before[1] / KIB:,.0f} → {after[1] / KIB:,.0f} KiB", "; ".join(found) or "none"], found


IDENTITY = ("--random", "1:3000", "--echo")
QUIET = {"access_log": "false"}


def identity(requests):
    with Sconce({"echo": "identity"}, QUIET, core=None) as server:
        return check("identity", server, "/predictions/echo", requests, IDENTITY)


# Models that are there at a time, and how many of them have a worker and are asked.
BATCH = 250
BUSY = 5
# The heap of a moment with all of a batch's models and a snapshot of them, of which allocators keep more or less.
SLACK_MODELS = 2048 * KIB


def turn(server, number, times):
    """Registers a batch of models and unregisters them; the seconds of each half go to `times`."""
    address = server.management.removeprefix("http://")
    manage = http.client.HTTPConnection(address, timeout=120)

    def call(connection, method, path, body=None):
        connection.request(method, path, body)
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            die(f"{method} {path}: {answer.status} {said[:300]}")

    names = [f"m{number}-{i}" for i in range(BATCH)]
    began = time.monotonic()
    for i, name in enumerate(names):
        call(manage, "POST", f"/models?url=identity&model_name={name}&initial_workers={int(i < BUSY)}")
    registered = time.monotonic()
    infer = http.client.HTTPConnection(server.inference.removeprefix("http://"), timeout=120)
    for name in names[:BUSY]:
        call(infer, "POST", f"/predictions/{name}", b"x")
    infer.close()
    asked = time.monotonic()
    for name in names:
        call(manage, "DELETE", f"/models/{name}")
    times.append((registered - began, time.monotonic() - asked))
    manage.close()


def threads(server):
    return sum(len(os.listdir(f"/proc/{pid}/task")) for pid in server.pids())


def models(count):
    """As many models come and go as `count`, after a quarter of that for warm-up: its row for the report and what has grown."""
    with Sconce({"echo": "identity"}, {**QUIET, "disable_system_metrics": "true"}, core=None) as server:
        times, samples, tasks = [], [], []
        for batches in (count // BATCH // 4 + 1, count // BATCH):
            for _ in range(batches):
                turn(server, len(times), times)
            samples.append(settled(server))
            tasks.append(threads(server))
    found = grown(*samples, count, slack=SLACK_MODELS)
    if tasks[1] > tasks[0]:
        found.append(f"{tasks[1] - tasks[0]} more threads")
    first, last = times[1], times[-1]
    say(f"models: {count:,}, " + ("; ".join(found) or "no growth") + f"; a batch of {BATCH}: registered in {first[0]:.2f} s, in the end "
        f"{last[0]:.2f} s, unregistered in {first[1]:.2f} s, in the end {last[1]:.2f} s; {tasks[1]} threads")
    total = [sum(r[0] for r in s[0].values()) / KIB for s in samples]
    fds = [sum(r[1] for r in s[0].values()) for s in samples]
    return ["models registered and unregistered", f"{count:,}", f"{total[0]:,.0f} → {total[1]:,.0f} KiB", f"{fds[0]} → {fds[1]}",
            f"{samples[0][1] / KIB:,.0f} → {samples[1][1] / KIB:,.0f} KiB", "; ".join(found) or "none"], found


def faulty_store(folder):
    model = Path(folder) / "f"
    model.mkdir(parents=True)
    (model / "model-config.yaml").write_text("backend: faulty\nminWorkers: 1\nmaxWorkers: 1\n")
    return folder


def planted(requests, leak):
    """The same with a backend that loses `leak` bytes in every request."""
    folder = Path(tempfile.mkdtemp(prefix="sconce-bench-store-"))
    try:
        with Sconce({"f": "f"}, QUIET, core=None, store=faulty_store(folder)) as server:
            return check(f"planted leak of {leak} bytes", server, "/predictions/f", requests, ("-b", f"leak {leak}"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def encoder(model, requests):
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as texts:
        texts.write("\n".join(TEXTS) + "\n")
        texts.flush()
        with Sconce({"m": str(model)}, QUIET, core=None) as server:
            return check("encoder", server, "/predictions/m", requests,
                         ("--lines", texts.name, "-H", "content-type: text/plain"))


def demo_model():
    """The smallest model folder of the repository that the encoder can serve."""
    folders = [p.parent for top in ("models", "tests/data") for p in (ROOT / top).glob("*/model.safetensors")]
    return min(folders, key=lambda f: (f / "model.safetensors").stat().st_size, default=None)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--identity", type=int, default=10_000_000, metavar="N")
    p.add_argument("--encoder", type=int, default=1_000_000, metavar="N")
    p.add_argument("--models", type=int, default=10_000, metavar="N", help="registered and unregistered")
    p.add_argument("--model", help="folder for the encoder (default: the smallest in the repository)")
    p.add_argument("--plant", nargs="?", type=int, const=64, metavar="BYTES",
                   help="only the backend `faulty`, which loses so many bytes a request (64): the run must fail")
    p.add_argument("--planted-requests", type=int, default=200_000, metavar="N")
    a = p.parse_args()
    if a.plant is not None:
        _, found = planted(a.planted_requests, a.plant)
        raise SystemExit(1 if found else 0)
    rows, failed = [], []
    for what, run in (("identity", lambda: identity(a.identity)), ("encoder", lambda: encoder(model, a.encoder)),
                      ("models", lambda: models(a.models))):
        model = Path(a.model).resolve() if a.model else demo_model()
        count = getattr(a, what)
        if not count or (what == "encoder" and not model):
            say(f"{what}: left out")
            continue
        row, found = run()
        rows.append(row)
        failed += found
    if os.access(os.path.join(os.environ.get("SCONCE_BUILD", ""), "libsconce_faulty.so"), os.R_OK):
        row, found = planted(a.planted_requests, 64)
        rows.append(row)
        if not found:
            failed.append("the planted leak was not found")
    else:
        say("the test backend faulty is not built: no planted leak")
    write_section("soak", "Growth", "Private memory of all processes, descriptors and shared memory, after a quarter as "
                  "many requests for warm-up and at the end. Identity: random bodies of 1 to 3000 bytes, and some of "
                  "300 to 900 kB; every answer compared. The planted leak must be found.\n\n" +
                  table(["", "requests", "memory", "descriptors", "shared memory", "growth"], rows))
    if failed:
        die("; ".join(failed))


if __name__ == "__main__":
    main()
