"""Pictures for the results page: bars with the spread of their repetitions; lines, as the report has them."""

from collections.abc import Sequence
from html import escape
from math import floor, log10

from bench.results import Kind, Line, Side
from byoc_vision.debugger import charts

_COLOURS: dict[Kind, str] = {"baseline": "#9aa3ad", "ours": "#2463b4", "limit": "#e3b341"}
_MORE = ("#2463b4", "#1d8a6b", "#8b4fb3", "#c4502f")  # several lines of ours
_WIDTH = 720

#: What the charts' classes look like here; the font is made larger with the chart.
_STYLE = ".grid {stroke: #ddd} .tick {font-size: 8.5px} .line {fill: none; stroke-width: 1.3}"


def bars(sides: Sequence[Side], unit: str) -> str:
    """Return a horizontal bar for each side's median; the thin line spans its repetitions."""
    left, row = 280, 34
    most = max(max(side.values) for side in sides)
    scale = (_WIDTH - left - 110) / most
    parts = []
    for i, side in enumerate(sides):
        y, end = 12 + i * row, left + side.median * scale
        low, high = (left + value * scale for value in (min(side.values), max(side.values)))
        middle = y + row / 2 - 4
        parts += [
            _text(left - 10, middle + 4, side.name, anchor="end"),
            f'<rect x="{left}" y="{y}" width="{end - left:.1f}" height="{row - 8}" fill="{_COLOURS[side.kind]}"/>',
            f'<path d="M{low:.1f} {middle}H{high:.1f}" stroke="#111" stroke-width="1.5"/>',
            _text(max(end, high) + 8, middle + 4, f"{number(side.median)} {unit}"),
        ]
    return _svg(parts, 16 + len(sides) * row)


def lines(series: Sequence[Line], axes: tuple[str, str]) -> str:
    """Return the lines of `series` over a linear axis that begins at 0, with the names of both `axes`."""
    ours = iter(_MORE)
    style, legend, curves = [_STYLE], [], []
    for i, line in enumerate(series):
        colour = next(ours) if line.kind == "ours" else _COLOURS[line.kind]
        style.append(f".line.c{i} {{stroke: {colour}}} .dot.c{i} {{fill: {colour}}}")
        legend.append(f'<rect x="70" y="{8 + 20 * i}" width="22" height="4" fill="{colour}"/>')
        legend.append(_text(100, 15 + 20 * i, line.name))
        x, y = zip(*line.points, strict=True)
        curves.append(charts.Line(line.name, x, y, colour=i))
    top, height = 20 + 20 * len(series), _WIDTH * charts.HEIGHT // charts.WIDTH
    most = max(y for line in series for _, y in line.points)
    chart = charts.lines(curves, axes[1], axes[0], y_range=(0, 1.04 * most), legend=False)
    placed = chart.replace("<svg ", f'<svg y="{top}" height="{height}" ', 1)
    parts = [f"<style>{' '.join(style)}</style>", *legend, _text(_WIDTH - 20, top - 6, axes[1], anchor="end"), placed]
    return _svg(parts, top + height + 8)


def number(value: float) -> str:
    """Return `value` with three significant digits, or all of those before the point."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - floor(log10(abs(value))))}f}"


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(parts: Sequence[str], height: float) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="#222">'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )
