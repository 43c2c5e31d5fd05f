"""Writes unicode_text.h: character classes and normal forms as `tokenizers` has them, asked of the package itself.

    python3 make_unicode_text.py > unicode_text.h     (needs tokenizers; a minute)

As make_unicode_data.py, for the parts that are not BERT's own: regular expressions, white space, digits, grapheme clusters, NFC to NFKD.
"""
import struct
import sys
import unicodedata

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers
from unicode_tables import HANGUL, POINTS, pair, ranges
from unicode_tables import rows as narrow_rows

WIDTH = 500  # a file has at most 600 lines
nfd, nfkd, nfc = (n().normalize_str for n in (normalizers.NFD, normalizers.NFKD, normalizers.NFC))


def rows(name, kind, items, comment, shape=""):
    narrow_rows(name, kind, items, comment, shape, WIDTH)


def class_ranges(name, points, comment):
    rows(name, "uint32_t", map(pair, ranges(points)), comment, "[2]")


def removed(pattern):
    """The characters that a pattern of one character matches."""
    split = pre_tokenizers.Split(Regex(pattern), "removed").pre_tokenize_str
    return [c for c in POINTS if not split(chr(c))]


def charsmap(keys):
    """A Precompiled normalizer that turns each key into `b`: a double array whose nodes have 256 places each."""
    units, used, places = [0] * 256, 1, {b"": 0}
    for key in keys:
        for i in range(len(key)):
            if key[:i] not in places:
                places[key[:i]] = used
                used += 1
                units += [0] * 256
    units += [0] * 256
    last = used << 8

    def offset(at, base):
        assert (at ^ base) < 1 << 21
        return (at ^ base) << 10

    at = {b"": 0}
    for prefix in sorted(places, key=len):
        if prefix:
            at[prefix] = (places[prefix[:-1]] << 8) ^ prefix[-1]
    # The root is unit 0; its children lie in block 0, xored with their byte.
    units[0] = offset(0, 0)
    for prefix in places:
        if prefix:
            units[at[prefix]] = prefix[-1] | offset(at[prefix], places[prefix] << 8)
    leaf = last
    for key in keys:
        place = (places[key[:-1]] << 8) ^ key[-1]
        # The leaf's value lies at the node's base: one spare block, shared, has value 0.
        units[place] = key[-1] | 1 << 8 | offset(place, leaf)
    units[leaf] = 1 << 31
    data = struct.pack(f"<{len(units)}I", *units)
    blob = struct.pack("<I", len(data)) + data + b"b\0"
    return normalizers.Precompiled(blob).normalize_str


def joins(make, keys):
    """Of the keys (characters), those where make(key)'s two characters are one grapheme: the map is asked for its first."""
    out = []
    for i in range(0, len(keys), 1024):
        batch = keys[i:i + 1024]
        ask = charsmap(sorted({make(c)[0].encode() for c in batch}))
        out += [c for c in batch if ask(make(c)) == "b"]
    return out


letters, numbers, spaces = removed(r"\p{L}"), removed(r"\p{N}"), removed(r"\s")
whitespace = [c for c in POINTS if not pre_tokenizers.WhitespaceSplit().pre_tokenize_str(chr(c))]
words = [c for c in POINTS if len(pre_tokenizers.Whitespace().pre_tokenize_str("a" + chr(c) + "a")) == 1]
digits = [c for c in POINTS if len(pre_tokenizers.Digits(individual_digits=True).pre_tokenize_str("a" + chr(c) + "a")) == 3]
punctuation = [c for c in POINTS if len(pre_tokenizers.Punctuation().pre_tokenize_str("a" + chr(c) + "a")) == 3]
marks = [c for c in POINTS if normalizers.StripAccents().normalize_str(chr(c)) == ""]
lower = normalizers.Lowercase().normalize_str
bert_lower = normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=True).normalize_str
assert all(lower(chr(c)) == bert_lower(chr(c)) for c in POINTS)
spaceless = set(whitespace)
assert all((len(pre_tokenizers.Whitespace().pre_tokenize_str("a" + chr(c) + "a")) == 2) == (c in spaceless) for c in POINTS)

extend = joins(lambda c: "a" + chr(c), POINTS)
prepend = joins(lambda c: chr(c) + "a", [c for c in POINTS if c >= 0x80])
basic = [c for c in POINTS if 0 < c < 0x10000]
control = sorted({0, *basic} - {*joins(lambda c: chr(c) + "\u0301", basic)})
ask = charsmap(["©".encode()])
extending = set(extend)
pictures = [c for c in POINTS if c == 0xA9 or ask("©\u200d" + chr(c)) == "b\u200d" + chr(c) and c not in extending]

classes = {}
for c in POINTS:
    s, n = chr(c), nfd(chr(c))
    if n == s and (nfd(s + chr(0x334)) != n + chr(0x334) or nfd(chr(0x345) + s) != chr(0x345) + n):
        classes[c] = unicodedata.combining(s)
        assert classes[c], hex(c)
runs = []
for c, k in classes.items():
    if runs and runs[-1][1] == c - 1 and runs[-1][2] == k:
        runs[-1][1] = c
    else:
        runs.append([c, c, k])

canonical = {c: nfd(chr(c)) for c in POINTS if nfd(chr(c)) != chr(c) and c not in HANGUL}
compatible = {c: nfkd(chr(c)) for c in POINTS if nfkd(chr(c)) != nfd(chr(c))}
pool, pieces = {}, []


def pooled(s):
    if s not in pool:
        pool[s] = len(pieces)
        pieces.extend([len(s), *map(ord, s)])
    return pool[s]


composed = []
for c, full in canonical.items():
    if nfc(chr(c)) == chr(c):
        first = nfc(full[:-1])
        assert len(first) == 1 and nfc(first + full[-1]) == chr(c), hex(c)
        composed.append((ord(first), ord(full[-1]), c))
for c in HANGUL:
    i = c - 0xAC00
    t = i % 28
    assert nfd(chr(c)) == nfkd(chr(c)) == chr(0x1100 + i // 588) + chr(0x1161 + i % 588 // 28) + (chr(0x11A7 + t) if t else "")

print(f"""/*
 * Generated by make_unicode_text.py from tokenizers {tokenizers.__version__}: do not edit.
 *
 * Classes of characters and normal forms as the package has them.
 */
#ifndef SC_ENCODER_TOKENIZER_UNICODE_TEXT_H
#define SC_ENCODER_TOKENIZER_UNICODE_TEXT_H

#include <stdint.h>

/* clang-format off */""")
class_ranges("letter_ranges", letters, r"\\p{L} of regular expressions.".replace("\\\\", "\\"))
class_ranges("number_ranges", numbers, "\\p{N} of regular expressions.")
class_ranges("regex_space_ranges", spaces, "\\s of regular expressions.")
class_ranges("whitespace_ranges", whitespace, "White space of everything else.")
class_ranges("word_ranges", words, "\\w of the Whitespace pre-tokenizer and of single_word.")
class_ranges("digit_ranges", digits, "Digits of the Digits pre-tokenizer.")
class_ranges("punctuation_ranges", punctuation, "Punctuation of its pre-tokenizer.")
class_ranges("combining_ranges", marks, "Removed by StripAccents.")
class_ranges("extend_ranges", extend, "Grapheme clusters: belong to what is before them.")
class_ranges("prepend_ranges", prepend, "Grapheme clusters: what is behind belongs to them.")
class_ranges("control_ranges", control, "Grapheme clusters (below U+10000): nothing belongs to them.")
class_ranges("picture_ranges", pictures, "Grapheme clusters: belong to a picture and a joiner before them.")
rows("class_ranges", "uint32_t", ["{0x%X, 0x%X, %d}" % tuple(r) for r in runs], "Canonical combining classes other than 0.", "[3]")
rows("canonical_forms", "uint32_t", ["{0x%X, %d}" % (c, pooled(s)) for c, s in canonical.items()],
     "Canonical decompositions (Hangul apart): character, place in form_pool.", "[2]")
rows("compatible_forms", "uint32_t", ["{0x%X, %d}" % (c, pooled(s)) for c, s in compatible.items()],
     "Compatibility decompositions where they differ from the canonical ones.", "[2]")
rows("form_pool", "uint32_t", ["0x%X" % c for c in pieces], "The number of characters, then these.")
rows("composed_forms", "uint32_t", ["{0x%X, 0x%X, 0x%X}" % t for t in sorted(composed)], "First, second, what they compose to.", "[3]")
print("\n/* clang-format on */\n\n#endif")
sys.stdout.flush()
