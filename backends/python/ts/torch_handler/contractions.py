"""English contractions and what they stand for."""

_SHORT = {"n't": "not", "'d": "would", "'ll": "will", "'m": "am", "'re": "are", "'s": "is", "'ve": "have"}
# The stems that take an ending, by ending. A longer form comes behind the shorter one that it begins with: the first
# that fits is the one that is replaced.
_STEMS = {
    "n't": "are could did does do had has have is may might must need ought should was were would",
    "'d": "I he i it she that there they we you",
    "'ll": "I he how i it she they we what who you",
    "'m": "I i",
    "'re": "they we what you",
    "'s": "he how it she that there what when where who why",
    "'ve": "I could i might must should so they to we what when where who why will would you",
}
_TWICE = {
    "n't've": "could had might must need ought should would",
    "'d've": "I he i it she that there they we you",
    "'ll've": "I he i it she they we what who you",
}
_ODD = {
    "ain't": "is not", "can't": "cannot", "can't've": "cannot have", "'cause": "because", "how'd": "how did",
    "how'd'y": "how do you", "let's": "let us", "ma'am": "madam", "o'clock": "of the clock", "shan't": "shall not",
    "sha'n't": "shall not", "shan't've": "shall not have", "so's": "so as", "where'd": "where did", "won't": "will not",
    "won't've": "will not have", "y'all": "you all", "y'all'd": "you all would", "y'all'd've": "you all would have",
    "y'all're": "you all are", "y'all've": "you all have",
}


def _contractions():
    forms = dict(_ODD)
    for ending, stems in _STEMS.items():
        forms.update((stem + ending, "%s %s" % (stem, _SHORT[ending])) for stem in stems.split())
    for ending, stems in _TWICE.items():
        word = _SHORT[ending[:-3]]
        forms.update((stem + ending, "%s %s have" % (stem, word)) for stem in stems.split())
    return forms


CONTRACTION_MAP = _contractions()
