"""How a run uses the machine: what it runs on and since when, and the utilisation of every part, twice a second."""

import json
import math
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil

from byoc_vision.contract.job import RUN, SYSTEM
from train.record.smdebug_files import writing

#: Seconds between two samples, as SageMaker's profiler takes them.
INTERVAL = 0.5

#: What Linux knows of this process.
_SELF = Path("/proc/self/stat")


def gpu_names() -> list[str]:
    """Return the names of this machine's GPUs, in their order, without the seconds that importing torch takes."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):  # a machine without that program, or without GPUs
        return []


def began() -> float:
    """Return when this process began, in unix seconds.

    psutil adds to the time of the boot, which Linux tells in whole seconds: as much as a short job's evaluation takes.
    """
    try:
        fields = _SELF.read_bytes().rpartition(b")")[2].split()
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):  # macOS
        return float(psutil.Process().create_time())
    return time.time() - age


class Profiler:
    """Writes `run.json` and, until it is left, `system.csv` into `folder`; times are unix seconds, loads per cent.

    `gpus` are the names of the GPUs in use; without any the run is on the CPU. A run that `resumes` adds to what it
    wrote before it was interrupted.
    """

    def __init__(self, folder: Path, gpus: Sequence[str], resumes: bool) -> None:
        self.folder, self.device = folder, "cuda" if gpus else "cpu"
        if not resumes:
            shutil.rmtree(folder, ignore_errors=True)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._facts: dict[str, object] = {}
        self._phases: list[tuple[str, float]] = []
        self.note(
            started=began(),
            cores=psutil.cpu_count(),
            device=self.device,
            gpus=list(gpus),
        )
        self._gpus = _Gpus(len(gpus))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._gpus.close()

    def note(self, **facts: object) -> None:
        """Add to `run.json`."""
        self._facts |= facts
        file = self.folder / RUN
        with writing(file):
            file.write_text(json.dumps(self._facts))

    def phase(self, name: str) -> None:
        """A part of the run begins now, and the one before it ends."""
        self._phases.append((name, time.time()))
        self.note(phases=self._phases)

    def _sample(self) -> None:
        with suppress(OSError):  # Others write to the same disk and say what is wrong with it.
            self._write_samples(self.folder / SYSTEM)

    def _write_samples(self, file: Path) -> None:
        headed = file.exists()
        psutil.cpu_percent(percpu=True)  # What these return is always since the call before.
        psutil.cpu_times_percent()
        with file.open("a", buffering=1) as lines:
            while not self._over.wait(INTERVAL):
                sample = self._utilisation()
                if not headed:
                    lines.write(",".join(sample) + "\n")
                    headed = True
                lines.write(",".join(f"{value:.3f}" for value in sample.values()) + "\n")

    def _utilisation(self) -> dict[str, float]:
        sample = {"time": time.time()}
        sample |= {f"cpu_{core}": share for core, share in enumerate(psutil.cpu_percent(percpu=True))}
        sample["iowait"] = getattr(psutil.cpu_times_percent(), "iowait", 0.0)  # Linux alone counts it.
        sample["memory"] = psutil.virtual_memory().percent
        for gpu, (load, memory) in enumerate(self._gpus.latest):
            sample |= {f"gpu_{gpu}": load, f"gpu_memory_{gpu}": memory}
        return sample


class _Gpus:
    """Each GPU's load and memory in per cent: `latest` is what nvidia-smi said last, NaN before it said anything."""

    def __init__(self, count: int) -> None:
        self._process: subprocess.Popen[str] | None = None
        self.latest = [(math.nan, math.nan)] * count
        if not self.latest:
            return
        query = "--query-gpu=index,utilization.gpu,memory.used,memory.total"
        command = ["nvidia-smi", query, "--format=csv,noheader,nounits", f"--loop-ms={int(INTERVAL * 1000)}"]
        try:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        except OSError:  # a host without that program
            return
        threading.Thread(target=self._follow, daemon=True).start()

    def close(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def _follow(self) -> None:
        assert self._process and self._process.stdout
        for line in self._process.stdout:
            try:
                gpu, load, used, total = map(float, line.split(","))
                self.latest[int(gpu)] = (load, 100 * used / total)
            except (ValueError, IndexError):  # "[N/A]" of what a GPU does not tell, an error in words, or hidden GPUs
                continue
