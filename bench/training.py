"""The comparisons about training."""

import json
import os
import re
import shutil
import time
from pathlib import Path
from statistics import mean, median
from typing import Any

from bench import pictures
from bench.machine import gpu
from bench.places import Here, Image, figures
from bench.results import Line, Result, Side, alternate, at_least, at_most
from bench.subject import ARCH, Subject

EPOCHS = 8
TRIALS = 20

#: Pictures whose features are computed while memory is watched.
PICTURES = 100_000

_BASELINE = "bench.baseline.training"
_NAME = "python -m train"
_READY = "limit: the same loop on ready tensors"


def head(subject: Subject) -> Result:
    """Eight epochs of a new head on a frozen backbone, from JPEGs to the saved artifact."""
    baseline = _once(subject)
    exported = f"{_NAME}, and graphs for CPUs"
    runs = alternate(
        {_NAME: lambda: _train(subject, "train", "--export", "false"), exported: lambda: _train(subject, "train")},
        subject.repetitions,
        subject.say,
    )
    subject.say("decoding alone, the network alone")
    alone = figures(subject.training.run("bench.inside.limits", ARCH, subject.data))
    count = len(pictures.files(subject.data))
    ours = Side(_NAME, "ours", [run["seconds"] for run in runs[_NAME]], _accuracy(runs[_NAME]))
    accuracy = median(run["test_accuracy"] for run in runs[_NAME])
    graphs = [run["seconds"] for run in runs[exported]]
    return Result(
        title="Training a head",
        text=f"{EPOCHS} epochs of a new head on a frozen {ARCH}, {count:,} JPEGs, from the first decoded picture to "
        "the saved artifact, test pass included.",
        unit="s",
        sides=[
            Side("today's script", "baseline", [baseline["seconds"]], _accuracy([baseline])),
            ours,
            Side(exported, "ours", graphs, _accuracy(runs[exported])),
            Side("one plain pass over the pictures", "limit", [count / alone["decoding"] + count / alone["network"]]),
        ],
        verdicts=[
            at_least("times as fast as the baseline", baseline["seconds"] / ours.median, 60, "{:.1f}"),
            at_least("with graphs for CPUs", baseline["seconds"] / median(graphs), 60, "{:.1f}"),
            at_least("test accuracy, against the baseline's", accuracy, round(baseline["test_accuracy"], 4), "{:.4f}"),
        ],
        notes=[
            f"A plain pass decodes all pictures, a process a core ({alone['decoding']:.0f}/s), then runs the network "
            f"on ready tensors in batches of 64 ({alone['network']:.0f}/s). It bounds nothing: smaller batches, a "
            "process a core, are faster.",
            "The baseline's artifact is its weights; so is ours with `export false`. By default a job adds graphs for "
            "CPUs to it, in float32 and quantised.",
            "The baseline is so long that it is measured once.",
        ],
    )


def tuning(subject: Subject) -> Result:
    """Twenty trials of a tuning job that trains heads."""
    baseline = TRIALS * _once(subject)["seconds"]
    common = [*_common(subject), "--epochs", EPOCHS]

    def in_one_process() -> float:
        arguments = [*common, "--export", "false", "--out", subject.folder()]
        printed = subject.training.run("bench.inside.tuning", TRIALS, *arguments)
        seconds: float = figures(printed)["seconds"]
        return seconds

    seconds_of = alternate({"one process": in_one_process}, subject.repetitions, subject.say)
    if isinstance(subject.training, Image):
        subject.say("launch.tune --local, once")
        seconds_of["launch.tune --local"] = [_tune(subject)]
    return Result(
        title="Tuning",
        text=f"{TRIALS} trials of {EPOCHS} epochs of a new head on a frozen {ARCH}, with other learning rates; ours "
        "computes the features once: in one process with all trials, or as a tuning job with a container for each.",
        unit="s",
        sides=[
            Side(f"today's script, {TRIALS} × one", "baseline", [baseline]),
            *(Side(name, "ours", seconds) for name, seconds in seconds_of.items()),
        ],
        verdicts=[
            at_least(f"{name}, times as fast as the baseline", baseline / median(seconds), 150, "{:.0f}")
            for name, seconds in seconds_of.items()
        ],
    )


def _tune(subject: Subject) -> float:
    """Return the seconds of a tuning job on the local engine, the extraction of the features included."""
    space = subject.scratch / "space.yaml"
    space.write_text(
        f"strategy: Random\nmax-jobs: {TRIALS}\nparallel-jobs: {os.cpu_count()}\n"
        "hyperparameters: {lr: {min: 0.0001, max: 0.1, scale: log}}\n",
        encoding="utf-8",
    )
    options = ["--local", "--data", subject.data, "--data", f"weights={subject.weights}"]
    options += ["--set", f"arch={ARCH}", "--set", f"epochs={EPOCHS}"]
    begun = time.monotonic()
    Here().run("launch.tune", space, *options, BYOC_LOCAL=str(subject.folder()))
    return time.monotonic() - begun


def all_layers(subject: Subject) -> Result:
    """All layers of MobileNetV2."""
    return _all_layers(subject, ARCH, subject.weights, train=192)


def all_layers_resnet50(subject: Subject) -> Result:
    """All layers of ResNet-50; on a GPU in bf16."""
    weights = random_weights(subject, "resnet50")
    return _all_layers(subject, "resnet50", weights, train=12_800 if gpu() else 96)


def _all_layers(subject: Subject, arch: str, weights: Path, train: int) -> Result:
    subject.say(f"{train} training pictures")
    data = pictures.sized(subject.data, subject.folder(), train, others=32)
    batch, epochs = (128, 4) if gpu() else (16, 3)
    common = ["--data", data, "--weights", weights, "--arch", arch, "--train-layers", "all"]
    common += ["--batch-size", batch, "--epochs", epochs]

    def rate(module: str, *more: object) -> float:
        printed = subject.training.run(module, *common, "--out", subject.folder(), *more)
        return train / median(_epoch_seconds(printed))

    # So short a training would consist of what is recorded at the beginning of every one.
    options = ("--export", "false", "--debug-interval", 0)
    names = {"today's script": "baseline", _NAME: "ours", _READY: "limit"}
    rates = alternate(
        {
            "today's script": lambda: rate(_BASELINE),
            _NAME: lambda: rate("train", *options),
            _READY: lambda: rate("bench.inside.ready", *options),
        },
        subject.repetitions,
        subject.say,
    )
    sides = [Side(name, names[name], values) for name, values in rates.items()]  # type: ignore[arg-type]
    baseline, ours, limit = (side.median for side in sides)
    return Result(
        title=f"Training all layers of {arch}" + (f" on one {gpu()}" if gpu() else ""),
        text=f"{train:,} JPEGs an epoch, batches of {batch}; the median of {epochs} epochs but the first. "
        "Ours and the limit in a job's own precision (bfloat16 where hardware has it), the baseline in float32. "
        "Nothing is recorded for the debugger, whose cost is a comparison of its own.",
        unit="pictures/s",
        sides=sides,
        verdicts=[
            at_least("times the baseline's pictures/s", ours / baseline, 1.5),
            at_least("share of the limit", ours / limit, 0.95, "{:.3f}"),
        ],
    )


def debugger(subject: Subject) -> Result:
    """What the debugger's recording and the profile cost at their defaults."""
    kept = subject.folder()  # the features are computed once
    common = [*_common(subject), "--patience", 0, "--export", "false", "--batch-size", 32]
    head = [*common, "--epochs", 60]
    # Small pictures, so that enough steps fit in: the recording weighs more beside their short steps.
    every = [*common, "--epochs", 10, "--train-layers", "all", "--image-size", 64]
    off = ["--debug-interval", 0]
    count = -(-len(pictures.files(subject.data / "train")) // 32)

    def steps(arguments: list[object], out: Path | None = None) -> float:
        printed = subject.training.run("train", *arguments, "--out", out or subject.folder())
        return 1000 * mean(_epoch_seconds(printed)) / count

    seconds_of = alternate(
        {
            "frozen head, recorded": lambda: steps(head, kept),
            "frozen head, not recorded": lambda: steps([*head, *off], kept),
            "all layers, recorded": lambda: steps(every),
            "all layers, not recorded": lambda: steps([*every, *off]),
        },
        subject.repetitions,
        subject.say,
    )
    medians = {name: median(values) for name, values in seconds_of.items()}
    longer = {
        what: 100 * (medians[f"{what}, recorded"] / medians[f"{what}, not recorded"] - 1)
        for what in ("frozen head", "all layers")
    }
    return Result(
        title="The debugger's cost",
        text=f"Time of a step of {ARCH} with what every job records for the debugger and the profile, and without "
        "(`debug-interval 0`): the mean step, recorded ones among them, of all epochs but the first; batches of 32. "
        "All layers are trained on pictures of 64 pixels.",
        unit="ms",
        sides=[Side(name, "baseline" if "not" in name else "ours", values) for name, values in seconds_of.items()],
        verdicts=[at_most(f"{what}, % longer", percent, 5, "{:.1f}") for what, percent in longer.items()],
    )


def memory(subject: Subject) -> Result:
    """The memory of computing the features of a hundred thousand pictures."""
    subject.say(f"writing {PICTURES:,} pictures, no two alike")
    data = pictures.distinct(subject.data, subject.folder(), PICTURES)
    arguments = ["--data", data, "--weights", subject.weights, "--arch", ARCH, "--image-size", 32]
    out = subject.folder()
    subject.say("computing their features")
    printed = subject.training.run("bench.inside.memory", "train", *arguments, "--extract-only", "true", "--out", out)
    samples = figures(printed)
    shutil.rmtree(data)
    seconds = samples[-1][0]
    largest = [(at, size) for at, size, _ in samples]
    early = [size for at, size in largest if seconds * 0.2 < at < seconds * 0.3]
    late = [size for at, size in largest if at > seconds * 0.9]
    most = max(size for _, size in largest)
    return Result(
        title="Memory of feature extraction",
        text=f"Computing the features of {PICTURES:,} pictures of different bytes with {ARCH} at 32 pixels: the "
        "resident memory of the largest process, mapped files included, twice a second.",
        unit="MB",
        sides=[Side("the largest process, at most", "ours", [most], {"seconds in all": f"{seconds:.0f}"})],
        verdicts=[
            at_most("the largest process, MB", most, 1500, "{:.0f}"),
            at_most("its last tenth, against the third one", median(late) / median(early), 1.05, "{:.3f}"),
        ],
        lines=[Line("the largest process", "ours", largest)],
        axes=("seconds", "MB"),
    )


def random_weights(subject: Subject, arch: str) -> Path:
    """Return a file of random weights of `arch`, made once."""
    file = subject.scratch / f"{arch}-random.pth"
    if not file.exists():
        subject.say(f"random weights of {arch}")
        subject.training.run("bench.inside.random_weights", arch, subject.data / "train", file)
    return file


def _train(subject: Subject, module: str, *more: object) -> dict[str, Any]:
    out = subject.folder()
    subject.training.run(module, *_common(subject), "--epochs", EPOCHS, "--out", out, *more)
    return _read(out / "metrics.json" if module == _BASELINE else out / "output" / "metrics.json")


def _common(subject: Subject) -> list[object]:
    return ["--data", subject.data, "--weights", subject.weights, "--arch", ARCH]


def _epoch_seconds(printed: str) -> list[float]:
    """Return the training seconds of each epoch but the first, which starts processes and fills caches."""
    return [float(seconds) for seconds in re.findall(r"^epoch=\d+ train.* seconds=(\S+)", printed, re.MULTILINE)][1:]


def _once(subject: Subject) -> dict[str, Any]:
    """Return the figures of the baseline's training of a head, which is run once and serves two comparisons."""
    file = subject.scratch / "baseline.json"
    if not file.exists():
        subject.say("today's script, once (minutes)")
        file.write_text(json.dumps(_train(subject, _BASELINE)), encoding="utf-8")
    return _read(file)


def _read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def _accuracy(runs: list[dict[str, Any]]) -> dict[str, str]:
    return {"test accuracy": f"{median(run['test_accuracy'] for run in runs):.4f}"}
