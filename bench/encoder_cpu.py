#!/usr/bin/env python3
"""The encoder on the CPU, engine alone and over HTTP, against Transformers on PyTorch with the same weights."""
# needs: taskset
import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from common import (BUILD, ROOT, SERVER_CORE, Sconce, die, fetch, floor, load, median, rounds, say, table,
                    write_section)

MODELS = ROOT / "build" / "bench-models"
TITLES = {"base": "BERT-base (12 layers, 768)", "minilm": "MiniLM size (6 layers, 384)"}
WEIGHTS = {"base": 85e6, "minilm": 10.6e6}  # multiplied per token
LENGTHS, BATCHES = (16, 64, 128, 512), (1, 8, 32)
CALL_FLOPS = 0.4e12  # of one call: longer ones are only run with --full


class Torch:
    """bench/torch_side.py, pinned to the server's core."""

    def __init__(self, threads):
        command = ["taskset", "-c", SERVER_CORE] if threads == 1 else []
        self.process = subprocess.Popen([*command, sys.executable, str(ROOT / "bench" / "torch_side.py"), str(threads)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, do, **order):
        self.process.stdin.write(json.dumps({"do": do, **order}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            die("the PyTorch side ended; bench/encoder_cpu.requirements.txt names what it needs")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def engine(folder, length, batch, seconds, kind="auto", dtype="fp32"):
    """Sequences a second of the engine alone, one thread: the best call."""
    tool = BUILD / "backends" / "encoder" / "bench_encoder_cpu"
    if not tool.exists():
        die(f"there is no program {tool}: ./dev bench builds it")
    done = subprocess.run(["taskset", "-c", SERVER_CORE, str(tool), str(folder), kind, str(length), str(batch), str(seconds),
                           str(BUILD), dtype], capture_output=True, text=True)
    found = re.search(r"best ([\d.]+) seq/s", done.stdout)
    if done.returncode or not found:
        die(f"bench_encoder_cpu failed: {done.stderr or done.stdout}")
    return float(found[1])


def compare(n, ours, theirs):
    """Medians of n rounds in turns: ours, theirs, and the ratio."""
    results = rounds(n, [("ours", ours), ("theirs", theirs)], lambda run: run())
    return (median(results["ours"]), median(results["theirs"]),
            median([a / b for a, b in zip(results["ours"], results["theirs"])]))


def text_of(rng, tokens):
    """Words that are one token each; [CLS] and [SEP] come with them."""
    return " ".join(f"w{rng.randrange(1000, 30522)}" for _ in range(tokens - 2))


def equal_lengths(torch, size, a):
    rows = []
    for length in LENGTHS:
        for batch in BATCHES:
            if not a.full and 2 * WEIGHTS[size] * length * batch > CALL_FLOPS:
                continue
            say(f"{size}, length {length}, batch {batch}")
            folder = str(MODELS / size)
            ours, theirs, ratio = compare(a.rounds, lambda: engine(folder, length, batch, a.seconds),
                                          lambda: torch("equal", folder=folder, length=length, batch=batch, seconds=a.seconds))
            rows.append([TITLES[size], length, batch, f"{ours:,.1f}", f"{theirs:,.1f}", f"**{ratio:.2f}**",
                         floor(ratio, 1.0, 1.3 if length == 16 else 1.1)])
    return rows


def fallback(size, a):
    rows = []
    for length, batch in ((16, 8), (128, 8)):
        say(f"{size}, without oneDNN, length {length}, batch {batch}")
        folder = MODELS / size
        plain, dnn, ratio = compare(a.rounds, lambda: engine(folder, length, batch, a.seconds, "builtin"),
                                    lambda: engine(folder, length, batch, a.seconds, "onednn"))
        rows.append([TITLES[size], length, batch, f"{plain:,.1f}", f"{dnn:,.1f}", f"**{ratio:.2f}**", floor(ratio, 0.5)])
    return rows


def halves(size, a):
    """bf16 against fp32, where the processor computes in it."""
    rows = []
    for length, batch in ((16, 1), (16, 8), (128, 1), (128, 8)):
        say(f"{size}, bf16, length {length}, batch {batch}")
        folder = MODELS / size
        half, full, ratio = compare(a.rounds, lambda: engine(folder, length, batch, a.seconds, "onednn", "bf16"),
                                    lambda: engine(folder, length, batch, a.seconds, "onednn"))
        rows.append([TITLES[size], length, batch, f"{half:,.1f}", f"{full:,.1f}", f"**{ratio:.2f}**", floor(ratio, 1.7)])
    return rows


def over_http(torch, size, a):
    """One text a request, 32 connections, against Transformers in its own process on texts in batches of 32."""
    rng = random.Random(5)
    folder = str(MODELS / size)
    mixed = [text_of(rng, 150 if i % 16 == 15 else 5 + rng.randrange(36)) for i in range(32)]
    loads = {"all of 16 tokens": ([text_of(rng, 16) for _ in range(32)], ("longest",), 1.0),
             "all of 128 tokens": ([text_of(rng, 128) for _ in range(32)], ("longest",), 1.0),
             "mixed, 5–40 tokens, one in 16 of 150": (mixed, (150, "longest"), 3.0)}
    rows = []
    with Sconce({"m": folder}, {"access_log": "false", "default_workers_per_model": 1}) as server:
        same_answer(torch, folder, server, mixed[0])
        for title, (texts, paddings, goal) in loads.items():
            with tempfile.NamedTemporaryFile("w", suffix=".txt") as lines:
                lines.write("\n".join(texts) + "\n")
                lines.flush()

                def ours():
                    return load(server.inference + "/predictions/m", connections=32, seconds=a.http_seconds, warmup=1,
                                more=("--lines", lines.name, "-H", "content-type: text/plain"))["rate"]

                for padding in paddings:
                    say(f"{size} over HTTP, {title}, PyTorch pads to {padding}")
                    mine, theirs, ratio = compare(a.rounds, ours, lambda: torch(
                        "texts", folder=folder, texts=texts, batch=32, padding=padding, seconds=a.http_seconds))
                    rows.append([TITLES[size], title, f"to {padding}", f"{mine:,.1f}", f"{theirs:,.1f}", f"**{ratio:.2f}**",
                                 floor(ratio, goal) if padding != "longest" or goal == 1.0 else ""])
    return rows


def same_answer(torch, folder, server, text):
    """Both must mean the same model."""
    expected = torch("scores", folder=folder, text=text)
    status, _, body = fetch(server.inference + "/predictions/m", text.encode())
    if status != 200:
        die(f"the server answers {status}: {body[:300]}")
    best = json.loads(body)[0]
    label = max(expected, key=expected.get)
    if best["label"] != label or abs(best["score"] - expected[label]) > 1e-4:
        die(f"different answers: {best} here, {label} {expected[label]} from PyTorch")


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=0.5, help="of one timing of the engine")
    p.add_argument("--http-seconds", type=float, default=3)
    p.add_argument("--models", nargs="+", choices=list(TITLES), default=list(TITLES))
    p.add_argument("--full", action="store_true", help="the longest calls, too: takes an hour")
    a = p.parse_args()
    if os.cpu_count() < 2:
        die("one core for the server and one for the load are needed")
    torch = Torch(1)
    equal, plain, half, http = [], [], [], []
    try:
        for size in a.models:
            torch("make", folder=str(MODELS / size), size=size)
            equal += equal_lengths(torch, size, a)
            http += over_http(torch, size, a)
            if Path(BUILD / "libsconce_encoder_onednn.so").exists():
                plain += fallback(size, a)
                if "avx512_bf16" in Path("/proc/cpuinfo").read_text():
                    half += halves(size, a)
    finally:
        torch.close()
    head = ["model", "tokens", "batch", "Sconce, seq/s", "PyTorch, seq/s", "ratio", "goal"]
    text = ("fp32, the same random weights, one thread on core 0 each; the best call of a round, medians of "
            f"{a.rounds} rounds that take turns.\n\nThe engine alone against the forward pass alone, equal lengths:\n\n"
            + table(head, equal) + "\n\nOver HTTP, one text a request, 32 connections from core 1, tokenised by the server; against "
            "Transformers called directly (no server) with 32 texts at a time, tokenised too:\n\n"
            + table(["model", "texts", "PyTorch pads", "Sconce, texts/s", "PyTorch, texts/s", "ratio", "goal"], http))
    if plain:
        text += ("\n\nWithout oneDNN, the encoder's own matrix product against oneDNN:\n\n"
                 + table(["model", "tokens", "batch", "own, seq/s", "oneDNN, seq/s", "ratio", "goal"], plain))
    if half:
        text += ("\n\nIn bf16 (`dtype: bf16`) against fp32, both with oneDNN:\n\n"
                 + table(["model", "tokens", "batch", "bf16, seq/s", "fp32, seq/s", "ratio", "goal"], half))
    write_section("encoder_cpu", "The encoder on the CPU", text)


if __name__ == "__main__":
    main()
