#!/usr/bin/env python3
"""Trains the demo model: train.py CORPUS OUT [--epochs N] [--per-language N] [--max-seconds S] [--resume FOLDER]

CORPUS is what prepare.py wrote. OUT becomes a Hugging Face folder with fp16 weights, and gets training.json.
Runs on a GPU where there is one. Every epoch is damaged afresh by processes beside the training.
With --resume the weights come from FOLDER, an earlier OUT.
"""
import argparse
import collections
import concurrent.futures
import itertools
import json
import lzma
import math
import os
import random
import time

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import BertConfig, BertForSequenceClassification

from augment import cut, damage, salad
from languages import LANGUAGES, RELATIVES

SEED = 20
POSITIONS = 128
CODES = list(LANGUAGES)
SALAD_SHARE = 0.18

sentences, words, tokenizer = {}, {}, None  # filled before the workers fork


def load(corpus):
    global tokenizer
    grouped = collections.defaultdict(list)
    with lzma.open(f"{corpus}/train.tsv.xz", "rt", encoding="utf-8") as f:
        for line in f:
            code, text = line.rstrip("\n").split("\t")
            grouped[code].append(text)
    sentences.update(grouped)
    grouped = collections.defaultdict(lambda: ([], []))
    with lzma.open(f"{corpus}/words.tsv.xz", "rt", encoding="utf-8") as f:
        for line in f:
            code, word, weight = line.rstrip("\n").split("\t")
            grouped[code][0].append(word)
            grouped[code][1].append(float(weight) ** 0.8)
    words.update({c: (w, list(itertools.accumulate(x))) for c, (w, x) in grouped.items()})
    tokenizer = Tokenizer.from_file(f"{corpus}/tokenizer.json")
    tokenizer.no_padding()
    tokenizer.enable_truncation(POSITIONS)


def tokens_of(texts):
    """Ids of all texts end to end, and where each begins."""
    ids = [e.ids for e in tokenizer.encode_batch(texts)]
    starts = np.zeros(len(ids) + 1, np.int64)
    np.cumsum([len(x) for x in ids], out=starts[1:])
    return np.fromiter(itertools.chain.from_iterable(ids), np.int16, starts[-1]), starts


def samples_of(code, args):
    return args.per_language * (args.relatives if code in RELATIVES else 1)


def language_epoch(task):
    """One epoch's samples of one language."""
    epoch, code, count = task
    rng = random.Random(f"{SEED} {epoch} {code}")
    pool, latin = sentences[code], LANGUAGES[code][1] == "LATIN"
    order = []
    while len(order) < count:
        order += rng.sample(range(len(pool)), len(pool))
    texts = []
    for i in order[:count]:
        if code in words and rng.random() < SALAD_SHARE:
            text = salad(rng, *words[code])
        else:
            text = pool[i]
            if rng.random() < 0.08:
                text += " " + rng.choice(pool)
        texts.append(damage(rng, code, latin, text) or pool[i])
    return tokens_of(texts)


def epoch_samples(pool, epoch, args):
    """A future for each language; the epoch after this one is made while this one trains."""
    epoch += 1000 if args.resume else 0
    return [pool.submit(language_epoch, (epoch, code, samples_of(code, args))) for code in CODES]


def batches(parts, size, seed):
    """Shuffled batches of texts of about the same length, as padded arrays."""
    ids = np.concatenate([p[0] for p in parts])
    lengths = np.concatenate([np.diff(p[1]) for p in parts])
    labels = np.concatenate([np.full(len(p[1]) - 1, k, np.int64) for k, p in enumerate(parts)])
    starts = np.zeros(len(lengths), np.int64)
    np.cumsum(lengths[:-1], out=starts[1:])
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(lengths))
    chunks = []
    for piece in np.array_split(order, max(1, len(order) // (size * 32))):
        piece = piece[np.argsort(lengths[piece], kind="stable")]
        chunks += np.array_split(piece, max(1, len(piece) // size))
    for k in rng.permutation(len(chunks)):
        rows = chunks[k]
        width = min(POSITIONS, (int(lengths[rows].max()) + 7) // 8 * 8)
        at = starts[rows][:, None] + np.arange(width)
        mask = np.arange(width) < lengths[rows][:, None]
        x = np.where(mask, ids[np.minimum(at, len(ids) - 1)], 0).astype(np.int64)
        yield torch.from_numpy(x), torch.from_numpy(mask), torch.from_numpy(labels[rows])


def held_out(path, short):
    """Tokens of a held-out part, whole or cut to a few words, language by language."""
    grouped = collections.defaultdict(list)
    with open(path, encoding="utf-8") as f:
        for line in f:
            code, text = line.rstrip("\n").split("\t")
            grouped[code].append(text)
    rng = random.Random(SEED)
    return [tokens_of([cut(rng, c, t) if short else t for t in grouped[c]]) for c in CODES]


@torch.no_grad()
def accuracy(model, parts, device):
    model.eval()
    right = total = 0
    for x, mask, y in batches(parts, 512, 0):
        logits = model(input_ids=x.to(device), attention_mask=mask.to(device)).logits
        right += int((logits.argmax(1).cpu() == y).sum())
        total += len(y)
    model.train()
    return right / total


def save(model, config, out, corpus):
    os.makedirs(out, exist_ok=True)
    weights = {k: v.detach().to("cpu", torch.float16).contiguous() for k, v in model.state_dict().items()}
    save_file(weights, f"{out}/model.safetensors", metadata={"format": "pt"})
    with open(f"{out}/config.json", "w", encoding="utf-8") as f:
        json.dump(config, f, indent=2, ensure_ascii=False)
        f.write("\n")
    with open(f"{corpus}/tokenizer.json", encoding="utf-8") as f:
        fast = json.load(f)
    with open(f"{out}/tokenizer.json", "w", encoding="utf-8") as f:
        json.dump(fast, f, ensure_ascii=False, separators=(",", ":"))
        f.write("\n")
    vocabulary = sorted(fast["model"]["vocab"], key=fast["model"]["vocab"].get)
    with open(f"{out}/vocab.txt", "w", encoding="utf-8") as f:
        f.writelines(w + "\n" for w in vocabulary)
    special = {"cls_token": "[CLS]", "mask_token": "[MASK]", "pad_token": "[PAD]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    with open(f"{out}/special_tokens_map.json", "w") as f:
        json.dump(special, f, indent=2)
        f.write("\n")
    with open(f"{out}/tokenizer_config.json", "w") as f:
        json.dump({"tokenizer_class": "BertTokenizer", "do_lower_case": True, "strip_accents": False,
                   "tokenize_chinese_chars": True, "model_max_length": POSITIONS, **special}, f, indent=2)
        f.write("\n")


def model_config(vocabulary):
    """The fields a server reads, and no others."""
    return {
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        "attention_probs_dropout_prob": 0.1,
        "classifier_dropout": None,
        "dtype": "float16",
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": 128,
        "id2label": {str(i): c for i, c in enumerate(CODES)},
        "initializer_range": 0.02,
        "intermediate_size": 512,
        "label2id": {c: i for i, c in enumerate(CODES)},
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": POSITIONS,
        "num_attention_heads": 4,
        "num_hidden_layers": 4,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
        "type_vocab_size": 2,
        "vocab_size": vocabulary,
    }


def main():
    args = argparse.ArgumentParser()
    args.add_argument("corpus")
    args.add_argument("out")
    args.add_argument("--epochs", type=int, default=20)
    args.add_argument("--per-language", type=int, default=12000)
    args.add_argument("--batch", type=int, default=512)
    args.add_argument("--rate", type=float, default=1.5e-3)
    args.add_argument("--dropout", type=float, default=0.1)
    args.add_argument("--relatives", type=int, default=1, help="how many times more of the languages with relatives")
    args.add_argument("--resume", help="folder of an earlier training to go on from")
    args.add_argument("--max-seconds", type=float, default=1e9)
    args.add_argument("--processes", type=int, default=max(1, (os.cpu_count() or 2) - 2))
    args = args.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    begin = time.monotonic()
    load(args.corpus)
    pool = concurrent.futures.ProcessPoolExecutor(args.processes)
    coming = epoch_samples(pool, 0, args)  # forks before CUDA is touched
    dev = held_out(f"{args.corpus}/dev.tsv", False)
    dev_short = held_out(f"{args.corpus}/dev.tsv", True)

    torch.manual_seed(SEED)
    parts = [f.result() for f in coming]
    coming = epoch_samples(pool, 1, args)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = True
    config = model_config(tokenizer.get_vocab_size())
    fields = {k: v for k, v in config.items() if k not in ("architectures", "dtype", "model_type")}
    fields["hidden_dropout_prob"] = fields["attention_probs_dropout_prob"] = args.dropout
    model = BertForSequenceClassification(BertConfig(**fields)).to(device).train()
    earlier = None
    if args.resume:
        weights = load_file(f"{args.resume}/model.safetensors", device=device)
        model.load_state_dict({k: v.float() for k, v in weights.items()})
        with open(f"{args.resume}/training.json") as f:
            earlier = json.load(f)
    print(f"{sum(p.numel() for p in model.parameters())} parameters, data ready at {time.monotonic() - begin:.0f} s", flush=True)
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}],
                                  lr=args.rate, betas=(0.9, 0.98), fused=device == "cuda")
    unknown = tokenizer.token_to_id("[UNK]")
    steps = args.epochs * sum(samples_of(c, args) for c in CODES) // args.batch
    step, history, stop = 0, [], False
    start = time.monotonic()
    for epoch in range(args.epochs):
        if epoch:
            parts = [f.result() for f in coming]
            if epoch + 1 < args.epochs:
                coming = epoch_samples(pool, epoch + 1, args)
        losses = []
        for x, mask, y in batches(parts, args.batch, epoch):
            # Done is measured in steps, or in time where the time would run out first.
            done = max(step / steps, (time.monotonic() - start) / args.max_seconds)
            if done >= 1.0:
                stop = True
                break
            rate = args.rate * min(1.0, (step + 1) / 500) * (0.5 + 0.5 * math.cos(math.pi * done))
            for group in optimizer.param_groups:
                group["lr"] = rate
            x, mask, y = (t.to(device, non_blocking=True) for t in (x, mask, y))
            # Words the vocabulary lacks will come; let some be lacking now.
            lost = (torch.rand(x.shape, device=device) < 0.04) & (x > 4)
            x = torch.where(lost, unknown, x)
            with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
                logits = model(input_ids=x, attention_mask=mask).logits
            loss = torch.nn.functional.cross_entropy(logits.float(), y, label_smoothing=0.05)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.detach())
            step += 1
        row = {"epoch": epoch, "step": step, "seconds": round(time.monotonic() - start, 1),
               "loss": round(float(torch.stack(losses).mean()), 4) if losses else None,
               "dev": round(accuracy(model, dev, device), 5), "dev_short": round(accuracy(model, dev_short, device), 5)}
        history.append(row)
        print(json.dumps(row), flush=True)
        save(model, config, args.out, args.corpus)
        if stop:
            break
    pool.shutdown(wait=False, cancel_futures=True)
    with open(f"{args.out}/training.json", "w") as f:
        json.dump({"seed": SEED, "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
                   "torch": torch.__version__, "arguments": {k: v for k, v in vars(args).items() if k not in ("corpus", "out", "processes", "resume")},
                   "steps": step, "seconds": round(time.monotonic() - begin, 1), "history": history, "earlier": earlier}, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
