"""Ids, places, words, windows and decoded text against Hugging Face `tokenizers`, for every kind of tokenizer that is served.

The tokenizers are trained here (data/make_tokenizer_families.py), the texts come from a seed; SCONCE_SEED sets another one,
SCONCE_TOKENIZER_TEXTS their number per kind. BERT's own is in test_tokenizer_identity.py, with many more texts.
"""
import importlib
import itertools
import json
import os
import struct
import subprocess
import unicodedata

import pytest

import harness
from data import make_tokenizer_cases as cases

if "CI" not in os.environ:
    pytest.importorskip("tokenizers", reason="tokenizers==0.23.3 is not installed: pip install -r tests/requirements.txt")
tokenizers = importlib.import_module("tokenizers")
families = importlib.import_module("data.make_tokenizer_families")

TEXTS = int(os.environ.get("SCONCE_TOKENIZER_TEXTS", 300 if harness.build_dir().name == "release" else 80))
SEED = os.environ.get("SCONCE_SEED", "7")
NONE = 0xFFFFFFFF
TOKENS = [*cases.Texts.TOKENS, *families.SPECIALS, "<mask>", " <mask> ", "|||IP|||", "``", "''", "'s", "'ll", " 're", "ß", "É", "the", "▁", " ▁the", "<0xF0>"]


@pytest.fixture(scope="module")
def program():
    for folder in (harness.build_dir(), harness.build_dir() / "tests"):
        if os.access(folder / "tokenize_lines", os.X_OK):
            return folder / "tokenize_lines"
    pytest.fail(f"there is no program tokenize_lines in {harness.build_dir()}: run ./dev build first", pytrace=False)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def numbers(self, n):
        self.at += 4 * n
        return struct.unpack_from(f"={n}I", self.data, self.at - 4 * n)

    def raw(self, n):
        self.at += n
        return self.data[self.at - n:self.at]

    def text(self):
        (n,) = self.numbers(1)
        return None if n == NONE else self.raw(n).decode()

    def encoding(self, decoded=False):
        (n,) = self.numbers(1)
        if n == NONE:
            return None
        out = {"ids": list(self.numbers(n)), "type_ids": list(self.raw(n))}
        origins = [self.numbers(6) for _ in range(n)]
        out["offsets"] = [o[0:2] for o in origins]
        out["bytes"] = [o[2:4] for o in origins]
        out["word_ids"] = [None if o[4] == NONE else o[4] for o in origins]
        out["sequence_ids"] = [None if o[5] == 0xFF else o[5] for o in origins]
        if decoded:
            out["decoded"] = [self.text(), self.text()]
        return out


def ours(program, folder, pairs, *options):
    data = bytearray()
    for text in itertools.chain.from_iterable(pairs):
        raw = b"" if text is None else text.encode()
        data += struct.pack("=I", NONE if text is None else len(raw)) + raw
    done = subprocess.run([program, folder, str(cases.MAX_POSITIONS), "--origins", *map(str, options)], input=bytes(data),
                          capture_output=True, timeout=100)
    assert done.returncode == 0, done.stderr.decode()
    return Reader(done.stdout)


def theirs(e):
    return {"ids": e.ids, "type_ids": e.type_ids, "offsets": e.offsets, "word_ids": e.word_ids, "sequence_ids": e.sequence_ids}


def in_bytes(pair, e):
    """The places in bytes that belong to those in characters."""
    out = []
    for (start, end), sequence in zip(e["offsets"], e["sequence_ids"]):
        text = pair[sequence] if sequence is not None else ""
        out.append((len(text[:start].encode()), len(text[:end].encode())))
    return out


def differences(pair, got, want):
    if got is None:
        return ["nothing came back"]
    out = [f"{key}: ours {ascii(got[key])}, theirs {ascii(value)}" for key, value in want.items() if got[key] != value]
    return out or ([] if got["bytes"] == in_bytes(pair, got) else [f"bytes {got['bytes']} for characters {got['offsets']}"])


def check(found):
    for pair, what in found[:3]:
        print(f"text {ascii(pair)}\n  " + "\n  ".join(what))
    assert not found, f"{len(found)} texts differ"


def texts_of(kind):
    print(f"seed {SEED}")
    texts = cases.Texts(f"{SEED} {kind}")
    texts.TOKENS = TOKENS
    return texts


def tokenizer_in(folder, kind, change=lambda document: None):
    document = json.loads(families.KINDS[kind]().to_str())
    change(document)
    text = json.dumps(document, ensure_ascii=False)
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    return tokenizers.Tokenizer.from_str(text)


@pytest.mark.parametrize("kind", families.KINDS)
def test_encodings_are_those_of_tokenizers(kind, program, tmp_path):
    reference = tokenizer_in(tmp_path, kind)
    reference.enable_truncation(cases.MAX_POSITIONS)
    texts = texts_of(kind)
    pairs = [("", None), ("", ""), (" ", None), ("<mask>", " \n "), *(texts.case() for _ in range(TEXTS))]
    reader, found = ours(program, tmp_path, pairs, "--decode"), []
    for pair in pairs:
        e = reference.encode(*pair) if pair[1] is not None else reference.encode(pair[0])
        got = reader.encoding(decoded=True)
        want = theirs(e) | {"decoded": [reference.decode(e.ids, skip_special_tokens=skip) for skip in (False, True)]}
        what = differences(pair, got, want)
        if what:
            found.append((pair, what))
    check(found)


@pytest.mark.parametrize("kind,direction,way", [("roberta prefix", "right", "second"), ("xlm-r", "left", "second"), ("bert and added", "right", "first"),
                                                ("modernbert", "left", "first")])
def test_windows_are_the_overflowing_tokens(kind, direction, way, program, tmp_path):
    side = {"direction": direction.title(), "max_length": cases.MAX_POSITIONS, "strategy": "LongestFirst", "stride": 0}
    reference = tokenizer_in(tmp_path, kind, lambda d: d.update(truncation=side))
    texts = texts_of(kind)
    for stride, most in ((0, 16), (3, 24), (10, 60)):
        reference.enable_truncation(most, stride=stride, strategy=f"only_{way}", direction=direction)
        pairs, found = [], []
        for _ in range(TEXTS // 10 + 5):
            short, long = texts.text()[:8], " ".join(texts.text() for _ in range(4))
            pairs.append((short, long) if way == "second" else (long, short))
        reader = ours(program, tmp_path, pairs, "--windows", stride, most, way)
        for pair in pairs:
            try:
                e = reference.encode(*pair)
            except BaseException:  # pyo3 raises what Rust calls a panic, for a stride that leaves no room
                assert reader.numbers(1) == (NONE,)
                continue
            want = [e, *e.overflowing]
            (n,) = reader.numbers(1)
            what = [] if n == len(want) else [f"{n} windows instead of {len(want)}"]
            for k in range(n if n != NONE else 0):
                got = reader.encoding()
                what += differences(pair, got, theirs(want[k])) if k < len(want) else []
            if what:
                found.append((pair, what))
        check(found)


@pytest.mark.parametrize("strategy", ["longest_first", "only_first", "only_second"])
@pytest.mark.parametrize("direction", ["right", "left"])
def test_truncation_of_the_file(strategy, direction, program, tmp_path):
    name = {"longest_first": "LongestFirst", "only_first": "OnlyFirst", "only_second": "OnlySecond"}[strategy]
    side = {"direction": direction.title(), "max_length": 15, "strategy": name, "stride": 0}
    reference = tokenizer_in(tmp_path, "roberta", lambda d: d.update(truncation=side))
    texts, found = texts_of(strategy), []
    pairs = [(texts.text()[:40], texts.text()[:40]) for _ in range(TEXTS // 4)]
    reader = ours(program, tmp_path, pairs)
    for pair in pairs:
        got = reader.encoding()
        try:
            want = theirs(reference.encode(*pair))
        except Exception:
            what = [] if got is None else ["theirs refuses this one"]
        else:
            what = differences(pair, got, want)
        if what:
            found.append((pair, what))
    check(found)


def changing_points():
    """The characters that some normalizer changes, and every hundredth of the others."""
    def changes(c):
        return (unicodedata.normalize("NFKD", c) != c and not "\uac00" <= c <= "\ud7a3") or c.lower() != c or unicodedata.category(c)[0] in "MZ"
    points = [chr(c) for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000]
    return [c for c in points if changes(c) or ord(c) % 100 == 0 and unicodedata.category(c) not in ("Cn", "Co")]


@pytest.mark.parametrize("form", ["NFC", "NFKC", "NFD", "NFKD", "Nmt", "StripAccents", "Lowercase"])
def test_normalizers_of_all_that_they_change(form, program, tmp_path):
    """Through byte-level tokens, which show every byte, each character between others that it may join."""
    points = changing_points()[::3 if TEXTS > 100 else 20]
    reference = tokenizer_in(tmp_path, "merges as strings", lambda d: d.update(normalizer={"type": form}))
    reference.enable_truncation(cases.MAX_POSITIONS)
    pairs = [("".join(f"a{c}\u0323\u0301 \u1100{c}" for c in points[i:i + 24]), None) for i in range(0, len(points), 24)]
    reader, found = ours(program, tmp_path, pairs), []
    for pair, e in zip(pairs, reference.encode_batch([a for a, _ in pairs])):
        what = differences(pair, reader.encoding(), theirs(e))
        if what:
            found.append((pair, what))
    check(found)


@pytest.mark.parametrize("options", [{}, {"add_prefix_space": True}])
def test_vocab_and_merges_are_roberta(options, program, tmp_path):
    """A folder without tokenizer.json, against what RobertaTokenizer makes of it."""
    document = json.loads(families.bpe_bytes_json())
    vocab, merges = document["model"]["vocab"], document["model"]["merges"]
    vocab["<mask>"] = len(vocab)
    (tmp_path / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "RobertaTokenizer", **options}))
    reference = families.roberta(prefix=bool(options))
    reference.enable_truncation(cases.MAX_POSITIONS)
    texts, found = texts_of("roberta"), []
    pairs = [texts.case() for _ in range(TEXTS // 2)]
    reader = ours(program, tmp_path, pairs)
    for pair in pairs:
        e = reference.encode(*pair) if pair[1] is not None else reference.encode(pair[0])
        what = differences(pair, reader.encoding(), theirs(e))
        if what:
            found.append((pair, what))
    check(found)


def test_a_difference_is_seen(program, tmp_path):
    """The comparison itself: places that are trimmed are not those that are not."""
    tokenizer_in(tmp_path, "roberta prefix")
    reader = ours(program, tmp_path, [("one two", None)])
    assert differences(("one two", None), reader.encoding(), theirs(families.KINDS["roberta untrimmed"]().encode("one two")))
