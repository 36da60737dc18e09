"""Loads of GPUs, made and recorded by our profiler. Without one a program that stands in for nvidia-smi tells them."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from bench.gpu.setting import Setting
from byoc_vision.debugger import profile
from byoc_vision.debugger.profile import Profile
from train.record import utilisation

#: Share of a GPU's memory that is taken where it is used well.
FULL = 0.8

#: Samples of a scene that are judged, and those before them that are not.
SAMPLES, SKIPPED = 12, 3

#: Side of the matrices that keep a GPU busy.
_SIDE = 8192

#: Loads the GPUs until it is told that all is done (a share, from 0 to 1).
Scene = Callable[[Setting, "Drawn | None", Callable[[], float]], None]


def recorded(setting: Setting, name: str) -> Profile:
    """Let the profiler watch a scene, and return what it has written."""
    folder = setting.folder("rules") / name
    file = folder / "system.csv"

    def done() -> float:
        """Return which share of the samples is there."""
        return (len(file.read_text(encoding="utf-8").splitlines()) - 1) / (SAMPLES + SKIPPED) if file.exists() else 0

    for gpu in range(setting.gpus):  # what starts with a GPU's first product is no part of the scene
        factor = torch.ones(_SIDE, _SIDE, dtype=torch.float16, device=f"cuda:{gpu}")
        (factor @ factor).sum().item()
        del factor
    with _drawn(setting) as drawn, _sampled(setting.samples):
        names = [torch.cuda.get_device_name(gpu) for gpu in range(setting.gpus)] or ["drawn", "drawn"]
        with utilisation.Profiler(folder, names, False):
            SCENES[name](setting, drawn, done)
    lines = file.read_text(encoding="utf-8").splitlines()
    # The first samples are of before: nvidia-smi starts, and looks at the time behind it.
    file.write_text("\n".join([lines[0], *lines[1 + SKIPPED :]]) + "\n", encoding="utf-8")
    return profile.read(folder)


class Drawn:
    """What stands in for nvidia-smi says the loads that were `set` last."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "loads"
        self.set((0, 0), (0, 0))
        program = folder / "nvidia-smi"
        program.write_text(f"#!/bin/sh\nwhile cat '{self._file}'; do sleep 0.05; done\n", encoding="ascii")
        program.chmod(0o755)

    def set(self, *loads: tuple[float, float]) -> None:
        """Say these loads and memories, in per cent, of the GPUs."""
        new = self._file.with_suffix(".new")
        new.write_text("".join(f"{gpu}, {load}, {used}, 100\n" for gpu, (load, used) in enumerate(loads)))
        new.replace(self._file)


@contextmanager
def _drawn(setting: Setting) -> Iterator[Drawn | None]:
    if setting.gpus:
        yield None
        return
    folder, before = setting.folder("drawn"), os.environ["PATH"]
    drawn = Drawn(folder)
    os.environ["PATH"] = f"{folder}:{before}"
    try:
        yield drawn
    finally:
        os.environ["PATH"] = before


@contextmanager
def _sampled(seconds: float) -> Iterator[None]:
    before, utilisation.INTERVAL = utilisation.INTERVAL, seconds
    try:
        yield
    finally:
        utilisation.INTERVAL = before


def _busy(setting: Setting, drawn: Drawn | None, done: Callable[[], float]) -> None:
    if drawn:
        drawn.set((100, 100 * FULL), (100, 100 * FULL))
        _spin(done)
    else:
        _compute(range(setting.gpus), done)


def _uneven(setting: Setting, drawn: Drawn | None, done: Callable[[], float]) -> None:
    if drawn:
        drawn.set((100, 100 * FULL), (0, 0))
        _spin(done)
    else:
        _compute([0], done)


def _idle(setting: Setting, drawn: Drawn | None, done: Callable[[], float]) -> None:
    _spin(done)


def _growing(setting: Setting, drawn: Drawn | None, done: Callable[[], float]) -> None:
    kept: list[torch.Tensor] = []
    total = torch.cuda.get_device_properties(0).total_memory if setting.gpus else 0
    while (share := done()) < 1:
        if drawn:
            drawn.set((50, 100 * FULL * share), (50, 0))
        elif len(kept) < 100 * FULL * share:
            kept.append(torch.empty(total // 100, dtype=torch.uint8, device="cuda"))
        time.sleep(setting.samples / 4)
    if setting.gpus:
        del kept
        torch.cuda.empty_cache()


def _compute(gpus: Sequence[int], done: Callable[[], float]) -> None:
    """Keep these GPUs busy, and their memory full."""
    kept, factors = [], []
    for gpu in gpus:
        free, total = torch.cuda.mem_get_info(gpu)
        factors.append(torch.randn(_SIDE, _SIDE, dtype=torch.float16, device=f"cuda:{gpu}") / _SIDE)
        kept.append(torch.empty(int(min(free - 4 * 2**30, FULL * total)), dtype=torch.uint8, device=f"cuda:{gpu}"))
    while done() < 1:
        for _ in range(32):
            for factor in factors:
                factor @ factor
        for gpu in gpus:
            torch.cuda.synchronize(gpu)
    del kept, factors
    torch.cuda.empty_cache()


def _spin(done: Callable[[], float]) -> None:
    """Keep one core busy."""
    while done() < 1:
        sum(range(100_000))


#: The scenes by name; the last takes two GPUs.
SCENES: dict[str, Scene] = {"busy": _busy, "idle": _idle, "growing": _growing, "uneven": _uneven}
