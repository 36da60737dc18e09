"""Several processes train together: one a GPU over nccl, which is also tried alone; without a GPU two over gloo."""

import json
import os
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from bench.gpu import runs
from bench.gpu.rows import Row, at_least, at_most, main, needs_gpu
from bench.gpu.setting import Setting
from byoc_vision.contract import job as contract
from byoc_vision.contract.hyperparameters import as_text
from train import distributed, job
from train.distributed import join
from train.stopping import StopSignal

#: How far the first epoch's loss of several may be from that of one, as a share: batch normalisation sees a part only.
TOLERANCE = 0.2


def nccl_alone(setting: Setting) -> Iterator[Row]:
    """A group of one: nccl starts, a backward pass goes through it, and objects go over gloo beside it."""
    if not setting.gpus:
        yield needs_gpu("nccl, one process")
        return
    dist.init_process_group("cpu:gloo,cuda:nccl", f"tcp://127.0.0.1:{_port()}", world_size=1, rank=0)
    try:
        network = nn.Conv2d(3, 8, 3).cuda().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        replica = DistributedDataParallel(network)
        replica(torch.ones(2, 3, 8, 8, device="cuda")).sum().backward()
        total, on_cpu, held = torch.ones(3, device="cuda"), torch.ones(3), [None]
        dist.all_reduce(total)
        dist.all_reduce(on_cpu)
        dist.all_gather_object(held, {"rank": 0})
        right = bool((total == 1).all() and (on_cpu == 1).all()) and held == [{"rank": 0}]
        version = ".".join(map(str, torch.cuda.nccl.version()))  # type: ignore[no-untyped-call]
        yield Row("nccl, one process: backward pass, sums on GPU and CPU, objects", f"nccl {version}", "right", right)
    finally:
        dist.destroy_process_group()


def as_many_as_gpus(setting: Setting) -> Iterator[Row]:
    """All layers learn together: the same losses as one process has, and more pictures a second."""
    size = setting.gpus or 2
    backend = "nccl" if setting.gpus else "gloo"
    if size == 1:
        yield needs_gpu("several processes over nccl", 2)
        return
    chosen: dict[str, Any] = {"train_layers": "all", "lr": 1e-4}
    alone = runs.trained(setting, "replicas-alone", **chosen)
    begun = time.monotonic()
    problems = _together(setting, size, chosen)
    seconds = time.monotonic() - begun
    yield Row(f"{size} processes over {backend}", "; ".join(problems) or f"ended in {seconds:.0f} s", "all end",
              not problems)  # fmt: skip
    if problems:
        return
    together = runs.Left(setting.folder("replicas"))
    first, other = together.losses[0], alone.losses[0]
    yield at_most(f"{size} processes: first epoch's loss beside one's, as a share", abs(first - other) / other,
                  TOLERANCE)  # fmt: skip
    yield at_least(f"{size} processes: the loss falls, first over last", first / together.losses[-1], 1)


def a_job(setting: Setting) -> Iterator[Row]:
    """A job as SageMaker starts it, on all GPUs of this host: its model, its figures, and its report."""
    root = setting.folder("job")
    config = root / "input" / "config"
    (root / "input" / "data").mkdir(parents=True)
    (root / "input" / "data" / "training").symlink_to(setting.data)
    config.mkdir()
    (root / "input" / "data" / "weights").mkdir()
    (root / "input" / "data" / "weights" / "random.pth").symlink_to(runs.weights(setting, setting.small))
    wanted = as_text(replace(runs.settings(setting, train_layers="all", lr=1e-4), report=True))
    (config / "hyperparameters.json").write_text(json.dumps(wanted))
    (config / "inputdataconfig.json").write_text(json.dumps({"training": {}, "weights": {}}))
    process = get_context("spawn").Process(target=_job, args=(root,))
    process.start()
    process.join(setting.patience)
    if process.is_alive():
        process.kill()
    there = [name for name in ("model/model.safetensors", f"output/data/{contract.METRICS}",
                               f"output/data/{contract.REPORT}") if (root / name).exists()]  # fmt: skip
    yield Row("a job as on SageMaker", f"exit status {process.exitcode}, {len(there)} of 3 files", "0, 3 of 3",
              process.exitcode == 0 and len(there) == 3)  # fmt: skip
    run = json.loads((root / "output" / "data" / contract.PROFILE / contract.RUN).read_text())
    yield Row("its profile knows the GPUs", ", ".join(run["gpus"]) or "none", f"{setting.gpus} of them",
              len(run["gpus"]) == setting.gpus)  # fmt: skip
    yield Row("its precision, unasked: all layers", str(run.get("precision")))


def _job(root: Path) -> None:
    os.dup2(2, 1)
    job.run(root, StopSignal())


def _together(setting: Setting, size: int, chosen: dict[str, Any]) -> list[str]:
    context, port = get_context("spawn"), _port()
    failures = context.SimpleQueue()
    arguments = (setting.as_text(), size, port, chosen, failures)
    processes = [context.Process(target=_replica, args=(rank, *arguments)) for rank in range(size)]
    for process in processes:
        process.start()
    deadline = time.monotonic() + setting.patience
    for process in processes:
        process.join(max(0.1, deadline - time.monotonic()))
    problems = [f"process {rank} did not end" for rank, process in enumerate(processes) if process.is_alive()]
    for process in processes:
        process.kill()
    while not failures.empty():
        problems.append(failures.get())
    return problems


def _replica(rank: int, text: str, size: int, port: int, chosen: dict[str, Any], failures: object) -> None:
    os.dup2(2, 1)  # what a run prints is none of the rows
    setting = Setting.from_text(text)
    distributed.PORT = port
    if setting.gpus:
        torch.cuda.set_device(rank)
    else:
        torch.set_num_threads(1)
    try:
        group = join("127.0.0.1", rank, size)
        try:
            replace(runs.run(setting, "replicas", **chosen), group=group)()
        finally:
            group.leave()
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        failures.put(f"process {rank}: {type(error).__name__}: {error}"[:200])  # type: ignore[attr-defined]


def _port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


CHECKS = (nccl_alone, as_many_as_gpus, a_job)

if __name__ == "__main__":
    main(CHECKS)
