"""What a check finds, and how the checks of a group are run."""

import json
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.gpu.setting import Setting


@dataclass(frozen=True)
class Row:
    """A line of the table: what was looked at, what came out, the bar in words, and whether it was reached.

    None is for what was only measured (no bar), or not looked at for want of a GPU (`figure` says so).
    """

    what: str
    figure: str
    bar: str = ""
    reached: bool | None = None
    group: str = ""
    seconds: float = 0.0


#: Yields what it finds, or raises.
Check = Callable[[Setting], Iterable[Row]]


def at_least(what: str, figure: float, bar: float, form: str = "{:.2f}") -> Row:
    """Return the row of a figure that must not be lower than `bar`."""
    return Row(what, form.format(figure), f"≥ {bar:g}", figure >= bar)


def at_most(what: str, figure: float, bar: float, form: str = "{:.2g}") -> Row:
    """Return the row of a figure that must not be higher than `bar`; NaN is."""
    return Row(what, form.format(figure), f"≤ {bar:.2g}", figure <= bar)


def holds(what: str, figure: str, bar: str, reached: bool) -> Row:
    """Return the row of what is true or not."""
    return Row(what, figure, bar, reached)


def measured(what: str, figure: str) -> Row:
    """Return the row of a figure without a bar."""
    return Row(what, figure)


def needs_gpu(what: str, number: int = 1) -> Row:
    """Return the row of what was not looked at, for it takes so many GPUs."""
    return Row(what, "needs a GPU" if number == 1 else f"needs {number} GPUs")


def found(checks: Sequence[Check], setting: Setting) -> Iterator[Row]:
    """Yield what each of `checks` finds; one that raises is a row that was not reached, and the others go on."""
    for check in checks:
        begun = time.monotonic()
        name = check.__name__.replace("_", " ")
        try:
            for row in check(setting):
                yield _timed(row, begun)
                begun = time.monotonic()
        # Whatever it is: that is what the check is there to find.
        except Exception as error:
            traceback.print_exc()
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            yield _timed(holds(name, f"{type(error).__name__}: {said[:200]}", "it ends", False), begun)


def _timed(row: Row, begun: float) -> Row:
    return Row(row.what, row.figure, row.bar, row.reached, row.group, round(time.monotonic() - begun, 1))


def tell(checks: Sequence[Check], setting: Setting) -> None:
    """Print each row as a line of JSON, as soon as it is found."""
    for row in found(checks, setting):
        print(MARK + json.dumps(asdict(row)), flush=True)


def told(line: str) -> Row | None:
    """Return the row that `tell` printed as this line; None where the line is anything else."""
    if not line.startswith(MARK):
        return None
    content: dict[str, Any] = json.loads(line.removeprefix(MARK))
    return Row(**content)


def main(checks: Sequence[Check]) -> None:
    """Run a group's module: its argument is the setting."""
    tell(checks, Setting.from_text(sys.argv[1]))


#: What a row's line begins with, among what libraries print.
MARK = "ROW "
