"""The languages of the demo model: code -> (English name, Unicode script of its letters).

Close variants that a short text cannot tell apart are one language (pt-BR is pt, zh-TW is zh, en-GB is en);
Serbian is its Cyrillic form, since in Latin letters it reads like Croatian; Nynorsk is left out.
"""

LANGUAGES = {
    "af": ("Afrikaans", "LATIN"),
    "ar": ("Arabic", "ARABIC"),
    "be": ("Belarusian", "CYRILLIC"),
    "bg": ("Bulgarian", "CYRILLIC"),
    "bn": ("Bengali", "BENGALI"),
    "ca": ("Catalan", "LATIN"),
    "cs": ("Czech", "LATIN"),
    "cy": ("Welsh", "LATIN"),
    "da": ("Danish", "LATIN"),
    "de": ("German", "LATIN"),
    "el": ("Greek", "GREEK"),
    "en": ("English", "LATIN"),
    "eo": ("Esperanto", "LATIN"),
    "es": ("Spanish", "LATIN"),
    "et": ("Estonian", "LATIN"),
    "eu": ("Basque", "LATIN"),
    "fa": ("Persian", "ARABIC"),
    "fi": ("Finnish", "LATIN"),
    "fr": ("French", "LATIN"),
    "ga": ("Irish", "LATIN"),
    "gl": ("Galician", "LATIN"),
    "gu": ("Gujarati", "GUJARATI"),
    "he": ("Hebrew", "HEBREW"),
    "hi": ("Hindi", "DEVANAGARI"),
    "hr": ("Croatian", "LATIN"),
    "hu": ("Hungarian", "LATIN"),
    "id": ("Indonesian", "LATIN"),
    "is": ("Icelandic", "LATIN"),
    "it": ("Italian", "LATIN"),
    "ja": ("Japanese", "HIRAGANA"),
    "ka": ("Georgian", "GEORGIAN"),
    "kn": ("Kannada", "KANNADA"),
    "ko": ("Korean", "HANGUL"),
    "lt": ("Lithuanian", "LATIN"),
    "lv": ("Latvian", "LATIN"),
    "mk": ("Macedonian", "CYRILLIC"),
    "ml": ("Malayalam", "MALAYALAM"),
    "mr": ("Marathi", "DEVANAGARI"),
    "nb": ("Norwegian Bokmål", "LATIN"),
    "ne": ("Nepali", "DEVANAGARI"),
    "nl": ("Dutch", "LATIN"),
    "pa": ("Punjabi", "GURMUKHI"),
    "pl": ("Polish", "LATIN"),
    "pt": ("Portuguese", "LATIN"),
    "ro": ("Romanian", "LATIN"),
    "ru": ("Russian", "CYRILLIC"),
    "sk": ("Slovak", "LATIN"),
    "sl": ("Slovenian", "LATIN"),
    "sr": ("Serbian (Cyrillic)", "CYRILLIC"),
    "sv": ("Swedish", "LATIN"),
    "ta": ("Tamil", "TAMIL"),
    "te": ("Telugu", "TELUGU"),
    "th": ("Thai", "THAI"),
    "tr": ("Turkish", "LATIN"),
    "uk": ("Ukrainian", "CYRILLIC"),
    "vi": ("Vietnamese", "LATIN"),
    "zh": ("Chinese", "CJK"),
}

# Locale names of the packages that are not simply the code, or that must not be taken for it.
VARIANTS = {
    "C": "en", "en-us": "en", "en-gb": "en", "en-za": "en",
    "pt-br": "pt", "es-419": "es", "nb-no": "nb", "no": "nb", "pa-in": "pa", "bn-in": "bn",
    "zh-cn": "zh", "zh-tw": "zh", "zh-hk": "zh", "ca@valencia": "ca", "ca-es@valencia": "ca",
    "sr@ijekavian": "sr",
}


def code_of(locale):
    """The language a locale name stands for, or None when it is not one of ours."""
    name = locale if locale == "C" else locale.replace("_", "-").lower()
    name = VARIANTS.get(name, name)
    return name if name in LANGUAGES else None

# Languages with a near relative among the others: the ones to practise more at the end.
RELATIVES = set("af be bg ca cs da es gl hi hr mk mr nb ne nl pt ru sk sl sr sv uk".split())
