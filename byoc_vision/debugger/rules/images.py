"""The rule over what goes into a network: images that are not normalised."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from byoc_vision.debugger.rules.base import Finding, ParameterError, TensorRule, at_least
from byoc_vision.debugger.trial import Array


@dataclass(eq=False)
class CheckInputImages(TensorRule):
    """Fires, once `threshold_samples` (500) images have been seen, when the mean of one of their channels differs from
    0 by more than `threshold_mean` (0.2): they were not normalised, or not with their own mean.

    Reads the full tensors that match `regex` (`.*hybridsequential0_input_0`, MXNet's name, as documented); `channel`
    (1) is the position of their channels, 0 that of their samples.
    """

    reads = "Images that went into the network"
    advice = "Subtract the pictures' mean and divide by their standard deviation; `normalization` data measures both."

    threshold_mean: float = 0.2
    threshold_samples: int = 500
    regex: str = ".*hybridsequential0_input_0"
    channel: int = at_least(1, 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._sums: dict[str, Array] = {}
        self._images: Counter[str] = Counter()

    def judge(self, step: int) -> Iterator[Finding]:
        for name in self.names(step, (), (self.regex,)):
            images = self.trial.value(name, step)
            if images is None:
                continue
            if images.ndim <= self.channel:
                raise ParameterError(
                    f"{self.rule_name}: {name} is {list(images.shape)}, so its channels are not at {self.channel}."
                )
            self.seen += 1
            means = images.mean(axis=tuple(axis for axis in range(images.ndim) if axis != self.channel), dtype=float)
            self._sums[name] = self._sums.get(name, 0) + len(images) * means
            self._images[name] += len(images)
            yield from self._verdict(name, step)

    def _verdict(self, name: str, step: int) -> Iterator[Finding]:
        count = self._images[name]
        if count < self.threshold_samples:
            return
        self.judged += 1
        means = self._sums[name] / count
        worst = int(np.argmax(np.abs(means)))
        if abs(means[worst]) > self.threshold_mean:
            detail = f"channel {worst} has a mean of {means[worst]:.3g} over {count:,} images"
            yield Finding(step, name, float(means[worst]), self.threshold_mean, detail)
