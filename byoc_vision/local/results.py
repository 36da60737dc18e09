"""What a training job's containers leave: gathered from the hosts, and put where the service would."""

import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

from byoc_vision.contract.files import replacing
from byoc_vision.contract.job import PROFILE, SYSTEM
from byoc_vision.local import containers, system_metrics, training
from byoc_vision.local.files import link_or_copy, locate, text_of
from byoc_vision.local.store import Record


class Results:
    """The results of one attempt at a job, from its `hosts`' folders."""

    def __init__(self, record: Record, hosts: Sequence[Path]) -> None:
        self._record, self._request, self._hosts = record, record.request, hosts
        self._model, self._output = hosts[0] / "model", hosts[0] / "output"

    def gather(self) -> None:
        """Move what all hosts have left to the first one; of two files with one name the last host's counts."""
        left = list(self._hosts)
        if "CheckpointConfig" in self._request:
            left.append(locate(self._record.store, self._request["CheckpointConfig"]["S3Uri"]))
        containers.give_to_caller(self._request["AlgorithmSpecification"]["TrainingImage"], *left)
        for host in self._hosts[1:]:
            for source in (path for name in ("model", "output") for path in sorted((host / name).rglob("*"))):
                target = self._hosts[0] / source.relative_to(host)
                if source.is_dir() and not source.is_symlink():
                    target.mkdir(exist_ok=True)
                else:
                    source.replace(target)

    def failure(self) -> str:
        """Return the first line of the failure file, of a traceback the last one, or nothing."""
        lines = text_of(self._output / "failure", 1 << 16).strip().splitlines() or [""]
        return lines[-1 if lines[0].startswith("Traceback ") else 0][:980]

    def keep_model(self) -> str:
        """Write model.tar.gz, or the folder model/ where nothing is to be packed; return which, if there is a model."""
        results = training.results(self._record)
        if not any(self._model.iterdir()):
            return ""
        if self._request["OutputDataConfig"].get("CompressionType") == "NONE":
            shutil.rmtree(results / "model", ignore_errors=True)
            shutil.copytree(self._model, results / "model", symlinks=True)
            return "model/"
        _pack(self._model, results / "model.tar.gz", 0)  # weights hardly compress
        return "model.tar.gz"

    def keep_output(self) -> None:
        """Write output.tar.gz, and beside it what is in it; and what hook and profiler have recorded."""
        results, data = training.results(self._record), self._output / "data"
        if data.is_dir() and any(data.iterdir()):
            _pack(data, results / "output.tar.gz", 1)
            shutil.rmtree(results / "data", ignore_errors=True)
            shutil.move(data, results / "data")
        for field, folder, name in (
            ("DebugHookConfig", "tensors", "debug-output"),
            ("ProfilerConfig", "profiler", "profiler-output"),
            ("TensorBoardOutputConfig", "tensorboard", "tensorboard-output"),
        ):
            config = self._request.get(field, {})
            recorded = self._output / Path(config.get("LocalPath", folder)).name
            if "S3OutputPath" in config and recorded.is_dir():
                target = locate(self._record.store, config["S3OutputPath"]) / self._record.name / name
                shutil.copytree(recorded, target, dirs_exist_ok=True)
        config = self._request.get("ProfilerConfig", {})
        if "S3OutputPath" in config and not config.get("DisableProfiler"):
            target = locate(self._record.store, config["S3OutputPath"]) / self._record.name / "profiler-output"
            system_metrics.write(results / "data" / PROFILE / SYSTEM, target)

    def keep_report(self) -> None:
        """Put the job's report where the service's rule ProfilerReport would: notebooks look for it there."""
        report = training.results(self._record) / "data" / "report.html"
        for rule in self._request.get("ProfilerRuleConfigurations", []):
            if rule.get("RuleParameters", {}).get("rule_to_invoke") == "ProfilerReport" and report.is_file():
                root = rule.get("S3OutputPath") or f"{training.folder_uri(self._record)}/rule-output"
                folder = locate(self._record.store, root) / rule["RuleConfigurationName"] / "profiler-output"
                folder.mkdir(parents=True, exist_ok=True)
                link_or_copy(report, folder / "profiler-report.html")


def _pack(folder: Path, archive: Path, level: int) -> None:
    """Write the folder's content to the archive, whole or not at all; at level 0 it is not compressed."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with replacing(archive) as temporary, tarfile.open(temporary, "w:gz", compresslevel=level) as packed:
        for path in sorted(folder.iterdir()):
            packed.add(path, path.name)
