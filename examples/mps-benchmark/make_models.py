"""A model store as the page has it, unpacked archives in a folder: make_models.py STORE [tiny]

One set of weights, BERT-base with random numbers, linked into every archive; a vocabulary in which the sample text has the
page's 15 tokens. expected.txt beside the archives: PyTorch's own answer to the sample text."""
import json
import os
import shutil
import sys
from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE.parent / "transformers-seqclass"
TINY = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 256}
HANDLER = """handler:
    model_name: bert-base-uncased
    mode: sequence_classification
    do_lower_case: true
    num_labels: 2
    save_mode: pretrained
    max_length: 150
    captum_explanation: false
    embedding_name: bert
"""
# name -> (handler, what model-config.yaml says besides)
ARCHIVES = {"page": ("page_handler.py", ""), "tuned": ("tuned_handler.py", ""),
            "encoder": ("page_handler.py", "backend: encoder\n"),
            "encoder_process": ("page_handler.py", "backend: encoder\nworkerKind: process\n")}


def vocabulary(text):
    words = sorted(set(text.lower().replace(".", " .").split()))
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    tokens = ["[PAD]", *(f"[unused{i}]" for i in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words,
              *(c for c in letters + ",!?'-" if c not in words), *("##" + c for c in letters)]
    return tokens + [f"w{i}" for i in range(30522 - len(tokens))]


def main():
    store = Path(sys.argv[1])
    text = (EXAMPLE / "sample_text.txt").read_text().strip()
    base = store / "_weights"
    base.mkdir(parents=True, exist_ok=True)
    (base / "vocab.txt").write_text("\n".join(vocabulary(text)) + "\n")
    tokenizer = BertTokenizerFast(str(base / "vocab.txt"), do_lower_case=True)
    tokenizer.save_pretrained(base)
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(num_labels=2, **(TINY if "tiny" in sys.argv else {}))).eval()
    with torch.no_grad():
        model.classifier.weight.mul_(20)  # answers far enough apart for any precision
    model.save_pretrained(base)
    shutil.copy(EXAMPLE / "index_to_name.json", base)
    tokens = tokenizer(text, return_tensors="pt")
    with torch.inference_mode():
        logits = model(tokens["input_ids"], attention_mask=tokens["attention_mask"]).logits[0]
    names = json.loads((base / "index_to_name.json").read_text())
    if tokens["input_ids"].shape[1] != 15 or abs(logits[0] - logits[1]) < 0.1:
        sys.exit(f"{tokens['input_ids'].shape[1]} tokens, logits {logits.tolist()}: not the page's text, or too close")
    for name, (handler, more) in ARCHIVES.items():
        folder = store / name
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "MAR-INF").mkdir(parents=True)
        for file in base.iterdir():
            os.link(file, folder / file.name)
        shutil.copy(HERE / handler, folder)
        shutil.copy(EXAMPLE / "handler.py", folder / "seqclass_handler.py")
        (folder / "model-config.yaml").write_text(more + HANDLER)
        (folder / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(
            {"createdOn": "01/01/2026 00:00:00", "runtime": "python", "archiverVersion": "0.12.0",
             "model": {"modelName": name, "handler": handler, "modelVersion": "1.0", "configFile": "model-config.yaml",
                       "serializedFile": "model.safetensors"}}, indent=1))
    (store / "expected.txt").write_text(names[str(int(logits.argmax()))])
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, logits {[round(x, 3) for x in logits.tolist()]}")


if __name__ == "__main__":
    main()
