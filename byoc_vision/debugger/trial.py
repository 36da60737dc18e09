"""What a rule asks of a recording. smdebug calls a recording a trial; the words and the numbers here are its own."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from numpy.typing import NDArray

Array = NDArray[Any]


class Mode(Enum):
    """What a step was part of, in smdebug's numbers; GLOBAL is a step of a recording that tells no modes apart."""

    TRAIN = 1
    EVAL = 2
    PREDICT = 3
    GLOBAL = 4


@dataclass(frozen=True)
class TensorCollection:
    """Tensors that belong together: those that match a regular expression, and those named."""

    include_regex: Collection[str] = ()
    tensor_names: Collection[str] = ()


class Trial(Protocol):
    """A recording, of a job that has ended or still runs. Steps are global: those of all modes, numbered through."""

    @property
    def steps(self) -> Mapping[int, Iterable[str]]:
        """The steps in which something was saved -> the names of the tensors saved there."""

    @property
    def modes(self) -> Collection[Mode]:
        """The modes of the steps, but for GLOBAL."""

    @property
    def collections(self) -> Mapping[str, TensorCollection]:
        """The collections that were recorded, by name."""

    @property
    def ended(self) -> bool:
        """Whether the job has ended and all its steps are here."""

    def mode_step(self, step: int) -> tuple[Mode, int]:
        """Return a step's mode and its number in that mode."""

    def value(self, name: str, step: int) -> Array | None:
        """Return what was saved of a tensor at a step; None where nothing was, or only reductions."""

    def reduction(self, name: str, step: int, reduction: str, absolute: bool = False) -> float | None:
        """Return a reduction of a tensor or of its absolute values, recorded or computed; None where neither can be."""
