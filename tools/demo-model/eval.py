#!/usr/bin/env python3
"""Accuracy of the demo model, from its saved fp16 weights computed in fp32 by Transformers.

    eval.py MODEL TEST.tsv EVERYDAY.tsv        writes MODEL/eval.json, from which card.py fills the model card

TEST.tsv is prepare.py's held-out part: measured whole, and cut to a few words. EVERYDAY.tsv are sentences
written for the purpose, which nothing was trained on or chosen by.
"""
import collections
import json
import random
import sys

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from augment import cut


def read(path):
    with open(path, encoding="utf-8") as f:
        return [tuple(line.rstrip("\n").split("\t")) for line in f]


@torch.no_grad()
def classify(model, tokenizer, texts):
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    labels = [None] * len(texts)
    for at in range(0, len(order), 128):
        rows = order[at:at + 128]
        x = tokenizer([texts[i] for i in rows], padding=True, truncation=True, max_length=128, return_tensors="pt")
        for i, k in zip(rows, model(**x).logits.argmax(1).tolist()):
            labels[i] = model.config.id2label[k]
    return labels


def measure(model, tokenizer, rows):
    """Accuracy over all, by language, and the worst confusions (true, taken for, share of the true ones)."""
    found = classify(model, tokenizer, [t for _, t in rows])
    total, right, wrong = collections.Counter(), collections.Counter(), collections.Counter()
    for (code, _), got in zip(rows, found):
        total[code] += 1
        right[code] += got == code
        wrong[code, got] += got != code
    pairs = sorted(((n / total[a], a, b) for (a, b), n in wrong.items() if n), reverse=True)[:15]
    return {
        "texts": len(rows),
        "accuracy": round(sum(right.values()) / len(rows), 4),
        "mean_of_languages": round(sum(right[c] / total[c] for c in total) / len(total), 4),
        "by_language": {c: [right[c], total[c], round(right[c] / total[c], 4)] for c in sorted(total)},
        "worst_pairs": [[a, b, round(s, 4)] for s, a, b in pairs],
    }


def main():
    folder, test, everyday = sys.argv[1:4]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    held_out = read(test)
    rng = random.Random(1)
    short = [(c, cut(rng, c, t)) for c, t in held_out]
    result = {name: measure(model, tokenizer, rows) for name, rows in
              (("held_out", held_out), ("held_out_short", short), ("everyday", read(everyday)))}
    with open(f"{folder}/eval.json", "w", encoding="utf-8") as f:
        json.dump(result, f, indent=1)
        f.write("\n")
    for name, r in result.items():
        print(f"{name}: {r['accuracy']:.1%} of {r['texts']} (mean of languages {r['mean_of_languages']:.1%})")


if __name__ == "__main__":
    main()
