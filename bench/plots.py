"""Small SVG plots: bars with the spread of their repetitions, and lines. Drawn by hand, for the host has no library."""

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10

from bench.results import Kind, Line, Side

_COLOURS: dict[Kind, str] = {"baseline": "#9aa3ad", "ours": "#2463b4", "limit": "#e3b341"}
_MORE = ("#2463b4", "#1d8a6b", "#8b4fb3", "#c4502f")  # several lines of ours
_WIDTH = 720


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
    """Return the lines of `series` over linear axes that begin at 0, with the names of both `axes`."""
    left, top, right, bottom = 70, 20 + 20 * len(series), _WIDTH - 20, 380
    x_step, x_ticks = _ticks(max(x for line in series for x, _ in line.points))
    y_step, y_ticks = _ticks(max(y for line in series for _, y in line.points))

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            left + (right - left) * x / (x_step * x_ticks),
            bottom - (bottom - top) * y / (y_step * y_ticks),
        )

    parts = []
    for tick in range(y_ticks + 1):
        _, y = place(0, tick * y_step)
        parts.append(f'<path d="M{left} {y:.1f}H{right}" stroke="#ddd"/>')
        parts.append(_text(left - 8, y + 4, number(tick * y_step), anchor="end"))
    for tick in range(x_ticks + 1):
        x, _ = place(tick * x_step, 0)
        parts.append(_text(x, bottom + 18, number(tick * x_step), anchor="middle"))
    ours = iter(_MORE)
    for i, line in enumerate(series):
        colour = next(ours) if line.kind == "ours" else _COLOURS[line.kind]
        path = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in line.points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(line.points) < 20:
            dots = ("{:.1f},{:.1f}".format(*place(x, y)).split(",") for x, y in line.points)
            parts += [f'<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}"/>' for x, y in dots]
        parts.append(f'<rect x="{left}" y="{8 + 20 * i}" width="22" height="4" fill="{colour}"/>')
        parts.append(_text(left + 30, 15 + 20 * i, line.name))
    parts.append(_text((left + right) / 2, bottom + 40, axes[0], anchor="middle"))
    parts.append(_text(right, top - 8, axes[1], anchor="end"))
    return _svg(parts, bottom + 50)


def number(value: float) -> str:
    """Return `value` with three significant digits, or all of those before the point."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - floor(log10(abs(value))))}f}"


def _ticks(most: float) -> tuple[float, int]:
    """Return a round step and how many of them reach `most`."""
    power = 10.0 ** floor(log10(most))
    step = next(power * part for part in (0.1, 0.2, 0.25, 0.5, 1, 2) if most / (power * part) <= 8)
    return step, ceil(most / step)


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(parts: Sequence[str], height: float) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="#222">'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )
