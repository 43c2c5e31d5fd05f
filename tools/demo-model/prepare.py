#!/usr/bin/env python3
"""From sentences to what train.py reads: capped parts, word lists and the tokenizer.

    prepare.py SENTENCES.tsv OUTDIR

Writes train.tsv.xz, dev.tsv, test.tsv (code TAB sentence), words.tsv.xz (code TAB word TAB weight) and
tokenizer.json. Same input, same output: every choice hangs on a fixed seed.
"""
import collections
import lzma
import os
import random
import sys
import unicodedata

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from wordfreq import available_languages, get_frequency_dict

from languages import LANGUAGES

SEED = 20
TRAIN_CAP, HELD_OUT_CAP = 20000, 400
LONGEST = 260
VOCABULARY = 12000
# Stories and games speak more like people do than manuals; they come first, up to their cap.
SOURCE_CAPS = (("wesnoth", 9000), ("gcompris", 3500), ("gnome", 3000), ("catalog", 4000))
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
EDGES = "".join(chr(c) for c in range(0x3000) if unicodedata.category(chr(c))[0] in "PS")
# Written without spaces, so that a list of words is not how they look.
UNSPACED = {"ja", "th", "zh"}


def shorten(text):
    return text if len(text) <= LONGEST else text[:LONGEST].rsplit(" ", 1)[0]


def words_of(text):
    """Words in lower case without the punctuation around them; nothing with a digit or a sign inside."""
    for word in text.lower().split():
        word = word.strip(EDGES)
        if word and all(ch.isalpha() or ch in "'’-\u200c\u200d" or unicodedata.category(ch)[0] == "M" for ch in word):
            yield word


def choose(by_source, rng):
    chosen, rest = [], []
    for source, cap in SOURCE_CAPS:
        pool = by_source.pop(source, [])
        rng.shuffle(pool)
        chosen += pool[:cap]
        rest += pool[cap:]
    for source in sorted(by_source):
        rest += by_source[source]
    rng.shuffle(rest)
    return (chosen + rest[:max(0, TRAIN_CAP - len(chosen))])[:TRAIN_CAP]


def word_weights(train):
    """Words of each language with weights that sum to one: half from wordfreq where it knows the language."""
    own = {}
    for code, texts in train.items():
        count = collections.Counter(w for t in texts for w in words_of(t))
        kept = {w: n for w, n in count.most_common(8000) if n > 2}
        total = sum(kept.values())
        own[code] = {w: n / total for w, n in kept.items()}
    known = {}
    available = available_languages("best")
    for code in train:
        name = "sh" if code == "hr" else code
        if name in available and code not in UNSPACED and code != "sr":
            known[code] = get_frequency_dict(name)
    weights = {}
    for code in train:
        if code in UNSPACED:
            continue
        merged = dict(own[code])
        if code in known:
            others = [known[c] for c in known if c != code]
            fresh = {}
            for word, f in known[code].items():
                if len(fresh) == 12000 or f < 1e-6:
                    break
                # A word far more at home elsewhere is a borrowed one (names, English).
                if list(words_of(word)) == [word] and f * 4 >= max(o.get(word, 0.0) for o in others):
                    fresh[word] = f
            total = sum(fresh.values())
            merged = {w: f / 2 for w, f in merged.items()}
            for w, f in fresh.items():
                merged[w] = merged.get(w, 0.0) + f / total / 2
        weights[code] = merged
    return weights


def train_tokenizer(train, weights, rng):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY, min_frequency=2, limit_alphabet=2400, special_tokens=SPECIAL,
        continuing_subword_prefix="##", show_progress=False)

    def corpus():
        for code in sorted(train):
            # As much text from everyone, by letters; a small corpus is read again.
            room, texts = 350_000, list(train[code])
            rng.shuffle(texts)
            for i in range(3 * len(texts)):
                text = texts[i % len(texts)][:150]
                yield text
                room -= len(text)
                if room < 0:
                    break
            if code in weights:
                words, w = zip(*sorted(weights[code].items()))
                for word in rng.choices(words, [x ** 0.7 for x in w], k=20000):
                    yield word

    tokenizer.train_from_iterator(corpus(), trainer)
    cls, sep = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", sep), ("[CLS]", cls))
    return tokenizer


def main():
    source_path, out = sys.argv[1:3]
    os.makedirs(out, exist_ok=True)
    rng = random.Random(SEED)
    parts = {s: {c: collections.defaultdict(list) for c in LANGUAGES} for s in ("train", "dev", "test")}
    with open(source_path, encoding="utf-8") as f:
        for line in f:
            code, source, split, text = line.rstrip("\n").split("\t")
            parts[split][code][source].append(shorten(text))
    train = {code: choose(parts["train"][code], rng) for code in LANGUAGES}
    with lzma.open(f"{out}/train.tsv.xz", "wt", encoding="utf-8", preset=6) as f:
        for code, texts in train.items():
            f.writelines(f"{code}\t{t}\n" for t in texts)
    for split in ("dev", "test"):
        with open(f"{out}/{split}.tsv", "w", encoding="utf-8") as f:
            for code in LANGUAGES:
                pool = [t for s in sorted(parts[split][code]) for t in parts[split][code][s]]
                rng.shuffle(pool)
                f.writelines(f"{code}\t{t}\n" for t in pool[:HELD_OUT_CAP])
    weights = word_weights(train)
    with lzma.open(f"{out}/words.tsv.xz", "wt", encoding="utf-8", preset=6) as f:
        for code in sorted(weights):
            for word, w in sorted(weights[code].items(), key=lambda x: (-x[1], x[0])):
                f.write(f"{code}\t{word}\t{w:.3g}\n")
    tokenizer = train_tokenizer(train, weights, rng)
    tokenizer.save(f"{out}/tokenizer.json")
    print("vocabulary", tokenizer.get_vocab_size(), "train", sum(map(len, train.values())),
          "words", sum(map(len, weights.values())))


if __name__ == "__main__":
    main()
