"""Sees one training job through, in a process of its own: /opt/ml for each host, containers, metrics, results."""

import json
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from byoc_vision.contract.metrics import EPOCH
from byoc_vision.local import channels, hosts, training
from byoc_vision.local.containers import mount
from byoc_vision.local.files import follow_links, links_out, locate
from byoc_vision.local.hosts import Hosts
from byoc_vision.local.instances import local_type
from byoc_vision.local.results import Results
from byoc_vision.local.source import handed_over
from byoc_vision.local.store import REGION, Record, Request, now

#: The hyperparameter, or variable, that names where a user's script is.
_SCRIPT = "sagemaker_submit_directory"

#: How the hosts have a channel that does not say so.
_REPLICATED = "FullyReplicated"


def run(record: Record) -> None:
    """Run the job; its status tells how it ended."""
    with ExitStack() as exits:
        if record.status.get("Restarts"):
            training.clear(record)
        exits.callback(training.clear_scratch, record)
        attempt = Attempt(record, Path(tempfile.mkdtemp(prefix=training.SCRATCH, dir=record.folder)))
        ended = attempt.run()
        training.enter(record, "Uploading", "Uploading the results")
        if ended["TrainingJobStatus"] != "Failed" and (model := attempt.results.keep_model()):
            ended["ModelArtifacts"] = {"S3ModelArtifacts": f"{training.results_uri(record)}/{model}"}
        attempt.results.keep_output()
        attempt.results.keep_report()
    state = ended.pop("SecondaryStatus", ended["TrainingJobStatus"])
    training.enter(record, state, f"The training job has ended: {state}", **ended)


class Attempt:
    """One run of a job's containers; `scratch` gets a folder for each host, and one for data whose links lead out."""

    def __init__(self, record: Record, scratch: Path) -> None:
        self._record, self._request, self._scratch = record, record.request, scratch
        self._hosts = [f"algo-{i + 1}" for i in range(self._request["ResourceConfig"].get("InstanceCount", 1))]
        self._definitions = self._request["AlgorithmSpecification"].get("MetricDefinitions", [])
        self.results = Results(record, [scratch / host for host in self._hosts])

    def run(self) -> Request:
        """Run the containers to their end, and return the status fields that say how it came."""
        common = self._common()
        commands = {host: [*self._own(host), *self._data(host), *common] for host in self._hosts}
        training.enter(self._record, "Training", "Training in progress", TrainingStartTime=now())
        begun = time.monotonic()
        ending = Hosts(self._record, commands, self._measure).run()
        seconds = max(1, round(time.monotonic() - begun))
        billed = seconds * len(self._hosts)
        times = {"TrainingEndTime": now(), "TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": billed}
        self.results.gather()
        if ending.stopped:
            return {"TrainingJobStatus": "Stopped", "SecondaryStatus": ending.stopped} | times
        if reason := ending.reason(self.results.failure()):
            return {"TrainingJobStatus": "Failed", "FailureReason": reason} | times
        return {"TrainingJobStatus": "Completed"} | times

    def _common(self) -> list[str]:
        """Return what `docker run` is told for each host alike: checkpoints, environment, image, program."""
        algorithm, resources = self._request["AlgorithmSpecification"], self._request["ResourceConfig"]
        variables = {"AWS_REGION": REGION, "TRAINING_JOB_NAME": self._record.name}
        variables["TRAINING_JOB_ARN"] = self._record.arn
        options = hosts.options(variables | self._request.get("Environment", {}), resources.get("InstanceType", ""))
        options += self._script[1]
        if checkpoints := self._request.get("CheckpointConfig"):
            folder = locate(self._record.store, checkpoints["S3Uri"])
            folder.mkdir(parents=True, exist_ok=True)
            options += mount(folder.resolve(), checkpoints.get("LocalPath", "/opt/ml/checkpoints"))
        entrypoint = algorithm.get("ContainerEntrypoint", [])
        arguments = algorithm.get("ContainerArguments", [] if entrypoint else ["train"])
        return options + hosts.program(entrypoint, algorithm["TrainingImage"], arguments)

    def _data(self, host: str) -> list[str]:
        """Return the options by which a host has the channels."""
        return [part for channel in self._request.get("InputDataConfig", []) for part in self._channel(channel, host)]

    def _channel(self, channel: Request, host: str) -> list[str]:
        name = channel["ChannelName"]
        data, fresh = channel["DataSource"]["S3DataSource"], self._scratch / "listed" / host / name
        number, count = self._hosts.index(host), len(self._hosts)
        source = channels.folder(self._record.store, data, fresh, number, count).resolve()
        target = f"/opt/ml/input/data/{name}"
        if source.is_file():
            return mount(source, f"{target}/{source.name}")
        if links_out(source):
            place = self._scratch / "channels" / host / name
            follow_links(source, place)
            source = place
        return mount(source, target)

    def _own(self, host: str) -> list[str]:
        """Write what /opt/ml has on the host, and return the options by which it has that."""
        root = self._scratch / host
        config = root / "input" / "config"
        for folder in (config, root / "model", root / "output" / "data"):
            folder.mkdir(parents=True)
        for file, content in (self._configuration() | {"resourceconfig.json": self._resources(host)}).items():
            (config / file).write_text(json.dumps(content), encoding="utf-8")
        return [part for name in ("input", "model", "output") for part in mount(root / name, f"/opt/ml/{name}")]

    def _configuration(self) -> dict[str, Request]:
        """Return the files of /opt/ml/input/config that all hosts have alike."""
        hyperparameters = dict(self._request.get("HyperParameters", {}))
        if self._script[1]:
            hyperparameters[_SCRIPT] = json.dumps(self._script[0])
        channels = {
            channel["ChannelName"]: {
                "TrainingInputMode": "File",
                "S3DistributionType": channel["DataSource"]["S3DataSource"].get("S3DataDistributionType", _REPLICATED),
                "RecordWrapperType": "None",
            }
            | ({"ContentType": channel["ContentType"]} if "ContentType" in channel else {})
            for channel in self._request.get("InputDataConfig", [])
        }
        files = {"hyperparameters.json": hyperparameters, "inputdataconfig.json": channels}
        for field, file, folder in (
            ("DebugHookConfig", "debughookconfig.json", "/opt/ml/output/tensors"),
            ("ProfilerConfig", "profilerconfig.json", "/opt/ml/output/profiler"),
        ):
            if field in self._request:
                files[file] = {"LocalPath": folder} | self._request[field]
        return files

    def _resources(self, host: str) -> Request:
        instance_type = local_type(self._request["ResourceConfig"].get("InstanceType", "local"))
        names = {"current_host": host, "hosts": self._hosts, "network_interface_name": "eth0"}
        return names | {"current_instance_type": instance_type}

    @property
    def _script(self) -> tuple[str, list[str]]:
        named = self._request.get("HyperParameters", {}).get(_SCRIPT, "").strip('"')
        variable = self._request.get("Environment", {}).get(_SCRIPT.upper(), "")
        return handed_over(self._record.store, named or variable)

    def _measure(self, line: str) -> None:
        """Note the metrics that a line of the log holds."""
        epoch = {"Epoch": int(number[1])} if (number := EPOCH.search(line)) else {}
        entries = [
            {"MetricName": name, "Value": value, "Timestamp": now()} | epoch
            for name, value in training.parse(self._definitions, line)
        ]
        if entries:
            with (self._record.folder / "metrics.jsonl").open("a", encoding="utf-8") as metrics:
                metrics.writelines(f"{json.dumps(entry)}\n" for entry in entries)
