#!/usr/bin/env python3
"""Lanes of a GPU executor, scaled while they serve, and what they cost: lanes.py [BUILD] [--cpu]

BERT-base in fp16 with random weights. A line for each scenario, under two minutes in all:

    live     1 -> 8 -> 1 lanes under the load of 64 connections, in the same process: no request fails
    lane     what a further lane takes of the GPU's memory beside its own buffers: at most 20 MiB
    cycles   100 times 1 -> 8 -> 1 under load: memory as before, within 20 MiB
    standby  kill -9 of the executor, 10 times: the first answer in less than 0.2 s, no request fails

BUILD (or SCONCE_BUILD, or build/release) has the program, its backends and their libraries. Needs torch, to make the weights,
and nvidia-smi. --cpu tries the script itself without a GPU: a small model, memory of the process. Ends with 1 if anything is
wrong.
"""
import ctypes
import json
import os
import re
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CPU = "--cpu" in sys.argv
ROOT = Path(__file__).resolve().parents[2]
NAMED = [a for a in sys.argv[1:] if not a.startswith("-")]
os.environ["SCONCE_BUILD"] = str(Path(NAMED[0] if NAMED else os.environ.get("SCONCE_BUILD", ROOT / "build/release")).resolve())
sys.path.insert(0, str(ROOT / "bench"))

from common import Sconce, fetch, read_proc  # noqa: E402
from encoder_http import word  # noqa: E402
from text_load import Load  # noqa: E402

CONNECTIONS, MOST, CYCLES, KILLS = 64, 8, 100, 10
MIB = 1 << 20
ROOM = 20 * MIB
FIRST_S = 0.2
WORDS = 20000
LAYERS, HIDDEN, INSIDE, TOKENS = (2, 128, 512, 2048) if CPU else (12, 768, 3072, 16384)


def shapes():
    """The tensors of a BertForSequenceClassification."""
    def linear(name, out, inside):
        return {f"{name}.weight": (out, inside), f"{name}.bias": (out,)}

    def norm(name):
        return {f"{name}.weight": (HIDDEN,), f"{name}.bias": (HIDDEN,)}

    of = {"bert.embeddings.word_embeddings.weight": (WORDS + 5, HIDDEN),
          "bert.embeddings.position_embeddings.weight": (512, HIDDEN),
          "bert.embeddings.token_type_embeddings.weight": (2, HIDDEN), **norm("bert.embeddings.LayerNorm")}
    for i in range(LAYERS):
        layer = f"bert.encoder.layer.{i}"
        for part in ("query", "key", "value"):
            of |= linear(f"{layer}.attention.self.{part}", HIDDEN, HIDDEN)
        of |= linear(f"{layer}.attention.output.dense", HIDDEN, HIDDEN) | norm(f"{layer}.attention.output.LayerNorm")
        of |= linear(f"{layer}.intermediate.dense", INSIDE, HIDDEN)
        of |= linear(f"{layer}.output.dense", HIDDEN, INSIDE) | norm(f"{layer}.output.LayerNorm")
    return of | linear("bert.pooler.dense", HIDDEN, HIDDEN) | linear("classifier", 2, HIDDEN)


def make_model(folder, seed=1, **settings):
    """A Hugging Face folder, written by hand: only torch is needed."""
    import torch
    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    header, at, tensors = {}, 0, []
    for name, shape in shapes().items():
        norm_weight = name.endswith("LayerNorm.weight")
        t = torch.ones(shape) if norm_weight else torch.randn(shape) * 0.02
        size = t.numel() * 4
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
        tensors.append(t)
    head = json.dumps(header).encode()
    with open(folder / "model.safetensors", "wb") as out:
        out.write(struct.pack("<Q", len(head)) + head)
        for t in tensors:
            out.write(ctypes.string_at(t.data_ptr(), t.numel() * 4))
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["BertForSequenceClassification"], "model_type": "bert", "vocab_size": WORDS + 5, "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS, "num_attention_heads": HIDDEN // 64, "intermediate_size": INSIDE, "hidden_act": "gelu",
        "max_position_embeddings": 512, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0}))
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join([*special, *(word(i) for i in range(WORDS))]) + "\n")
    return configure(folder, **settings)


def words(n):
    return 2 + n % 60


def configure(folder, **settings):
    all_of_it = {"device": "cpu" if CPU else "gpu", "minWorkers": 1, "maxWorkers": 1, "maxBatchTokens": TOKENS, **settings}
    if not CPU:
        all_of_it["dtype"] = "fp16"
    (folder / "model-config.yaml").write_text("".join(f"{k}: {v}\n" for k, v in all_of_it.items()))
    return folder


def say(name, good, text):
    print(f"{'ok  ' if good else 'FAIL'} {name}: {text}", flush=True)
    return good


def memory(pid):
    """Bytes in use of the GPU, which nobody else uses; with --cpu, of the process."""
    if CPU:
        return int(re.search(r"RssAnon:\s+(\d+)", read_proc(pid, "status"))[1]) << 10
    text = subprocess.run(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "-i", "0"],
                          capture_output=True, text=True, check=True).stdout
    return int(text.strip()) * MIB


def describe(server):
    return json.loads(fetch(f"{server.management}/models/bert")[2])[0]


def scale(server, n):
    """The seconds that it took until they were there."""
    began = time.monotonic()
    status, _, body = fetch(f"{server.management}/models/bert?min_worker={n}&max_worker={n}&synchronous=true", method="PUT",
                            timeout=60)
    if status != 200:
        raise RuntimeError(f"scaling to {n}: {status} {body[:300]}")
    return time.monotonic() - began


def settled(pid):
    """The memory, once it no longer falls."""
    seen = [memory(pid)]
    while len(seen) < 10 and (len(seen) < 3 or seen[-1] != seen[-2]):
        time.sleep(0.2)
        seen.append(memory(pid))
    return seen[-1]


def scaling(folder):
    server = Sconce(models={"bert": folder}, settings={"job_queue_size": 1000}, core=None)
    good = True
    try:
        pid = server.role("sconce: executor")[0]
        said = re.search(r"a lane (\d+) MiB", server.log.read_text(errors="replace"))
        activations = int(said[1]) * MIB if said else 0
        load = Load(server, words, CONNECTIONS)
        time.sleep(2)  # graphs are captured
        rates, took = [load.rate_of_last(1)], []
        first = memory(pid)
        took.append(scale(server, MOST))
        time.sleep(2)
        rates.append(load.rate_of_last(1))
        most = memory(pid)
        took.append(scale(server, 1))
        time.sleep(1.5)
        rates.append(load.rate_of_last(1))
        load.stop()
        same = server.role("sconce: executor") == [pid]
        good &= say("live", not load.bad and same,
                    f"1 -> {MOST} lanes in {took[0]:.3f} s, back in {took[1]:.3f} s; {len(load.came)} requests, {len(load.bad)} failed "
                    f"{load.bad[:2]}; {' -> '.join(f'{r:.0f}' for r in rates)} /s; {'the same' if same else 'ANOTHER'} process")
        each = (most - first) / (MOST - 1)
        good &= say("lane", CPU or (activations > 0 and each - activations <= ROOM),
                    f"a further lane takes {each / MIB:.1f} MiB, {activations / MIB:.0f} of them its buffers: "
                    f"{(each - activations) / MIB:+.1f} MiB beside (at most {ROOM / MIB:.0f})")

        load = Load(server, words, 16)
        began = time.monotonic()
        for _ in range(CYCLES):
            scale(server, MOST)
            at = len(load.came)
            while len(load.came) < at + 64 and not load.bad:
                time.sleep(0.002)
            scale(server, 1)
        seconds = time.monotonic() - began
        load.stop()
        after = settled(pid)
        good &= say("cycles", not load.bad and (CPU or abs(after - first) <= ROOM) and server.role("sconce: executor") == [pid],
                    f"{CYCLES} in {seconds:.1f} s under load; {len(load.came)} requests, {len(load.bad)} failed {load.bad[:2]}; memory "
                    f"{first / MIB:.0f} -> {after / MIB:.0f} MiB (within {ROOM / MIB:.0f})")
    finally:
        text = server.log.read_text(errors="replace")
        server.stop()
    return good, text


def standing_by(server):
    """Its pid and memory once it is ready, or None."""
    s = describe(server).get("standby")
    return s if s and s.get("status") == "READY" else None


def standby(folder):
    server = Sconce(models={"bert": folder}, settings={"job_queue_size": 1000}, core=None)
    firsts, deaths = [], []
    load = None
    try:
        end = time.monotonic() + 20
        while not (s := standing_by(server)) and time.monotonic() < end:
            time.sleep(0.05)
        if not s:
            return say("standby", False, f"none is ready after 20 s: {describe(server)}"), server.log.read_text(errors="replace")
        end = time.monotonic() + 10
        while not (cost := (standing_by(server) or {}).get("gpuMemory") or 0) and time.monotonic() < end and not CPU:
            time.sleep(0.1)
        load = Load(server, words, CONNECTIONS)
        time.sleep(2)
        usual = load.rate_of_last(1)
        for _ in range(KILLS):
            end = time.monotonic() + 20
            while not (s := standing_by(server)) and time.monotonic() < end:
                time.sleep(0.02)
            time.sleep(0.5)
            victim = describe(server)["workers"][0]["pid"]
            killed = time.monotonic()
            os.kill(victim, signal.SIGKILL)
            while not any(t > killed + 0.02 for t in load.came[-CONNECTIONS:]) and time.monotonic() < killed + 10:
                time.sleep(0.002)
            firsts.append(min((t for t in load.came[-4000:] if t > killed + 0.02), default=killed + 10) - killed)
            while read_proc(victim, "stat") and time.monotonic() < killed + 10:
                time.sleep(0.002)
            deaths.append(time.monotonic() - killed)
        time.sleep(1)
        rate = load.rate_of_last(0.5)
    finally:
        if load:
            load.stop()
        text = server.log.read_text(errors="replace")
        server.stop()
    return say("standby", not load.bad and max(firsts) < FIRST_S,
               f"first answer after kill -9, s: median {statistics.median(firsts):.3f}, all {' '.join(f'{v:.3f}' for v in firsts)} "
               f"(under {FIRST_S}); the dead process was gone after {statistics.median(deaths):.3f}; {len(load.came)} requests, "
               f"{len(load.bad)} failed {load.bad[:2]}; {usual:.0f} /s, in the end {rate:.0f}; it costs {cost / MIB:.0f} MiB"), text


def attempt(name, scenario, folder):
    """Whether it went well; else the end of the server's log is shown."""
    text = ""
    try:
        good, text = scenario(folder)
    except (RuntimeError, OSError, ValueError, subprocess.SubprocessError) as e:
        good = say(name, False, repr(e))
    if not good:
        print("\n".join(line for line in text.splitlines()[-2000:] if "ACCESS_LOG" not in line)[-6000:])
    return good


def main():
    good, began = True, time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        folder = make_model(Path(temporary) / "bert")
        high = {} if CPU else {"streamPriority": "high"}  # tried beside
        for name, scenario, settings in (("scaling", scaling, {}), ("standby", standby, {"standby": "true", **high})):
            configure(folder, **settings)
            good &= attempt(name, scenario, folder)
    print(f"{'ok  ' if good else 'FAIL'} {time.monotonic() - began:.0f} s")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
