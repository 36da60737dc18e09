"""The comparison about accuracy: what each ingredient of the recipe in launch/examples/accurate.yaml gives."""

import json
from statistics import mean, stdev
from typing import Any

from bench.machine import ROOT
from bench.results import Result, Side, at_least, at_most
from bench.subject import ARCH, Subject
from byoc_vision.contract.hyperparameters import checked
from byoc_vision.requests.request_file import read_yaml

RECIPE = ROOT / "launch" / "examples" / "accurate.yaml"

_HEAD, _ALL = "a head, the default", "all of the recipe"


_LAYERS, _VIEWS, _LENGTH = ("train-layers", "blocks"), ("augment", "views"), ("epochs", "batch-size")

#: Which of the recipe's settings are used; the others have their defaults.
_STEPS: dict[str, tuple[str, ...]] = {
    _HEAD: (),
    "a head, on views": _VIEWS,
    "the last block": ("train-layers", *_LENGTH),
    "the last blocks": (*_LAYERS, *_LENGTH),
    "the last blocks, on views": (*_LAYERS, *_VIEWS, *_LENGTH),
    "the last blocks, with mixup": (*_LAYERS, "mixup", *_LENGTH),
    _ALL: (*_LAYERS, *_VIEWS, "mixup", *_LENGTH),
}


def recipe(subject: Subject) -> Result:
    """Test accuracies with seeds 0, 1, …: one a repetition. Which settings are in it was chosen on validation."""
    settings = checked(read_yaml(RECIPE))
    runs_of: dict[str, list[dict[str, Any]]] = {}
    for name, used in _STEPS.items():
        subject.say(name)
        options = [f"--{setting}={settings[setting]}" for setting in used]
        runs_of[name] = [_figures(subject, options, seed) for seed in range(subject.repetitions)]
    means = {name: mean(run["test_accuracy"] for run in runs) for name, runs in runs_of.items()}
    sides = [
        Side(name, "ours", [run["test_accuracy"] for run in runs], _details(runs)) for name, runs in runs_of.items()
    ]
    return Result(
        title="Accuracy",
        text=f"What each ingredient of `launch/examples/accurate.yaml` gives with {ARCH}: the test accuracy with "
        f"{subject.repetitions} seeds. The split of the data is the same.",
        unit="test accuracy",
        sides=sides,
        verdicts=[
            at_least("mean test accuracy, points above the default's", 100 * (means[_ALL] - means[_HEAD]), 5, "{:.1f}"),
            at_most("seconds of a run", max(run["seconds"] for run in runs_of[_ALL]), 1200, "{:.0f}"),
        ],
    )


def _figures(subject: Subject, options: list[str], seed: int) -> dict[str, Any]:
    out = subject.folder()
    common = ["--data", subject.data, "--weights", subject.weights, "--arch", ARCH, "--out", out, "--seed", seed]
    subject.training.run("train", *common, "--export", "false", *options)
    figures: dict[str, Any] = json.loads((out / "output" / "metrics.json").read_text(encoding="utf-8"))
    return figures


def _details(runs: list[dict[str, Any]]) -> dict[str, str]:
    tests = [run["test_accuracy"] for run in runs]
    return {
        "mean": f"{mean(tests):.4f}" + (f" ± {stdev(tests):.4f}" if len(tests) > 1 else ""),
        "validation accuracy": f"{mean(run['validation_accuracy'] for run in runs):.4f}",
        "seconds": f"{mean(run['seconds'] for run in runs):.0f}",
    }
