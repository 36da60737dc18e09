"""Rules over labels and predictions: classes that are too rare, and classes taken for one another.

A job need not record labels and predictions as tensors: both rules are also judged on a table of them, such as the
`predictions.csv` of a finished job (`judge_table`).
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from byoc_vision.debugger.rules.base import Finding, ParameterError, TensorRule


@dataclass(eq=False)
class LabelRule(TensorRule):
    """Counts labels and what was predicted for them, over all steps."""

    reads = "Labels and predictions"

    argmax: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.counts: Counter[Any] = Counter()
        self.pairs: Counter[tuple[Any, Any]] = Counter()

    def regexes(self) -> tuple[str, str]:
        """Return what the names of the tensors match that hold labels, and those that hold predictions."""
        raise NotImplementedError

    def judge(self, step: int) -> Iterator[Finding]:
        labels, predicted = (self._values(regex, step) for regex in self.regexes())
        if labels is None:
            return
        if predicted is not None and self.argmax:
            predicted = predicted.argmax(axis=-1)
        if predicted is not None and predicted.size != labels.size:
            raise ParameterError(
                f"{self.rule_name}: there are {predicted.size} predictions for {labels.size} labels; set argmax to "
                "True where predictions are a row of scores for each label."
            )
        self.add(labels.ravel().tolist(), None if predicted is None else predicted.ravel().tolist())
        yield from self.verdict(step)

    def judge_table(self, labels: list[str], predicted: list[str]) -> None:
        """Judge the labels and predictions of a whole split instead of recorded tensors."""
        self.add(labels, predicted)
        self.findings += self.verdict(None)

    def add(self, labels: list[Any], predicted: list[Any] | None) -> None:
        """Count `labels`, and what was predicted for them where that is known."""
        self.seen += 1
        self.counts.update(labels)
        if predicted is not None:
            self.pairs.update(zip(labels, predicted, strict=True))

    def asked(self) -> Counter[Any]:
        """Return how many of the labels of each class have a prediction."""
        asked: Counter[Any] = Counter()
        for (label, _), count in self.pairs.items():
            asked[label] += count
        return asked

    def verdict(self, step: int | None) -> Iterable[Finding]:
        """Yield what is wrong with the labels and predictions counted up to `step`."""
        raise NotImplementedError

    def _values(self, regex: str, step: int) -> Any:
        names = self.names(step, (), (regex,))
        values = [value for name in names if (value := self.trial.value(name, step)) is not None]
        return np.concatenate(values) if values else None


@dataclass(eq=False)
class ClassImbalance(LabelRule):
    """Fires, once `samples` (500) labels have been seen, when the most frequent class is more than
    `threshold_imbalance` (10) times as frequent as the least, or when more than `threshold_misprediction` (0.7) of a
    class was taken for another.

    A class that never occurs cannot be known of. `argmax` (False) turns predictions that are scores [N, classes] into
    classes. On a table of a whole split, fewer than `samples` rows are judged too: more will not come.
    """

    advice = "Collect or repeat pictures of the rare classes, weight the loss, or merge classes."

    threshold_imbalance: float = 10
    threshold_misprediction: float = 0.7
    samples: int = 500
    labels_regex: str = ".*CrossEntropyLoss_input_1"
    predictions_regex: str = ".*CrossEntropyLoss_input_0"

    def regexes(self) -> tuple[str, str]:
        return self.labels_regex, self.predictions_regex

    def verdict(self, step: int | None) -> Iterable[Finding]:
        if (step is not None and self.counts.total() < self.samples) or not self.counts:
            return
        self.judged += 1
        (most, many), (least, few) = self.counts.most_common()[0], self.counts.most_common()[-1]
        if many / few > self.threshold_imbalance:
            detail = f"class {most} is {many / few:.3g} times as frequent ({many:,}) as class {least} ({few:,})"
            yield Finding(step, "labels", many / few, self.threshold_imbalance, detail)
        asked = self.asked()
        wrong = {label: count - self.pairs[label, label] for label, count in asked.items()}
        for label in sorted(asked, key=lambda label: -wrong[label] / asked[label]):
            share = wrong[label] / asked[label]
            if share > self.threshold_misprediction:
                detail = f"{share:.0%} of class {label} mispredicted ({wrong[label]:,} of {asked[label]:,})"
                yield Finding(step, "predictions", share, self.threshold_misprediction, detail)


@dataclass(eq=False)
class Confusion(LabelRule):
    """Fires when the share of a class predicted rightly is below `min_diag` (0.9), or the share taken for one other
    class above `max_off_diag` (0.1). On request only: few classifiers meet the documented defaults.
    """

    advice = (
        "Look at the pictures of the classes taken for one another: labels may be wrong, or classes one and the same."
    )

    min_diag: float = 0.9
    max_off_diag: float = 0.1
    labels: str = "labels"
    predictions: str = "predictions"

    def regexes(self) -> tuple[str, str]:
        return self.labels, self.predictions

    def verdict(self, step: int | None) -> Iterable[Finding]:
        asked = self.asked()
        self.judged += bool(asked)
        for label in asked:
            right = self.pairs[label, label] / asked[label]
            if right < self.min_diag:
                detail = f"{right:.0%} of class {label} predicted rightly"
                yield Finding(step, "predictions", right, self.min_diag, detail)
        for (label, predicted), count in self.pairs.items():
            if label != predicted and count / asked[label] > self.max_off_diag:
                share = count / asked[label]
                detail = f"{share:.0%} of class {label} taken for {predicted}"
                yield Finding(step, "predictions", share, self.max_off_diag, detail)
