"""The figures in the lines that a program prints, whatever form it gives them: the report draws them as curves."""

import csv
import re
from pathlib import Path

from byoc_vision.contract.errors import plain
from byoc_vision.contract.job import CURVE_COLUMNS
from train.script.tables import NAME, VALUE, Table

#: `train_loss=0.31`, `Epoch 3/5 - Training Loss: 3.11`, `"eval_accuracy": 0.9`, `Accuracy: 97/100`, `acc 97.0%`,
#: `Acc@1 97.0`, `Loss (val): 0.4`, `loss -> 0.3`, `accuracy is 0.9`, `loss: tensor(0.31, …`, `'loss': '0.31'`.
_FIGURE = re.compile(
    rf"(?<![a-z0-9_])(?P<name>{NAME})[\"']?(?:\s*(?:[:=\uff1a]|->)\s*|\s+(?:(?:is|was|of)\s+)?)"
    r"(?:(?:tensor|array|np\.float\d\d)\()?[\"'\[]?"
    rf"(?P<value>{VALUE})(?:/(?P<of>\d+)|(?P<percent>\s?%))?(?!\w)",
    re.IGNORECASE,
)

#: Words for what figures are of: `valid loss: 0.5, acc: 0.7`, `Test: [10/78] Loss: 6.9 Acc@1: 50.0`.
#: They are words of text or of a figure's name, and no part of a file's name (`train.py:12`, `data/train/1.jpg`).
_PHASE = re.compile(
    r"(?<![a-z0-9./\\-])(?:(?P<train>train(?:ing)?)|(?P<val>val(?:id|idation)?|dev)|(?P<test>test(?:ing)?)|"
    r"(?P<eval>eval(?:uation)?))(?![a-z0-9/\\-]|\.\w)",
    re.IGNORECASE,
)

#: Longest line that is looked at, and most names and readings of one that are kept: beyond, every second one goes.
_LINE, _NAMES, _READINGS = 2000, 40, 4096


class Curves:
    """The readings of every figure, in the order they were printed."""

    def __init__(self) -> None:
        self._values: dict[str, list[tuple[int, float]]] = {}
        self._counts: dict[str, int] = {}
        self._strides: dict[str, int] = {}
        self._table = Table()

    def read(self, line: str) -> None:
        """Take the figures of a printed line."""
        if len(line) > _LINE:
            return
        text = plain(line)
        figures = list(_FIGURE.finditer(text))
        if not figures:
            for name, value in self._table.read(text).items():
                self._add(_plain_name(name), value)
            return
        phases = _phases(text, [match.end("name") for match in figures])
        names = [_plain_name(match["name"]) for match in figures]
        bare = [not (name.endswith(("lr", "rate")) or _PHASE.search(name.replace("_", " "))) for name in names]
        # Where a line is of several, only figures that it has of each are told apart: `train: loss 0.9, val: loss 0.8`.
        told = [name for name, is_bare in zip(names, bare, strict=True) if is_bare]
        several = len(set(phases)) > 1
        for match, name, phase, is_bare in zip(figures, names, phases, bare, strict=True):
            if phase and is_bare and (not several or told.count(name) > 1):
                name = f"{phase}_{name}"
            value = float(match["value"]) / (int(match["of"] or 1) or 1) / (100 if match["percent"] else 1)
            self._add(name, value)

    def write(self, file: Path) -> None:
        """Write the figures of which there are two readings at least, if any."""
        rows = [(name, *pair) for name, pairs in self._values.items() if len(pairs) > 1 for pair in pairs]
        if rows:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("w", newline="", encoding="utf-8") as lines:
                csv.writer(lines).writerows([CURVE_COLUMNS, *rows])

    def _add(self, name: str, value: float) -> None:
        if name not in self._counts and len(self._counts) == _NAMES:
            return
        number = self._counts[name] = self._counts.get(name, 0) + 1
        values, stride = self._values.setdefault(name, []), self._strides.setdefault(name, 1)
        if (number - 1) % stride == 0:
            values.append((number, value))
        if len(values) > _READINGS:
            del values[1::2]
            self._strides[name] = 2 * stride


def _plain_name(name: str) -> str:
    return re.sub(r"[^a-z0-9@]+", "_", name.lower()).strip("_").removeprefix("info_")


def _phases(text: str, ends: list[int]) -> list[str]:
    """Return the phases that a line's figures, whose names have these `ends`, are of; "" where it does not say so.

    They are of the last that it has named before; it must name the first before its first figure's name ends.
    """
    words = text.replace("_", " ")
    named = [(match.start(), match.lastgroup, match[0].lower()) for match in _PHASE.finditer(words)]
    if not named or named[0][0] >= ends[0]:
        return [""] * len(ends)
    spelled = {phase: word for _, phase, word in reversed(named)}
    return [spelled[[phase for start, phase, _ in named if start < end][-1]] for end in ends]
