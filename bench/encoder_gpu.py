#!/usr/bin/env python3
"""The encoder's GPU engine beside PyTorch: texts a second by length, and one text alone, in one interleaved run

BERT-base with random weights in fp16, fresh random ids. PyTorch: Transformers' model as it is (eager), and the same
network written out with fused QKV and scaled_dot_product_attention, in a CUDA graph. Both get texts of one length side by
side, so nothing is padded; mixed lengths: sorted, padded to the longest of eight groups. At last BERT-large for questions
and answers on lengths like SQuAD's, beside the rate that MLPerf has for one H100.
SCONCE_BUILD names the folder of the binaries; BENCH_SECONDS (30) and BENCH_ROUNDS (3) how long each is timed.
"""
# needs: nvidia-smi

import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import threading
import time
import types
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
import transformers as tf

BUILD = pathlib.Path(os.environ.get("SCONCE_BUILD", "build/release")).resolve()
SECONDS = float(os.environ.get("BENCH_SECONDS", "30"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
MAX_TOKENS = 16384
LANES = os.environ.get("LANES", "1 2").split()
# Texts of a batch: as many tokens as the engine takes.
MANY = ["16x1024", "30x546", "128x128", "150x109", "512x32", "mixx512"]
ONE = ["16x1", "150x1"]
# Multiply-adds of the layers' products alone at the rate that cuBLASLt reached for these shapes (docs/performance.md).
GEMM_BOUND = {"16x1024": 250000, "128x128": 31000, "150x109": 26000, "512x32": 7800}


# MLPerf Inference, BERT-large on SQuAD v1.1 at 99.9 % of fp32's F1, offline, one H100: its engine computes in FP8.
MLPERF = 7940
SQUAD = "squadx70"


class Clocks:
    """What nvidia-smi says while something runs."""

    def __init__(self) -> None:
        query = "--query-gpu=clocks.sm,power.draw,temperature.gpu"
        self.p = subprocess.Popen(
            ["nvidia-smi", "-i", "0", query, "--format=csv,noheader,nounits", "-lms", "200"],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.seen: list[list[float]] = []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self) -> None:
        assert self.p.stdout
        for line in self.p.stdout:
            try:
                self.seen.append([float(x) for x in line.split(",")])
            except ValueError:
                continue

    def take(self) -> str:
        seen, self.seen = self.seen, []
        if not seen:
            return ""
        clock, power, heat = (statistics.mean(x) for x in zip(*seen, strict=True))
        return f"{clock:5.0f} MHz {power:4.0f} W {heat:3.0f} C"


class Ours:
    def __init__(self, folder: str, lanes: str) -> None:
        command = [str(BUILD / "backends/encoder/encoder_engine"), "shell", folder, "cuda", "fp16", str(MAX_TOKENS), lanes]
        self.p = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "SCONCE_BUILD": str(BUILD)}
        )
        assert self.p.stdout and self.p.stdout.readline() == "ready\n"

    def stop(self) -> None:
        assert self.p.stdin
        self.p.stdin.close()
        self.p.wait()

    def time(self, shape: str, seconds: float) -> dict[str, Any]:
        assert self.p.stdin and self.p.stdout
        self.p.stdin.write(f"{seconds} {shape}\n")
        self.p.stdin.flush()
        line = self.p.stdout.readline()
        return json.loads(line) if line.startswith("{") else {"texts_s": float("nan"), "p50_ms": float("nan")}


def lengths(shape: str) -> list[int]:
    length, count = shape.split("x", 1) if not shape.startswith("mix") else ("", shape[4:])
    if length:
        return [int(length)] * int(count)
    return [150 if i % 16 == 15 else 5 + i * 7 % 36 for i in range(int(count))]


def groups(shape: str) -> list[tuple[int, int]]:
    """(texts, length) of what is computed together."""
    sizes = sorted(lengths(shape))
    if sizes[0] == sizes[-1]:
        return [(len(sizes), sizes[0])]
    step = len(sizes) // 8
    return [(len(part), max(part)) for part in (sizes[i : i + step] for i in range(0, len(sizes), step))]


class Written(torch.nn.Module):
    """BERT as PyTorch computes it fastest without a compiler."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.m = model
        self.heads = model.config.num_attention_heads
        self.qkv = []
        for layer in model.bert.encoder.layer:
            parts = [getattr(layer.attention.self, n) for n in ("query", "key", "value")]
            self.qkv.append((torch.cat([p.weight for p in parts]), torch.cat([p.bias for p in parts])))

    def forward(self, input_ids: torch.Tensor) -> Any:
        bert = self.m.bert
        e, (n, length) = bert.embeddings, input_ids.shape
        x = e.word_embeddings(input_ids) + e.position_embeddings.weight[:length] + e.token_type_embeddings.weight[0]
        x = e.LayerNorm(x)
        for layer, (w, b) in zip(bert.encoder.layer, self.qkv, strict=True):
            q, k, v = F.linear(x, w, b).view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            o = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, length, -1)
            x = layer.attention.output.LayerNorm(x + layer.attention.output.dense(o))
            x = layer.output.LayerNorm(x + layer.output.dense(F.gelu(layer.intermediate.dense(x))))
        return types.SimpleNamespace(logits=self.m.classifier(torch.tanh(bert.pooler.dense(x[:, 0]))))


def torch_calls(model: Any, shape: str, graph: bool) -> Callable[[], None]:
    """One batch, results on the host."""
    parts = []
    for n, length in groups(shape):
        ids = torch.randint(0, 30000, (n, length), device="cuda")
        if graph:
            stream = torch.cuda.Stream()
            with torch.cuda.stream(stream):
                for _ in range(3):
                    model(input_ids=ids)
            torch.cuda.synchronize()
            g = torch.cuda.CUDAGraph()
            with torch.cuda.graph(g):
                out = model(input_ids=ids).logits
            parts.append((ids, g, out))
        else:
            parts.append((ids, None, None))
    pool = [[torch.randint(0, 30000, p[0].shape).pin_memory() for p in parts] for _ in range(4)]
    turn = 0

    def call() -> None:
        nonlocal turn
        turn += 1
        results = []
        for host, (ids, g, out) in zip(pool[turn % 4], parts, strict=True):
            ids.copy_(host, non_blocking=True)
            if g:
                g.replay()
                results.append(out)
            else:
                results.append(model(input_ids=ids).logits)
        for r in results:
            r.float().cpu()

    return call


def time_torch(model: Any, shape: str, graph: bool, seconds: float) -> dict[str, float]:
    with torch.inference_mode():
        call = torch_calls(model, shape, graph)
        for _ in range(3):
            call()
        torch.cuda.synchronize()
        times = []
        start = time.monotonic()
        while not times or time.monotonic() - start < seconds:
            t = time.perf_counter()
            call()
            times.append(time.perf_counter() - t)
    n = len(lengths(shape)) * len(times)
    return {"texts_s": n / (time.monotonic() - start), "p50_ms": 1000 * statistics.median(times)}


def main() -> None:
    config = tf.BertConfig(num_labels=2)
    torch.manual_seed(1)
    model = tf.BertForSequenceClassification(config).eval()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        eager = tf.BertForSequenceClassification.from_pretrained(folder, attn_implementation="eager").half().cuda().eval()
        written = Written(eager)
        with torch.inference_mode():
            ids = torch.randint(0, 30000, (4, 50), device="cuda")
            off = (written(ids).logits - eager(ids).logits).abs().max().item()
            assert off < 0.02, f"the two PyTorch models differ by {off}"
        started = time.monotonic()
        ours = {n: Ours(folder, n) for n in LANES}
        print(f"engines loaded in {time.monotonic() - started:.1f} s")
        clocks = Clocks()
        rates: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for turn in range(ROUNDS):
            for shape in ONE + MANY:
                ways: dict[str, Callable[[], dict[str, Any]]] = {}
                for n, o in ours.items():
                    if n == "1" or shape not in ONE:
                        ways[f"{n} lane(s)"] = lambda o=o, shape=shape: o.time(shape, SECONDS)
                ways["torch graph"] = lambda shape=shape: time_torch(written, shape, True, SECONDS)
                ways["torch eager"] = lambda shape=shape: time_torch(eager, shape, False, SECONDS)
                for way, run in ways.items():
                    clocks.take()
                    got = run()
                    got["clocks"] = clocks.take()
                    rates.setdefault((shape, way), []).append(got)
                    print(f"{turn} {shape:8} {way:11} {got['texts_s']:10.0f} /s {got['p50_ms']:8.3f} ms {got['clocks']}", flush=True)
        print(f"\n{'texts x tokens':14} {'way':11} {'texts/s':>10} {'p50 ms':>8} {'to graph':>8} {'of GEMM bound':>13}")
        for (shape, way), got in rates.items():
            rate = statistics.median(g["texts_s"] for g in got)
            base = statistics.median(g["texts_s"] for g in rates[shape, "torch graph"])
            bound = f"{100 * rate / GEMM_BOUND[shape]:.0f} %" if shape in GEMM_BOUND else ""
            ms = statistics.median(g["p50_ms"] for g in got)
            print(f"{shape:14} {way:11} {rate:10.0f} {ms:8.3f} {rate / base:8.2f} {bound:>13}")
        for o in ours.values():
            o.stop()
    large()


def large() -> None:
    """BERT-large; weights do not matter for time."""
    with tempfile.TemporaryDirectory() as folder:
        size = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
        with torch.device("cuda"):
            model = tf.BertForQuestionAnswering(tf.BertConfig(**size))
        model.half().save_pretrained(folder)
        del model
        for lanes in LANES:
            o = Ours(folder, lanes)
            clocks = Clocks()
            got = o.time(SQUAD, SECONDS)
            o.stop()
            print(
                f"BERT-large, SQuAD-like lengths, {lanes} lane(s), fp16: {got['texts_s']:.0f} texts/s,"
                f" {got.get('tokens_s', float('nan')):.0f} tokens/s, {got['texts_s'] / MLPERF:.2f} of MLPerf's {MLPERF} (FP8);"
                f" {clocks.take()}",
                flush=True,
            )


if __name__ == "__main__":
    main()
