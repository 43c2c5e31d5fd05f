"""The other side of bench/encoder_cpu.py: Transformers on PyTorch. A process of its own, so that it can be pinned and its
threads set; orders come as JSON lines, answers go back the same way."""
import json
import os
import random
import sys
import time
from pathlib import Path

THREADS = int(sys.argv[1])
os.environ.update(OMP_NUM_THREADS=str(THREADS), MKL_NUM_THREADS=str(THREADS), TOKENIZERS_PARALLELISM="false",
                  TRANSFORMERS_VERBOSITY="error", HF_HUB_OFFLINE="1")

import torch  # noqa: E402
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast  # noqa: E402

SIZES = {"base": {}, "minilm": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12,
                                "intermediate_size": 1536}}
FIRST_WORD = 1000


def make(folder, size):
    """A BERT with random weights whose words w1000 ... are one token each."""
    folder = Path(folder)
    if (folder / "tokenizer.json").exists():
        return
    torch.manual_seed(1)
    config = BertConfig(num_labels=4, **SIZES[size])
    specials = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
    vocab = [specials.get(i, f"[unused{i}]" if i < FIRST_WORD else f"w{i}") for i in range(config.vocab_size)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(vocab) + "\n")
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=512)
    tokenizer.save_pretrained(folder)


class Side:
    def __init__(self):
        self.models = {}

    def load(self, folder):
        if folder not in self.models:
            self.models = {folder: (BertForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval(),
                                    BertTokenizerFast.from_pretrained(folder))}
        return self.models[folder]

    def best(self, run, seconds):
        """Seconds of the fastest of the calls that `seconds` allow; three at least if they are short."""
        began = time.perf_counter()
        run()
        least = 3 if time.perf_counter() - began < 2 * seconds else 1
        fastest, end, calls = float("inf"), time.perf_counter() + seconds, 0
        while calls < least or time.perf_counter() < end:
            began = time.perf_counter()
            run()
            fastest = min(fastest, time.perf_counter() - began)
            calls += 1
        return fastest

    def make(self, folder, size):
        make(folder, size)
        return True

    def equal(self, folder, length, batch, seconds):
        """Sequences a second of the forward pass alone, all of one length."""
        model, _ = self.load(folder)
        ids = torch.randint(FIRST_WORD, model.config.vocab_size, (batch, length))
        mask = torch.ones_like(ids)
        with torch.inference_mode():
            return batch / self.best(lambda: model(input_ids=ids, attention_mask=mask).logits, seconds)

    def texts(self, folder, texts, batch, padding, seconds):
        """Texts a second, tokenised and computed in batches, padded to `padding` tokens or to the longest."""
        model, tokenizer = self.load(folder)
        how = {"padding": "longest"} if padding == "longest" else {"padding": "max_length", "max_length": padding}

        def run():
            with torch.inference_mode():
                for i in range(0, len(texts), batch):
                    encoded = tokenizer(texts[i:i + batch], truncation=True, return_tensors="pt", **how)
                    model(**encoded).logits.softmax(-1).tolist()
        return len(texts) / self.best(run, seconds)

    def scores(self, folder, text):
        model, tokenizer = self.load(folder)
        with torch.inference_mode():
            found = model(**tokenizer(text, return_tensors="pt")).logits.softmax(-1)[0].tolist()
        return {model.config.id2label[i]: s for i, s in enumerate(found)}


def main():
    torch.set_num_threads(THREADS)
    random.seed(1)
    side = Side()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    for line in sys.stdin:
        order = json.loads(line)
        json.dump(getattr(side, order.pop("do"))(**order), answers)
        answers.write("\n")
        answers.flush()


if __name__ == "__main__":
    main()
