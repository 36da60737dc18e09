"""Charts as SVG text, coloured by the page's style sheet, each number in it written by Python.

Every function returns markup; text that comes from outside is escaped here. The report and the bench draw with it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

#: In pixels of a screen where two charts stand side by side; a phone shows one, somewhat smaller.
WIDTH, HEIGHT = 470, 230
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 12, 32

#: Classes in a confusion table that get their names, and their numbers, written beside it.
NAMED, NUMBERED = 30, 14

#: Shades of a confusion table.
SHADES = 6


@dataclass(frozen=True)
class Line:
    """A curve: `colour` is a number from the style sheet; `least` and `most`, if any, bound a band around it.

    One that is not `joined` is points only; one that is `faint` is a line only, to be seen among many.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int
    least: Sequence[float] = ()
    most: Sequence[float] = ()
    joined: bool = True
    faint: bool = False


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about `count` round numbers from `low` to `high`."""
    if not 1e-300 < high - low < math.inf:
        return [low]
    step = 10 ** math.floor(math.log10((high - low) / count))
    step = next(step * factor for factor in (1, 2, 5, 10, 20) if (high - low) / (step * factor) <= count)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def number(value: float) -> str:
    """Return a number as short as it can be read."""
    if value == 0:
        return "0"
    if abs(value) >= 10_000:
        return f"{value / 1000:,.0f}k" if abs(value) < 1e6 else f"{value / 1e6:,.3g}M"
    return f"{value:.4g}"


class _Scale:
    """Turns values into places on the drawing."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        (self.x0, self.x1), (self.y0, self.y1) = x, y

    def x(self, value: float) -> float:
        share = (value - self.x0) / (self.x1 - self.x0) if self.x1 > self.x0 else 0.5
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self.y0) / (self.y1 - self.y0) if self.y1 > self.y0 else 0.5
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    def points(self, x: Iterable[float], y: Iterable[float]) -> str:
        return " ".join(f"{self.x(a):g},{self.y(b):g}" for a, b in zip(x, y, strict=True))


def _axes(scale: _Scale, x_title: str, whole: bool) -> str:
    parts = []
    for value in ticks(scale.y0, scale.y1):
        y = scale.y(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{number(value)}</text>')
    for value in ticks(scale.x0, scale.x1, 6):
        if whole and value != round(value):
            continue
        x = scale.x(value)
        parts.append(
            f'<text class="tick" x="{x}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{number(value)}</text>'
        )
    parts.append(f'<text class="tick" x="{WIDTH - RIGHT}" y="{HEIGHT - 2}" text-anchor="end">{escape(x_title)}</text>')
    return "".join(parts)


def _svg(content: str, label: str, height: int = HEIGHT, width: int = WIDTH) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">{content}</svg>'


def _legend(names: Sequence[tuple[str, int]]) -> str:
    items = (f'<li><i class="swatch c{colour}"></i>{escape(name)}</li>' for name, colour in names)
    return f'<ul class="legend">{"".join(items)}</ul>'


def lines(
    curves: Sequence[Line],
    label: str,
    x_title: str,
    mark: float | None = None,
    mark_name: str = "",
    y_range: tuple[float, float] | None = None,
    legend: bool = True,
) -> str:
    """Return a chart of curves; `mark` is an x that a vertical line points out."""
    curves = [curve for curve in curves if len(curve.x)]
    if not curves:
        return ""
    xs = [value for curve in curves for value in curve.x]
    ys = [value for curve in curves for values in (curve.y, curve.least, curve.most) for value in values]
    low, high = y_range or (min(0, *ys) if min(ys) < 0.5 * max(ys) else min(ys), max(ys))
    if high <= low:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    scale = _Scale((min(xs), max(xs)), (low, high if y_range else high + 0.04 * (high - low)))
    parts = [_axes(scale, x_title, whole=all(x == round(x) for x in xs))]
    if mark is not None:
        x = scale.x(mark)
        side, shift = ("end", -5) if x > WIDTH - 130 else ("start", 5)
        there = [scale.y(value) for curve in curves for at, value in zip(curve.x, curve.y, strict=True) if at == mark]
        level = HEIGHT - BOTTOM - 6 if min(there, default=HEIGHT) < HEIGHT / 2 else TOP + 10  # not on the curves
        parts.append(f'<line class="mark" x1="{x}" x2="{x}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text class="note" x="{x + shift}" y="{level}" text-anchor="{side}">{escape(mark_name)}</text>')
    for curve in curves:
        if curve.least and len(curve.x) > 1:
            outline = scale.points([*curve.x, *reversed(curve.x)], [*curve.most, *reversed(curve.least)])
            parts.append(f'<polygon class="band c{curve.colour}" points="{outline}"/>')
    for curve in curves:
        if len(curve.x) > 1 and curve.joined:
            faint = " faint" if curve.faint else ""
            parts.append(f'<polyline class="line c{curve.colour}{faint}" points="{scale.points(curve.x, curve.y)}"/>')
        if not curve.joined or (len(curve.x) <= 30 and not curve.least and not curve.faint):
            for x, y in zip(curve.x, curve.y, strict=True):
                title = f"<title>{escape(curve.name)}: {number(y)} at {number(x)}</title>"
                parts.append(
                    f'<circle class="dot c{curve.colour}" cx="{scale.x(x)}" cy="{scale.y(y)}" r="3">{title}</circle>'
                )
    names = _legend([(curve.name, curve.colour) for curve in curves]) if legend else ""
    return names + _svg("".join(parts), label)


def bars(rows: Sequence[tuple[str, float, str]]) -> str:
    """Return a bar for each name and its share, from 0 to 1, with what is said of it."""
    cells = "".join(
        f'<tr><td>{escape(name)}</td><td><span class="meter"><i style="width:{100 * share:.1f}%"></i></span></td>'
        f"<td class=n>{escape(said)}</td></tr>"
        for name, share, said in rows
    )
    return f'<table class="bars"><tbody>{cells}</tbody></table>'


def stacked(x: Sequence[float], layers: Sequence[tuple[str, int, Sequence[float]]], label: str, x_title: str) -> str:
    """Return layers laid on one another as areas: their names, colours and heights at each of `x`."""
    if not x:
        return ""
    total = [sum(values) for values in zip(*(layer for _, _, layer in layers), strict=True)]
    scale = _Scale((min(x), max(x)), (0, max(total) * 1.04 or 1))
    parts, floor = [_axes(scale, x_title, whole=True)], [0.0] * len(x)
    for _, colour, layer in layers:
        ceiling = [a + b for a, b in zip(floor, layer, strict=True)]
        wide = [x[0], x[0] + 1] if len(x) == 1 else [*x]
        top, bottom = (ceiling * 2, floor * 2) if len(x) == 1 else (ceiling, floor)
        outline = scale.points([*wide, *reversed(wide)], [*top, *reversed(bottom)])
        parts.append(f'<polygon class="area c{colour}" points="{outline}"/>')
        floor = ceiling
    return _svg("".join(parts), label)


def shares(parts: Sequence[tuple[str, int, float]], label: str) -> str:
    """Return one bar divided into named, coloured shares of a whole."""
    total = sum(value for _, _, value in parts)
    if total <= 0:
        return ""
    x, content = 0.0, []
    for name, colour, value in parts:
        width = WIDTH * value / total
        title = f"<title>{escape(name)}: {value:.3g} s, {100 * value / total:.0f} %</title>"
        content.append(f'<rect class="area c{colour}" x="{x:.1f}" y="0" width="{width:.1f}" height="14">{title}</rect>')
        x += width
    return _svg("".join(content), label, 14).replace("<svg ", '<svg preserveAspectRatio="none" class="bar" ', 1)


def parallel(columns: Sequence[tuple[str, Sequence[float], bool]], label: str) -> str:
    """Return parallel coordinates: an axis for each column, a line for each row, of which the first is marked.

    A column is its name, its values, and whether its axis is logarithmic.
    """
    height, top, bottom = 250, 14, 40
    places = [LEFT + column * (WIDTH - 2 * LEFT) / (len(columns) - 1) for column in range(len(columns))]
    axes, rows = [], [""] * len(columns[0][1])
    for place, (name, values, logarithmic) in enumerate(columns):
        x, low, high = places[place], min(values), max(values)
        axes.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{height - bottom}"/>')
        for value, y in ((high, top - 3), (low, height - bottom + 12)):
            axes.append(f'<text class="tick" x="{x:.1f}" y="{y}" text-anchor="middle">{number(value)}</text>')
        level = height - 14 + 12 * (place % 2)  # neighbours' names do not touch
        # The outer ones stay inside, however long they are.
        at, anchor = {0: (0.0, "start"), len(columns) - 1: (float(WIDTH), "end")}.get(place, (x, "middle"))
        axes.append(f'<text class="note" x="{at:.1f}" y="{level}" text-anchor="{anchor}">{escape(name)}</text>')
        if logarithmic:
            values, low, high = [math.log(value) for value in values], math.log(low), math.log(high)
        for row, value in enumerate(values):
            share = (value - low) / (high - low) if high > low else 0.5
            rows[row] += f"{x:.1f},{height - bottom - share * (height - top - bottom):.1f} "
    lines = [f'<polyline class="line c5 faint" points="{points}"/>' for points in rows[1:]]
    return _svg("".join([*axes, *lines, f'<polyline class="line c1" points="{rows[0]}"/>']), label, height)


def confusion(labels: Sequence[str], pairs: Sequence[tuple[int, int, int]]) -> str:
    """Return a table of squares: true class down, predicted class across, darker the larger the share of the row."""
    count = len(labels)
    rows = [0] * count
    for i, _, n in pairs:
        rows[i] += n
    named = count <= NAMED
    margin = 12 + 6.4 * min(22, max(len(label) for label in labels)) if named else 4
    cell = min(44, max(4, 560 / count))
    shades: dict[str, list[str]] = {}
    texts = []
    for i, j, n in pairs:
        share = n / rows[i]
        kind = "right" if i == j else "wrong"
        # A class is mostly right, and taken for another seldom: the root tells small shares apart.
        shade = min(SHADES, math.ceil((share if i == j else math.sqrt(share)) * SHADES))
        x, y = margin + j * cell, 4 + i * cell
        shades.setdefault(f"{kind} s{shade}", []).append(f"M{x:.1f} {y:.1f}h{cell:.1f}v{cell:.1f}h-{cell:.1f}z")
        if count <= NUMBERED:
            strong = " strong" if shade > SHADES // 2 else ""
            place = f'x="{x + cell / 2:.1f}" y="{y + cell / 2 + 4:.1f}"'
            texts.append(f'<text class="cell{strong}" {place} text-anchor="middle">{n}</text>')
    side = cell * count
    content = [f'<rect class="frame" x="{margin:.1f}" y="4" width="{side:.1f}" height="{side:.1f}"/>']
    content += [f'<path class="{kind}" d="{"".join(squares)}"/>' for kind, squares in shades.items()]
    if named:
        for i, label in enumerate(labels):
            short = escape(label if len(label) <= 22 else label[:21] + "…")
            y = 4 + (i + 0.5) * cell + 4
            content.append(f'<text class="tick" x="{margin - 6:.1f}" y="{y:.1f}" text-anchor="end">{short}</text>')
            x, top = margin + (i + 0.5) * cell, side + 12
            turn = f"rotate(-45 {x:.1f} {top:.1f})"
            content.append(
                f'<text class="tick" x="{x:.1f}" y="{top:.1f}" text-anchor="end" transform="{turn}">{short}</text>'
            )
    below = 0.75 * margin + 6 if named else 4
    width, height = round(margin + side + 6), round(side + below + 8)
    return _svg("".join(content + texts), "confusion of classes", height, width).replace(
        "<svg ", f'<svg class="square" style="max-width:{width}px" ', 1
    )
