"""Profiler rules: exact on both sides of their thresholds, on series made for them."""

from pathlib import Path

import numpy as np
import pytest

from byoc_vision.contract.job import PHASES
from byoc_vision.debugger import profile
from byoc_vision.debugger.profile import Profile, Steps, System
from byoc_vision.debugger.rules.base import NotApplicableError, NotRecordedError, ParameterError
from byoc_vision.debugger.rules.profiler_report import ProfilerReport
from byoc_vision.debugger.rules.profiling import ProfilerRule
from byoc_vision.debugger.rules.timing import (
    Dataloader,
    MaxInitializationTime,
    OverallFrameworkMetrics,
    OverallSystemUsage,
    StalledTrainingRule,
    StepOutlier,
)
from byoc_vision.debugger.rules.utilisation import (
    BatchSize,
    CPUBottleneck,
    GPUMemoryIncrease,
    IOBottleneck,
    LoadBalancing,
    LowGPUUtilization,
    jensen_shannon,
)
from tests.unit.debugger.jobs import write_run, write_steps, write_system


def column(values):
    return np.asarray(values, dtype=float)


def utilised(samples, cpu=50.0, iowait=0.0, gpu=((90.0),), gpu_memory=((80.0),)) -> Profile:
    """A profile of so many samples; a series for one value is constant."""

    def series(value):
        return np.broadcast_to(column(value), (samples,)).copy()

    def table(values):
        return np.stack([series(value) for value in values], axis=1) if len(values) else np.empty((samples, 0))

    cpus = cpu if isinstance(cpu, tuple) else (cpu,)
    gpus = gpu if isinstance(gpu, tuple | list) else (gpu,)
    memories = gpu_memory if isinstance(gpu_memory, tuple | list) else (gpu_memory,)
    time = 0.5 * np.arange(samples)
    return Profile(System(time, table(cpus), series(iowait), series(20.0), table(gpus), table(memories)))


def timed(seconds, mode="train", begin=None) -> Profile:
    seconds = column(seconds)
    parts = {name: np.zeros(len(seconds)) for name in PHASES} | {"forward": seconds}
    begin = np.cumsum(seconds) if begin is None else column(begin)
    count = np.arange(len(seconds), dtype=float)
    return Profile(steps=Steps(count, np.array([mode] * len(seconds)), begin, parts))


def findings(rule: ProfilerRule, found: Profile):
    return list(rule.judge(found))


@pytest.mark.parametrize(
    ("load", "word"),
    [
        (69.9, "under-used"),
        (70.0, None),  # neither below nor above
        (95.0, None),
        ([9.0] * 60 + [95.0] * 940, "fluctuating"),
        ([9.0] * 40 + [95.0] * 960, None),
        ([95.0] * 40 + [30.0] * 960, "under-used"),
    ],
)
def test_low_gpu_utilization(load, word):
    series = np.random.default_rng(0).permutation(load) if isinstance(load, list) else load
    rule = LowGPUUtilization(window="1000", patience="1000")
    found = findings(rule, utilised(1000, gpu=[series]))
    assert [finding.detail.split(",")[0] for finding in found] == ([word] if word else [])
    assert rule.judged


def test_low_gpu_utilization_waits_for_its_patience_and_looks_at_windows() -> None:
    rule = LowGPUUtilization(window=5, patience=10)
    assert not findings(rule, utilised(9, gpu=(0.0,))) and not rule.judged
    assert len(findings(rule, utilised(10, gpu=(0.0,)))) == 1
    late = [0.0] * 10 + [90.0] * 10  # samples 6 to 10 are idle, the windows after are not
    assert [finding.detail[-2:] for finding in findings(rule, utilised(20, gpu=[late]))] == ["10"]


@pytest.mark.parametrize("rule", [LowGPUUtilization, CPUBottleneck, IOBottleneck, BatchSize, GPUMemoryIncrease])
def test_rules_about_gpus_do_not_apply_without_one(rule):
    with pytest.raises(NotApplicableError, match="no GPU"):
        findings(rule(), utilised(2000, gpu=(), gpu_memory=()))
    with pytest.raises(NotRecordedError, match="Utilisation was not recorded"):
        findings(rule(), Profile())


@pytest.mark.parametrize(
    ("busy", "gpu", "cpu", "fires"),
    [(51, 9.9, 91.0, True), (50, 9.9, 91.0, False), (100, 10.0, 91.0, False), (100, 9.9, 90.0, False)],
)
def test_cpu_bottleneck(busy, gpu, cpu, fires):
    core = [cpu] * busy + [0.0] * (100 - busy)
    found = findings(CPUBottleneck(), utilised(100, cpu=(5.0, core), gpu=(99.0, gpu), gpu_memory=(1.0, 1.0)))
    assert [finding.value for finding in found] == ([51.0] if fires else [])


def test_cpu_bottleneck_is_not_judged_before_its_patience() -> None:
    rule = CPUBottleneck()
    assert not findings(rule, utilised(99, cpu=100.0, gpu=(0.0,))) and not rule.judged
    assert findings(CPUBottleneck(patience="99"), utilised(99, cpu=100.0, gpu=(0.0,)))


@pytest.mark.parametrize(
    ("busy", "gpu", "wait", "fires"),
    [(51, 69.9, 51.0, True), (50, 69.9, 51.0, False), (100, 70.0, 51.0, False), (100, 69.9, 50.0, False)],
)
def test_io_bottleneck(busy, gpu, wait, fires):
    waits = [wait] * busy + [0.0] * (100 - busy)
    assert bool(findings(IOBottleneck(patience=100), utilised(100, iowait=waits, gpu=(gpu,)))) is fires


@pytest.mark.parametrize(
    ("cpu", "gpu", "memory", "fires"),
    [(69.9, 69.9, 69.9, True), (70.0, 0.0, 0.0, False), (0.0, 70.0, 0.0, False), (0.0, 0.0, 70.0, False)],
)
def test_batch_size(cpu, gpu, memory, fires):
    found = findings(BatchSize(), utilised(500, cpu=cpu, gpu=(gpu,), gpu_memory=(memory,)))
    assert bool(found) is fires


@pytest.mark.parametrize(("increase", "fires"), [(10.1, True), (10.0, False), (-30.0, False)])
def test_gpu_memory_increase(increase, fires):
    memory = [40.0] * 500 + [40.0 + increase] * 500
    assert bool(findings(GPUMemoryIncrease(), utilised(1000, gpu_memory=[memory]))) is fires
    rule = GPUMemoryIncrease()
    assert not findings(rule, utilised(999, gpu_memory=[memory[:999]])) and not rule.judged


def test_jensen_shannon_is_zero_for_equal_and_root_of_ln_2_for_disjoint_loads() -> None:
    one, other = column([90] * 10), column([10] * 10)
    assert jensen_shannon(one, one) == 0
    assert jensen_shannon(one, other) == pytest.approx(np.sqrt(np.log(2)))
    # One load in one bar, the other half in it: the middle is ¾ and ¼.
    half = column([90] * 5 + [10] * 5)
    by_hand = (1 * np.log(1 / 0.75) + 0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25)) / 2
    assert jensen_shannon(one, half) == pytest.approx(np.sqrt(by_hand))


@pytest.mark.parametrize(
    ("loads", "fires"),
    [((90.0, 10.0), True), ((90.0, 90.5), False), (([90.0] * 50 + [10.0] * 50, 90.0), False), ((90.0,), False)],
)
def test_load_balancing(loads, fires):
    rule = LoadBalancing()
    found = findings(rule, utilised(100, gpu=loads, gpu_memory=(1.0,) * len(loads)))
    assert bool(found) is fires and rule.judged  # the half-idle one is 0.46 away


@pytest.mark.parametrize(("outliers", "fires"), [(10, False), (11, True), (0, False)])
def test_step_outlier(outliers, fires):
    seconds = [0.1] * (1000 - outliers) + [1.0] * outliers
    found = findings(StepOutlier(), timed(seconds))
    assert bool(found) is fires
    if fires:  # mean 0.1099, deviation 0.0939
        share = outliers / 1000
        assert found[0].threshold == pytest.approx(0.1 + 0.9 * share + 5 * 0.9 * np.sqrt(share * (1 - share)))
        assert (found[0].step, found[0].value) == (989, 1.0)


def test_step_outlier_needs_more_than_100_steps_of_the_mode() -> None:
    seconds = [0.1] * 99 + [9.0]
    rule = StepOutlier(n_outliers=0)
    assert not findings(rule, timed(seconds)) and not rule.judged
    assert findings(StepOutlier(n_outliers=0), timed([*seconds, 0.1]))
    assert not findings(StepOutlier(n_outliers=0, mode="EVAL"), timed([*seconds, 0.1]))
    with pytest.raises(ParameterError, match="mode must be TRAIN or EVAL"):
        StepOutlier(mode="predict")


@pytest.mark.parametrize(("wait", "fires"), [(1800.0, False), (1801.0, True), (1.0, False)])
def test_stalled_training(wait, fires):
    assert bool(findings(StalledTrainingRule(), timed([1, 1, 1], begin=[0, 1, 1 + wait]))) is fires


@pytest.mark.parametrize(("minutes", "fires"), [(20, False), (20.1, True), (0.1, False)])
def test_max_initialization_time(minutes, fires):
    run = {"started": 1000.0, "first_step": 1000.0 + 60 * minutes}
    assert bool(findings(MaxInitializationTime(), Profile(run=run))) is fires


def test_max_initialization_time_of_a_job_that_never_got_to_a_step() -> None:
    found = utilised(3000)  # 1499.5 s
    started = Profile(found.system, run={"started": 0.0, "first_step": None})
    assert "no step began" in findings(MaxInitializationTime(), started)[0].detail
    assert not findings(MaxInitializationTime(threshold=25), started)
    with pytest.raises(NotRecordedError):
        findings(MaxInitializationTime(), Profile(run={"started": 0.0}))


@pytest.mark.parametrize(("workers", "fires"), [(0, True), (6, True), (7, False), (10, False), (20, False), (21, True)])
def test_dataloader(workers, fires):
    assert bool(findings(Dataloader(), Profile(run={"cores": 10, "workers": workers}))) is fires


def test_statistics_never_fire() -> None:
    usage = OverallSystemUsage()
    assert not findings(usage, utilised(101, cpu=(np.arange(101),)))
    assert usage.statistics["cpu"] == {"min": 0, "p50": 50, "p95": 95, "p99": 99, "max": 100}
    framework = OverallFrameworkMetrics()
    assert not findings(framework, timed([0.25] * 4))
    assert framework.statistics["train"]["forward_seconds"] == 1


def test_profiler_report_runs_the_others_with_their_parameters() -> None:
    found = Profile(run={"cores": 10, "workers": 6})
    [finding] = findings(ProfilerReport(), found)
    assert finding.tensor == "Dataloader, loader"
    assert not findings(ProfilerReport(Dataloader_min_threshold="60"), found)
    with pytest.raises(ParameterError, match="cpu is not of the form <Rule>_<parameter>"):
        ProfilerReport(cpu="90")
    with pytest.raises(ParameterError, match="unexpected keyword"):
        ProfilerReport(Dataloader_speed="90")
    with pytest.raises(NotRecordedError):
        findings(ProfilerReport(), Profile())


def test_a_profile_is_read_from_its_files(tmp_path: Path) -> None:
    columns = {"time": [1, 1.5], "cpu_0": [10, 20], "cpu_1": [30, 40], "iowait": [1, 2], "memory": [5, 6]}
    write_system(tmp_path, columns | {"gpu_0": [90, 91], "gpu_memory_0": [50, 51]})
    write_steps(tmp_path, [[0, 1, "train", 1.0, 0.1, 0.2, 0.3, 0.4], [1, 1, "eval", 2.0, 0.1, 0.2, "", ""]])
    write_run(tmp_path, started=0.5, first_step=1.0, cores=2, workers=2)
    found = profile.read(tmp_path / "profile")
    assert found.missing == ()
    assert found.system is not None and found.steps is not None
    assert found.system.cpu.tolist() == [[10, 30], [20, 40]]
    assert found.system.gpu.tolist() == [[90], [91]] and found.system.gpu_memory.tolist() == [[50], [51]]
    assert found.steps.duration.tolist() == pytest.approx([1.0, 0.3])
    assert found.steps.mode.tolist() == ["train", "eval"]


@pytest.mark.parametrize("cut", [1, 12, 40, 60, 75])
def test_a_profile_that_breaks_off_is_read_as_far_as_it_goes(tmp_path: Path, cut: int) -> None:
    write_system(tmp_path, {"time": [1, 1.5, 2], "cpu_0": [10, 20, 30], "iowait": [1, 2, 3], "memory": [5, 6, 7]})
    file = tmp_path / "profile" / "system.csv"
    file.write_bytes(file.read_bytes()[:cut])
    found = profile.read(tmp_path / "profile")
    assert found.missing
    if found.system is not None:
        assert len(found.system.time) >= 1
