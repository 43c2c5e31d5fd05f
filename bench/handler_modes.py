#!/usr/bin/env python3
"""Streams, sequences, micro batches and async handlers: TorchServe and Sconce, one core for the server."""
# needs: taskset
import argparse
import os
import re
import time

from clients import play, post
from common import die, floor, load, median, read_proc, rounds, say, table, write_section
from peers import Served, sconce_command, torchserve_command, write_mar

STREAM = '''import time
from ts.handler_utils.utils import send_intermediate_predict_response


class Stream:
    def initialize(self, context):
        pass

    def handle(self, data, context):
        for _ in range(5):
            send_intermediate_predict_response([f"{time.time_ns()} "] * len(data), context.request_ids, "part", 200, context)
            time.sleep(0.004)
        return ["end"] * len(data)
'''
SUMS = '''class Sums:
    def initialize(self, context):
        self.sums = {}

    def handle(self, data, context):
        out = []
        for i, row in enumerate(data):
            sequence = context.get_sequence_id(i)
            self.sums[sequence] = self.sums.get(sequence, 0) + int(row["body"])
            out.append(str(self.sums[sequence]))
        return out
'''
MICRO = '''import time
from ts.handler_utils.micro_batching import MicroBatching


class Micro:
    def __init__(self):
        self.handle = MicroBatching(self, micro_batch_size=%(size)d)

    def initialize(self, context):
        self.context = context
        self.handle.parallelism = {"preprocess": %(threads)d, "inference": %(threads)d, "postprocess": %(threads)d}

    def _is_describe(self):  # a BaseHandler has both, and MicroBatching asks them
        return False

    def _is_explain(self):
        return False

    def preprocess(self, data):
        return [row["body"] for row in data]

    def inference(self, data, *args, **kwargs):
        %(work)s
        return data

    def postprocess(self, data):
        return ["ok"] * len(data)
'''
ASYNC = '''import asyncio


class Asynchronous:
    def initialize(self, context):
        pass

    async def handle(self, data, context):
        %(work)s
        return ["ok"] * len(data)
'''
STREAMS = '''import asyncio
from ts.handler_utils.utils import send_intermediate_predict_response


class Streams:
    def initialize(self, context):
        pass

    async def handle(self, data, context):
        name = bytes(data[0]["body"]).decode()
        for i in range(%(parts)d):
            send_intermediate_predict_response([f"{name}.{i} "], context.request_ids, "part", 200, context)
            await asyncio.sleep(0.1)
        return [f"{name}.end"]
'''
ONE = "minWorkers: 1\nmaxWorkers: 1\n"
PARTS = 20
SEQUENCES = 200


def archive(text, config):
    return lambda path: write_mar(path, {"handler.py": text}, "handler.py", config)


def micro(size, threads, batch, work="pass"):
    return archive(MICRO % {"size": size, "threads": threads, "work": work}, ONE + f"batchSize: {batch}\nmaxBatchDelay: 2\n")


def asynchronous(work):
    return archive(ASYNC % {"work": work}, ONE + "asyncCommunication: true\nbatchSize: 1\nmaxBatchDelay: 1\n")


RATES = {  # title: (archive, connections)
    "MicroBatching, pieces of 2 of a batch of 8": (micro(2, 1, 8), 64),
    "MicroBatching, pieces of 4 of 32, 2 threads a step": (micro(4, 2, 32), 64),
    "MicroBatching, pieces of 8 of 32, 5 ms elsewhere": (micro(8, 1, 32, "time.sleep(0.005)"), 64),
    "MicroBatching, pieces of 8 of 32, 5 ms elsewhere, 4 threads": (micro(8, 4, 32, "time.sleep(0.005)"), 64),
    "MicroBatching, one request at a time": (micro(2, 1, 1), 1),
    "async, nothing to do": (asynchronous("pass"), 64),
    "async, nothing to do, one request at a time": (asynchronous("pass"), 1),
    "async, 10 ms of waiting": (asynchronous("await asyncio.sleep(0.01)"), 64),
    "async, 10 ms of waiting, 500 at once": (asynchronous("await asyncio.sleep(0.01)"), 500),
    "async, 1 ms of Python": (asynchronous("for _ in range(30000): pass"), 64),
}
ARCHIVES = {
    "stream": archive(STREAM, ONE),
    "sums": archive(SUMS, "minWorkers: 4\nmaxWorkers: 4\nbatchSize: 16\nmaxBatchDelay: 1\nsequenceBatching: true\n"
                          f"sequenceMaxIdleMSec: 3000\nmaxNumSequence: {3 * SEQUENCES}\nmaxSequenceJobQueueSize: 4\n"),
    "streams": archive(STREAMS % {"parts": PARTS}, ONE + "asyncCommunication: true\nbatchSize: 1\nmaxBatchDelay: 1\n"
                                                         "jobQueueSize: 2000\n"),
    **{f"rate{i}": write for i, (write, _) in enumerate(RATES.values())},
}


def quantile(values, q):
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


# ---- (a) from the handler's send to the client's hands ----


def delays(server, n):
    """(of first chunks, of later ones), in ms."""
    first, later = [], []

    def story():
        for _ in range(n):
            status, _, body, stamps = yield post(server.url("stream"), b"x")
            if status != 200 or len(stamps) < 2:
                raise RuntimeError(f"{server.name}: no stream: {status} {body[:200]}")
            for at, data in stamps:
                for sent in re.findall(rb"(\d+) ", data):
                    (first if data is stamps[0][1] else later).append((at - int(sent)) / 1e6)

    play(server.inference, [story()])
    return first, later


def first_chunks(servers, a):
    results = rounds(a.rounds, list(servers.items()), lambda s: delays(s, a.streams))
    rows = []
    for name, got in results.items():
        first, later = ([x for pair in got for x in pair[i]] for i in (0, 1))
        ratio = "" if name == "TorchServe" else floor(-quantile(first, 0.99), -2.0).replace("-2.0", "2 ms")
        rows.append([name, f"{quantile(first, 0.5):.2f}", f"**{quantile(first, 0.99):.2f}**", f"{quantile(later, 0.5):.2f}",
                     f"{quantile(later, 0.99):.2f}", len(first), ratio])
    return table(["", "first chunk, median ms", "p99", "later ones, median ms", "p99", "streams", "goal: p99 ≤ 2 ms"], rows)


# ---- (b) sequences ----


def turns(server, seconds, mark):
    """Turns per second of sequences that are all checked."""
    url = server.url("sums")
    end = time.monotonic() + seconds
    done = [0]

    def story(name):
        total, n = 0, 0
        while time.monotonic() < end:
            n = n % 9 + 1
            status, _, body, _ = yield post(url, str(n).encode(), ts_request_sequence_id=name)
            total += n
            if status != 200 or int(body) != total:
                raise RuntimeError(f"{server.name}: sequence {name}: {status} {body[:200]}, expected {total}")
            done[0] += 1

    before = os.times()
    took = play(server.inference, [story(f"{mark}-{i}") for i in range(SEQUENCES)], seconds + 60)
    after = os.times()
    busy = (after.user + after.system - before.user - before.system) / took
    time.sleep(10)  # until the sequences are closed for idleness, which TorchServe looks for but now and then
    return done[0] / took, busy


def sequences(servers, a):
    mark = iter(range(1000))
    results = rounds(a.rounds, list(servers.items()), lambda s: turns(s, a.seconds, f"s{next(mark)}"))
    rows = [[name, f"{median([r for r, _ in got]):,.0f}", f"{median([100 * b for _, b in got]):.0f} %"]
            for name, got in results.items()]
    text = table(["", "turns/s", "client's core, busy"], rows)
    if len(results) == 2:
        each = [o / t for (o, _), (t, _) in zip(results["Sconce"], results["TorchServe"])]
        text += f"\n\nRatio **{median(each):.1f}** ({min(each):.1f}–{max(each):.1f}): {floor(median(each), 5)}."
    return text


# ---- (c) rates ----


def rates(servers, a):
    rows = []
    for i, (title, (_, connections)) in enumerate(RATES.items()):
        say(title)
        results = rounds(a.rounds, list(servers.items()), lambda s: load(
            s.url(f"rate{i}"), connections=connections, seconds=a.seconds, warmup=0.5, of=s,
            more=("-b", "0123456789abcdef", "--expect", "ok")))
        row = [title, connections]
        for name in ("TorchServe", "Sconce"):
            got = results.get(name)
            row.append(f"{median([r['rate'] for r in got]):,.0f} ({median([r['latency_us']['p99'] for r in got]) / 1e3:,.1f})"
                       if got else "–")
        if len(results) == 2:
            each = [o["rate"] / t["rate"] for o, t in zip(results["Sconce"], results["TorchServe"])]
            row += [f"**{median(each):.2f}** ({min(each):.2f}–{max(each):.2f})", floor(median(each), 1.0)]
        rows.append(row + [""] * (6 - len(row)))
    return table(["", "connections", "TorchServe, req/s (p99, ms)", "Sconce, req/s (p99, ms)", "ratio", "goal"], rows)


# ---- (d) a thousand streams ----


def resident(server):
    """MiB of all processes of a server; shared pages count for each."""
    return sum(int(m[1]) for p in server.pids() if (m := re.search(r"VmRSS:\s+(\d+)", read_proc(p, "status")))) / 1024


def thousand(server, n):
    def story(name):
        status, _, body, stamps = yield post(server.url("streams"), name.encode())
        want = "".join(f"{name}.{i} " for i in range(PARTS)) + f"{name}.end"
        if status != 200 or body.decode() != want:
            raise RuntimeError(f"{server.name}: stream {name}: {status} {body[:200]}")
        pauses.extend((b - a) / 1e6 for (a, _), (b, _) in zip(stamps, stamps[1:]))

    pauses = []
    took = play(server.inference, [story(f"stream{i}") for i in range(n)])
    return took, quantile(pauses, 0.99), resident(server)


def many(servers, a):
    rows = []
    for name, server in servers.items():
        say(f"{a.many} streams at once: {name}")
        before = resident(server)
        try:
            got = [thousand(server, a.many) for _ in range(a.rounds)]
        except (RuntimeError, OSError) as e:
            say(str(e))
            rows.append([name, f"failed: {str(e)[:120]}"] + [""] * 5)
            continue
        rows.append([name, "all correct", f"{median([t for t, _, _ in got]):.1f}", f"{median([p for _, p, _ in got]):,.0f}",
                     f"{before:.0f}", f"{got[0][2]:.0f}", f"{got[-1][2]:.0f}"])
    return table(["", f"{a.many} streams of {PARTS + 1} chunks", f"seconds ({PARTS * 0.1:.0f} of them pauses)",
                  "pause of 100 ms as it arrives, p99 ms", "MiB before", "after one round", f"after {a.rounds}"], rows)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=float, default=4)
    p.add_argument("--streams", type=int, default=150)
    p.add_argument("--many", type=int, default=1000)
    p.add_argument("--only", choices=["torchserve", "sconce"], help="one side alone, for its absolute figures")
    p.add_argument("--parts", nargs="+", default=["first", "sequences", "rates", "many"])
    a = p.parse_args()
    if os.cpu_count() < 2:
        die("one core for the server and one for the load are needed")
    commands = {}
    if a.only != "sconce":
        commands["TorchServe"] = torchserve_command() or die("TorchServe or a Java runtime (openjdk-17-jre-headless) is not here")
    if a.only != "torchserve":
        commands["Sconce"] = sconce_command()
    os.sched_setaffinity(0, {1})  # the load's core; servers are put on core 0
    wanted = {"first": ["stream"], "sequences": ["sums"], "rates": [f"rate{i}" for i in range(len(RATES))], "many": ["streams"]}
    titles = {"first": "From the handler's `send_intermediate_predict_response` to the client, one stream at a time:",
              "sequences": f"{SEQUENCES} interleaved sequences over 4 workers, each a connection in a closed loop; every sum is checked:",
              "rates": "MicroBatching and async handlers, one worker:",
              "many": "Streams at once on one worker of an async handler; every chunk is checked:"}
    measure = {"first": first_chunks, "sequences": sequences, "rates": rates, "many": many}
    parts = [f"Server with all its workers on core 0, the load on core 1: `sconce bench` for rates, else a client in Python (one "
             f"thread). Medians of {a.rounds} rounds that take turns (lowest and highest ratio in brackets), of {a.seconds:g} s "
             "where it is a rate. The same archives, started by the same command, default logging."]
    for part in a.parts:
        servers = {}
        try:
            for name, command in commands.items():
                servers[name] = Served(command, name.lower(), {m: ARCHIVES[m] for m in wanted[part]})
            parts.append(titles[part] + "\n\n" + measure[part](servers, a))
        finally:
            for server in servers.values():
                server.stop()
    write_section("handler_modes", "Streams, sequences, micro batches, async handlers", "\n\n".join(parts))


if __name__ == "__main__":
    main()
