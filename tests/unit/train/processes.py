"""Processes of the tests' own. They are forked off a server that has imported torch, which takes seconds, once."""

import multiprocessing
import os
import runpy
import sys
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

WARM = multiprocessing.get_context("forkserver")
WARM.set_forkserver_preload(["train.run", "train.export", "tests.unit.train.processes"])


def started(options: Sequence[str], log: Path, prepare: Callable[[], None] = bool) -> BaseProcess:
    """Begin to be `python -m train OPTIONS`, in a process that `prepare` has changed.

    What it prints is added to the file `log`.
    """
    log.touch()
    process = WARM.Process(target=_train, args=(options, log, prepare))
    process.start()
    return process


def train(options: Sequence[str], log: Path, prepare: Callable[[], None] = bool) -> int:
    """The same to its end; return the exit status."""
    process = started(options, log, prepare)
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _train(options: Sequence[str], log: Path, prepare: Callable[[], None]) -> None:
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    prepare()
    sys.argv = ["train", *options]
    runpy.run_module("train", run_name="__main__")
