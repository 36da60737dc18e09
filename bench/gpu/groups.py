"""Runs the groups of checks, each in a process of its own, and makes one table of what they found."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from bench.gpu.rows import Row, told
from bench.gpu.setting import Setting
from bench.machine import same_program
from bench.results import BenchError, Result, Table, Verdict

#: The groups, in the order of what is most worth knowing, and the seconds after which each is ended.
GROUPS = {"training": 150, "resume": 90, "serving": 100, "rules": 60, "replicas": 120, "speed": 150}

#: The module of a group.
MODULE = "bench.gpu.{}"

#: How much longer all may take without a GPU, on a machine that may be small and busy.
PATIENCE = 10

#: Seconds that all may take; what has not begun by then is a row that was not reached.
ALL = 470.0

#: What has to be installed, by the names of imports and of packages.
NEEDED = {
    "torch": "torch", "torchvision": "torchvision", "numpy": "numpy", "PIL": "pillow", "psutil": "psutil",
    "safetensors": "safetensors", "pi_heif": "pi_heif",
}  # fmt: skip


def check(setting: Setting, say: Callable[[str], None], groups: Sequence[str] = ()) -> Result:
    """Run `groups`, or all there are, telling each row as it is found, and return what they found.

    Raises `BenchError` where a package is missing.
    """
    missing = [package for name, package in NEEDED.items() if find_spec(name) is None]
    if missing:
        raise BenchError(
            f"this Python has no {', '.join(missing)}; install them with pip install {' '.join(missing)} "
            "(for a machine without a network: on another, with --target FOLDER, and set PYTHONPATH to that folder)"
        )
    begun, rows = time.monotonic(), list[Row]()
    times = 1 if setting.gpus else PATIENCE
    for group in groups or GROUPS:
        left = times * ALL - (time.monotonic() - begun)
        for row in _rows(group, setting, min(times * GROUPS[group], left)):
            rows.append(replace(row, group=group))
            say(line(rows[-1]))
    return result(rows, setting, time.monotonic() - begun)


def line(row: Row) -> str:
    """Return a row of the table as it is printed."""
    mark = {True: "ok", False: "WRONG", None: ""}[row.reached]
    bar = f" (bar {row.bar})" if row.bar else ""
    return f"{mark:<6}{row.group:<9} {row.what}: {row.figure}{bar}, {row.seconds:.0f} s"


def result(rows: Sequence[Row], setting: Setting, seconds: float) -> Result:
    """Return the table as a comparison's result: a row with a bar is a verdict, too."""
    on = f"{setting.gpus} × GPU" if setting.gpus else "the CPU, to try the checks"
    table = [[row.group, row.what, row.figure, row.bar, _word(row), f"{row.seconds:.0f}"] for row in rows]
    verdicts = [
        Verdict(f"{row.group}: {row.what}", row.figure, row.bar, row.reached) for row in rows if row.reached is not None
    ]
    return Result(
        title="A GPU in one call",
        text=f"What runs on a GPU, checked and measured on {on}, in {seconds:.0f} s.",
        unit="",
        sides=[],
        verdicts=verdicts,
        tables=[Table("Checks", ["group", "what", "found", "bar", "", "s"], table)],
    )


def _word(row: Row) -> str:
    return {True: "reached", False: "**wrong**", None: ""}[row.reached]


def _rows(group: str, setting: Setting, seconds: float) -> Iterator[Row]:
    """Yield the rows that a group's process tells; at last what became of it where it did not end well."""
    if seconds <= 0:
        yield Row("all", "there was no time left", f"all groups in {ALL:.0f} s", False)
        return
    place = setting.scratch / group
    place.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", MODULE.format(group), replace(setting, scratch=place).as_text()]
    log = Path(setting.scratch, f"{group}.log")
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=same_program(), start_new_session=True
        )
        timer = threading.Timer(seconds, _end, [process])
        timer.start()
        begun = time.monotonic()
        try:
            assert process.stdout
            for printed in process.stdout:
                if row := told(printed):
                    yield row
            status = process.wait()
        finally:
            over = not timer.is_alive()
            timer.cancel()
            _end(process)
    if status:
        why = f"took more than {seconds:.0f} s" if over else f"ended with status {status}: {_last(log)}"
        yield Row("the group's process", why, "it ends", False, seconds=time.monotonic() - begun)


def _end(process: "subprocess.Popen[str]") -> None:
    """End a group's process with all that it has started."""
    try:
        os.killpg(process.pid, 9)
    except ProcessLookupError:
        return


def _last(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "it said nothing"
