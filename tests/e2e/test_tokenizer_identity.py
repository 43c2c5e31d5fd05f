"""Our token ids against those of Hugging Face `tokenizers`, on 200,000 texts and on every code point.

The texts are generated (data/make_tokenizer_cases.py) from a seed that each test prints; SCONCE_SEED sets another one,
SCONCE_TOKENIZER_TEXTS their number per variant. A difference shows the text, so that it can become a golden case.
"""
import importlib
import os
import struct
import subprocess

import pytest

import harness
from data import make_tokenizer_cases as cases

if "CI" not in os.environ:
    pytest.importorskip("tokenizers", reason="tokenizers==0.23.3 is not installed: pip install -r tests/requirements.txt")
tokenizers = importlib.import_module("tokenizers")

# Per variant, of which there are 13; builds with sanitizers get a sample.
TEXTS = int(os.environ.get("SCONCE_TOKENIZER_TEXTS", 15500 if harness.build_dir().name == "release" else 2000))
SEED = int(os.environ.get("SCONCE_SEED", 20))
NONE = 0xFFFFFFFF


@pytest.fixture(scope="module")
def program():
    for folder in (harness.build_dir(), harness.build_dir() / "tests"):
        if os.access(folder / "tokenize_lines", os.X_OK):
            return folder / "tokenize_lines"
    pytest.fail(f"there is no program tokenize_lines in {harness.build_dir()}: run ./dev build first", pytrace=False)


def packed(pairs):
    out = bytearray()
    for a, b in pairs:
        a = a.encode()
        out += struct.pack("=I", len(a)) + a
        b = b.encode() if b is not None else None
        out += struct.pack("=I", NONE if b is None else len(b)) + (b or b"")
    return out


def ours(program, folder, pairs):
    done = subprocess.run([program, folder, str(cases.MAX_POSITIONS)], input=packed(pairs), capture_output=True, timeout=100)
    assert done.returncode == 0, done.stderr.decode()
    at, out = 0, done.stdout
    while at < len(out):
        (n,) = struct.unpack_from("=I", out, at)
        if n == NONE:
            yield None
            at += 4
            continue
        yield list(struct.unpack_from(f"={n}I", out, at + 4)), list(out[at + 4 + 4 * n:at + 4 + 5 * n])
        at += 4 + 5 * n


def folder_of(name, tmp_path):
    if name == "vocab":
        return cases.HERE / "vocab"
    (tmp_path / "tokenizer.json").write_text(cases.variant_json(name), encoding="utf-8")
    return tmp_path


def compare(program, folder, reference, pairs):
    expected = reference.encode_batch([a if b is None else (a, b) for a, b in pairs])
    got = list(ours(program, folder, pairs))
    assert len(got) == len(pairs)
    wrong = [(pair, g, e) for pair, g, e in zip(pairs, got, expected) if g != (e.ids, e.type_ids)]
    for pair, g, e in wrong[:5]:
        print(f"text {ascii(pair)}\n  ours {g and [reference.id_to_token(i) for i in g[0]]}\n  theirs {e.tokens}")
    assert not wrong, f"{len(wrong)} of {len(pairs)} texts differ"


@pytest.mark.parametrize("name", [*cases.VARIANTS, "vocab"])
def test_ids_are_those_of_tokenizers(name, program, tmp_path):
    print(f"seed {SEED}")
    texts = cases.Texts(f"{SEED} {name}")
    compare(program, folder_of(name, tmp_path), cases.reference(name), [texts.case() for _ in range(TEXTS)])


@pytest.mark.parametrize("name", ["uncased", "accents", "unclean"])
def test_every_code_point(name, program, tmp_path):
    """With a token for each character, or unknown words would hide what became of it."""
    text = cases.wide_json(name)
    (tmp_path / "tokenizer.json").write_text(text, encoding="utf-8")
    reference = tokenizers.Tokenizer.from_str(text)
    reference.enable_truncation(cases.MAX_POSITIONS)
    points = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    # Between letters, so that it shows whether the character is kept, dropped, split or sorted.
    pairs = [("".join(f"a{c}b " for c in points[i:i + 24]), None) for i in range(0, len(points), 24)]
    texts = cases.Texts(f"{SEED} marks")
    compare(program, tmp_path, reference, pairs + [(texts.marks(), None) for _ in range(TEXTS)])


def test_a_difference_is_seen(program, tmp_path):
    """The comparison itself: against a reference that lowercases, a cased tokenizer must fail."""
    with pytest.raises(AssertionError, match="differ"):
        compare(program, folder_of("cased", tmp_path), cases.reference("uncased"), [("Zug", None), ("zug", None)])
