"""What a check finds, and how the checks of a group are run."""

import json
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
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


#: What a row's line begins with, among what libraries print.
MARK = "ROW "

#: Yields what it finds, or raises.
Check = Callable[[Setting], Iterable[Row]]


def at_least(what: str, figure: float, bar: float, form: str = "{:.2f}") -> Row:
    """Return the row of a figure that must not be lower than `bar`."""
    return Row(what, form.format(figure), f"≥ {bar:g}", figure >= bar)


def at_most(what: str, figure: float, bar: float, form: str = "{:.2g}") -> Row:
    """Return the row of a figure that must not be higher than `bar`; NaN is."""
    return Row(what, form.format(figure), f"≤ {bar:.2g}", figure <= bar)


def needs_gpu(what: str, number: int = 1) -> Row:
    """Return the row of what was not looked at, for it takes so many GPUs."""
    return Row(what, "needs a GPU" if number == 1 else f"needs {number} GPUs")


def main(checks: Sequence[Check]) -> None:
    """Run a group's module, whose argument is the setting: print each row as a line of JSON, as soon as it is found."""
    for row in _found(checks, Setting.from_text(sys.argv[1])):
        print(MARK + json.dumps(asdict(row)), flush=True)


def told(line: str) -> Row | None:
    """Return the row that `main` printed as this line; None where the line is anything else."""
    if not line.startswith(MARK):
        return None
    content: dict[str, Any] = json.loads(line.removeprefix(MARK))
    return Row(**content)


def _found(checks: Sequence[Check], setting: Setting) -> Iterator[Row]:
    """Yield what each of `checks` finds; one that raises is a row that was not reached, and the others go on."""
    for check in checks:
        begun = time.monotonic()
        name = check.__name__.replace("_", " ")
        try:
            for row in check(setting):
                yield replace(row, seconds=_since(begun))
                begun = time.monotonic()
        # Whatever it is: that is what the check is there to find.
        except Exception as error:
            traceback.print_exc()
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            yield Row(name, f"{type(error).__name__}: {said[:200]}", "it ends", False, seconds=_since(begun))


def _since(begun: float) -> float:
    return round(time.monotonic() - begun, 1)
