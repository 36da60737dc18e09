"""What the loop tells of its steps: to nobody, or to the recorder."""

from typing import Self

from torch import Tensor

from train.record.smdebug_files import Step


class Callback:
    """Does nothing; the recorder does. The methods are called in the order they stand here, those from `wait` on for
    every step.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """The run is over, however it ended."""

    def wait(self) -> None:
        """The loop begins to wait for a batch."""

    def batch(self, step: Step) -> None:
        """The batch is there."""

    def forward(self, loss: Tensor) -> None:
        """The forward pass is done and gave the mean `loss`; a step of evaluation ends with it."""

    def backward(self) -> None:
        """The backward pass is done; the gradients are what the optimizer will use."""

    def update(self) -> None:
        """The optimizer is done, and with it the step."""

    def flush(self) -> None:
        """What was told so far is to be kept, whatever happens next."""
