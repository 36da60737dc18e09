"""The markup that all pages are made of: the page itself, sections, tables, names, durations."""

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

Facts = dict[str, Any]

_STYLE = Path(__file__).with_name("report.css").read_text(encoding="utf-8")

#: What the browser may load: nothing but what the page carries. Names from a job are escaped; this is the second lock.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

#: Characters that turn the direction of all text after them, which names may have: they are written out.
_DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069]")

#: Characters at the beginning and at the end of a name that are shown.
_ENDS = (48, 32)


def document(title: str, content: str) -> str:
    """Return a whole page of `content`, which is markup."""
    html = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><style>{_STYLE}</style></head><body>{content}</body></html>'
    )
    return _DIRECTIONS.sub(lambda found: f"\\u{ord(found[0]):04x}", html)


def section(title: str, *parts: str, lead: str = "") -> str:
    """Return a titled section, or nothing where there is nothing in it; `lead` says in words what it shows."""
    content = "".join(parts)
    first = f'<p class="soft lead">{lead}</p>' if lead else ""
    return f"<section><h2>{escape(title)}</h2>{first}{content}</section>" if content else ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """Return a table of cells that are markup already; the columns in `numbers` are set to the right."""

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(f"<{tag}{' class=n' if i in numbers else ''}>{cell}</{tag}>" for i, cell in enumerate(row))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{cells('th', head)}</tr></thead><tbody>{body}</tbody></table>"


def named(text: str) -> str:
    """Return the markup of a class or file, of letters of any direction; a narrow line breaks after a _.

    The middle of a long one is shown only when it is pointed at.
    """
    whole = ""
    if len(text) > sum(_ENDS):
        whole, text = f' title="{escape(text)}"', f"{text[: _ENDS[0]]}…{text[-_ENDS[1] :]}"
    return f"<bdi{whole}>{escape(text).replace('_', '_<wbr>')}</bdi>"


def pair(*charts_with_titles: tuple[str, str]) -> str:
    """Return charts with their titles, two side by side; those that are empty are left out."""
    shown = [f"<div><h3>{escape(title)}</h3>{chart}</div>" for title, chart in charts_with_titles if chart]
    return f'<div class="pair">{"".join(shown)}</div>' if shown else ""


def seconds(value: float) -> str:
    """Return a duration in words."""
    if value < 120:
        return f"{value:.3g} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
