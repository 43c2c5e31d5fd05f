#!/usr/bin/env python3
"""The encoder on a GPU through HTTP: one text a request, rates at 1,000 connections, latency at half of that and alone."""
# needs: nvidia-smi
import argparse
import json
import os
import random
import subprocess
import tempfile
from pathlib import Path

from common import BUILD, Sconce, die, floor, load, median, say, table, write_section

WORDS = 20000
LENGTHS = (16, 150, 128)
GOALS = {16: (80000, 120000)}  # requests/s: floor, stretch
ALONE = {16: 0.45, 150: 0.75}  # ms, p50
SHARE = 0.9  # of the engine's own rate, at 128 tokens


def make_model(folder):
    """BERT-base with random weights, and a vocabulary in which every word is one token."""
    import torch
    import transformers
    torch.manual_seed(1)
    transformers.BertForSequenceClassification(transformers.BertConfig(num_labels=2)).save_pretrained(folder)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join([*special, *(word(i) for i in range(WORDS))]) + "\n")
    return folder


def set_lanes(folder, lanes, tokens):
    (folder / "model-config.yaml").write_text(f"device: gpu\ndtype: fp16\nminWorkers: {lanes}\nmaxWorkers: {lanes}\n"
                                              f"maxBatchTokens: {tokens}\n")


def word(i):
    """Letters alone, all different."""
    return "".join(chr(97 + i // 26 ** k % 26) for k in range(4))


def write_texts(path, length, n, seed):
    """One text a line, all fresh: `length` tokens with [CLS] and [SEP]."""
    r = random.Random(seed)
    path.write_text("".join(" ".join(word(r.randrange(WORDS)) for _ in range(length - 2)) + "\n" for _ in range(n)))
    return path


def engine_rate(folder, length, tokens, lanes, seconds):
    """Texts a second of the engine alone."""
    tool = BUILD / "backends" / "encoder" / "encoder_engine"
    if not tool.exists():
        die(f"there is no program {tool}")
    done = subprocess.run([str(tool), "shell", str(folder), "cuda", "fp16", str(tokens), str(lanes)],
                          input=f"{seconds} {length}x{tokens // length}\n", capture_output=True, text=True,
                          env={**os.environ, "SCONCE_BUILD": str(BUILD)})
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        die(f"encoder_engine failed: {done.stderr or done.stdout}")
    return json.loads(lines[-1])["texts_s"]


def measure(a, server, texts, engine, n, lanes):
    """A row of the first table: all connections, then half of what they got, in an open loop."""
    url = f"{server.inference}/predictions/bert"
    send = ("--lines", texts[n], "-H", "content-type: text/plain", "-t", a.load_threads)
    full = [load(url, connections=a.connections, seconds=a.seconds, warmup=1, core=None, more=send, of=server)
            for _ in range(a.rounds)]
    rate = median([r["rate"] for r in full])
    half = load(url, connections=a.connections, seconds=a.seconds, warmup=1, core=None, more=(*send, "--rate", int(rate / 2)))
    least, most = GOALS.get(n, (SHARE * engine, None) if n == 128 else (0, None))
    return [n, lanes, f"{engine:,.0f}", f"**{rate:,.0f}**", f"{rate / engine:.2f}",
            f"{rate / median([r['per_cpu_second'] for r in full]):.1f}",
            f"{median([r['latency_us']['p99'] for r in full]) / 1e3:.1f}",
            floor(rate, round(least), most) if least else "",
            f"{half['latency_us']['p50'] / 1e3:.2f}", f"**{half['latency_us']['p99'] / 1e3:.2f}**",
            floor(-half["latency_us"]["p99"] / 1e3, -5.0).replace("-5.0", "5 ms")]


def alone(a, server, texts, n, lanes):
    one = load(f"{server.inference}/predictions/bert", connections=1, seconds=min(a.seconds, 10), warmup=1, core=None,
               more=("--lines", texts[n], "-H", "content-type: text/plain"))
    p50 = one["latency_us"]["p50"] / 1e3
    return [n, lanes, f"**{p50:.3f}**", f"{one['latency_us']['p99'] / 1e3:.3f}",
            floor(-p50, -ALONE[n]).replace(f"-{ALONE[n]}", f"{ALONE[n]} ms")]


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--seconds", type=float, default=30)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--lanes", type=int, nargs="+", default=[2], help="a server for each number, the first with all lengths")
    p.add_argument("--tokens", type=int, default=16384, help="of a batch")
    p.add_argument("--connections", type=int, default=1000)
    p.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    p.add_argument("--others", type=int, nargs="+", default=[150], help="lengths for the other numbers of lanes")
    p.add_argument("--load-threads", type=int, default=4)
    p.add_argument("--set", nargs="*", default=[], help="KEY=VALUE of config.properties")
    a = p.parse_args()
    rows, lone = [], []
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        (home / "model").mkdir()
        model = make_model(home / "model")
        texts = {n: write_texts(home / f"texts{n}", n, max(20000, 4000000 // n), n) for n in {*a.lengths, *a.others}}
        for lanes in a.lanes:
            lengths = a.lengths if lanes == a.lanes[0] else a.others
            set_lanes(model, lanes, a.tokens)
            engine = {n: engine_rate(model, n, a.tokens, lanes, min(a.seconds, 5)) for n in lengths}
            server = Sconce(models={"bert": model}, settings=dict(s.split("=", 1) for s in a.set), core=None)
            try:
                for n in lengths:
                    rows.append(measure(a, server, texts, engine[n], n, lanes))
                    say(" | ".join(map(str, rows[-1])))
                for n in lengths:
                    if n in ALONE:
                        lone.append(alone(a, server, texts, n, lanes))
                        say("alone: " + " | ".join(map(str, lone[-1])))
            finally:
                server.stop()
    gpu = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"], capture_output=True,
                         text=True).stdout.strip()
    write_section(
        "encoder_http", "The encoder on a GPU, through HTTP",
        f"{gpu}; BERT-base with random weights, fp16, fresh random texts, one a request; server and generator "
        f"({a.load_threads} threads) share the machine's cores. {a.connections} connections in a closed loop, medians of "
        f"{a.rounds} runs of {a.seconds:g} s; then half of that rate in an open loop:\n\n"
        + table(["tokens", "lanes", "engine alone, texts/s", "HTTP, requests/s", "of the engine's", "server's cores", "p99, ms",
                 "goal", "half rate: p50, ms", "p99, ms", "goal"], rows)
        + "\n\nOne request at a time:\n\n" + table(["tokens", "lanes", "p50, ms", "p99, ms", "goal"], lone))


if __name__ == "__main__":
    main()
