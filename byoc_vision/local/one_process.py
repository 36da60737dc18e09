"""What the jobs that one process runs from beginning to end have in common: describe, stop and list."""

from collections.abc import Callable
from dataclasses import dataclass

from byoc_vision.local import process
from byoc_vision.local.store import InvalidError, Record, Request, Store, now, page

Operation = Callable[[Store, Request], Request]


@dataclass(frozen=True)
class Jobs:
    """A kind of jobs: `word` is how sentences and records call it, `field` how the service's fields begin.

    `clear` takes down what is left of a job's containers.
    """

    word: str
    field: str
    clear: Callable[[Record], None]

    @property
    def kind(self) -> str:
        """The kind of the jobs' records."""
        return f"{self.word}-job"

    def describe(self, record: Record) -> Request:
        """Return the answer of Describe…Job; a job whose process broke down has failed."""
        state = f"{self.field}JobStatus"
        if record.status[state] == "InProgress" and (lock := record.take()):
            with lock:
                if record.status[state] == "InProgress":
                    self.clear(record)
                    ended = {state: "Failed", f"{self.field}EndTime": now()}
                    record.update(**ended, FailureReason=process.KILLED)
        status = record.status
        if record.stopping and status[state] == "InProgress":
            status[state] = "Stopping"
        return record.request | {f"{self.field}JobArn": record.arn} | status

    def stop(self, store: Store, request: Request) -> Request:
        """Stop…Job: the job's process sees that it was asked to stop."""
        record = store.find(self.kind, request[f"{self.field}JobName"])
        status = self.describe(record)[f"{self.field}JobStatus"]
        if status not in ("InProgress", "Stopping"):
            raise InvalidError(f"The {self.word} job {record.name} is {status} already.")
        record.ask_to_stop()
        return {}

    def operations(self, create: Operation) -> dict[str, Operation]:
        """Return the service's operations on these jobs, of which `create` is the jobs' own."""

        def describe(store: Store, request: Request) -> Request:
            return self.describe(store.find(self.kind, request[f"{self.field}JobName"]))

        def listed(store: Store, request: Request) -> Request:
            jobs = list(store.told(self.kind, self.describe))
            return page(jobs, request, f"{self.field}JobSummaries", f"{self.field}JobStatus", f"{self.field}JobName")

        return {
            f"Create{self.field}Job": create,
            f"Describe{self.field}Job": describe,
            f"List{self.field}Jobs": listed,
            f"Stop{self.field}Job": self.stop,
        }
