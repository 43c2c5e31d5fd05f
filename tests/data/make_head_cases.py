"""What Transformers' pipelines make of given logits: heads.json, for tests/unit/encoder/test_heads.c.

make_head_cases.py [heads.json]    needs transformers 5.23.0 and, for question answering, one of version 4 in PYTHONPATH
"""
import json
import sys
from types import SimpleNamespace

import numpy as np
import transformers
from transformers.pipelines.token_classification import AggregationStrategy, TokenClassificationPipeline

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "MISC"]


def pipeline():
    p = TokenClassificationPipeline.__new__(TokenClassificationPipeline)
    p.model = SimpleNamespace(config=SimpleNamespace(id2label=dict(enumerate(LABELS))))
    p.tokenizer = SimpleNamespace(convert_tokens_to_string=" ".join)
    return p


def entities(rng, n):
    """Tokens are named by their places, so that a word tells which ones it is made of."""
    logits = rng.normal(0, 2, (n, len(LABELS))).astype(np.float32)
    subword = [bool(i and rng.random() < 0.4) for i in range(n)]
    case = {"logits": logits.tolist(), "subword": subword}
    e = np.exp(logits - logits.max(-1, keepdims=True))
    scores = e / e.sum(-1, keepdims=True)
    for how in AggregationStrategy:
        pre = [dict(word=str(i), scores=scores[i].copy(), start=i, end=i + 1, index=i, is_subword=subword[i]) for i in range(n)]
        case[how.name.lower()] = [[x.get("entity", x.get("entity_group")), float(x["score"]), x["start"], x["end"] - 1]
                                  for x in pipeline().aggregate(pre, how)]
    return case


def answers(rng, windows, top_k, impossible, align):
    """A context of words of two letters; each window has [CLS], two tokens of a question, [SEP] and a part of the words."""
    from transformers.pipelines.question_answering import QuestionAnsweringPipeline
    p = QuestionAnsweringPipeline.__new__(QuestionAnsweringPipeline)
    p.framework, p.tokenizer = "pt", SimpleNamespace(is_fast=True, padding_side="right")
    words = 4 + 3 * windows
    context = " ".join(f"{'ab'[i % 2]}{'cdC'[i % 3]}" for i in range(words))
    case = {"context": context, "top_k": top_k, "impossible": impossible, "align": align, "windows": []}
    outputs = []
    for w in range(windows):
        first, n = 3 * w, 7
        tokens = [(3 * i + k, 3 * i + k + 1, i) for i in range(first, first + n) for k in (0, 1)]  # two tokens a word
        size = 4 + len(tokens) + 1
        logits = rng.normal(0, 2, (size, 2)).astype(np.float32)
        mask = [0, 1, 1, 1] + [0] * len(tokens) + [1]
        offsets = [(0, 0)] * 4 + [t[:2] for t in tokens] + [(0, 0)]
        word_of = [None] * 4 + [t[2] for t in tokens] + [None]
        encoding = SimpleNamespace(offsets=offsets, token_to_word=word_of.__getitem__,
                                   word_to_chars=lambda i, sequence_index: (3 * i, 3 * i + 2))
        torch = __import__("torch")
        outputs.append({"start": torch.tensor(logits[None, :, 0]), "end": torch.tensor(logits[None, :, 1]), "p_mask": mask,
                        "example": SimpleNamespace(context_text=context), "encoding": encoding})
        case["windows"].append({"rows": logits.reshape(-1).tolist(), "from": 4, "to": 4 + len(tokens),
                                "tokens": [[*t[:2], 3 * t[2], 3 * t[2] + 2] for t in tokens]})
    got = p.postprocess(outputs, top_k=top_k, handle_impossible_answer=impossible, max_answer_len=5, align_to_words=align)
    case["answers"] = [[float(a["score"]), a["start"], a["end"]] for a in (got if isinstance(got, list) else [got])]
    return case


def main():
    path = sys.argv[1] if len(sys.argv) > 1 else "heads.json"
    rng = np.random.default_rng(5)
    try:
        cases = json.load(open(path, encoding="utf-8"))
    except OSError:
        cases = {}
    if transformers.__version__ >= "5":
        cases["labels"] = LABELS
        cases["entities"] = [entities(rng, n) for n in (1, 2, 5, 9, 14)]
    else:
        cases["questions"] = [answers(rng, w, k, impossible, align) for w, k, impossible, align in
                              ((1, 1, False, True), (1, 3, False, False), (2, 1, True, True), (3, 5, True, True), (2, 4, False, False))]
    with open(path, "w", encoding="utf-8") as f:
        json.dump(cases, f)
        f.write("\n")


main()
