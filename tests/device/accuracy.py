"""The GPU engine in fp16 against PyTorch in fp32, on thousands of texts: accuracy.py BUILD_FOLDER [TEXTS]

BERT-base, RoBERTa-base and ModernBERT-base with random weights of the size that trained ones have and a head whose logits
differ by about 1; random ids in lengths as texts have them (5 to 510 tokens, 85 in the mean), some alone, some in small batches,
the rest in batches of 16,384 tokens. Logits may differ by 2e-2,
or by a tenth more than PyTorch's own in fp16 where those do, labels only where two are as near as that, and the cosine
of the mean vectors is above 0.9999. Needs torch with CUDA and transformers; under a minute. Ends with 1 if anything is
wrong. ACCURACY_DEVICE=cpu compares the CPU's engine on small networks instead, to try this program.
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
TEXTS = int(sys.argv[2]) if len(sys.argv) > 2 else 5200
DEVICE = os.environ.get("ACCURACY_DEVICE", "cuda")
ENGINE = BUILD / "backends" / "encoder" / "encoder_engine"
MAX_TOKENS = 16384
LOGITS, COSINE = 2e-2, 0.9999
LABELS = 3
SMALL: dict[str, Any] = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 256}
SIZE = {} if DEVICE == "cuda" else SMALL
FAMILIES: dict[str, tuple[Any, Any]] = {
    "bert": (tf.BertConfig, tf.BertForSequenceClassification),
    "roberta": (tf.RobertaConfig, tf.RobertaForSequenceClassification),
    "modernbert": (tf.ModernBertConfig, tf.ModernBertForSequenceClassification),
}


def make(name: str) -> Any:
    config, cls = FAMILIES[name]
    more = {"max_position_embeddings": 514, "pad_token_id": 1} if name == "roberta" else {}
    if name == "modernbert":
        more = {"classifier_pooling": "mean"}
    torch.manual_seed(5)
    with torch.device(DEVICE):
        model = cls(config(num_labels=LABELS, **SIZE, **more)).eval()
    with torch.no_grad():
        for key, p in model.named_parameters():
            if p.dim() == 1:
                p.normal_(1.0 if key.lower().endswith("norm.weight") else 0.0, 0.05)
            else:
                p.normal_(0, 0.04)
    return model


def texts(vocab: int) -> list[np.ndarray]:
    rng = np.random.default_rng(9)
    lengths = np.clip(rng.lognormal(4.1, 0.8, TEXTS), 5, 510).astype(int)
    return [rng.integers(1000 if vocab > 2000 else 10, vocab, n) for n in lengths]


def batches(all_texts: list[np.ndarray]) -> list[list[np.ndarray]]:
    """In their order: a fifth alone or few together, where other kernels compute them, then full ones."""
    rng = np.random.default_rng(4)
    out: list[list[np.ndarray]] = []
    i = 0
    while i < len(all_texts) // 5:
        n = int(rng.integers(1, 6))
        out.append(all_texts[i : i + n])
        i += n
    part: list[np.ndarray] = []
    for text in all_texts[i:]:
        if sum(map(len, part)) + len(text) > MAX_TOKENS:
            out.append(part)
            part = []
        part.append(text)
    return [*out, part]


def words(texts: list[np.ndarray]) -> bytes:
    flat = np.concatenate(texts).astype(np.uint32)
    head = np.array([len(texts), 0, 0], np.uint32)
    begin = np.cumsum([0, *map(len, texts)]).astype(np.uint32)
    return b"".join(x.tobytes() for x in (head, begin, flat, np.zeros_like(flat)))


def ours(folder: pathlib.Path, *options: str) -> np.ndarray:
    out = folder / f"out{len(options)}"
    kind, dtype = ("cuda", "fp16") if DEVICE == "cuda" else ("cpu", "fp32")
    command = [str(ENGINE), "rows", str(folder), kind, dtype, str(MAX_TOKENS), str(folder / "in"), str(out), *options]
    p = subprocess.run(command, env={**os.environ, "SCONCE_BUILD": str(BUILD)}, capture_output=True, text=True)
    if p.returncode:
        raise RuntimeError(p.stderr[-800:])
    data, at, rows = out.read_bytes(), 0, []
    while at < len(data):
        n, columns = struct.unpack_from("<2I", data, at)
        rows.append(np.frombuffer(data, np.float32, n * columns, at + 8).reshape(n, columns))
        at += 8 + 4 * n * columns
    return np.concatenate(rows)


def theirs(model: Any, all_texts: list[np.ndarray], pad: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits and mean vectors, by length, so that little is padded."""
    logits = np.zeros((len(all_texts), LABELS), np.float32)
    vectors = np.zeros((len(all_texts), model.config.hidden_size), np.float32)
    order = sorted(range(len(all_texts)), key=lambda i: len(all_texts[i]))
    with torch.inference_mode():
        for at in range(0, len(order), 64):
            some = order[at : at + 64]
            longest = max(len(all_texts[i]) for i in some)
            ids = np.full((len(some), longest), pad)
            for row, i in enumerate(some):
                ids[row, : len(all_texts[i])] = all_texts[i]
            lengths = torch.tensor([len(all_texts[i]) for i in some], device=DEVICE)
            mask = (torch.arange(longest, device=DEVICE)[None] < lengths[:, None]).long()
            o = model(input_ids=torch.tensor(ids, device=DEVICE), attention_mask=mask, output_hidden_states=True)
            states = o.hidden_states[-1] * mask[..., None]
            logits[some] = o.logits.float().cpu().numpy()
            vectors[some] = (states.sum(1) / lengths[:, None]).cpu().numpy()
    return logits, vectors


def train_head(model: Any, some: list[np.ndarray], pad: int) -> None:
    """A last layer as training leaves it: along what varies most between texts, logits about 0 with deviation 1. (One of
    random weights, scaled until texts differ, would scale the rounding of what they have in common.)"""
    last = getattr(model.classifier, "out_proj", model.classifier)
    seen: list[torch.Tensor] = []
    hook = last.register_forward_hook(lambda _module, given, _out: seen.append(given[0].float()))
    theirs(model, some, pad)
    hook.remove()
    features = torch.cat(seen)
    common = features.mean(0)
    _, _, axes = torch.linalg.svd(features - common, full_matrices=False)
    axes = axes[:LABELS] - (axes[:LABELS] @ common)[:, None] * common / common.square().sum()
    with torch.no_grad():
        last.weight.copy_(axes / (features @ axes.T).std(0)[:, None])
        last.bias.zero_()


def compare(name: str, root: pathlib.Path, pool: concurrent.futures.Executor) -> list[str]:
    folder = root / name
    model = make(name)
    all_texts = texts(model.config.vocab_size)
    pad = model.config.pad_token_id or 0
    train_head(model, all_texts[:512], pad)
    model.save_pretrained(folder)
    (folder / "in").write_bytes(b"".join(map(words, batches(all_texts))))
    tasks = [pool.submit(ours, folder), pool.submit(ours, folder, "task=embeddings", "pooling=mean")]
    want, vectors = theirs(model, all_texts, pad)
    got, made = tasks[0].result(), tasks[1].result()
    off = np.abs(got - want).max(1)
    half, _ = theirs(model.half() if DEVICE == "cuda" else model, all_texts, pad)
    torch_off = np.abs(half - want).max(1)
    best = np.sort(want, 1)
    changed = got.argmax(1) != want.argmax(1)
    ties = best[:, -1] - best[:, -2] <= 2 * LOGITS
    cosine = (made * vectors).sum(1) / (np.linalg.norm(made, axis=1) * np.linalg.norm(vectors, axis=1))
    verdicts = [
        (
            bool(off.max() <= max(LOGITS, 1.1 * torch_off.max())),
            f"logits of deviation {want.std():.2f} differ by {off.max():.1e}, {off.mean():.1e} in the mean; "
            f"PyTorch's own in fp16: {torch_off.max():.1e}, {torch_off.mean():.1e}",
        ),
        (not bool((changed & ~ties).any()), f"{changed.sum()} labels differ, {(changed & ~ties).sum()} of them no ties"),
        (bool(cosine.min() > COSINE), f"vectors: the least cosine is {cosine.min():.7f}"),
    ]
    return [f"{'ok  ' if good else 'FAIL'} {name}, {len(all_texts)} texts: {said}" for good, said in verdicts]


def main() -> int:
    if DEVICE == "cuda" and not torch.cuda.is_available():
        print("there is no GPU: nothing is compared")
        return 0
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    started = time.monotonic()
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as d, concurrent.futures.ThreadPoolExecutor(2) as pool:
        for name in FAMILIES:
            got = compare(name, pathlib.Path(d), pool)
            lines += got
            print("\n".join(got), f"({time.monotonic() - started:.0f} s)", flush=True)
    return 1 if any(line.startswith("FAIL") for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
