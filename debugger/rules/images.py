"""The rule over what goes into a network: images that are not normalised."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from debugger.rules.base import Array, Finding, ParameterError, TensorRule, number, whole


class CheckInputImages(TensorRule):
    """Fires, once `threshold_samples` (500) images have been seen, when the mean of one of their channels differs from
    0 by more than `threshold_mean` (0.2): they were not normalised, or not with their own mean.

    Reads the full tensors that match `regex` (`.*hybridsequential0_input_0`, MXNet's name, as documented); `channel`
    (1) is the position of their channels, 0 that of their samples.
    """

    reads = "Images that went into the network"
    advice = "Subtract the pictures' mean and divide by their standard deviation; `normalization` data measures both."

    def __init__(
        self,
        base_trial: Any,
        threshold_mean: float | str = 0.2,
        threshold_samples: int | str = 500,
        regex: str = ".*hybridsequential0_input_0",
        channel: int | str = 1,
    ) -> None:
        super().__init__(base_trial)
        self.mean_threshold = number(self.rule_name, "threshold_mean", threshold_mean)
        self.samples = whole(self.rule_name, "threshold_samples", threshold_samples)
        self.pattern, self.channel = regex, whole(self.rule_name, "channel", channel, 1)
        self._sums: dict[str, Array] = {}
        self._images: Counter[str] = Counter()

    def judge(self, step: int) -> Iterator[Finding]:
        for name in self.names(step, [], [self.pattern]):
            images = self.full(name, step)
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
        if count < self.samples:
            return
        self.judged += 1
        means = self._sums[name] / count
        worst = int(np.argmax(np.abs(means)))
        if abs(means[worst]) > self.mean_threshold:
            detail = f"channel {worst} has a mean of {means[worst]:.3g} over {count:,} images"
            yield Finding(step, name, float(means[worst]), self.mean_threshold, detail)
