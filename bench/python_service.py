#!/usr/bin/env python3
"""What the Python package costs per batch, without the data path: a handler that does nothing, through Service.predict.

usage: python_service.py [SECONDS]

Processor time of the calling thread, so that other work on the machine does not count. The metric line of every batch
is made; `written` is with a write to a pipe for each, where a worker writes the lines of several quick batches at once.
The floors (for what is not `written`): 6 us for a batch of one request, 2.5 us per request in a batch of 32.
Exits 1 if one is missed.
"""
import os
import subprocess
import sys
import tempfile
import threading
import time

HOME = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "backends", "python")
HANDLER = "def handle(data, context):\n    return [b'ok'] * len(data or [])\n"
FLOORS = {1: 6.0, 32: 2.5}


def measured(seconds):
    """In the child: prints the results to standard error, for standard output is what is measured."""
    sys.path[:0] = [HOME, os.getcwd()]
    from ts import log, model_loader

    # As the worker sets up its streams.
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    log.configure()
    service = model_loader.load("noop", os.getcwd(), "handler.py", None, 32)
    lines = []
    late_line = log.late_line
    for name in ("made", "written"):
        log.late_line = late_line if name == "written" else lines.append
        for size in FLOORS:
            # Fresh objects, as they come from the data path.
            batches = [batch(size) for _ in range(200)]
            best = float("inf")
            deadline = time.monotonic() + seconds / 4
            while time.monotonic() < deadline:
                start = time.thread_time()
                for requests in batches:
                    service.predict(requests)
                best = min(best, (time.thread_time() - start) / len(batches))
                lines.clear()
            print("%s %d %.3f" % (name, size, best * 1e6 / size), file=sys.stderr)


def batch(size):
    return [("3f8a1c52-0d7e-4b96-a1b2-%012d" % index, {}, {"body": b"x"}) for index in range(size)]


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "handler.py"), "w", encoding="utf-8") as file:
            file.write(HANDLER)
        command = [sys.executable, os.path.abspath(__file__), "--measured", str(seconds)]
        child = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        reader = threading.Thread(target=drain, args=(child.stdout.fileno(),), daemon=True)
        reader.start()
        errors = child.stderr.read()
        if child.wait() != 0:
            sys.exit(errors)
    missed = False
    for line in errors.splitlines():
        name, size, cost = line.split()
        floor = FLOORS[int(size)]
        missed = missed or (name == "made" and float(cost) > floor)
        print("batch %2s, line %-7s: %s us per request (floor %.1f)" % (size, name, cost, floor))
    return int(missed)


def drain(descriptor):
    while os.read(descriptor, 1 << 16):
        pass


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measured"]:
        measured(float(sys.argv[2]))
    else:
        sys.exit(main())
