"""One training run, from pictures to artifact: find and check the data, build the network, fit, test, write it down."""

import hashlib
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from byoc_vision.contract import hyperparameters, job, metrics
from byoc_vision.contract.errors import DataError
from byoc_vision.contract.hyperparameters import Settings, SettingsError
from classifier import artifact, network
from classifier.artifact import Classifier
from train import calibration, copies, data, forms, heatmaps, layers, memory, results
from train.backbone import threads
from train.checkpoint import NAME, Checkpoint
from train.data import Data, Split
from train.distributed import ALONE, Group
from train.evaluation import Evaluation, evaluate, precision
from train.fit import Fit, Progress
from train.inputs import Inputs, preset
from train.pixels import Pixels
from train.record.callback import Callback
from train.record.recorder import Recorder
from train.record.tensor_hook import Hook
from train.record.utilisation import Profiler
from train.stopping import Stopped, StopSignal

Report = Callable[[str], None]

#: Parameters of a head below which its steps are so short that threads wait for each other longer than they work.
SMALL = 1_000_000

#: Bytes of the pixels that are kept, at most, where each picture goes through the network once.
PIXELS = 1 << 29

#: Probabilities of all classes for all test pictures that are kept, at most: 200 MB.
PROBABILITIES = 50_000_000


@dataclass(frozen=True)
class Made:
    """What a run has made of its settings: the part of the network that learns, what it learns from, and how.

    A file `frozen` is there where the graph was made of the layers that come before `trained`.
    """

    trained: nn.Module
    pictures: Data
    inputs: Inputs
    frozen: Path


@dataclass(frozen=True)
class Run:
    """What to train on and where everything is; calling it trains.

    `channels` are folders of labelled pictures by name (see `train.data.find`), `weights` a file of pretrained weights.
    The model's files go to `model`, all else the run leaves to `output`, its checkpoint and the features of a
    frozen backbone to `checkpoints`. Where a file `hook_configuration` is given (debughookconfig.json), smdebug's own
    hook records what that says, in its place.
    `features` is a folder of features that other runs have computed, for those that it has. `known` is what the
    report tells of the job besides: its name, the type and the number of the machines.
    """

    settings: Settings
    channels: dict[str, Path]
    weights: Path | None
    model: Path
    output: Path
    checkpoints: Path
    group: Group = ALONE
    stop: StopSignal = field(default_factory=StopSignal)
    report: Report = print
    hook_configuration: Path | None = None
    features: Path | None = None
    known: Mapping[str, object] = field(default_factory=dict)

    def __call__(self) -> None:
        """Train, test, and write the artifact, `metrics.json`, `predictions.csv`, `debugger/` and `profile/`.

        Raises `UserError` for what the user can put right, and `Stopped` when asked to stop: the checkpoint is then
        written, and the artifact of the best epoch so far, if there is one.
        """
        memory.keep_freed()
        with ExitStack() as stack:
            graphs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="byoc-vision-")))
            profiler = None
            if self.group.rank == 0 and self.settings.debug_interval:
                gpus = [torch.cuda.get_device_name(gpu) for gpu in range(torch.cuda.device_count())]
                profiler = stack.enter_context(Profiler(self.output / job.PROFILE, gpus, self._resumes))
                profiler.note(**self.known)
            self._run(profiler, graphs)

    def _run(self, profiler: Profiler | None, graphs: Path) -> None:
        begun = time.monotonic()
        phase = profiler.phase if profiler else lambda _: None
        phase("reading the pictures")
        settings = self.settings
        if min(settings.batch_size, settings.test_batch_size) < self.group.size:
            raise SettingsError(
                f"{self.group.size} processes train together, so batch-size and test-batch-size must be at least that"
            )
        torch.manual_seed(settings.seed)
        pictures, unreadable, copied = self._read()
        identity = self._identity(pictures)
        if any(other != identity for other in self.group.everyone(identity)):
            raise DataError(
                "the hosts were given different pictures; set the channels' S3DataDistributionType to FullyReplicated"
            )

        phase("building the network")
        net, blocks = layers.build(settings, self.weights, len(pictures.labels), self._device)
        inputs, trained = self._inputs(pictures.train), net
        if hyperparameters.on_features(settings):
            phase("features")
            frozen, trained = network.split(net, blocks[0][0])
            places = self._kept_features, self.features, graphs
            inputs, work = inputs.on_features(frozen, pictures, *places, self.stop, self._say)
            if profiler:
                profiler.note(extraction=asdict(work))
        if settings.extract_only:
            return
        made = Made(trained, pictures, inputs, graphs / forms.GRAPH)
        learnt, judged = inputs.batches(pictures.train, training=True), inputs.batches(pictures.validation)
        fit = Fit(trained, settings, learnt, judged, self._callback(trained, profiler), blocks)
        preprocessing = inputs.preprocessing
        used = asdict(settings) | {"lr": fit.lr, "image_size": preprocessing.crop_size, "precision": self._precision}
        used["workers"] = self._workers
        classifier = Classifier(settings.arch, pictures.labels, preprocessing, settings=used, network=net)
        checkpoint = Checkpoint(self.checkpoints, identity)
        phase("training")
        small = sum(parameter.numel() for parameter in trained.parameters()) < SMALL
        number = 1 if len(blocks) == 1 and inputs.kept and small else torch.get_num_threads()
        try:
            with threads(number):
                progress = fit.run(checkpoint, self.stop, self._say)
        except Stopped:
            if fit.best and self.group.rank == 0:
                trained.load_state_dict(fit.best)
                artifact.save(replace(classifier, metrics=_best(fit.progress)), self.model)
            raise
        figures = _best(progress)
        # The figures of the epoch that was kept come last, where a tuning job reads a trial's result.
        self._say(metrics.line({name: figures[name] for name in metrics.LAST}))
        phase("evaluation")
        with threads(number):
            temperature = self._temperature(made) if settings.calibrate else 1.0
            tested = self._tested(made, temperature) if pictures.test else None
        figures["temperature"] = temperature
        if tested:
            figures |= {"test_loss": tested.loss, "test_accuracy": tested.accuracy}
            self._say(metrics.line({"test_loss": tested.loss, "test_accuracy": tested.accuracy}))
        calibration.apply(temperature, net.get_submodule(network.head_name(net)))
        if self.group.rank == 0:
            self._write(replace(classifier, metrics=figures), made, tested, phase)
            record = {**figures, "history": progress.history, "unreadable": unreadable, "copies": copied}
            seconds = round(time.monotonic() - begun, 3)
            record |= {"data_digest": pictures.digest, "seconds": seconds}
            results.write_metrics(self.output, pictures, record)
            checkpoint.remove()
        phase("report")

    def _write(
        self, classifier: Classifier, made: Made, tested: Evaluation | None, phase: Callable[[str], object]
    ) -> None:
        """Write the artifact, and what is known of the test pictures."""
        pictures = made.pictures
        if tested:
            results.write_predictions(self.output, pictures, tested)
        artifact.save(classifier, self.model)
        if self.settings.export:
            phase("graphs for CPUs")
            self._export(classifier, made)
        if tested and self.settings.report and (wrong := results.most_wrong(pictures, tested)):
            phase("heat maps")
            split, answered = pictures.test.take(wrong), tested.predicted[wrong]
            heatmaps.write(classifier, split, answered, self.output, self._workers, self.stop, self.report)

    def _read(self) -> tuple[Data, dict[str, str], dict[str, Any]]:
        """Return the pictures that can be read, why the others cannot, and which are copies of one another."""
        settings = self.settings
        pictures = data.find(self.channels, settings.validation_share, settings.test_share, settings.seed)
        pictures = self._keeping_pixels(pictures)
        seen = copies.known(self._kept_features, self.features)
        pictures, unreadable = data.checked(pictures, settings.max_unreadable, self._workers, self.stop, seen)
        for line in pictures.lines:
            self._say(line)
        for name, reason in unreadable.items():
            self._say(f"skipped {name}: {reason}")
        self._say(pictures.counts())
        copied = {} if self.group.rank else copies.look_for(pictures, seen, self._kept_features, self._say)
        return pictures.without_looks(), unreadable, copied

    def _temperature(self, made: Made) -> float:
        """Return the temperature that makes the probabilities on the validation pictures what they say."""
        used = made.pictures.validation.spread(calibration.LOGITS // len(made.pictures.labels))
        batches = made.inputs.batches(used)
        temperature, before, after = calibration.fit(made.trained, batches, precision(self.settings), self.stop)
        self._say(
            f"probabilities calibrated on {len(used)} validation pictures: temperature {temperature:.3f}, "
            f"negative log-likelihood {before:.4f}, now {after:.4f}"
        )
        return temperature

    def _tested(self, made: Made, temperature: float) -> Evaluation:
        settings, test, classes = self.settings, made.pictures.test, len(made.pictures.labels)
        all_classes = settings.report and len(test) * classes <= PROBABILITIES
        if settings.report and not all_classes:
            size = f"{len(test):,} test pictures × {classes:,} classes"
            self._say(f"{job.PROBABILITIES} is left out, for it would hold {size}")
        batches = made.inputs.batches(test)
        return evaluate(made.trained, batches, settings, self.stop, temperature=temperature, all_classes=all_classes)

    def _export(self, classifier: Classifier, made: Made) -> None:
        try:
            from train.export import Export  # imports OpenVINO, which trials need not wait for
        except ModuleNotFoundError as error:
            self._say(f"no graphs for CPUs were made: {error}")
            return

        def logits(split: Split) -> NDArray[np.float32]:
            batches = made.inputs.alone().batches(split)  # the other replicas do not export
            answers = calibration.answers(made.trained, batches, torch.float32, self.stop)
            array: NDArray[np.float32] = answers.cpu().numpy()
            return array

        known = logits if made.inputs.kept else None
        parts = (made.frozen, made.trained) if made.frozen.exists() else None
        Export(classifier, made.pictures, self.model, self._workers, self.stop, self.report, known, parts)()

    def _say(self, line: str) -> None:
        if self.group.rank == 0:
            self.report(line)

    def _callback(self, trained: nn.Module, profiler: Profiler | None) -> Callback:
        if profiler is None:
            return Callback()
        loaders = None if hyperparameters.on_features(self.settings) else self._workers
        profiler.note(workers=loaders, precision=self._precision)
        if self.hook_configuration:
            from train.record.managed_hook import ManagedHook  # imports smdebug, which is only in the training image

            return Recorder(ManagedHook(trained, self.hook_configuration), profiler, self.settings.trace_steps)
        tensors = self.output / job.DEBUGGER
        if not self._resumes:
            shutil.rmtree(tensors, ignore_errors=True)
        return Recorder(Hook(trained, tensors, self.settings.debug_interval), profiler, self.settings.trace_steps)

    @property
    def _resumes(self) -> bool:
        return (self.checkpoints / NAME).exists()

    @property
    def _device(self) -> torch.device:
        return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")

    @property
    def _workers(self) -> int:
        return len(os.sched_getaffinity(0)) if self.settings.workers is None else self.settings.workers

    @property
    def _precision(self) -> str:
        return str(precision(self.settings)).removeprefix("torch.")

    def _keeping_pixels(self, pictures: Data) -> Data:
        """Return the same data, which will hold the decoded pixels of as many pictures as is of use."""
        once = hyperparameters.on_features(self.settings)
        if once and self.group.size > 1:  # each decodes its share
            return pictures
        splits = [name for name in pictures.splits if name != "train" or self.settings.augment == "none"]
        count, most = sum(len(pictures.splits[name]) for name in splits), PIXELS if once else math.inf
        return pictures.keeping(Pixels.of(preset(self.settings, self.weights), count, self.group.size, most), *splits)

    def _inputs(self, split: Split) -> Inputs:
        """Return what gives pictures as they are prepared for the network: `split` is measured where that is wanted."""
        settings = self.settings
        inputs = Inputs(settings, preset(settings, self.weights), self.group, self._workers, self._device)
        if settings.normalization == "data":
            inputs = inputs.normalized(split)
            mean, std = inputs.preprocessing.mean, inputs.preprocessing.std
            self._say(f"measured on the training pictures: mean {mean}, standard deviation {std}")
        return inputs

    @property
    def _kept_features(self) -> Path:
        # Where SageMaker copies to S3 what is to outlive an interruption.
        return self.checkpoints / "features"

    def _identity(self, chosen: Data) -> dict[str, object]:
        """What must be the same for a checkpoint to be continued: all that changes the result."""
        free = ("workers", "debug_interval", "trace_steps", "export", "report")
        settings = {name: value for name, value in asdict(self.settings).items() if name not in free}
        content = hashlib.sha256(b"".join(name for split in chosen.splits.values() for name in split.digests))
        pictures = f"{len(chosen.train)} for training, digest {content.hexdigest()[:8]}"
        settings |= {"precision": str(precision(self.settings)), "device": self._device.type}
        settings["lr"] = hyperparameters.learning_rate(self.settings)
        return settings | {"labels": list(chosen.labels), "pictures": pictures}


def _best(progress: Progress) -> dict[str, float]:
    best = progress.history[progress.best_epoch - 1]
    return {"best_epoch": progress.best_epoch, "epochs": len(progress.history), **best}
