"""The results page: a table of everything that was to be shown, then each comparison with its plot."""

from collections.abc import Sequence
from pathlib import Path

from bench import plots
from bench.results import Result, Side, Table

_INTRODUCTION = """\
# Measured beside what users do today

Made by `python -m bench`. The sides of a comparison ran on one machine in one run, taking turns. Figures are medians of
the repetitions, with the lowest and the highest in brackets. The baseline ([`bench/baseline`](../baseline)) is the
script and the endpoint that users have today; a limit is the same work with everything else taken away.
"""


def write(folder: Path, names: Sequence[str]) -> None:
    """Write README.md and the plots into `folder`, from those results of `names` that are there."""
    results = {name: Result.load(folder / f"{name}.json") for name in names if (folder / f"{name}.json").exists()}
    for name, result in results.items():
        if result.lines or result.sides:
            plot = plots.lines(result.lines, result.axes) if result.lines else plots.bars(result.sides, result.unit)
            (folder / f"{name}.svg").write_text(plot, encoding="utf-8")
    parts = [_INTRODUCTION, summary(results), *(_section(name, result) for name, result in results.items())]
    (folder / "README.md").write_text("\n".join(parts), encoding="utf-8")


def summary(results: dict[str, Result]) -> str:
    """Return the table of all that was to be shown."""
    rows = ["| comparison | what | measured | bar | |", "|---|---|---|---|---|"]
    for name, result in results.items():
        for verdict in result.verdicts:
            reached = "reached" if verdict.reached else "**missed**"
            rows.append(
                f"| [{result.title}](#{name}) | {verdict.what} | {verdict.figure} | {verdict.bar} | {reached} |"
            )
    return "\n".join(rows) + "\n"


def _section(name: str, result: Result) -> str:
    columns = list(dict.fromkeys(column for side in result.sides for column in side.details))
    rows = [
        "| " + " | ".join(["", result.unit, "repetitions", *columns]) + " |",
        "|---" * (3 + len(columns)) + "|",
        *("| " + " | ".join(_row(side, columns)) + " |" for side in result.sides),
    ]
    if not result.sides:
        rows = []
    plot = f"\n![{result.title}]({name}.svg)\n" if result.lines or result.sides else ""
    about = ", ".join(f"{what} {value}" if what else value for what, value in result.about.items())
    return "\n".join(
        [
            f'<a id="{name}"></a>\n## {result.title}\n\n{result.text}\n',
            *rows,
            "",
            *(f"- {note}" for note in result.notes),
            *(_table(table) for table in result.tables),
            f"{plot}\n<sub>{about}</sub>\n",
        ]
    )


def _table(table: Table) -> str:
    rows = [table.columns, ["---"] * len(table.columns), *table.rows]
    # A bar within a cell would end it.
    lines = ("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
    return f"\n### {table.title}\n\n" + "\n".join(lines)


def _row(side: Side, columns: Sequence[str]) -> list[str]:
    spread = f" ({plots.number(min(side.values))} – {plots.number(max(side.values))})" if len(side.values) > 1 else ""
    figures = [plots.number(side.median) + spread, str(len(side.values))]
    return [side.name, *figures, *(side.details.get(column, "") for column in columns)]
