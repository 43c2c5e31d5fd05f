"""Damage to sentences, so that a model taught on manuals learns the language and not the manual.

Everything is drawn from the random.Random that the caller gives.
"""
import unicodedata

UNSPACED = {"ja", "th", "zh"}
PUNCTUATION = {c for c in map(chr, range(0x3100)) if unicodedata.category(c)[0] == "P" and c not in "'’-"}
ENDINGS = ("", "", "", ".", "!", "?", "...", " :)", ",")
GUESTS = ("PDF", "OK", "2024", "15", "Anna", "Berlin", "😀", "❤", "www", "USB", "7:30", "Paris", "Linux", "John", "100 €", "3")


def cut(rng, code, text):
    """A run of 3 to 12 words, or of 4 to 24 characters where words are not spaced."""
    if code in UNSPACED:
        n = rng.randint(4, 24)
        start = rng.randint(0, max(0, len(text) - n))
        return text[start:start + n]
    words = text.split()
    n = min(rng.randint(3, 12), rng.randint(3, 12)) if rng.random() < 0.9 else rng.randint(1, 3)
    start = rng.randint(0, max(0, len(words) - n))
    return " ".join(words[start:start + n])


def noise(rng, text):
    """One or two slips of the finger."""
    chars = list(text)
    for _ in range(rng.randint(1, 2)):
        if len(chars) < 6:
            break
        i, kind = rng.randrange(len(chars) - 1), rng.random()
        if kind < 0.3:
            del chars[i]
        elif kind < 0.6:
            chars[i], chars[i + 1] = chars[i + 1], chars[i]
        elif kind < 0.8:
            chars.insert(i, chars[i])
        else:
            chars[i] = chars[rng.randrange(len(chars))]
    return "".join(chars)


def plain(text):
    """Latin letters without their accents, as people type in a hurry."""
    return unicodedata.normalize("NFC", "".join(
        c for c in unicodedata.normalize("NFD", text) if not "\u0300" <= c <= "\u036f"))


def damage(rng, code, latin, text):
    if rng.random() < 0.7:
        text = cut(rng, code, text)
    if rng.random() < 0.12:
        text = noise(rng, text)
    if latin and rng.random() < 0.06:
        text = plain(text)
    draw = rng.random()
    if draw < 0.12:
        text = "".join(c for c in text if c not in PUNCTUATION)
    elif draw < 0.45:
        text = text.rstrip(".!?।。！？…:;, ") + rng.choice(ENDINGS)
    if rng.random() < 0.05:
        text = text.upper()
    if rng.random() < 0.05:
        words = text.split(" ")
        words.insert(rng.randint(0, len(words)), rng.choice(GUESTS))
        text = " ".join(words)
    return text.strip()


def salad(rng, words, cumulative):
    """Two to eight words of a language in no order."""
    return " ".join(rng.choices(words, cum_weights=cumulative, k=rng.randint(2, 8)))
