"""What a worker measures for /metrics."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any


class Measured:
    """What was measured while requests were answered: seconds of each stage of each call, and what was predicted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: defaultdict[str, list[Any]] = defaultdict(list)

    def taken(self) -> dict[str, list[Any]]:
        """Return what was measured since the last time this was called, nothing where that is nothing.

        Seconds in `decoding` and in the `network`, pictures in `batches`, and label and probability in `predicted`.
        """
        with self._lock:
            measured, self._found = self._found, defaultdict(list)
        return measured

    def count(self, prediction: dict[str, Any]) -> None:
        """Count the pictures of an answer of ours, each with its label ("": unsure) and probability."""
        pictures = [(answer["label"] or "", answer["probability"]) for answer in prediction["predictions"]]
        with self._lock:
            self._found["batches"].append(len(pictures))
            self._found["predicted"] += pictures

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Count the time in the block as that of `stage`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self._found[stage].append(time.perf_counter() - started)

    def timed(self, stage: str, function: Any) -> Any:
        """Return `function`, whose time is counted as that of `stage`."""

        @wraps(function)
        def run(*arguments: Any) -> Any:
            with self.time(stage):
                return function(*arguments)

        return run
