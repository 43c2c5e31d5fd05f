"""Tokenizers of every kind that BERT's relatives have, trained on sentences.txt: for e2e/test_tokenizer_identity.py.

Each kind is a function that returns a `tokenizers.Tokenizer`; KINDS has them by name. Nothing is written to the tree.
"""
import base64
import functools
import json
import struct
import unicodedata

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers as n, pre_tokenizers as p, processors,
                        trainers)

from data import make_tokenizer_cases as cases

SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]
BYTES = [f"<0x{b:02X}>" for b in range(256)]
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


# --- SentencePiece's maps of characters

def charsmap(pairs):
    """A precompiled_charsmap that turns the keys (strings) into the values: Darts' double array, one block of 256 per node."""
    pairs = {k.encode(): v for k, v in pairs.items() if k and "\0" not in k}
    inner = {b""} | {k[:i] for k in pairs for i in range(1, len(k))}
    blocks = {prefix: i << 8 for i, prefix in enumerate(sorted(inner, key=lambda s: (len(s), s)))}
    units, strings, places = [0] * (len(blocks) << 8), b"\0", {}
    values = []
    for key in sorted(inner | set(pairs)):
        at = blocks[key[:-1]] ^ key[-1] if key else 0
        base = blocks.get(key)
        unit = key[-1] if key else 0
        if key in pairs:
            text = pairs[key]
            if text not in places:
                places[text] = len(strings)
                strings += text.encode() + b"\0"
            unit |= 1 << 8
            if base is None:
                base = len(units) + len(values)
                values.append(1 << 31 | places[text])
            else:
                units[base] = 1 << 31 | places[text]
        assert at ^ base < 1 << 21
        units[at] |= unit | (at ^ base) << 10
    # The root's unit is its own leaf's place, which no key uses.
    data = struct.pack(f"<{len(units) + len(values)}I", *units, *values)
    return struct.pack("<I", len(data)) + data + strings


@functools.cache
def nmt_nfkc():
    """Much like the map that XLM-R and ALBERT come with: NFKC, composed accents, blanks and control characters."""
    pairs = {}
    for c in map(chr, range(1, 0x30000)):
        category = unicodedata.category(c)
        if category in ("Cn", "Co", "Cs"):
            continue
        full = unicodedata.normalize("NFKC", c)
        if full != c:
            pairs[c] = full
        form = unicodedata.normalize("NFD", c)
        if form != c and unicodedata.normalize("NFC", form) == c and not 0xAC00 <= ord(c) < 0xD7A4:
            pairs[form] = c
        if category == "Cc" and c not in "\t\n\r":
            pairs[c] = ""
        if category in ("Zs", "Zl", "Zp") and c != " " or c in "\t\n\r\u200b\u200e\u200f\ufeff\ufffd":
            pairs[c] = " "
    return charsmap(pairs)


# --- training

def train(tokenizer, trainer):
    tokenizer.train_from_iterator(cases.sentences(), trainer)
    return tokenizer


@functools.cache
def bpe_bytes_json(size=900):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = p.ByteLevel(add_prefix_space=False)
    return train(t, trainers.BpeTrainer(vocab_size=size, min_frequency=1, initial_alphabet=p.ByteLevel.alphabet(), special_tokens=SPECIALS,
                                        show_progress=False)).to_str()


@functools.cache
def bpe_chars_json(prefix, suffix):
    t = Tokenizer(models.BPE(unk_token="<unk>"))
    t.pre_tokenizer = p.Whitespace()
    more = {"continuing_subword_prefix": prefix} if prefix else {}
    more |= {"end_of_word_suffix": suffix} if suffix else {}
    return train(t, trainers.BpeTrainer(vocab_size=1200, min_frequency=2, limit_alphabet=150, special_tokens=SPECIALS, show_progress=False,
                                        **more)).to_str()


@functools.cache
def unigram_json():
    t = Tokenizer(models.Unigram())
    t.normalizer = n.NFKC()
    t.pre_tokenizer = p.Metaspace()
    return train(t, trainers.UnigramTrainer(vocab_size=1500, special_tokens=SPECIALS, unk_token="<unk>", show_progress=False)).to_str()


def with_model(document, **changes):
    document = json.loads(document)
    document["model"] |= changes
    return document


def finish(t, post="template", mask=AddedToken("<mask>", lstrip=True, special=True, normalized=False), more=()):
    """Special tokens and a post-processor as RoBERTa and XLM-R have them."""
    t.add_special_tokens([*SPECIALS, mask])
    if more:
        t.add_tokens(list(more))
    ids = [(s, t.token_to_id(s)) for s in ("<s>", "</s>")]
    if post == "template":
        t.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> </s> $B:1 </s>:1", special_tokens=ids)
    elif post:
        t.post_processor = post(ids[1], ids[0])
    return t


def bytes_bpe(prefix=False, regex=True, **model):
    t = Tokenizer.from_str(json.dumps(with_model(bpe_bytes_json(), **model)))
    t.pre_tokenizer = p.ByteLevel(add_prefix_space=prefix, use_regex=regex)
    t.decoder = decoders.ByteLevel()
    return t


def roberta(prefix=False, trim=True):
    return finish(bytes_bpe(prefix), lambda sep, cls: processors.RobertaProcessing(sep, cls, trim_offsets=trim, add_prefix_space=prefix))


def merges_as_strings():
    document = with_model(bpe_bytes_json())
    document["model"]["merges"] = [" ".join(m) for m in document["model"]["merges"]]
    document["model"] |= {"continuing_subword_prefix": "", "end_of_word_suffix": "", "unk_token": None}
    t = Tokenizer.from_str(json.dumps(document))
    t.decoder = decoders.ByteLevel()
    return finish(t, lambda sep, cls: processors.Sequence([processors.ByteLevel(trim_offsets=True), processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[cls, sep])]))


def modernbert():
    t = bytes_bpe()
    t.normalizer = n.NFC()
    blanks = [AddedToken(" " * k, normalized=True) for k in range(2, 25)]
    return finish(t, more=[*blanks, AddedToken("|||IP|||", normalized=True), AddedToken("in the", single_word=True),
                           AddedToken("É", normalized=True, lstrip=True), AddedToken("ß", single_word=True, rstrip=True, normalized=False)])


def whole_words():
    """ignore_merges, with words that no merge makes."""
    document = with_model(bpe_bytes_json(), ignore_merges=True)
    vocab = document["model"]["vocab"]
    for word in ("Ġkrankenhaus", "Straße", "Ġ中", "...", "ĠĠĠ"):
        vocab.setdefault("".join(byte_chars().get(b, chr(b)) for b in word.replace("Ġ", " ").encode()), len(vocab))
    t = Tokenizer.from_str(json.dumps(document))
    t.decoder = decoders.ByteLevel()
    return finish(t, lambda sep, cls: processors.ByteLevel(trim_offsets=True, add_prefix_space=False))


def byte_chars():
    itself = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    return {b: chr(0x100 + i) for i, b in enumerate(b for b in range(256) if b not in itself)}


def split_bytes():
    t = bytes_bpe(regex=False)
    t.pre_tokenizer = p.Sequence([p.Digits(individual_digits=True), p.Split(Regex(GPT2), "isolated"), p.ByteLevel(add_prefix_space=False, use_regex=False)])
    return finish(t, None)


def bpe_chars(prefix="", suffix="", pre=None, fallback=False, **model):
    document = with_model(bpe_chars_json(prefix, suffix), byte_fallback=fallback, **model)
    if fallback:
        for token in BYTES:
            document["model"]["vocab"].setdefault(token, len(document["model"]["vocab"]))
    t = Tokenizer.from_str(json.dumps(document))
    if pre:
        t.pre_tokenizer = pre
    t.decoder = None
    return finish(t)


def unigram(normalizer, pre, fallback=False, post="template", without=None):
    document = with_model(unigram_json(), byte_fallback=fallback)
    vocab = document["model"]["vocab"]
    if fallback:
        vocab += [[token, -20.0] for token in BYTES if token != without]
    # A token that is there twice, and one that is longer than what the cache keeps.
    vocab += [["▁the", -9.5], ["▁internationalisierungsverfahren", -8.0], ["▁▁", -5.0], ["<unk>x", -3.0]]
    t = Tokenizer.from_str(json.dumps(document))
    t.normalizer, t.pre_tokenizer = normalizer, pre
    t.decoder = decoders.Metaspace()
    return finish(t, post)


def spm():
    return n.Precompiled(nmt_nfkc())


def words():
    return p.Sequence([p.WhitespaceSplit(), p.Metaspace()])


def albert():
    normalizer = n.Sequence([n.Replace("``", '"'), n.Replace("''", '"'), n.NFKD(), n.StripAccents(), n.Lowercase(), spm()])
    t = unigram(normalizer, words())
    ids = [(s, t.token_to_id(s)) for s in ("<s>", "</s>")]
    t.post_processor = processors.TemplateProcessing(single="<s>:0 $A:0 </s>:0", pair="<s>:0 $A:0 </s>:0 $B:1 </s>:1", special_tokens=ids)
    return t


def bert(normalizer, pre=None, added=()):
    """The committed WordPiece vocabulary with other steps before it."""
    t = Tokenizer.from_str(cases.variant_json("uncased"))
    t.normalizer, t.pre_tokenizer = normalizer, pre or p.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    t.add_tokens(list(added))
    return t


KINDS = {
    "roberta": roberta,
    "roberta prefix": lambda: roberta(prefix=True),
    "roberta untrimmed": lambda: roberta(prefix=True, trim=False),
    "merges as strings": merges_as_strings,
    "modernbert": modernbert,
    "whole words": whole_words,
    "split bytes": split_bytes,
    "bpe": bpe_chars,
    "bpe fused": lambda: bpe_chars(fuse_unk=True, pre=p.WhitespaceSplit()),
    "bpe silent": lambda: bpe_chars(unk_token=None, pre=p.Punctuation("contiguous")),
    "bpe suffix": lambda: bpe_chars(suffix="</w>", pre=p.BertPreTokenizer()),
    "bpe prefix": lambda: bpe_chars(prefix="##", pre=p.Sequence([p.Whitespace(), p.Digits()])),
    "bpe bytes": lambda: bpe_chars(fallback=True, pre=p.Split(" ", "merged_with_previous")),
    "xlm-r": lambda: unigram(spm(), words()),
    "xlm-r now": lambda: unigram(n.Sequence([spm(), n.Replace(Regex(" {2,}"), " ")]), p.Metaspace()),
    "xlm-r nfkc": lambda: unigram(n.Sequence([n.Replace(Regex("[\n\r\t]"), " "), n.NFKC(), n.Replace(Regex(r"\s+"), "▁"), n.Strip(left=False)]),
                                  p.Metaspace(prepend_scheme="first")),
    "camembert": lambda: unigram(n.Sequence([n.Nmt(), n.NFC(), n.Prepend("▁")]), p.Metaspace(prepend_scheme="never", split=False), fallback=True),
    "bytes but one": lambda: unigram(n.NFD(), p.Split(Regex(r"\p{L}+"), "isolated", invert=True), fallback=True, without="<0xF0>", post=None),
    "albert": albert,
    "bert": lambda: bert(n.BertNormalizer()),
    "bert cased": lambda: bert(n.BertNormalizer(lowercase=False)),
    "bert accents": lambda: bert(n.BertNormalizer(strip_accents=False, clean_text=False), added=[AddedToken("<x>", lstrip=True, normalized=False)]),
    "bert raw": lambda: bert(n.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False)),
    "bert in steps": lambda: bert(n.Sequence([n.BertNormalizer(), n.Strip()]), p.Whitespace()),
    "bert and added": lambda: bert(n.BertNormalizer(), added=[AddedToken("Straße", lstrip=True), AddedToken("<x>", rstrip=True, normalized=False),
                                                              AddedToken("İst"), AddedToken("the", single_word=True)]),
    "bert cased in steps": lambda: bert(n.BertNormalizer(lowercase=False, strip_accents=True), p.Sequence([p.Punctuation("merged_with_next"), p.WhitespaceSplit()])),
}


def charsmap_text():
    """For unit tests: the map as tokenizer.json has it."""
    return base64.b64encode(nmt_nfkc()).decode()
