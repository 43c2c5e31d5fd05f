#!/usr/bin/env python3
"""What Transformers makes of some sentences, for tests of the engine.

    expected.py MODEL EVERYDAY.tsv OUT.json

One sentence of each language and a few awkward texts: token ids as the model's tokenizer gives them (cut at
its model_max_length), fp32 logits, and the answer of the text-classification pipeline.
"""
import json
import sys

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

AWKWARD = [
    "", " ", "?", "OK", "😀", "12345 67890", "Straße\tGRÜẞE\nÉtÉ", "日本語とEnglishとрусский",
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 2,
    "This text is longer than the model can read. " * 40,
]


def main():
    folder, everyday, out = sys.argv[1:4]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    torch.set_num_threads(1)
    texts, seen = [], set()
    with open(everyday, encoding="utf-8") as f:
        for line in f:
            code, text = line.rstrip("\n").split("\t")
            if code not in seen:
                seen.add(code)
                texts.append(text)
    cases = []
    for text in texts + AWKWARD:
        ids = tokenizer(text, truncation=True)["input_ids"]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0]
        scores = logits.softmax(-1)
        best = int(scores.argmax())
        cases.append({"text": text, "input_ids": ids, "label": model.config.id2label[best],
                      "score": round(float(scores[best]), 6), "logits": [round(x, 5) for x in logits.tolist()]})
    with open(out, "w", encoding="utf-8") as f:
        f.write("[\n" + ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases) + "\n]\n")
    print(len(cases), "cases")


if __name__ == "__main__":
    main()
