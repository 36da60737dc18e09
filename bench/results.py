"""What a comparison found: each side's figures of every repetition, and what was to be shown."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Literal

from byoc_vision.contract.errors import UserError

Kind = Literal["baseline", "ours", "limit"]


class BenchError(UserError):
    """A measurement cannot be made."""


@dataclass(frozen=True)
class Side:
    """One side's figures, one a repetition, in the comparison's unit; `details` are further columns of its row."""

    name: str
    kind: Kind
    values: Sequence[float]
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """The figure that counts."""
        return median(self.values)


@dataclass(frozen=True)
class Verdict:
    """One thing to show: its figure, in words the bar, and whether it was reached."""

    what: str
    figure: str
    bar: str
    reached: bool


@dataclass(frozen=True)
class Line:
    """One line of a plot: its points (x, y)."""

    name: str
    kind: Kind
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Table:
    """Further findings, in words: the names of the columns, and the rows."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Result:
    """A comparison's outcome. Without `lines` its plot shows the sides; `axes` name x and y of the lines."""

    title: str
    text: str
    unit: str
    sides: Sequence[Side]
    verdicts: Sequence[Verdict]
    lines: Sequence[Line] = ()
    axes: tuple[str, str] = ("", "")
    notes: Sequence[str] = ()
    tables: Sequence[Table] = ()
    about: Mapping[str, str] = field(default_factory=dict)

    def save(self, file: Path) -> None:
        """Write the result to `file` as JSON."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> "Result":
        """Return the result kept in `file`; raises `BenchError` where it is none."""
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            for name, kind in (("sides", Side), ("verdicts", Verdict), ("lines", Line), ("tables", Table)):
                content[name] = [kind(**fields) for fields in content.get(name, ())]
            return cls(**content)
        except (ValueError, KeyError, TypeError) as error:
            raise BenchError(f"{file} is no result of this version ({error}); remove it and measure again") from error


def at_least(what: str, figure: float, bar: float, form: str = "{:.2f}") -> Verdict:
    """Return the verdict on a figure that must not be lower than `bar`."""
    return Verdict(what, form.format(figure), f"≥ {bar:g}", figure >= bar)


def at_most(what: str, figure: float, bar: float, form: str = "{:.2f}") -> Verdict:
    """Return the verdict on a figure that must not be higher than `bar`."""
    return Verdict(what, form.format(figure), f"≤ {bar:g}", figure <= bar)


def none(what: str, count: float) -> Verdict:
    """Return the verdict on what must not happen at all."""
    return at_most(what, count, 0, "{:.0f}")


def alternate(
    sides: Mapping[str, Callable[[], Any]], repetitions: int, say: Callable[[str], None]
) -> dict[str, list[Any]]:
    """Call each of `sides` so many times, taking turns, and return what each returned.

    Every other round runs backwards, so that no side always follows the same one.
    """
    outcomes: dict[str, list[Any]] = {name: [] for name in sides}
    for repetition in range(repetitions):
        names = list(sides)
        for name in names if repetition % 2 == 0 else reversed(names):
            say(f"{name}, {repetition + 1} of {repetitions}")
            outcomes[name].append(sides[name]())
    return outcomes
