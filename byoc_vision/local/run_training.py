"""Sees one training job through, in a process of its own: local mode runs the containers, this does the rest.

What local mode lacks: a checkpoint folder, hook and profiler configuration, waiting for the last of several containers,
an orderly stop, a longest run time, a log, metrics, results in the job's own folder, a clean machine afterwards.
"""

import fcntl
import json
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from copy import deepcopy
from pathlib import Path
from typing import TextIO

from byoc_vision.contract.metrics import EPOCH
from byoc_vision.local import channels, containers, local_mode, training
from byoc_vision.local.files import link_or_copy, locate
from byoc_vision.local.instances import local_type
from byoc_vision.local.local_mode import NETWORK
from byoc_vision.local.results import Results
from byoc_vision.local.store import Record, Request, now

#: The hyperparameter that names the archive with a user's script, and where containers find that here.
_SCRIPT, _SCRIPT_PLACE = "sagemaker_submit_directory", "/opt/ml/input/sourcedir.tar.gz"

#: Seconds from SIGTERM to SIGKILL, as in the service.
_STOP_SECONDS = 120


def run(record: Record) -> None:
    """Run the job; its status tells how it ended."""
    with ExitStack() as exits:
        network = exits.enter_context((record.store.root / "network.lock").open("w"))
        _make_network(network)
        exits.callback(_remove_network, network)
        training.clear(record)
        # In the temporary folder, whose path has none of the characters that compose or local mode trip over.
        work = Path(tempfile.mkdtemp(prefix="byoc-vision-")).resolve()
        record.update(Work=str(work))
        exits.callback(training.clear, record)
        results = Results(record, work)
        ended = Attempt(record, work, results).run()
        training.enter(record, "Uploading", "Uploading the results")
        if ended["TrainingJobStatus"] != "Failed" and results.keep_model():
            ended["ModelArtifacts"] = {"S3ModelArtifacts": f"{training.results_uri(record)}/model.tar.gz"}
        results.keep_output()
        results.keep_report()
    state = ended.pop("SecondaryStatus", ended["TrainingJobStatus"])
    training.enter(record, state, f"The training job has ended: {state}", Work=None, **ended)


class Attempt:
    """One run of a job's containers, in the scratch folder `work`."""

    def __init__(self, record: Record, work: Path, results: Results) -> None:
        self._record, self._request, self._work, self._results = record, record.request, work, results
        self._instances: int = self._request["ResourceConfig"].get("InstanceCount", 1)
        self._readers: dict[str, threading.Thread] = {}  # container -> what reads its output
        self._writing = threading.Lock()
        self._over = threading.Event()
        self._stopped = ""  # the secondary status, when the end was not the job's own
        self._begun = time.monotonic()

    def run(self) -> Request:
        """Start the containers, wait for their end, and return the status fields that say how it came."""
        client = local_mode.client(self._work, self._volumes(), self._configuration(), self._results.gather)
        watcher = threading.Thread(target=self._watch)
        watcher.start()
        try:
            with suppress(RuntimeError):  # compose's exit code; the containers' own say more
                client.create_training_job(**self._local_request())
        finally:
            self._over.set()
            watcher.join()
        for reader in self._readers.values():
            reader.join()
        seconds = max(1, round(time.monotonic() - self._begun))
        billed = seconds * self._instances
        times = {"TrainingEndTime": now(), "TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": billed}
        return self._ending() | times

    def _ending(self) -> Request:
        if self._stopped:
            return {"TrainingJobStatus": "Stopped", "SecondaryStatus": self._stopped}
        codes = [code for each in self._readers if (code := containers.exit_code(each)) is not None]
        if codes and not any(codes):
            return {"TrainingJobStatus": "Completed"}
        if not codes:
            sys.stdout.flush()  # what compose has printed
            last = (self._record.folder / "process.log").read_text(encoding="utf-8", errors="replace").splitlines()[-1:]
            reason = f"InternalServerError: the container did not start ({''.join(last)})"
        else:
            # The least: a host that was taken down for another's sake has 137 or 143.
            said = self._results.failure()
            reason = f"AlgorithmError: {f'{said}, ' if said else ''}exit code: {min(filter(None, codes))}"
        return {"TrainingJobStatus": "Failed", "FailureReason": reason[:1024]}

    def _local_request(self) -> Request:
        """Return the request as local mode takes it."""
        request = deepcopy(self._request)
        for channel in request.get("InputDataConfig", []):
            source = channel["DataSource"]["S3DataSource"]
            listed = self._work / "listed" / channel["ChannelName"]
            source["S3Uri"] = channels.folder(self._record.store, source, listed).as_uri()
        instance_type = local_type(self._request["ResourceConfig"].get("InstanceType", "local"))
        request["ResourceConfig"] = {"InstanceType": instance_type, "InstanceCount": self._instances}
        if self._script:
            request["HyperParameters"][_SCRIPT] = json.dumps(_SCRIPT_PLACE)
        return local_mode.acceptable(request, self._work)

    def _volumes(self) -> dict[Path, str]:
        """Return folders and their names in the containers, besides local mode's own."""
        volumes = {}
        if self._script:
            link_or_copy(self._script, self._work / "sourcedir.tar.gz")
            volumes[self._work / "sourcedir.tar.gz"] = _SCRIPT_PLACE
        if "CheckpointConfig" in self._request:
            folder = locate(self._record.store, self._request["CheckpointConfig"]["S3Uri"])
            folder.mkdir(parents=True, exist_ok=True)
            link = self._work / "checkpoints"
            link.symlink_to(folder.resolve())
            volumes[link] = self._request["CheckpointConfig"].get("LocalPath", "/opt/ml/checkpoints")
        return volumes

    @property
    def _script(self) -> Path | None:
        """The archive with the user's script, which SageMaker's toolkit would fetch from S3; containers cannot here."""
        value = self._request.get("HyperParameters", {}).get(_SCRIPT, "").strip('"')
        return locate(self._record.store, value) if value.startswith("s3://") else None

    def _configuration(self) -> dict[str, Request]:
        """Return what goes to /opt/ml/input/config besides local mode's own files."""
        defaults = {
            "DebugHookConfig": ("debughookconfig.json", "/opt/ml/output/tensors"),
            "ProfilerConfig": ("profilerconfig.json", "/opt/ml/output/profiler"),
        }
        return {
            file: {"LocalPath": folder} | self._request[field]
            for field, (file, folder) in defaults.items()
            if field in self._request
        }

    def _watch(self) -> None:
        """Log what the containers print; stop them when asked to, when their time is up, or when one has failed."""
        longest = self._request.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", float("inf"))
        while not self._over.wait(0.5):
            self._find()
            if self._record.stopping:
                self._stop("Stopped")
            elif time.monotonic() - self._begun > longest:
                self._stop("MaxRuntimeExceeded")
            elif len(self._readers) > 1 and any(map(containers.exit_code, self._readers)):
                self._stop("")
        self._find()

    def _find(self) -> None:
        for file in self._work.glob("*/docker-compose.yaml"):
            for container in containers.of_compose(file):
                if container in self._readers:
                    continue
                if not self._readers:
                    self._begun = time.monotonic()
                    training.enter(self._record, "Training", "Training in progress", TrainingStartTime=now())
                self._readers[container] = threading.Thread(target=self._read, args=(container,))
                self._readers[container].start()

    def _stop(self, state: str) -> None:
        alive = [each for each in self._readers if containers.running(each)]
        threads = [threading.Thread(target=containers.stop, args=(each, _STOP_SECONDS)) for each in alive]
        self._stopped = state if alive else self._stopped
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _read(self, container: str) -> None:
        several = self._instances > 1
        label = f"{containers.host(container).rpartition('-')[0]}: " if several else ""
        definitions = self._request["AlgorithmSpecification"].get("MetricDefinitions", [])
        for line in containers.follow(container):
            found = list(training.parse(definitions, line))
            epoch = {"Epoch": int(number[1])} if (number := EPOCH.search(line)) else {}
            with self._writing:
                with (self._record.folder / "log").open("a", encoding="utf-8") as log:
                    print(f"{now()} {label}{line}", file=log)
                with (self._record.folder / "metrics.jsonl").open("a", encoding="utf-8") as metrics:
                    for name, value in found:
                        entry = {"MetricName": name, "Value": value, "Timestamp": now()} | epoch
                        print(json.dumps(entry), file=metrics)


def _make_network(lock: TextIO) -> None:
    """Make the network, and hold it: two jobs that begin together would each let compose make one of that name."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:  # another job makes it, or is using it
        fcntl.flock(lock, fcntl.LOCK_SH)
        return
    if not containers.docker("network", "ls", "--quiet", "--filter", f"name=^{NETWORK}$"):
        # The label by which compose knows a network as its own.
        containers.docker("network", "create", "--label", f"com.docker.compose.network={NETWORK}", NETWORK)
    fcntl.flock(lock, fcntl.LOCK_SH)


def _remove_network(lock: TextIO) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:  # other jobs are using it
        return
    containers.docker("network", "rm", NETWORK)
