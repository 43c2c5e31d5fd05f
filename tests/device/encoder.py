"""The encoder's engines against Transformers, on random weights of every architecture: encoder.py BUILD_FOLDER [NAME...]

Makes small folders with random weights, computes random batches with PyTorch in fp32, and compares what the program
encoder_engine of BUILD_FOLDER gives: on the CPU, and on the GPU in fp16, bf16 and fp32, with the kernels for this GPU
and the generic ones. Where rows are tokens' some batches have padding that is computed and not seen. In the end a text
is computed alone and in company, and the largest difference is printed. Needs torch and transformers; without a GPU only the CPU engine is compared. Ends with 1 if
anything is wrong.
"""

import concurrent.futures
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
import torch
import transformers as tf

BUILD = pathlib.Path(sys.argv[1]).resolve()
ENGINE = BUILD / "backends" / "encoder" / "encoder_engine"
SMALL = {"num_hidden_layers": 3, "hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 320}
MAX_TOKENS = 1024


def shape(hidden: int, heads: int, wide: int, layers: int = 3) -> dict[str, int]:
    return {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "intermediate_size": wide,
    }


def bert(cls: str, **more: Any) -> tuple[Any, str]:
    return tf.BertConfig(**{"vocab_size": 501, "max_position_embeddings": 256, **SMALL, **more}), f"Bert{cls}"


CLS, TOKEN, QA, MASK = "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForMaskedLM"
MODERN = {
    "vocab_size": 512,
    "max_position_embeddings": 300,
    "pad_token_id": 0,
    "local_attention": 24,
    "global_attn_every_n_layers": 3,
    "num_hidden_layers": 5,
    "hidden_size": 128,
    "num_attention_heads": 2,
    "intermediate_size": 192,
}
CASES: dict[str, tuple[Any, str]] = {
    "bert": bert(CLS),
    "bert-1-layer": bert(CLS, num_hidden_layers=1, num_labels=7),
    "bert-3-heads-of-32": bert(CLS, **shape(96, 3, 200)),
    "bert-heads-of-96": bert(CLS, **shape(192, 2, 384)),
    "bert-heads-of-128": bert(CLS, **shape(256, 2, 512)),
    "bert-heads-of-20": bert(CLS, **shape(60, 3, 100)),
    "bert-wide": bert(CLS, **shape(768, 12, 3072, 2), num_labels=100),
    "bert-relu": bert(CLS, hidden_act="relu"),
    "bert-silu": bert(CLS, hidden_act="silu"),
    "bert-gelu-new": bert(CLS, hidden_act="gelu_new"),
    "bert-tokens": bert(TOKEN, num_labels=9),
    "bert-answers": bert(QA),
    "bert-mask": bert(MASK),
    "bert-vectors": bert("Model"),
    "roberta": (tf.RobertaConfig(vocab_size=503, max_position_embeddings=130, **SMALL), f"Roberta{CLS}"),
    "roberta-mask": (tf.RobertaConfig(vocab_size=503, max_position_embeddings=130, **SMALL), f"Roberta{MASK}"),
    "xlm-roberta-tokens": (
        tf.XLMRobertaConfig(vocab_size=600, max_position_embeddings=200, num_labels=5, **SMALL),
        f"XLMRoberta{TOKEN}",
    ),
    "distilbert": (
        tf.DistilBertConfig(vocab_size=400, dim=128, n_heads=4, n_layers=2, hidden_dim=256),
        f"DistilBert{CLS}",
    ),
    "distilbert-mask": (
        tf.DistilBertConfig(vocab_size=400, dim=128, n_heads=4, n_layers=2, hidden_dim=256),
        f"DistilBert{MASK}",
    ),
    "electra": (tf.ElectraConfig(vocab_size=400, embedding_size=64, **SMALL), f"Electra{CLS}"),
    "albert": (tf.AlbertConfig(vocab_size=400, embedding_size=64, **SMALL), f"Albert{CLS}"),
    "albert-mask": (tf.AlbertConfig(vocab_size=400, embedding_size=64, **SMALL), f"Albert{MASK}"),
    "modernbert": (tf.ModernBertConfig(classifier_pooling="mean", **MODERN), f"ModernBert{CLS}"),
    "modernbert-cls": (tf.ModernBertConfig(classifier_pooling="cls", **MODERN), f"ModernBert{CLS}"),
    "modernbert-tokens": (tf.ModernBertConfig(num_labels=4, **MODERN), f"ModernBert{TOKEN}"),
    "modernbert-mask": (tf.ModernBertConfig(**MODERN), f"ModernBert{MASK}"),
}


def make(name: str, folder: pathlib.Path) -> Any:
    """A model whose every parameter counts, saved to folder."""
    config, cls = CASES[name]
    torch.manual_seed(sum(map(ord, name)))
    model = getattr(tf, cls)(config)
    with torch.no_grad():
        for key, p in model.named_parameters():
            if key.lower().endswith("norm.weight"):
                p.copy_(1 + 0.2 * torch.randn_like(p))
            elif p.dim() == 1:
                p.normal_(0, 0.2)
            elif "embed" in key:
                p.normal_(0, 0.5)
            else:
                p.normal_(0, 0.7 / p.shape[-1] ** 0.5)
    model.eval().save_pretrained(folder)
    return model


def batches(model: Any, task: str) -> list[dict[str, Any]]:
    """Of every size that is treated by itself: one token, few rows, graphs, and more than they take."""
    config = model.config
    rng = np.random.default_rng(7)
    longest = min(config.max_position_embeddings, 256) - 2
    lengths = [
        [1],
        [2, 1, 3],
        [16],
        [31],
        [longest],
        [int(n) for n in rng.integers(1, 60, 9)],
        [64, 65, 63, 17],
        [longest, 5, 1, 100, 33],
        [16] * 40,
        [int(n) for n in rng.integers(1, longest, 7)],
        [2] * 511,
    ]
    out = []
    for sizes in [n for n in lengths if sum(n) <= MAX_TOKENS] * 2:  # twice: the second time is a graph's
        ids = [rng.integers(5, config.vocab_size, n) for n in sizes]
        kinds = getattr(config, "type_vocab_size", 0) or 0
        types = [rng.integers(0, kinds, n) if kinds > 1 else np.zeros(n, int) for n in sizes]
        starts = np.cumsum([0, *sizes])
        picks = np.sort(rng.choice(starts[-1], max(1, starts[-1] // 7), replace=False)) if task == "mask" else []
        out.append({"ids": ids, "types": types, "starts": starts, "picks": picks, "keys": []})
    if task in ("token", "answer") and not hasattr(config, "local_attention"):
        out += [padded(b, longest, config.pad_token_id or 0) for b in out if len(b["ids"]) * longest <= MAX_TOKENS]
    return out


def padded(batch: dict[str, Any], length: int, pad: int) -> dict[str, Any]:
    """The same with every text, but the first of several, filled up to a length with tokens that are not attended to."""
    more = [length - len(a) for a in batch["ids"]]
    if len(more) > 1:
        more[0] = 0
    ids = [np.concatenate([a, np.full(n, pad)]) for a, n in zip(batch["ids"], more, strict=True)]
    types = [np.concatenate([a, np.zeros(n, int)]) for a, n in zip(batch["types"], more, strict=True)]
    keys = [len(a) for a in batch["ids"]]
    return {"ids": ids, "types": types, "starts": np.cumsum([0, *map(len, ids)]), "picks": [], "keys": keys}


def reference(model: Any, task: str, batch: dict[str, Any]) -> np.ndarray:
    """Texts of equal lengths together, so that only what has padding is padded."""
    rows: list[Any] = [None] * len(batch["ids"])
    keys = batch["keys"] or [len(ids) for ids in batch["ids"]]
    groups: dict[tuple[int, int], list[int]] = {}
    for i, ids in enumerate(batch["ids"]):
        groups.setdefault((len(ids), keys[i]), []).append(i)
    for (_, seen), members in groups.items():
        inputs = {"input_ids": torch.tensor(np.stack([batch["ids"][i] for i in members]))}
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        inputs["attention_mask"][:, seen:] = 0
        if (getattr(model.config, "type_vocab_size", 0) or 0) > 1:
            inputs["token_type_ids"] = torch.tensor(np.stack([batch["types"][i] for i in members]))
        with torch.no_grad():
            o = model(**inputs)
        if task == "vector":
            got = o.last_hidden_state.mean(1, keepdim=True)
        elif task == "answer":
            got = torch.stack([o.start_logits, o.end_logits], -1)
        else:
            got = o.logits if o.logits.dim() == 3 else o.logits[:, None]
        for i, r in zip(members, got.numpy(), strict=True):
            rows[i] = r
    flat = np.concatenate(rows)
    return flat[batch["picks"]] if task == "mask" else flat


def words(batch: dict[str, Any]) -> bytes:
    counts = [len(batch["ids"]), len(batch["picks"]), len(batch["keys"])]
    parts = [counts, batch["starts"], *batch["ids"], *batch["types"], batch["picks"], batch["keys"]]
    flat = np.concatenate([np.asarray(p, dtype=np.uint32) for p in parts])
    return struct.pack(f"<{len(flat)}I", *flat.tolist())


def engine(folder: pathlib.Path, kind: str, dtype: str, env: dict[str, str], *options: str) -> np.ndarray | str:
    out = folder / f"{kind}.{dtype}.{len(env)}.out"
    command = [str(ENGINE), "rows", str(folder), kind, dtype, str(MAX_TOKENS), str(folder / "in"), str(out), *options]
    wrapper = os.environ.get("SCONCE_WRAPPER", "").split()
    p = subprocess.run(
        wrapper + command, env={**os.environ, "SCONCE_BUILD": str(BUILD), **env}, capture_output=True, text=True
    )
    if p.returncode:
        return (p.stderr + p.stdout).strip()[-600:]
    data, at, rows = out.read_bytes(), 0, []
    while at < len(data):
        n, columns = struct.unpack_from("<2I", data, at)
        rows.append(np.frombuffer(data, np.float32, n * columns, at + 8))
        at += 8 + 4 * n * columns
    return np.concatenate(rows)


# Greatest difference allowed, as a part of the largest number of the reference.
ALLOWED = {"fp32": 2e-4, "fp16": 1e-2, "bf16": 8e-2}


def compare(name: str, gpu: bool, root: pathlib.Path) -> list[str]:
    folder = root / name
    folder.mkdir()
    model = make(name, folder)
    cls = CASES[name][1]
    kinds = {CLS: "sequence", TOKEN: "token", QA: "answer", MASK: "mask"}
    task = next((v for k, v in kinds.items() if cls.endswith(k)), "vector")
    work = batches(model, task)
    (folder / "in").write_bytes(b"".join(map(words, work)))
    wanted = [reference(model, task, b) for b in work]
    want = np.concatenate([w.ravel() for w in wanted])
    runs: list[tuple[str, str, dict[str, str]]] = [("cpu", "fp32", {})]
    if gpu:
        generic = {"SCONCE_GPU_KERNELS": "generic"}
        runs += [("cuda", "fp32", {}), ("cuda", "fp16", {}), ("cuda", "bf16", {}), ("cuda", "fp16", generic)]
    lines = []
    for kind, dtype, env in runs:
        got = engine(folder, kind, dtype, env)
        label = f"{name:20} {kind:4} {dtype} {'generic' if env else '       '}"
        if isinstance(got, str):
            lines.append(f"FAIL {label} {got}")
            continue
        if got.shape != want.shape:
            lines.append(f"FAIL {label} {got.shape} numbers, wanted {want.shape}")
            continue
        scale = float(np.abs(want).max())
        worst, at, good = 0.0, 0, True
        offset = 0
        for i, w in enumerate(wanted):
            d = np.abs(got[offset : offset + w.size] - w.ravel()).max() / scale
            offset += w.size
            if not d <= worst:  # NaN too
                worst, at = float(d), i
        good = worst <= ALLOWED[dtype]
        sizes = [len(x) for x in work[at]["ids"]]
        lines.append(f"{'ok  ' if good else 'FAIL'} {label} {worst:.2e}" + ("" if good else f" batch {at}: {sizes[:9]}"))
    return lines


def company(gpu: bool, root: pathlib.Path) -> list[str]:
    """The same texts alone and among more and more others: the largest difference of a text's logits."""
    folder = root / "company"
    folder.mkdir()
    model = make("bert-wide", folder)
    rng = np.random.default_rng(3)
    text = {n: rng.integers(5, model.config.vocab_size, n) for n in (5, 16, 60, 150)}

    def batch(ids: list[np.ndarray]) -> dict[str, Any]:
        starts = np.cumsum([0, *map(len, ids)])
        return {"ids": ids, "types": [np.zeros(len(i), int) for i in ids], "starts": starts, "picks": [], "keys": []}

    others = [rng.integers(5, model.config.vocab_size, int(n)) for n in rng.integers(3, 90, 400)]
    work = [[batch([t, *others[:k]]) for k in (0, 0, 1, 3, 10, 15)] for t in text.values()]
    (folder / "in").write_bytes(b"".join(words(b) for group in work for b in group))
    lines = []
    for kind, dtype in [("cpu", "fp32")] + [("cuda", t) for t in ("fp32", "fp16", "bf16")] * gpu:
        got = engine(folder, kind, dtype, {}, "matmul=builtin")
        if isinstance(got, str):
            lines.append(f"FAIL company {kind} {dtype} {got}")
            continue
        at, scale = 0, float(np.abs(got).max())
        for group, n in zip(work, text, strict=True):
            alone, worst = None, 0.0
            for b in group:
                mine = got[at : at + model.config.num_labels]
                at += len(b["ids"]) * model.config.num_labels
                alone = mine if alone is None else alone
                worst = max(worst, float(np.abs(mine - alone).max()))
            bad = not worst <= (0 if kind == "cpu" else ALLOWED[dtype] * scale)
            lines.append(f"{'FAIL' if bad else 'ok  '} company: {n} tokens alone and with others, {kind} {dtype}: {worst:.2e}")
    return lines


def main() -> int:
    gpu = torch.cuda.is_available()
    torch.set_num_threads(2)
    names = sys.argv[2:] or list(CASES)
    started = time.monotonic()
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as d, concurrent.futures.ThreadPoolExecutor(6 if gpu else 2) as pool:
        for got in pool.map(lambda n: compare(n, gpu, pathlib.Path(d)), names):
            lines += got
            print("\n".join(got), flush=True)
        if not sys.argv[2:]:
            lines += (got := company(gpu, pathlib.Path(d)))
            print("\n".join(got), flush=True)
    bad = [line for line in lines if line.startswith("FAIL")]
    print(f"{len(lines) - len(bad)} of {len(lines)} right, {time.monotonic() - started:.0f} s")
    return 1 if bad or not lines else 0


if __name__ == "__main__":
    sys.exit(main())
