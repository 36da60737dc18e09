"""Jobs of the service: what is known of one, its end, and what it leaves. An interrupted wait leaves the job alone."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

from byoc_vision import hyperparameter_sources, prediction, searches
from byoc_vision.contract.errors import UserError, one_line
from byoc_vision.endpoint import Endpoint, FailedError, pauses
from byoc_vision.engine import Engine, LogKind
from byoc_vision.prediction import Prediction
from byoc_vision.refusals import unless_missing
from byoc_vision.reports import Report
from byoc_vision.requests.operations import Request

_log = logging.getLogger(__name__)

#: Lines of a failed job's log that its error holds.
_LAST_LINES = 15

#: Takes a line of a job's log, or a job's description.
Show = Callable[[str], object]
Look = Callable[[dict[str, Any]], object]


class Owner(Protocol):
    """What a job needs of its session."""

    @property
    def engine(self) -> Engine:
        """AWS or this machine."""

    @property
    def deploy(self) -> Callable[..., Endpoint]:
        """See `Session.deploy`."""

    @property
    def report(self) -> Callable[..., Report]:
        """See `Session.report`."""


@dataclass(frozen=True)
class Kind:
    """How the service calls a kind of job."""

    name: str
    operation: str  # describe_…, stop_…
    field: str  # …Name, …Status
    log: LogKind | None


class Job:
    """One job, which runs or has ended. `request` is what was sent for it, or, after a dry run, would have been."""

    kind: ClassVar[Kind]

    def __init__(
        self, session: Owner, name: str, request: Mapping[str, Request] | None = None, sent: bool = True
    ) -> None:
        self._session = session
        self._engine = session.engine
        self._sent = sent
        self.name = name
        self.request = dict(request or {})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    def describe(self) -> dict[str, Any]:
        """Return what the service tells of the job."""
        return dict(self._call("describe"))

    @property
    def status(self) -> str:
        """InProgress, Stopping, Completed, Failed or Stopped."""
        return str(self.describe()[f"{self.kind.field}Status"])

    def stop(self) -> None:
        """Ask for the job's end."""
        self._call("stop")

    def _call(self, verb: str) -> Any:
        if not self._sent:
            raise UserError(f"the {self.kind.name} {self.name} is a dry run's, so nothing was sent; send it first")
        call = getattr(self._engine.sagemaker, f"{verb}_{self.kind.operation}")
        return call(**{f"{self.kind.field}Name": self.name})

    def wait(self, show: Show = lambda _: None, look: Look = lambda _: None) -> Self:
        """Follow the job to its end; `show` gets each line of its log, `look` each description of it.

        Raises `FailedError` with the reason and the last lines of the log when the job fails or is stopped.
        """
        logs = self._engine.logs(self.kind.log, self.name) if self.kind.log else list
        shown: list[str] = []
        state = ""
        for pause in pauses(self._engine.longest_pause):
            description = self.describe()
            status = description[f"{self.kind.field}Status"]
            if (now := description.get("SecondaryStatus", status)) != state:
                state = now
                _log.info("%s: %s", self.name, state)
            for line in logs():
                show(line)
                shown = [*shown[1 - _LAST_LINES :], line]
            look(description)
            if status in ("Completed", "Failed", "Stopped"):
                break
            time.sleep(pause)
        if status == "Completed":
            return self
        if status == "Stopped":
            raise FailedError(f"the {self.kind.name} {self.name} was stopped")
        reason = one_line(description.get("FailureReason", "the service gives no reason"), None)
        raise FailedError(f"the {self.kind.name} {self.name} failed: {reason}", shown)


class TrainingJob(Job):
    """A training job.

    >>> job = Session(local=True).train("pictures", hyperparameters={"epochs": 2})
    >>> job.wait().metrics["validation_accuracy"]
    0.97
    >>> job.deploy().wait().predict("dog.jpg")
    Prediction('dog.jpg', 'dog', 0.98)
    """

    kind = Kind("training job", "training_job", "TrainingJob", "training")

    @property
    def metrics(self) -> dict[str, float]:
        """The job's last figures, by name."""
        return {metric["MetricName"]: metric["Value"] for metric in self.describe().get("FinalMetricDataList", [])}

    @property
    def has_model(self) -> bool:
        """Whether the job has left a model; a script of one's own need not."""
        return "S3ModelArtifacts" in self.describe().get("ModelArtifacts", {})

    @property
    def model(self) -> str:
        """The URI of the model.tar.gz that the job has left."""
        return str(self.describe()["ModelArtifacts"]["S3ModelArtifacts"])

    def wait_or_stop(self, show: Show) -> None:
        """Wait as `wait` does, for a job that only what comes after it needs: Ctrl-C stops it."""
        try:
            self.wait(show)
        except KeyboardInterrupt:
            _log.info("stopping %s, which nothing else needs; no search has begun", self.name)
            self.stop()
            raise

    def deploy(self, endpoint: str = "byoc-vision", **options: Any) -> Endpoint:
        """Serve the job's model; the `options` are those of `Session.deploy`."""
        return self._session.deploy(self.name, endpoint, **options)

    def report(self, **options: Any) -> Report:
        """Make the job's report; the `options` are those of `Session.report`."""
        return self._session.report(self.name, **options)


class TuningJob(Job):
    """A search for hyperparameters.

    >>> search = Session().tune({"hyperparameters": {"lr": {"min": 0.001, "max": 0.1, "scale": "log"}}}, "pictures")
    >>> search.wait().best
    {'lr': '0.016'}
    """

    kind = Kind("tuning job", "hyper_parameter_tuning_job", "HyperParameterTuningJob", None)

    @property
    def best(self) -> dict[str, str]:
        """All hyperparameters of the best trial so far, for `Session.train`."""
        return hyperparameter_sources.best_of(self._engine, self.name)

    @property
    def trials(self) -> list[dict[str, Any]]:
        """The service's summaries of the trials, oldest first."""
        return searches.trials(self._engine, self.name)

    def report(self, **options: Any) -> Report:
        """Make the page of all trials; the `options` are those of `Session.report`."""
        return self._session.report(self.name, **options)


class TransformJob(Job):
    """A job that predicts many pictures.

    >>> job = Session().transform("my-training-job", "s3://bucket/pictures/")
    >>> for answer in job.wait().predictions():
    ...     print(answer.picture, answer.label)
    """

    kind = Kind("transform job", "transform_job", "TransformJob", "transform")

    def delete_model(self) -> None:
        """Remove the model that was made for the job, which needs it to its end."""
        self._engine.sagemaker.delete_model(ModelName=self.request["CreateModel"]["ModelName"])

    def predictions(self) -> Iterator[Prediction]:
        """Yield the answers, by the pictures' names, and then, of a job that has failed, those without one.

        A picture that was refused has a prediction, too, whose `error` says why.
        """
        job = self.describe()
        yield from prediction.stored(self._engine, job["TransformOutput"]["S3OutputPath"])
        if job["TransformJobStatus"] == "Failed":
            for picture, said in self._engine.refused(self.name).items():
                yield Prediction(picture, {}, prediction.error_in(said))


def find(session: Owner, name: str) -> TrainingJob | TuningJob | TransformJob:
    """Return the job of that name; raises `UserError` where there is none."""
    for kind in (TrainingJob, TuningJob, TransformJob):
        job = kind(session, name)
        if unless_missing(job.describe) is not None:
            return job
    raise UserError(f"there is no job {name!r} {session.engine.where}; check the name, and where it was made")
