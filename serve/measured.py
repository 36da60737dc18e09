"""What a worker measures for /metrics."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any


class Measured:
    """What was measured while requests were answered: seconds by stage, and what was predicted."""

    def __init__(self) -> None:
        self.taken()

    def taken(self) -> dict[str, Any]:
        """Return it, and begin anew."""
        taken = dict(vars(self))
        self.decoding = self.network = 0.0
        self.predicted: list[tuple[str, float]] = []
        return taken

    def count(self, prediction: dict[str, Any]) -> None:
        """Count the pictures of an answer of ours, each with its label and probability."""
        self.predicted += [(each["label"], each["probability"]) for each in prediction["predictions"]]

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Count the time in the block as that of `stage`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, stage, getattr(self, stage) + time.perf_counter() - started)

    def timed(self, stage: str, function: Any) -> Any:
        """Return `function`, whose time is counted as that of `stage`."""

        @wraps(function)
        def run(*arguments: Any) -> Any:
            with self.time(stage):
                return function(*arguments)

        return run
