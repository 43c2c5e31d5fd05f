#!/usr/bin/env python3
"""Puts the figures of MODEL/eval.json into the model card, between its marks: card.py MODEL"""
import json
import re
import sys

from languages import LANGUAGES


def tables(result):
    names = ("held_out", "held_out_short", "everyday")
    titles = ("Held-out sentences, whole", "The same, cut to a few words", "Everyday sentences")
    yield "| | Texts | Accuracy | Mean of the languages |\n|---|---|---|---|"
    for name, title in zip(names, titles):
        r = result[name]
        yield f"| {title} | {r['texts']} | **{r['accuracy']:.1%}** | {r['mean_of_languages']:.1%} |"
    yield "\n| Code | Language | Held-out | of | Cut short | Everyday |\n|---|---|---|---|---|---|"
    for code, (name, _) in LANGUAGES.items():
        h, s, e = (result[n]["by_language"][code] for n in names)
        yield f"| {code} | {name} | {h[2]:.1%} | {h[1]} | {s[2]:.1%} | {e[0]}/{e[1]} |"
    yield ("\nThe worst pairs, as a share of the texts of the first language:\n\n"
           "| Is | Taken for | Held-out | | Is | Taken for | Cut short |\n|---|---|---|---|---|---|---|")
    for (a, b, s), (c, d, t) in zip(result["held_out"]["worst_pairs"], result["held_out_short"]["worst_pairs"]):
        yield f"| {a} | {b} | {s:.1%} | | {c} | {d} | {t:.1%} |"


def main():
    folder = sys.argv[1]
    with open(f"{folder}/eval.json", encoding="utf-8") as f:
        text = "\n".join(tables(json.load(f)))
    with open(f"{folder}/README.md", encoding="utf-8") as f:
        card = f.read()
    card = re.sub(r"(<!-- figures -->\n).*(\n<!-- end -->)", lambda m: m[1] + text + m[2], card, flags=re.S)
    with open(f"{folder}/README.md", "w", encoding="utf-8") as f:
        f.write(card)


if __name__ == "__main__":
    main()
