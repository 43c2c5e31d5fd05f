"""Bar charts as SVG, readable on light and dark ground."""
import math
from html import escape

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 900, 330, 70, 58, 44
# Okabe and Ito's colours, told apart by most eyes and on both grounds.
COLOURS = ["#E69F00", "#56B4E9", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#999999", "#F0E442"]
STYLE = """<style>text{font:12px system-ui,sans-serif;fill:#333}.title{font-size:15px;font-weight:600}.value{font-size:9px}
line{stroke:#8884}@media(prefers-color-scheme:dark){text{fill:#ddd}}</style>"""


def step(most):
    """A round number, of which four to eight make `most`."""
    ten = 10 ** math.floor(math.log10(most / 4)) if most > 0 else 1
    return next(ten * k for k in (1, 2, 5, 10) if most / (ten * k) <= 8)


def short(v):
    return f"{v / 1000:.3g}k" if v >= 10000 else f"{v:,.0f}"


def bars(title, groups, series, unit):
    """groups: labels along the bottom; series: (name, a value or None for each group)."""
    series = [(name, values) for name, values in series if any(v is not None for v in values)]
    values = [v for _, vs in series for v in vs if v is not None]
    if not values or max(values) <= 0:
        return None
    grid = step(max(values) * 1.05)
    top = math.ceil(max(values) * 1.05 / grid) * grid
    height = HEIGHT - TOP - BOTTOM
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">', STYLE,
           f"<title>{escape(title)}</title>", f'<text class="title" x="{LEFT}" y="18">{escape(title)}</text>']
    for i in range(round(top / grid) + 1):
        y = TOP + height - height * i * grid / top
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}"/>'
                   f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{short(i * grid)}</text>')
    place = (WIDTH - 10 - LEFT) / len(groups)
    wide = min(46, place * 0.84 / len(series))
    for k, (name, vs) in enumerate(series):
        x = LEFT + k * (WIDTH - LEFT) / len(series)
        out.append(f'<rect x="{x:.1f}" y="30" width="11" height="11" fill="{COLOURS[k]}"/>'
                   f'<text x="{x + 16:.1f}" y="40">{escape(name)}</text>')
        for i, v in enumerate(vs):
            if v is None:
                continue
            x = LEFT + place * (i + 0.5) + wide * (k - len(series) / 2)
            h = height * v / top
            out.append(f'<rect x="{x:.1f}" y="{TOP + height - h:.1f}" width="{wide - 1:.1f}" height="{h:.1f}" fill="{COLOURS[k]}">'
                       f"<title>{escape(name)}: {v:,.1f} {escape(unit)}</title></rect>"
                       f'<text class="value" x="{x + wide / 2:.1f}" y="{TOP + height - h - 3:.1f}" text-anchor="middle">{short(v)}</text>')
    for i, label in enumerate(groups):
        out.append(f'<text x="{LEFT + place * (i + 0.5):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{escape(str(label))}</text>')
    out.append(f'<text x="{LEFT}" y="{HEIGHT - 6}">{escape(unit)}</text></svg>')
    return "\n".join(out) + "\n"
