"""BERT folders with random weights and what Hugging Face Transformers computes with them.

make_bert_cases.py OUT          the two small folders that are kept here (bert-tiny, bert-tiny-half)
make_bert_cases.py --large OUT  a dozen larger ones, for comparisons by hand: SC_BERT_CASES=OUT <build>/tests/encoder_test_engine

Each folder holds what save_pretrained writes, a vocab.txt, and expected.json: token ids with their logits, and texts with
the answer of the text-classification pipeline. Needs torch 2.13.0 and transformers 5.23.0.
"""

import json
import os
import random
import sys

import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast, pipeline

SMALL = {
    "bert-tiny": dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, num_labels=3,
                      max_position_embeddings=48, id2label={0: "de", 1: "en", 2: 'say "fr"'}),
    "bert-tiny-half": dict(hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=40, num_labels=4,
                           max_position_embeddings=32, hidden_act="gelu_new", problem_type="multi_label_classification",
                           dtype=torch.float16),
}
LARGE = {
    "h128": dict(vocab_size=8000, hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=512, num_labels=40),
    "head32": dict(vocab_size=1000, hidden_size=96, num_hidden_layers=3, num_attention_heads=3, intermediate_size=200),
    "odd": dict(vocab_size=1000, hidden_size=120, num_hidden_layers=3, num_attention_heads=5, intermediate_size=333, hidden_act="gelu_new"),
    "head10": dict(vocab_size=1000, hidden_size=50, num_hidden_layers=2, num_attention_heads=5, intermediate_size=70, num_labels=2),
    "fp16": dict(vocab_size=1000, hidden_size=128, num_hidden_layers=3, num_attention_heads=2, intermediate_size=512, dtype=torch.float16),
    "bf16": dict(vocab_size=1000, hidden_size=128, num_hidden_layers=3, num_attention_heads=4, intermediate_size=512, hidden_act="silu",
                 dtype=torch.bfloat16),
    "one-label": dict(vocab_size=1000, hidden_size=64, num_hidden_layers=1, num_attention_heads=1, intermediate_size=64, num_labels=1,
                      hidden_act="relu"),
    "minilm": dict(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536, num_labels=5),
    "base": dict(num_labels=3),
}
WORDS = "the cat sat on mat ##s ##ing der die und ist ein le la et est un no yes 1 2 , . ? !".split()
TEXTS = ["the cat sat on the mat.", "Der Hund ist ein cat?", "", "étés !", "yes " * 100, "日本 ☃"]


def vocabulary(size):
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + WORDS + list(letters) + ["##" + c for c in letters]
    return (words + [f"[unused{i}]" for i in range(size - len(words))])[: max(size, len(words))]


def make(folder, options, lengths):
    torch.manual_seed(7)
    random.seed(7)
    dtype = options.pop("dtype", torch.float32)
    vocab = vocabulary(options.pop("vocab_size", 0))
    config = BertConfig(vocab_size=len(vocab), **options)
    model = BertForSequenceClassification(config).eval()
    for name, p in model.named_parameters():
        # Larger than as initialised: scores that differ, and biases and norms that are not 0 and 1.
        torch.nn.init.normal_(p, mean=1.0 if name.endswith("LayerNorm.weight") else 0.0, std=0.1 if p.dim() == 1 else 0.08)
    model.to(dtype).save_pretrained(folder)
    model = BertForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    with open(os.path.join(folder, "vocab.txt"), "w", encoding="utf-8") as f:
        f.write("".join(w + "\n" for w in vocab))
    with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as f:
        json.dump({"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": config.max_position_embeddings}, f)
    tokenizer = BertTokenizerFast.from_pretrained(folder)
    cases = []
    for n in lengths:
        ids = [random.randrange(len(vocab)) for _ in range(n)]
        types = [0 if i <= n // 2 else 1 for i in range(n)]
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types])).logits[0]
        cases.append({"ids": ids, "types": types, "logits": logits.tolist()})
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer)
    texts = []
    for text in TEXTS:
        texts.append({"text": text, "best": classify(text, truncation=True), "all": classify(text, truncation=True, top_k=None)})
    pair = {"text": TEXTS[0], "text_pair": TEXTS[1]}
    texts.append(dict(pair, best=[classify(pair, truncation=True)], all=classify(pair, truncation=True, top_k=None)))
    with open(os.path.join(folder, "expected.json"), "w", encoding="utf-8") as f:
        json.dump({"cases": cases, "texts": texts}, f, ensure_ascii=False)
        f.write("\n")


def main():
    large = sys.argv[1] == "--large"
    out = sys.argv[-1]
    for name, options in (LARGE if large else SMALL).items():
        most = options.get("max_position_embeddings", 512)
        lengths = [n for n in [1, 2, 3, 5, 7, 8, 9, 16, 17, 31, 32, 33, 48, 100, 129, 511, 512] if n <= most]
        make(os.path.join(out, name), dict(options), lengths)


main()
