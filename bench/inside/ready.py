"""Training as `python -m train` does it, with the same arguments, on tensors that are ready where the network is.

The first epoch keeps its batches on the network's device, and the later ones take them from there: these cost what the
loop costs when it never waits for a picture.
"""

import sys
from collections.abc import Iterator

from torch import Tensor

from train import __main__, batches, inputs


class Ready(batches.PictureBatches):
    """Batches that are made once."""

    _kept: list[tuple[Tensor, Tensor]] | None = None

    def epoch(self, number: int, skip: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of the first epoch, whatever the number."""
        if self._kept is None:
            self._kept = [(inputs.clone(), targets.clone()) for inputs, targets in super().epoch(number)]
        yield from self._kept[skip:]


if __name__ == "__main__":
    inputs.PictureBatches = Ready  # type: ignore[attr-defined]
    sys.exit(__main__.main())
