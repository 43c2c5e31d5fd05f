"""Small BERT folders with random weights, one for each mode of TorchServe's Transformers example: make_example_models.py OUT

Labels and answers are arbitrary. The weights are larger than a model is initialised with, so that no label is won by a
hair. Needs torch 2.13.0 and transformers 5.23.0."""
import sys
from pathlib import Path

import torch
import transformers
from transformers import BertConfig

# Architecture, labels, and a seed with which all labels occur.
MODES = {"sequence": ("BertForSequenceClassification", 2, 2), "token": ("BertForTokenClassification", 9, 2),
         "question": ("BertForQuestionAnswering", 2, 3)}
WORDS = """the cat sat on mat ##s ##ing bloomberg has decided to publish a new report global economy how is weather nice it
 beautiful day what about don t who was jim henson puppet 1 2 , . ? ! ' - é ü""".split()


def main(out):
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *(c for c in letters if c not in WORDS),
             *("##" + c for c in letters)]
    for name, (architecture, labels, seed) in MODES.items():
        torch.manual_seed(seed)
        config = BertConfig(vocab_size=len(vocab), hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
                            intermediate_size=36, max_position_embeddings=160, num_labels=labels)
        model = getattr(transformers, architecture)(config).eval()
        for parameter, p in model.named_parameters():
            torch.nn.init.normal_(p, mean=1.0 if parameter.endswith("LayerNorm.weight") else 0.0, std=0.3)
        folder = out / name
        model.save_pretrained(folder)
        (folder / "model.safetensors").chmod(0o644)
        (folder / "vocab.txt").write_text("".join(w + "\n" for w in vocab), encoding="utf-8")
        (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": true, '
                                                      '"model_max_length": 160}\n')


main(Path(sys.argv[1]))
