"""What the checks are given. Needs nothing but the standard library: the process that runs the groups has no torch."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Setting:
    """Where the pictures are and where to write, and how much there is to do.

    `gpus` is the number of GPUs; without any the same is done on the CPU, as small as can be, to try the checks.
    `arch` is the network whose speed is measured, `small` the one whose results are compared; `side` is the pixels of
    the square that they see. `drawn` is the training pictures of a class where none are given, `many` the pictures of
    an epoch whose speed is measured, `timed` the number of such epochs. `seconds` is how long requests are sent,
    `samples` the seconds between two looks at the load of a GPU, `patience` the seconds that processes which train
    together may take, `connections` are those of clients.
    """

    data: Path
    scratch: Path
    gpus: int = 0
    arch: str = "resnet50"
    small: str = "resnet18"
    side: int = 224
    batch: int = 64
    epochs: int = 3
    drawn: int = 64
    many: int = 8192
    timed: int = 3
    seconds: float = 2.0
    samples: float = 0.5
    patience: float = 60.0
    connections: Sequence[int] = (1, 2, 4, 8, 16, 32, 64)

    @property
    def device(self) -> str:
        """Torch's name of where the checks run."""
        return "cuda" if self.gpus else "cpu"

    def dry(self) -> "Setting":
        """Return the setting for a machine without a GPU: what can be tried in seconds."""
        return replace(
            self, gpus=0, arch="resnet18", side=32, batch=8, epochs=2, drawn=6, many=16, timed=1, seconds=0.2,
            samples=0.1, patience=1800, connections=(1, 4),
        )  # fmt: skip

    def folder(self, name: str) -> Path:
        """Return a folder for a check to write to."""
        place = self.scratch / name
        place.mkdir(parents=True, exist_ok=True)
        return place

    def as_text(self) -> str:
        """Return what `from_text` reads."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_text(cls, text: str) -> "Setting":
        """Return the setting that another process has written as `text`."""
        content = json.loads(text)
        return cls(**{**content, "data": Path(content["data"]), "scratch": Path(content["scratch"])})
