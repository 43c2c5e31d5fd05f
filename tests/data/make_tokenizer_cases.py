"""The tokenizer tests' vocabulary and expected ids, made with Hugging Face `tokenizers`.

    python3 make_tokenizer_cases.py      (needs tokenizers==0.23.3) rewrites in tokenizer/:

wordpiece/tokenizer.json   a vocabulary trained on sentences.txt, uncased
vocab/                     the same vocabulary as vocab.txt with a tokenizer_config.json (cased), no tokenizer.json
golden.txt                 texts and what their ids are, for the unit tests, which have no Python

The comparison over many more texts (e2e/test_tokenizer_identity.py) uses the same generator and variants.
"""
import json
import random
import struct
from pathlib import Path

HERE = Path(__file__).resolve().parent / "tokenizer"
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
NORMALIZER = '"clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true'
ADDED = ('"added_tokens":[{"id":%d,"content":"Straße","single_word":false,"lstrip":false,"rstrip":false,"normalized":true,"special":false},'
         '{"id":%d,"content":"<x>","single_word":false,"lstrip":true,"rstrip":true,"normalized":false,"special":true},'
         '{"id":%d,"content":"<x>y","single_word":false,"lstrip":false,"rstrip":false,"normalized":true,"special":false},'
         '{"id":%d,"content":"in the","single_word":false,"lstrip":true,"rstrip":false,"normalized":true,"special":false},'
         '{"id":%d,"content":" ","single_word":false,"lstrip":false,"rstrip":true,"normalized":false,"special":false},')

# What is replaced in tokenizer.json: (from, to).
VARIANTS = {
    "uncased": None,
    "cased": ('"strip_accents":null,"lowercase":true', '"strip_accents":null,"lowercase":false'),
    "accents": ('"strip_accents":null,"lowercase":true', '"strip_accents":false,"lowercase":true'),
    "strip": ('"strip_accents":null,"lowercase":true', '"strip_accents":true,"lowercase":false'),
    "raw": (NORMALIZER, NORMALIZER.replace("true", "false").replace("null", "false")),
    "unclean": (NORMALIZER, '"clean_text":false,"handle_chinese_chars":false,"strip_accents":true,"lowercase":true'),
    "ideographs": (NORMALIZER, '"clean_text":false,"handle_chinese_chars":true,"strip_accents":false,"lowercase":true'),
    "added": ('"added_tokens":[', ADDED),
    "short": ('"truncation":null', '"truncation":{"direction":"Right","max_length":16,"strategy":"LongestFirst","stride":0}'),
    "left": ('"truncation":null', '"truncation":{"direction":"Left","max_length":16,"strategy":"LongestFirst","stride":0}'),
    "no prefix": ('"continuing_subword_prefix":"##"', '"continuing_subword_prefix":""'),
    "short words": ('"max_input_chars_per_word":100', '"max_input_chars_per_word":5'),
}
MAX_POSITIONS = 512


def variant_json(name, base=None):
    """tokenizer.json's text with the variant's replacement."""
    text = base or (HERE / "wordpiece" / "tokenizer.json").read_text(encoding="utf-8")
    if VARIANTS[name]:
        old, new = VARIANTS[name]
        if name == "added":
            size = len(json.loads(text)["model"]["vocab"])
            new = new % tuple(range(size, size + 5))
        assert text.count(old) == 1, (name, old)
        text = text.replace(old, new)
    return text


def reference(name):
    """The package's own tokenizer for a variant, or for the folder without tokenizer.json ("vocab")."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    if name != "vocab":
        t = Tokenizer.from_str(variant_json(name))
    else:
        # As transformers' BertTokenizerFast puts it together.
        t = Tokenizer(models.WordPiece.from_file(str(HERE / "vocab" / "vocab.txt"), unk_token="[UNK]"))
        t.normalizer = normalizers.BertNormalizer(lowercase=False)
        t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        t.add_special_tokens(SPECIALS)
        t.post_processor = processors.BertProcessing(("[SEP]", t.token_to_id("[SEP]")), ("[CLS]", t.token_to_id("[CLS]")))
    if t.truncation is None:
        t.enable_truncation(MAX_POSITIONS)
    return t


def sentences():
    lines = (HERE / "sentences.txt").read_text(encoding="utf-8").split("\n")
    return [line for line in lines if line and not line.startswith("#")]


class Texts:
    """Endless texts of every kind that has ever broken a tokenizer; the same for the same seed."""

    MARKS = [0x300, 0x301, 0x308, 0x327, 0x323, 0x334, 0x345, 0x302E, 0x302F, 0x1D165, 0x1D16D, 0x94D, 0xC46, 0xC56,
             0xF71, 0xF72, 0xF74, 0x1B44, 0x8D4, 0xA953, 0x3099, 0x5B0, 0x64B, 0xE38, 0x1E944, 0x16FF0]
    SPACES = [" ", "  ", "\t", "\n", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\xa0", "\u1680", "\u2003", "\u2028", "\u202f", "\u3000"]
    CONTROLS = ["\0", "\x01", "\x07", "\x1b", "\x7f", "\x9f", "\xad", "\u200b", "\u200d", "\u200e", "\u2060", "\ufeff",
                "\ufffd", "\ufffc", "\ue000", "\U000f0000", "\U0010ffff", "\ufdd0", "\U000e0041", "\u0600", "\u061c", "\u180e"]
    EMOJI = ["😀", "👨‍👩‍👧", "👩🏽‍🚀", "🏳️‍🌈", "🇩🇪", "1️⃣", "❤️‍🔥", "☺︎", "⛷🏿", "🫠", "👁️‍🗨️"]
    TOKENS = SPECIALS + ["[cls]", "[SE", "P]", "[[MASK]]", "##", "##a", "<x>", "<x>y", "<X>Y", "in the", "Straße", "STRASSE", "strasse"]
    BLOCKS = [(0x20, 0x7F), (0x80, 0x180), (0x180, 0x250), (0x250, 0x370), (0x370, 0x400), (0x400, 0x530), (0x530, 0x600),
              (0x600, 0x700), (0x900, 0xE00), (0xE00, 0x1000), (0x10A0, 0x1200), (0x13A0, 0x1400), (0x1C80, 0x1CC0),
              (0x1D00, 0x2000), (0x2000, 0x2070), (0x2070, 0x2C00), (0x2C00, 0x2E80), (0x2E00, 0x3040), (0x3040, 0x3400),
              (0x3400, 0x4E00), (0x4E00, 0xA000), (0xA640, 0xAC00), (0xAC00, 0xD7B0), (0xF900, 0xFB00), (0xFB00, 0xFE00),
              (0xFE00, 0xFFFE), (0x10000, 0x10E00), (0x10E00, 0x11000), (0x11000, 0x12000), (0x12000, 0x17000),
              (0x17000, 0x18B00), (0x1D000, 0x1D800), (0x1E000, 0x1EF00), (0x1F000, 0x1FB00), (0x20000, 0x2FA20), (0xE0000, 0xE0200)]

    def __init__(self, seed):
        self.r = random.Random(seed)
        self.sentences = sentences()
        self.pieces = [p.removeprefix("##") for p in json.loads((HERE / "wordpiece" / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]]
        self.kinds = [(self.sentence, 5), (self.any_planes, 2), (self.block, 3), (self.marks, 2), (self.controls, 2), (self.emoji, 1),
                      (self.long_word, 1), (self.tokens, 2), (self.made_of_pieces, 3), (self.punctuation, 1), (self.mixed, 3)]
        self.bag = [k for k, n in self.kinds for _ in range(n)]

    def any_char(self):
        c = self.r.randrange(0x110000 - 0x800)
        return chr(c if c < 0xD800 else c + 0x800)

    def some(self, lo, hi, make):
        return "".join(make() for _ in range(self.r.randint(lo, hi)))

    def sentence(self):
        s = self.r.choice(self.sentences)
        what = self.r.randrange(8)
        if what == 0:
            s = s.upper()
        elif what == 1:
            s = s.title()
        elif what == 2:
            a = self.r.randrange(len(s))
            s = s[a:self.r.randint(a, len(s))]
        elif what == 3:
            s = s.replace(" ", self.r.choice(self.SPACES))
        elif what >= 4:
            s = list(s)
            for _ in range(self.r.randrange(1, 6)):
                i = self.r.randrange(len(s))
                s[i] = self.r.choice([s[i].swapcase(), s[i] + chr(self.r.choice(self.MARKS)), "", self.r.choice(self.CONTROLS) + s[i],
                                      s[self.r.randrange(len(s))], self.any_char()])
            s = "".join(s)
        return s

    def any_planes(self):
        return self.some(1, 40, self.any_char)

    def block(self):
        lo, hi = self.r.choice(self.BLOCKS)
        return self.some(1, 40, lambda: chr(self.r.randrange(lo, hi)) if self.r.random() < 0.85 else " ")

    def marks(self):
        base = self.r.choice(["a", "E", "ö", "한", "中", "क", "\U0001d158", "\U0001d15f", "ΐ", "ཀ", "=", " ", "\u0f73", "が"])
        return base + self.some(1, 8, lambda: chr(self.r.choice(self.MARKS)) if self.r.random() < 0.9 else self.r.choice(["x", "\xad", "[MASK]", "중"]))

    def controls(self):
        return self.some(1, 20, lambda: self.r.choice([self.r.choice(self.CONTROLS), self.r.choice(self.SPACES), chr(self.r.randrange(0xA0)), "ab", "É"]))

    def emoji(self):
        return self.some(1, 8, lambda: self.r.choice([self.r.choice(self.EMOJI), " ", "ok", "!"]))

    def long_word(self):
        make = self.r.choice([lambda: "a", lambda: "ä", lambda: chr(self.r.randrange(97, 123)), lambda: self.r.choice(self.pieces),
                              lambda: "e\u0301", lambda: "\u302e", lambda: "각", lambda: "İ"])
        n = self.r.choice([4, 5, 6, 33, 34, 50, 98, 99, 100, 101, 102, 150, 1000])
        return self.r.choice(["", "b "]) + "".join(make() for _ in range(n)) + self.r.choice(["", " c", "."])

    def tokens(self):
        return self.some(1, 8, lambda: self.r.choice([self.r.choice(self.TOKENS), self.r.choice(self.SPACES), "in", "word", "É", "中", "\u0301"]))

    def made_of_pieces(self):
        return self.some(1, 12, lambda: self.r.choice(self.pieces) + (" " if self.r.random() < 0.3 else ""))

    def punctuation(self):
        return self.some(1, 20, lambda: chr(self.r.choice([self.r.randrange(33, 127), self.r.randrange(0x2000, 0x2070), self.r.randrange(0x3000, 0x3040),
                                                           self.r.randrange(0xFE10, 0xFE70), self.r.randrange(0xFF00, 0xFF20), 0x37E, 0x387, 0x1FEF, 0x2260])))

    def mixed(self):
        return "".join(self.r.choice(self.bag)() for _ in range(self.r.randint(2, 4)))

    def text(self):
        return self.r.choice(self.bag)()

    def case(self):
        """A text, or with its pair."""
        a = self.text()
        if self.r.random() < 0.03:
            a = (a + " ") * self.r.randint(2, 60)
        if self.r.random() < 0.8:
            return a, None
        b = self.text()
        return a, (b + " ") * self.r.randint(2, 60) if self.r.random() < 0.1 else b


def wide_json(name):
    """A variant whose vocabulary has every assigned character, so that each shows as what it is."""
    import unicodedata
    document = json.loads(variant_json(name))
    vocab = document["model"]["vocab"]
    for c in map(chr, range(0x110000)):
        if unicodedata.category(c) not in ("Cn", "Co", "Cs") and c != "\0":
            vocab.setdefault(c, len(vocab))
            vocab.setdefault("##" + c, len(vocab))
    return json.dumps(document, ensure_ascii=False)


def train():
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    plain, cased = normalizers.BertNormalizer(lowercase=True), normalizers.BertNormalizer(lowercase=False)
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # Both forms in one vocabulary, so that every variant finds words.
    text = [n.normalize_str(s) for s in sentences() for n in (plain, cased)]
    trainer = trainers.WordPieceTrainer(vocab_size=3600, min_frequency=1, special_tokens=SPECIALS, show_progress=False)
    t.train_from_iterator(text, trainer)
    vocab = sorted(t.get_vocab(), key=t.get_vocab().get)
    # Without tokens for them, words with marks would be unknown in any order, and a wrong order would not be seen.
    more = [p + chr(c) for c in [*Texts.MARKS, 0x1D157, 0x1D158, 0xF40, 0x110C, 0x1112] for p in ("", "##")]
    vocab += [token for token in more if token not in vocab]

    t = Tokenizer(models.WordPiece({token: i for i, token in enumerate(vocab)}, unk_token="[UNK]"))
    t.normalizer = plain
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.add_special_tokens(SPECIALS)
    t.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(s, t.token_to_id(s)) for s in ("[CLS]", "[SEP]")])
    (HERE / "wordpiece").mkdir(parents=True, exist_ok=True)
    (HERE / "wordpiece" / "tokenizer.json").write_text(t.to_str(pretty=False), encoding="utf-8")
    (HERE / "vocab").mkdir(exist_ok=True)
    (HERE / "vocab" / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
    config = {"do_lower_case": False, "model_max_length": 10**30, "tokenizer_class": "BertTokenizer", "unk_token": "[UNK]"}
    (HERE / "vocab" / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def checksum(ids, types):
    """FNV-1a over the ids (32 bits, little end first) and the types (8 bits)."""
    h = 0x811C9DC5
    for byte in struct.pack(f"<{len(ids)}I", *ids) + bytes(types):
        h = (h ^ byte) * 0x01000193 & 0xFFFFFFFF
    return h


def golden():
    lines = ["# text, pair or -, ids, FNV-1a of ids and types; `=` starts a variant: what is replaced in tokenizer.json, and by what."]
    for name in [*VARIANTS, "vocab"]:
        base = variant_json(name) if name != "vocab" else None
        change = VARIANTS.get(name)
        if change and name == "added":
            start = base.index('"added_tokens":[')
            change = (change[0], base[start:base.index('{"id":0,', start)])
        lines.append("\t".join(["= " + name, *(change or ())]))
        texts, tokenizer = Texts(name), reference(name)
        cases = [(texts.marks(), None) for _ in range(40)] + [(s, None) for s in (texts.sentences if name in ("uncased", "cased", "vocab") else texts.sentences[::4])]
        cases += [("", None), ("", "")] + [texts.case() for _ in range(140)]
        for a, b in cases:
            if len(a) + len(b or "") > 700:
                continue
            e = tokenizer.encode(a, b) if b is not None else tokenizer.encode(a)
            text = [json.dumps(s, ensure_ascii=False).replace("\x7f", "\\u007f") if s is not None else "-" for s in (a, b)]
            lines.append("\t".join([*text, str(len(e.ids)), "%08x" % checksum(e.ids, e.type_ids)]))
    (HERE / "golden.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    train()
    golden()
