#!/usr/bin/env python3
"""A real Transformers classifier on the CPU: through the server against calling its handler in a loop."""
# needs: taskset
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from pathlib import Path

from common import ROOT, die, load, median, rounds, say, table, write_section
from peers import Served, sconce_command, torchserve_command

EXAMPLE = ROOT / "examples" / "transformers-seqclass"

# Runs in a process of its own: one thread as in the server, the handler's own steps, rows as a worker makes them.
IN_PROCESS = '''
import json, os, sys, time
os.chdir(sys.argv[1])
sys.path.insert(0, sys.argv[1])
sys.path.insert(1, sys.argv[2])
import torch, yaml
from ts.context import Context
import handler
model = handler.SequenceClassifier()
manifest = json.load(open("MAR-INF/MANIFEST.json"))
context = Context("seqclass", sys.argv[1], manifest, 1, None, "0.12.0", True)
context.model_yaml_config = yaml.safe_load(open("model-config.yaml"))
context.system_properties.setdefault("gpu_id", None)
model.initialize(context)
sys.stdout = open(os.devnull, "w")
text = sys.argv[3].encode()
for line in sys.stdin:
    batch, seconds = json.loads(line)
    model.context = context
    done, began, spent = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        rows = [{"body": bytearray(text)} for _ in range(batch)]
        answers = model.postprocess(model.inference(model.preprocess(rows)))
        assert len(answers) == batch
        done += batch
    print(json.dumps({"rate": done / (time.perf_counter() - began),
                      "per_cpu_second": done / (time.process_time() - spent)}), file=sys.__stdout__, flush=True)
'''


class Loop:
    """The handler without a server, on the server's core."""

    def __init__(self, folder, home, text):
        self.process = subprocess.Popen(["taskset", "-c", "0", sys.executable, "-c", IN_PROCESS, str(folder), str(home),
                                         text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, "OMP_NUM_THREADS": "1"})

    def rate(self, batch, seconds):
        """Texts per second, and per second of the loop's CPU time."""
        self.process.stdin.write(json.dumps([batch, seconds]) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            die("the handler failed in its loop")
        return json.loads(line)

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def pack(folder):
    """The example's archive as a user makes it."""
    env = {**os.environ, "PYTHON": sys.executable, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(["sh", str(EXAMPLE / "pack.sh"), str(folder)], check=True, env=env, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    return folder / "seqclass.mar"


def ask(url, text):
    request = urllib.request.Request(url, text.encode(), {"Content-Type": "text/plain"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return reply.read().decode()


def with_batch(archive, batch):
    """Writes the same archive with another batch size."""
    def write(path):
        with zipfile.ZipFile(archive) as old, zipfile.ZipFile(path, "w") as new:
            for name in old.namelist():
                data = old.read(name)
                if name == "model-config.yaml":
                    data = data.replace(b"batchSize: 8", f"batchSize: {batch}".encode())
                if name == "MAR-INF/MANIFEST.json":
                    data = data.replace(b'"seqclass"', f'"{path.stem}"'.encode())
                new.writestr(name, data)
    return write


def ts_home():
    """Where the `ts` package lies that the loop uses: the one that the server under test uses."""
    for folder in (Path(sconce_command()).parent / "python", *map(Path, sys.path)):
        if (folder / "ts" / "context.py").exists():
            return folder
    die("there is no ts package")


def compare(loop, server, url, batch, text, a):
    """Cells of a row: rates of the loop and of the server, overhead, and whether it will do."""
    answer = ask(url, text)
    say(f"batch {batch}, {server.name}: {answer}")
    send = ("-b", text, "-H", "content-type: text/plain", "--expect", answer)

    results = rounds(a.rounds, [("loop", loop), ("server", server)], lambda who: (
        who.rate(batch, a.seconds) if who is loop else
        load(url, connections=2 * batch, seconds=a.seconds, warmup=1, more=send, of=server)))
    here, there = results["loop"], results["server"]
    wall = [h["rate"] / t["rate"] - 1 for h, t in zip(here, there)]
    cpu = [h["per_cpu_second"] / t["per_cpu_second"] - 1 for h, t in zip(here, there)]
    # The whole of the server's CPU time is on the handler's core, so it is its overhead; other work on the machine
    # hardly moves it.
    return (f"{median([r['rate'] for r in here]):.1f}", f"{median([r['rate'] for r in there]):.1f}",
            f"{median(wall) * 100:.1f} % ({min(wall) * 100:.1f} to {max(wall) * 100:.1f})",
            f"**{median(cpu) * 100:.1f} %** ({min(cpu) * 100:.1f} to {max(cpu) * 100:.1f})",
            "3 % reached" if min(median(wall), median(cpu)) <= 0.03 else "above 3 %")


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=10)
    p.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    p.add_argument("--peer", action="store_true", help="TorchServe's overhead, too")
    a = p.parse_args()
    text = (EXAMPLE / "sample_text.txt").read_text()
    work = Path(tempfile.mkdtemp(prefix="bench-overhead-"))
    os.environ["OMP_NUM_THREADS"] = "1"
    running, rows = [], []
    try:
        archive = pack(work)
        shutil.unpack_archive(archive, work / "model", "zip")
        archives = {f"batch{b}": with_batch(archive, b) for b in a.batches}
        running.append(loop := Loop(work / "model", ts_home(), text))
        servers = {"Sconce": Served(sconce_command(), "sconce", archives)}
        if a.peer and torchserve_command():
            servers["TorchServe"] = Served(torchserve_command(), "torchserve", archives)
        running += servers.values()
        for batch in a.batches:
            for name, server in servers.items():
                rows.append([name, batch, *compare(loop, server, server.url(f"batch{batch}"), batch, text, a)])
    finally:
        for each in running:
            each.stop()
        shutil.rmtree(work, ignore_errors=True)
    write_section("handler_overhead", "A real handler's overhead",
                  "`examples/transformers-seqclass` (MiniLM, texts padded to 150), one thread, server or loop on core 0, load "
                  f"on core 1 with twice as many connections as the batch holds; medians of {a.rounds} rounds of "
                  f"{a.seconds:g} s that take turns. In CPU time: of all the server's processes a text, against the loop's.\n\n"
                  + table(["", "batch", "loop, texts/s", "server, texts/s", "overhead", "overhead in CPU time", "goal"], rows))


if __name__ == "__main__":
    main()
