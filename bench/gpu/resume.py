"""An interrupted run continues and ends as one that was not: to the bit where the GPU's own sums are so."""

from collections.abc import Iterator
from typing import Any

from bench.gpu import runs
from bench.gpu.rows import Row, at_most, main
from bench.gpu.setting import Setting
from train.checkpoint import NAME
from train.stopping import Stopped

#: How many times as far from a whole run the continued one may end as the same whole run does again: sums on a GPU are
#: added up in any order, and training makes little differences large.
TIMES = 10

#: A bar is never lower than this on a GPU.
LEAST = 1e-6


def a_head(setting: Setting) -> Iterator[Row]:
    """A head, stopped between two batches."""
    yield from _resumed(setting, "head", {"train_layers": "head", "batch_size": setting.batch // 2})


def all_layers(setting: Setting) -> Iterator[Row]:
    """All layers of a network with dropout: the state of the GPU's generator has to come back."""
    yield from _resumed(
        setting, "all layers with dropout", {"train_layers": "all", "arch": "mobilenet_v3_small", "lr": 1e-4}
    )


def _resumed(setting: Setting, name: str, chosen: dict[str, Any]) -> Iterator[Row]:
    place = name.replace(" ", "-")
    counting = runs.StopAfter(1 << 30)
    runs.run(setting, f"{place}-whole", stop=counting, **chosen)()
    looks = (1 << 30) - counting.left
    again = runs.trained(setting, f"{place}-again", **chosen)
    whole = runs.Left(setting.folder(f"{place}-whole"))
    stop = looks - _after_half(setting, whole)
    stopped = False
    try:
        runs.run(setting, f"{place}-stopped", stop=runs.StopAfter(stop), **chosen)()
    except Stopped:
        stopped = (setting.folder(f"{place}-stopped") / "checkpoints" / NAME).exists()
    yield Row(f"{name}: stopped, with a checkpoint", "yes" if stopped else "no", "yes", stopped)
    left = runs.trained(setting, f"{place}-stopped", **chosen)
    twice = runs.apart(whole.weights, again.weights)
    yield Row(f"{name}: weights of the same run twice, apart as a share", f"{twice:.2g}")
    resumed = runs.apart(whole.weights, left.weights)
    yield at_most(f"{name}: weights of the continued run, apart as a share", resumed,
                  max(TIMES * twice, LEAST) if setting.gpus else 0)  # fmt: skip
    same = len(left.losses) == len(whole.losses)
    yield Row(f"{name}: epochs of both", f"{len(left.losses)}, {len(whole.losses)}", "equal", same)


def _after_half(setting: Setting, whole: runs.Left) -> int:
    """Return how often a run looks for a stop from the middle of its training on: once a batch."""
    pictures = {name: -(-count // setting.batch) for name, count in whole.metrics["pictures"].items()}
    assert whole.profile.steps
    calibration, test = pictures["validation"], pictures["test"]
    return int(calibration + test + len(whole.profile.steps.step) // 2)


CHECKS = (a_head, all_layers)

if __name__ == "__main__":
    main(CHECKS)
