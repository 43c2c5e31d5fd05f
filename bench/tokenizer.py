#!/usr/bin/env python3
"""The tokenizers against the `tokenizers` package: the same files, the same texts, one core, seconds of the processor."""
import argparse
import os
import random
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from common import BUILD, ROOT, die, floor, median, say, table, write_section  # noqa: E402

sys.path.insert(0, str(ROOT / "tests"))
GOAL, POSITIONS, NONE = 3.0, 512, b"\xff\xff\xff\xff"


def corpus(most=6 << 20):
    """Text of many kinds that every machine has: the repository's documents and test texts, Python's sources."""
    texts = [p.read_text(encoding="utf-8") for p in sorted([*ROOT.glob("docs/**/*.md"), *ROOT.glob("tests/data/**/*.t[xs][tv]")])]
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        texts.append(path.read_text(encoding="utf-8", errors="ignore"))
        if sum(map(len, texts)) > most:
            break
    return [line.strip() for text in texts for line in text.split("\n") if line.strip()]


def trained(lines):
    """Tokenizers of the three models with vocabularies of common sizes, by family."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from data import make_tokenizer_families as families

    def finish(t, names):
        t.post_processor = processors.TemplateProcessing(single=f"{names[0]} $A {names[1]}", pair=f"{names[0]} $A {names[1]} $B:1 {names[1]}:1",
                                                         special_tokens=[(n, t.token_to_id(n)) for n in names])
        return t

    bert = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    bert.normalizer, bert.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    bert.train_from_iterator(lines, trainers.WordPieceTrainer(vocab_size=30522, special_tokens=specials, show_progress=False))
    yield "BERT (WordPiece)", finish(bert, ("[CLS]", "[SEP]"))

    roberta = Tokenizer(models.BPE())
    roberta.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    roberta.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=50265, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                                           special_tokens=families.SPECIALS, show_progress=False))
    yield "RoBERTa (byte-level BPE)", families.finish(roberta, lambda sep, cls: processors.RobertaProcessing(sep, cls))

    modern = Tokenizer.from_str(roberta.to_str())
    modern.normalizer = normalizers.NFC()
    yield "ModernBERT (NFC, byte-level BPE)", finish(modern, ("<s>", "</s>"))

    xlmr = Tokenizer(models.Unigram())
    xlmr.normalizer, xlmr.pre_tokenizer = families.spm(), families.words()
    xlmr.train_from_iterator(lines[::4], trainers.UnigramTrainer(vocab_size=32000, special_tokens=families.SPECIALS, unk_token="<unk>",
                                                                 show_progress=False))
    yield "XLM-R (character map, Unigram)", finish(xlmr, ("<s>", "</s>"))
    albert = Tokenizer.from_str(xlmr.to_str())
    albert.normalizer = normalizers.Sequence([normalizers.Replace("``", '"'), normalizers.Replace("''", '"'), normalizers.NFKD(),
                                              normalizers.StripAccents(), normalizers.Lowercase(), families.spm()])
    yield "ALBERT (NFKD, character map, Unigram)", finish(albert, ("<s>", "</s>"))


def make_texts(lines, seed):
    """Texts of some 500 characters: as they are, and with every word misspelt, so that none was met before."""
    r = random.Random(seed)

    def text():
        out = ""
        while len(out) < 500:
            out += r.choice(lines) + " "
        return out[:500]

    def misspelt(word):
        letters = list(word)
        for _ in range(1 + len(letters) // 4):
            letters[r.randrange(len(letters))] = r.choice("etaoinshrdlucmäéßожея中")
        return "".join(letters)

    real = [text() for _ in range(2000)]
    return {"real": real, "misspelt": [re.sub(r"\w+", lambda m: misspelt(m[0]), t) for t in real[:1000]]}


def packed(texts):
    return b"".join(len(t.encode()).to_bytes(4, sys.byteorder) + t.encode() + NONE for t in texts)


def ours(program, folder, data, origins):
    done = subprocess.run([program, folder, str(POSITIONS), "--bench", "3", *(["--origins"] if origins else [])], input=data, capture_output=True)
    if done.returncode:
        die(done.stderr.decode())
    return float(done.stdout.split()[0])


def theirs(tokenizer, texts, origins):
    encode = tokenizer.encode_batch if origins else tokenizer.encode_batch_fast
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        encode(texts)
        best = min(best, time.process_time() - start)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="the two take turns so often; medians count (5)")
    rounds = parser.parse_args().rounds
    try:
        import tokenizers
    except ImportError:
        die("the package is not installed: pip install -r tests/requirements.txt")
    program = next((p for p in (BUILD / "tokenize_lines", BUILD / "tests" / "tokenize_lines") if os.access(p, os.X_OK)), None)
    if not program:
        die(f"there is no program tokenize_lines in {BUILD}: ./dev build makes it")
    lines, rows = corpus(), []
    for name, tokenizer in trained(lines):
        tokenizer.enable_truncation(POSITIONS)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
            for kind, texts in make_texts(lines, name).items():
                data = packed(texts)
                size = sum(len(t.encode()) for t in texts) / 1e6
                for origins in (False, True):
                    turns = [(ours(program, folder, data, origins), theirs(tokenizer, texts, origins)) for _ in range(rounds)]
                    mine, other = (size / median([t[i] for t in turns]) for i in (0, 1))
                    ratio = median([t[1] / t[0] for t in turns])
                    rows.append([name, kind, "ids and places" if origins else "ids", f"{mine:.1f}", f"{other:.1f}", f"**{ratio:.1f}**", floor(ratio, GOAL)])
                    say(" | ".join(rows[-1]))
    write_section("tokenizer", "Tokenizers", "Megabytes of text a second of one core, texts of 500 characters, ids of 512 at most; medians of rounds that "
                  f"take turns, against `tokenizers` {tokenizers.__version__} (`encode_batch_fast` for ids, `encode_batch` with places). Misspelt: no word was "
                  "met before.\n\n" + table(["tokenizer", "texts", "result", "Sconce, MB/s", "tokenizers, MB/s", "ratio", "goal"], rows))


if __name__ == "__main__":
    main()
