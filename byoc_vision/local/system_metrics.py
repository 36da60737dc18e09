"""How a job used its machine, in the files that SageMaker's Profiler leaves in S3, which smdebug and notebooks read.

PROFILER_OUTPUT/system/incremental/2026112709/1795772220.algo-1.json    the minute's loads, one as JSON in each line
"""

import csv
import json
import math
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

#: Prefix of a column of `byoc_vision.contract.job.SYSTEM` -> what the Profiler calls it: Type, Name and Dimension.
_KINDS = {
    "cpu_": ("cpu", "cpu{}", "CPUUtilization"),
    "gpu_memory_": ("gpu", "gpu{}", "GPUMemoryUtilization"),
    "gpu_": ("gpu", "gpu{}", "GPUUtilization"),
    "memory": ("memory", "MemoryUsedPercent", "Memory"),
    "iowait": ("i/o", "IOWaitPercent", "I/O"),
}


def write(table: Path, profiler_output: Path) -> None:
    """Write the loads (per cent) in the job's `table` below the folder; without a table, or with a broken one, less."""
    minutes = defaultdict(list)
    if table.is_file():
        with table.open(newline="", encoding="utf-8", errors="replace") as lines:
            for row in csv.DictReader(lines):
                loads = {column: load for column, value in row.items() if (load := _number(value)) is not None}
                time = loads.pop("time", 0.0)
                for column, load in loads.items():
                    if time and (kind := _kind(column)):
                        minutes[int(time // 60) * 60].append(
                            json.dumps(kind | {"Value": load, "NodeId": "algo-1", "Timestamp": time})
                        )
    for minute, events in minutes.items():
        hour = f"{datetime.fromtimestamp(minute, UTC):%Y%m%d%H}"
        file = profiler_output / "system" / "incremental" / hour / f"{minute}.algo-1.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join([*events, ""]), encoding="utf-8")


def _kind(column: str | None) -> dict[str, str] | None:
    for prefix, (kind, name, dimension) in _KINDS.items():
        if column and column.startswith(prefix):
            return {"Type": kind, "Name": name.format(column.removeprefix(prefix)), "Dimension": dimension}
    return None


def _number(value: object) -> float | None:
    try:
        number = float(value) if isinstance(value, str) else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None
