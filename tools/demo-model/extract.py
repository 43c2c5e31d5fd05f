#!/usr/bin/env python3
"""Sentences by language from unpacked Debian packages.

    extract.py ROOT OUT.tsv        ROOT is where dpkg-deb -x unpacked the packages of packages.txt

Each line of OUT is  code TAB source TAB split TAB sentence, sorted, without duplicates.

The split (train, dev or test) is drawn from the place a text has in all languages alike: the name of the
help page or the English original of a message. So a sentence and its translations, and the sentences of one
page, stand on the same side, and no held-out sentence occurs in the training part in any language.
"""
import collections
import hashlib
import html
import os
import re
import struct
import sys
import unicodedata

from languages import LANGUAGES, code_of

SENTENCE_END = re.compile(r"(?<=[.!?؟।։])\s+(?=\S)|(?<=[。！？])")
TAG = re.compile(r"<[^<>]{0,200}>")
PLACEHOLDER = re.compile(r"%[-0-9.$]*l{0,2}[a-zA-Z]|%\{?\w+\}?%?|\$\{?[\w.\[\]|]+\}?|\{\w*\}|[_&~|]|https?://\S+")
HELP_TEXT = re.compile(r"<(p|desc|title|h[1-6])\b[^>]*>(.*?)</\1>", re.S)


def clean(text):
    text = html.unescape(TAG.sub("", text))
    text = PLACEHOLDER.sub("", text)
    return re.sub(r"\s+", " ", text).strip()


def read_text(path):
    with open(path, encoding="utf-8", errors="ignore") as f:
        return f.read()


def read_pages(path, key):
    """Paragraphs of a Mallard or HTML page; the whole page is one unit of the split."""
    for match in HELP_TEXT.finditer(read_text(path)):
        yield key, match[2]


def read_mo(path):
    """(English, translation) of a gettext catalogue."""
    with open(path, "rb") as f:
        data = f.read()
    _, _, count, originals, translations = struct.unpack_from("<5I", data)
    for i in range(1, count):
        length, at = struct.unpack_from("<2I", data, originals + 8 * i)
        original = data[at:at + length].split(b"\0")[0].split(b"\4")[-1].decode("utf-8", "ignore")
        length, at = struct.unpack_from("<2I", data, translations + 8 * i)
        yield original, data[at:at + length].split(b"\0")[0].decode("utf-8", "ignore")


def read_qm(path):
    """(English, translation) of a Qt catalogue; the English is empty when the file was stripped of it."""
    with open(path, "rb") as f:
        data = f.read()
    at = 16
    while at + 5 <= len(data):
        tag, length = struct.unpack_from(">BI", data, at)
        at += 5
        if tag == 0x69:
            break
        at += length
    end, original, translation = at + length, "", ""
    while at < end:
        tag = data[at]
        at += 1
        if tag == 1:
            yield original, translation
            original = translation = ""
        elif tag == 5:
            at += 4
        else:
            size = struct.unpack_from(">I", data, at)[0]
            at += 4
            if size == 0xFFFFFFFF:
                size = 0
            if tag == 3 and not translation:
                translation = data[at:at + size].decode("utf-16-be", "ignore")
            elif tag == 6:
                original = data[at:at + size].decode("utf-8", "ignore")
            at += size


def units(root):
    """(code, source, split key, text) of everything below root."""
    for folder, folders, files in os.walk(root):
        folders.sort()
        where = os.path.relpath(folder, root)
        for name in sorted(files):
            path = os.path.join(folder, name)
            if m := re.match(r"usr/share/help/([^/]+)/(.*)", where):
                if name.endswith(".page") and (code := code_of(m[1])):
                    yield from ((code, "gnome", *u) for u in read_pages(path, f"{m[2]}/{name}"))
            elif m := re.match(r"usr/(?:share|lib)/libreoffice/help/([^/]+)(.*)", where):
                if name.endswith(".html") and (code := code_of(m[1])):
                    yield from ((code, "help", *u) for u in read_pages(path, f"{m[2]}/{name}"))
            elif m := re.search(r"/([^/]+)/LC_MESSAGES$", where):
                if not name.endswith(".mo") or not (code := code_of(m[1])):
                    continue
                source = ("office" if "libreoffice" in where else "wesnoth" if "wesnoth" in where else "catalog")
                for original, text in read_mo(path):
                    yield "en", source, original, original
                    if text != original:
                        yield code, source, original, text
            elif m := re.match(r"gcompris_(.+)\.qm$", name):
                if code := code_of(m[1]):
                    for original, text in read_qm(path):
                        if text != original or code == "en":
                            yield code, "gcompris", original or text, text


def split_of(key):
    """Three units in a hundred are for testing, two for choosing between runs."""
    draw = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % 100
    return "test" if draw < 3 else "dev" if draw < 5 else "train"


def script_share(text, script):
    """Share of the letters (combining marks count) that belong to the script."""
    own = total = 0
    for ch in text:
        if ch.isalpha() or unicodedata.category(ch)[0] == "M":
            total += 1
            name = unicodedata.name(ch, "")
            if script == "HIRAGANA":
                own += name.startswith(("HIRAGANA", "KATAKANA", "CJK"))
            else:
                own += name.startswith((script, "COMBINING", "ZERO WIDTH"))
    return own / total if total else 0.0


def usable(code, text):
    script = LANGUAGES[code][1]
    shortest = 6 if script in ("CJK", "HIRAGANA", "HANGUL") else 14
    if not shortest <= len(text) <= 400:
        return False
    dense = text.replace(" ", "")
    if sum(ch.isalpha() or unicodedata.category(ch)[0] == "M" for ch in dense) <= 0.65 * len(dense):
        return False
    if script_share(text, script) <= 0.6:
        return False
    # Han alone, or kana in a text said to be Chinese, is as likely the neighbour's.
    kana = sum("\u3040" <= ch <= "\u30ff" for ch in text)
    if code == "ja":
        return kana * 5 >= len(dense)
    return not (code == "zh" and kana)


def main():
    root, out = sys.argv[1:3]
    rows = collections.defaultdict(dict)
    for code, source, key, text in units(root):
        for paragraph in re.split(r"\n\s*\n|<br\s*/?>", text):
            for sentence in SENTENCE_END.split(clean(paragraph)):
                sentence = sentence.strip()
                if usable(code, sentence):
                    split = split_of(key)
                    known = rows[code].get(sentence)
                    # A sentence met on both sides belongs to training.
                    if known is None or (known[1] != "train" and split == "train"):
                        rows[code][sentence] = (source, split)
    english = rows["en"]
    with open(out, "w", encoding="utf-8") as f:
        for code in sorted(rows):
            for sentence in sorted(rows[code]):
                if code == "en" or sentence not in english:
                    f.write("\t".join((code, *rows[code][sentence], sentence)) + "\n")


if __name__ == "__main__":
    main()
