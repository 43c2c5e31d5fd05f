"""Tokens and n-grams as torchtext makes them, without torchtext."""
import re

# Order matters: a full stop is set apart before runs of blanks are joined.
_REPLACEMENTS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r"'", " '  "),
        (r'"', ""),
        (r"\.", " . "),
        (r"<br />", " "),
        (r",", " , "),
        (r"\(", " ( "),
        (r"\)", " ) "),
        (r"!", " ! "),
        (r"\?", " ? "),
        (r";", " "),
        (r":", " "),
        (r"\s+", " "),
    ]
]


def _basic_english(line):
    line = line.lower()
    for pattern, replacement in _REPLACEMENTS:
        line = pattern.sub(replacement, line)
    return line.split()


def get_tokenizer(tokenizer, language="en"):
    """A function from text to tokens: None splits at blanks, "basic_english" also sets punctuation apart; a function is
    returned as it is. ValueError for another name or language."""
    if tokenizer is None:
        return str.split
    if tokenizer == "basic_english":
        if language != "en":
            raise ValueError("basic_english is for English only")
        return _basic_english
    if callable(tokenizer):
        return tokenizer
    raise ValueError("no such tokenizer: %r" % (tokenizer,))


def ngrams_iterator(token_list, ngrams):
    """The tokens, then all runs of 2, 3, … `ngrams` tokens, joined with blanks."""
    yield from token_list
    for length in range(2, ngrams + 1):
        for start in range(len(token_list) - length + 1):
            yield " ".join(token_list[start:start + length])
