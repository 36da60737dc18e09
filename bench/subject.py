"""What every comparison is given."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.places import Place

#: The architecture that real weights are given for.
ARCH = "mobilenet_v2"


@dataclass(frozen=True)
class Subject:
    """Pictures in `train/`, `valid/`, `test/`; weights of `ARCH`; where training runs; how often sides are measured.

    `requests` is how many hostile ones are sent, from `seed` on.
    """

    data: Path
    weights: Path
    training: Place
    repetitions: int
    scratch: Path
    say: Callable[[str], None]
    requests: int = 100_000
    seed: int = 0
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def folder(self) -> Path:
        """Return a new path below the scratch folder; nothing is there yet."""
        return self.scratch / f"{next(self._numbers):04}"
