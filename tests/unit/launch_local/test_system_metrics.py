"""The Profiler's files of a job of this machine."""

import json
from pathlib import Path

from byoc_vision.local import system_metrics

TABLE = """\
time,cpu_0,cpu_1,iowait,memory,gpu_0,gpu_memory_0
1795772219.5,90.0,80.0,1.0,21.8,50.0,40.0
1795772220.0,91.0,broken,1.0,nan
inf,91.0
none
"""


def test_each_minute_has_a_file_with_a_line_for_each_load(tmp_path: Path) -> None:
    table, output = tmp_path / "system.csv", tmp_path / "profiler-output"
    table.write_text(TABLE)
    system_metrics.write(table, output)
    files = sorted(file for file in output.rglob("*") if file.is_file())
    assert [str(file.relative_to(output)) for file in files] == [
        "system/incremental/2026112709/1795772160.algo-1.json",
        "system/incremental/2026112709/1795772220.algo-1.json",
    ]
    first, second = ([json.loads(line) for line in file.read_text().splitlines()] for file in files)
    assert first[0] == {
        "Type": "cpu",
        "Name": "cpu0",
        "Dimension": "CPUUtilization",
        "Value": 90.0,
        "NodeId": "algo-1",
        "Timestamp": 1795772219.5,
    }
    kinds = [(event["Type"], event["Name"], event["Value"]) for event in first]
    assert kinds[1:] == [
        ("cpu", "cpu1", 80.0),
        ("i/o", "IOWaitPercent", 1.0),
        ("memory", "MemoryUsedPercent", 21.8),
        ("gpu", "gpu0", 50.0),
        ("gpu", "gpu0", 40.0),
    ]
    assert [(event["Name"], event["Value"]) for event in second] == [("cpu0", 91.0), ("IOWaitPercent", 1.0)]


def test_a_job_without_a_profile_leaves_no_files(tmp_path: Path) -> None:
    system_metrics.write(tmp_path / "system.csv", tmp_path / "profiler-output")
    assert not list(tmp_path.iterdir())
