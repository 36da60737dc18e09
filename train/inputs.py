"""What a network is given, batch by batch: pictures, or what its frozen layers make of them, which is computed once."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from byoc_vision.contract.hyperparameters import Settings
from classifier import network
from classifier.preprocessing import Preprocessing
from train import features, forms
from train.augmentation import Augmentation
from train.backbone import Backbone
from train.batches import Batches, FeatureBatches, Order, PictureBatches
from train.data import Data, Split
from train.distributed import ALONE, Group
from train.features import Extraction, Kept, View, Work
from train.normalization import measured
from train.stopping import StopSignal


def preset(settings: Settings, weights: Path | None) -> Preprocessing:
    """Return how pictures are prepared for the network, as its weights want it, in the size of the settings."""
    chosen = network.preset(settings.arch, weights)
    return chosen.resized(settings.image_size) if settings.image_size is not None else chosen


@dataclass(frozen=True)
class Inputs:
    """Gives pictures as `preprocessing` makes them, or the features that are `kept` of them.

    `workers` processes decode on this replica of the `group`, for its `device`.
    """

    settings: Settings
    preprocessing: Preprocessing
    group: Group
    workers: int
    device: torch.device
    kept: Kept | None = None

    def batches(self, split: Split, training: bool = False) -> Batches:
        """Return the batches of `split`: for training in another order every epoch, and augmented."""
        settings = self.settings
        order = self._unshuffled(split)
        if training:
            classes = split.targets if settings.sampling == "balanced" else ()
            whole = self.kept is None or settings.train_layers != "head"
            order = Order(len(split), settings.batch_size, settings.seed, whole, self.group, classes)
        augmentation = self._augmentation if training else Augmentation(self.preprocessing)
        if self.kept:
            store = self.kept.learnt if training else self.kept.judged
            targets = torch.tensor(split.targets, device=self.device)
            views = self._views if training else [0]
            names = [augmentation.name(name, view) for name in split.digests for view in views]
            table, rows = store.of(names, self.device)
            return FeatureBatches(table, rows.view(len(split), len(views)), targets, order)
        return self._pictures(split, order, augmentation)

    def normalized(self, split: Split) -> "Inputs":
        """Return the same with the mean and standard deviation of the pictures of `split`."""
        pictures = self._pictures(split, self._unshuffled(split))
        return replace(self, preprocessing=measured(pictures, self.preprocessing))

    def on_features(
        self,
        frozen: nn.Module,
        pictures: Data,
        folder: Path,
        given: Path | None,
        graphs: Path,
        stop: StopSignal,
        say: Callable[[str], None],
    ) -> tuple["Inputs", Work]:
        """Return inputs on the features that `frozen` makes of the `pictures`, and what was done for it.

        The places are those of `Extraction`. Raises `Stopped` when asked to stop; what was computed by then is kept.
        """
        settings = self.settings
        backbone = Backbone(frozen, settings.arch, self.preprocessing, self.device)
        augmentation = self._augmentation
        exact = forms.candidates(self.device, settings.precision or "float32")
        # A head learns as well from rounded features; it is judged by the network that is saved.
        rounded = forms.candidates(self.device, settings.precision) if settings.train_layers == "head" else exact
        size = features.CPU_BATCH if self.device.type == "cpu" else settings.test_batch_size

        def views(split: Split, numbers: Iterable[int]) -> dict[bytes, View]:
            named = zip(split.digests, split.files.names, strict=True)  # of a million, paths would take 0.2 GB
            return {augmentation.name(digest, i): View(file, i) for digest, file in named for i in numbers}

        extraction = Extraction(
            backbone, augmentation, rounded, folder, given, graphs, size, self.workers, self.group, stop, say,
            root=pictures.train.files.folder, kept=pictures.test.pixels,
        )  # fmt: skip
        exactly = replace(extraction, forms=exact)
        others = views(pictures.validation, [0]) | views(pictures.test, [0])
        learnt = extraction(views(pictures.train, self._views), exactly.missing(others))
        return replace(self, kept=Kept(learnt, exactly(others))), extraction.work

    def alone(self) -> "Inputs":
        """Return the same for one replica that works while the others don't."""
        return replace(self, group=ALONE)

    def _pictures(self, split: Split, order: Order, augmentation: Augmentation | None = None) -> PictureBatches:
        return PictureBatches(split, self.preprocessing, order, self.workers, self.device, augmentation)

    def _unshuffled(self, split: Split) -> Order:
        return Order(len(split), self.settings.test_batch_size, group=self.group)

    @property
    def _augmentation(self) -> Augmentation:
        return Augmentation.of(self.settings, self.preprocessing)

    @property
    def _views(self) -> Sequence[int]:
        """The versions of a training picture whose features are kept: itself, and the augmented ones."""
        return range(self.settings.views + 1)
