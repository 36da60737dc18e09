"""The figures in printed tables: names in a first line, `epoch  train_loss  Val Acc`, and rows of figures below it."""

import re

#: What figures are called. A name begins where a word does and is of bounded length: else a long word is looked at from
#: each of its letters.
NAME = (
    r"(?:[a-z][a-z0-9]{0,30}[ _/-]){0,2}[a-z0-9_]{0,40}"
    r"(?:loss|error|f1|auc|score|lr|learning[_ ]rate|"
    r"(?:acc|accuracy|prec|precision|recall)(?:[@_]?(?:1|5|10))?|top[@_-]?(?:1|5|10))"
    r"(?:\s?\([a-z ]{1,12}\))?"
)
VALUE = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"

#: The name of a column, that of one with figures, a figure, and what stands where there is none yet.
_COLUMN = re.compile(rf"{NAME}|[a-z][\w/@. ]{{0,30}}", re.IGNORECASE)
_FIGURES = re.compile(NAME, re.IGNORECASE)
_NUMBER, _NO_NUMBER = re.compile(rf"{VALUE}\s?%?", re.IGNORECASE), {"nan", "none", "n/a", "-", "--", ""}

#: What stands between two cells, and what the first column is called where that may be one blank.
_BETWEEN, _BLANKS = re.compile(r"[|,;\u2502\u2503]"), re.compile(r"\t|\s{2,}")
_FIRST = {"epoch", "step", "iter", "iteration"}

#: A line between the names and the rows, as tabulate draws it; where the columns are is told by it.
_RULE, _DASHES = re.compile(r"\s*-+(?:\s+-+)+\s*"), re.compile("-+")

#: The bar of progress that may stand behind a row.
_BAR = re.compile(r":\s*\d+%.*")


class Table:
    """The table that is being printed, as far as it is known."""

    def __init__(self) -> None:
        self._columns: dict[int, list[str]] = {}  # by how many there are
        self._spans: list[tuple[int, int]] = []  # where a rule below the names tells it
        self._has_index = False  # as pandas prints it: whole numbers before the first column, and no name above them

    def read(self, line: str) -> dict[str, float]:
        """Return the figures of a row, by the names of their columns; take these from a first line."""
        ways = _parted(_BAR.sub("", line).strip(" \t|\u2502\u2503"))
        if columns := _columns(ways):
            self._columns, self._spans = columns, []
            # Of other tables with such rows a first column may be classes, as scikit-learn's are, below an empty line.
            self._has_index = line[:1].isspace() and any(map(_is_of_training, ways[0]))
            return {}
        if _RULE.fullmatch(line):
            self._spans = [match.span() for match in _DASHES.finditer(line)]
            return {}
        row = ways[-1]
        if len(row) < len(self._spans):  # a cell is empty
            row = [line[begin:end].strip() for begin, end in self._spans]
        if self._has_index and len(row) - 1 in self._columns and row[0].isdecimal():
            row = row[1:]
        self._has_index &= bool(line.strip())
        cells = dict(zip(self._columns.get(len(row), []), row, strict=False))
        cells = {name: cell for name, cell in cells.items() if _FIGURES.fullmatch(name)}
        numbers = {name: cell for name, cell in cells.items() if _NUMBER.fullmatch(cell)}
        if any(cell.lower() not in _NO_NUMBER for name, cell in cells.items() if name not in numbers):
            return {}
        return {name: float(cell.rstrip("% ")) / (100 if cell.endswith("%") else 1) for name, cell in numbers.items()}


def _is_of_training(name: str) -> bool:
    return name.lower() in _FIRST or "loss" in name.lower()


def _parted(line: str) -> list[list[str]]:
    """Return how the cells of a line may be told apart: two ways where blanks do that, for a name may have one."""
    cells = [cell.strip() for cell in _BETWEEN.split(line)]
    return [cells] if len(cells) > 1 else [_BLANKS.split(line), line.split()]


def _columns(ways: list[list[str]]) -> dict[int, list[str]]:
    """Return the columns by how many there are, where the cells name some and one of these has figures."""
    named = {
        len(names): names
        for names in ways
        if len(names) > 1 and (len(ways[0]) > 1 or names[0].lower() in _FIRST) and all(map(_COLUMN.fullmatch, names))
    }
    return named if any(_FIGURES.fullmatch(name) for names in named.values() for name in names) else {}
