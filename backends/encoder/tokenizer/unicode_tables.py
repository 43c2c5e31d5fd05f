"""What the writers of Unicode tables (make_unicode_data.py, make_unicode_text.py) share: ranges and C arrays."""

POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
HANGUL = range(0xAC00, 0xD7A4)


def ranges(points):
    out = []
    for c in points:
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def pair(r):
    return "{0x%X, 0x%X}" % tuple(r)


def rows(name, kind, items, comment, shape="", width=110):
    """Prints an array; its lines are at most `width` long."""
    print(f"\n/* {comment} */\nstatic const {kind} {name}[]{shape} = {{")
    line = "   "
    for item in items:
        if len(line) + len(item) + 2 > width:
            print(line)
            line = "   "
        line += " " + item + ","
    print(line + "\n};")
