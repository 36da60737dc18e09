"""Reads what a job's profiler left in its folder, whole or broken off, as arrays."""

import csv
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from byoc_vision.contract.job import PHASES, PROFILE, RUN, STEPS, SYSTEM

Series = NDArray[np.float64]


@dataclass(frozen=True)
class System:
    """Utilisation in per cent, sampled every 500 ms; `time` [N] in unix seconds, one column a core or GPU."""

    time: Series
    cpu: Series
    iowait: Series
    memory: Series
    gpu: Series
    gpu_memory: Series


@dataclass(frozen=True)
class Steps:
    """The steps [N] of training and evaluation: `begin` in unix seconds, each part's duration in seconds."""

    step: Series
    mode: NDArray[np.str_]
    begin: Series
    parts: dict[str, Series]

    @property
    def duration(self) -> Series:
        """Seconds of each step."""
        total = np.zeros(len(self.begin))
        for name in PHASES:
            total += self.parts[name]
        return total


@dataclass(frozen=True)
class Profile:
    """All the profiler recorded; what is None was not. `missing` says so in sentences."""

    system: System | None = None
    steps: Steps | None = None
    run: dict[str, Any] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @property
    def script(self) -> str | None:
        """The user's own program, where the job ran one: of its steps nothing is known."""
        program = self.run.get("program")
        return program if isinstance(program, str) else None


def read(folder: Path) -> Profile:
    """Return the profile in `folder`; never raises for what is missing or damaged there."""
    missing: list[str] = []
    system = _table(folder / SYSTEM, {"time"}, "utilisation", missing)
    run = read_json(folder / RUN, f"{PROFILE}/{RUN}, with the job's start and its hardware,", missing)
    timed = "program" not in run  # of a script the single steps are not known
    steps = _table(folder / STEPS, {"step", "begin", *PHASES}, "the time of single steps", missing) if timed else None
    return Profile(
        _system(system) if system else None,
        _steps(steps) if steps else None,
        run,
        tuple(missing),
    )


def read_json(file: Path, what: str, missing: list[str]) -> dict[str, Any]:
    """Return the object in a JSON file; where there is none, nothing, and `missing` gets a sentence about `what`."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        missing.append(f"{what} was not written.")
    except (OSError, ValueError, RecursionError):
        missing.append(f"{what} is damaged.")
    else:
        if isinstance(content, dict):
            return content
        missing.append(f"{what} is damaged.")
    return {}


def _table(file: Path, needed: set[str], what: str, missing: list[str]) -> dict[str, list[str]] | None:
    """Return the columns of a CSV file's whole rows, or None when there are none, or one that is needed is not."""
    try:
        with file.open(newline="", encoding="utf-8", errors="replace") as lines:
            reader = csv.reader(lines)
            header = next(reader, [])
            rows = [row for row in reader if row]
    except FileNotFoundError:
        missing.append(f"{PROFILE}/{file.name}, {what}, was not recorded.")
        return None
    except (OSError, csv.Error):
        missing.append(f"{PROFILE}/{file.name}, {what}, is damaged.")
        return None
    whole = [row for row in rows if len(row) == len(header)]
    if not needed <= set(header) or not whole:
        missing.append(f"{PROFILE}/{file.name}, {what}, is empty.")
        return None
    if len(whole) < len(rows):
        missing.append(f"{PROFILE}/{file.name}: {len(rows) - len(whole)} of {len(rows)} rows are broken and left out.")
    return dict(zip(header, map(list, zip(*whole, strict=True)), strict=True))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _numbers(columns: dict[str, list[str]], name: str) -> Series:
    count = len(next(iter(columns.values())))
    values = columns.get(name)
    if values is None:
        return np.full(count, np.nan)
    try:
        return np.array(values, dtype=np.float64)
    except ValueError:
        return np.array([_number(value) for value in values])


def _each(columns: dict[str, list[str]], prefix: str) -> Series:
    """Return the columns prefix0, prefix1, … as [N, columns]."""
    count = len(next(iter(columns.values())))
    names = [name for name in columns if name.startswith(prefix) and name.removeprefix(prefix).isdigit()]
    names.sort(key=lambda name: int(name.removeprefix(prefix)))
    return np.stack([_numbers(columns, name) for name in names], axis=1) if names else np.empty((count, 0))


def _system(columns: dict[str, list[str]]) -> System | None:
    time = _numbers(columns, "time")
    good = np.isfinite(time)
    if not good.any():
        return None
    return System(
        time[good],
        _each(columns, "cpu_")[good],
        _numbers(columns, "iowait")[good],
        _numbers(columns, "memory")[good],
        _each(columns, "gpu_")[good],
        _each(columns, "gpu_memory_")[good],
    )


def _steps(columns: dict[str, list[str]]) -> Steps | None:
    numbers = {name: _numbers(columns, name) for name in ("step", "begin", *PHASES)}
    good = np.isfinite(numbers["begin"])
    for name in PHASES:  # An evaluation step has no backward pass.
        numbers[name] = np.nan_to_num(numbers[name], posinf=0.0, neginf=0.0)
    if not good.any():
        return None
    mode = np.array(columns.get("mode", ["train"] * len(good)))[good]
    parts = {name: numbers[name][good] for name in PHASES}
    return Steps(numbers["step"][good], mode, numbers["begin"][good], parts)
