"""How fast training is beside the same loop on ready tensors, and what our own profile says of the GPU meanwhile."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from bench.gpu import runs
from bench.gpu.rows import Row, at_least, at_most, main, needs_gpu
from bench.gpu.setting import Setting
from bench.inside import limits
from bench.inside.ready import Ready
from bench.pictures import sized
from byoc_vision.debugger.profile import Profile
from train import inputs

#: What training is to reach of the loop on ready tensors, and the load of the GPU in the middle of it (per cent).
BAR, LOAD = 0.95, 95.0


def decoding_ahead(setting: Setting) -> Iterator[Row]:
    """All layers of the larger network, on pictures and on ready tensors, in turns."""
    cores = len(os.sched_getaffinity(0))
    alone = limits.main(setting.arch, setting.data) if setting.gpus else {"decoding": 0.0, "network": 0.0}
    # An epoch of about 6 seconds: training is three times an answer's work.
    many = min(setting.many, max(8 * setting.batch, int(2 * alone["network"])))
    data = sized(setting.data, setting.folder("many"), train=many, others=setting.batch)
    yield Row("decoding alone, pictures/s", f"{alone['decoding']:.0f} on {cores} cores")
    yield Row(f"{setting.arch} alone, float32, pictures/s", f"{alone['network']:.0f}")
    rates: dict[str, float] = {}
    epochs = 1 + setting.timed  # in the first libraries choose and processes start
    pictures = inputs.PictureBatches  # type: ignore[attr-defined]
    for kind in ("float32", "bfloat16"):
        for name, batches in (("", pictures), (" on ready tensors", Ready)):
            inputs.PictureBatches = batches  # type: ignore[attr-defined]
            try:
                place = f"speed-{kind}-{len(name)}"
                left = runs.trained(setting, place, data=data, arch=setting.arch, train_layers="all", lr=1e-4,
                                    precision=kind, epochs=epochs, calibrate=False)  # fmt: skip
            finally:
                inputs.PictureBatches = pictures  # type: ignore[attr-defined]
            rates[name] = _rate(left.profile, setting)
            yield Row(f"all layers of {setting.arch}, {kind}{name}, pictures/s", f"{rates[name]:.0f}")
            if not name:
                yield from _profile(left.profile, setting, kind)
        ratio = rates[""] / rates[" on ready tensors"]
        what = f"all layers, {kind}: share of the loop on ready tensors"
        # Decoding is what it is: where the cores decode less than the GPU takes, no reading ahead helps.
        possible = setting.gpus and alone["decoding"] > rates[" on ready tensors"]
        yield at_least(what, ratio, BAR) if possible else Row(what, f"{ratio:.2f}; decoding is the limit")
    if setting.gpus:
        most = torch.cuda.max_memory_allocated() / 2**30
        yield Row("most memory that torch has taken, GiB", f"{most:.1f}")


def features(setting: Setting) -> Iterator[Row]:
    """A head of the larger network: its features, decoding included."""
    data = setting.folder("many")
    left = runs.trained(setting, "speed-features", data=Path(data), arch=setting.arch, train_layers="head", epochs=1)
    work = left.profile.run["extraction"]
    spent = work["decoding"] + work["network"]
    yield Row(f"features of {setting.arch}, decoding included, pictures/s",
              f"{work['pictures'] / spent:.0f}, {100 * work['decoding'] / spent:.0f} % of it waiting for pictures"
              if spent else "all were kept")  # fmt: skip


def _rate(profile: Profile, setting: Setting) -> float:
    """Return the pictures a second of the training steps but those of the first epoch."""
    steps = profile.steps
    assert steps
    chosen = np.flatnonzero(steps.mode == "train")
    chosen = chosen[len(chosen) // (1 + setting.timed) :]
    return float(setting.batch * len(chosen) / steps.duration[chosen].sum())


def _profile(profile: Profile, setting: Setting, kind: str) -> Iterator[Row]:
    """What system.csv and steps.csv say of the run."""
    system, steps = profile.system, profile.steps
    assert steps
    train = steps.mode == "train"
    yield Row(f"all layers, {kind}: steps that were timed", str(int(train.sum())), "some", bool(train.any()))
    waits = float(steps.parts["data"][train].sum() / steps.duration[train].sum())
    yield Row(f"all layers, {kind}: share of the steps that waits for data", f"{waits:.3f}")
    if not setting.gpus:
        yield needs_gpu(f"all layers, {kind}: load of the GPU in our profile")
        return
    yield Row("utilisation was recorded", "yes" if system else "no", "yes", system is not None)
    if system is None:
        return
    begin, end = steps.begin[train].min(), steps.begin[train].max()
    during = (system.time >= begin) & (system.time <= end)
    load, memory = system.gpu[during, 0], system.gpu_memory[during, 0]
    known = np.isfinite(load)
    yield at_least(f"{kind}: samples of the GPU's load, as a share of all {len(load)}", float(known.mean()), 0.9)
    changes = len(np.unique(load[known]))
    spread = ", ".join(f"{value:.0f}" for value in np.percentile(load[known], [5, 50, 95]))
    yield Row(f"{kind}: load of the GPU in %: p5, p50, p95; different values", f"{spread}; {changes}")
    yield at_least(f"{kind}: load of the GPU, p50, %", float(np.median(load[known])), LOAD, "{:.0f}")
    taken = 100 * torch.cuda.max_memory_reserved() / torch.cuda.get_device_properties(0).total_memory
    yield at_least(f"{kind}: GPU memory in our profile, beside torch's {taken:.1f} %", float(np.nanmax(memory)),
                   0.9 * taken, "{:.1f}")  # fmt: skip
    backwards = float((-np.diff(steps.begin[train])).max(initial=0.0))
    yield at_most(f"{kind}: steps on the GPU's clock, seconds that one begins before the one before it",
                  backwards, 0.001)  # fmt: skip


CHECKS = (decoding_ahead, features)

if __name__ == "__main__":
    main(CHECKS)
