"""What all kinds of jobs have in common: the service's operations on them."""

from collections.abc import Callable, Sequence

from byoc_vision.local import process
from byoc_vision.local.store import InvalidError, Record, Request, ServiceError, Store, now, page, refuse, words

Operation = Callable[[Store, Request], Request]
Tell = Callable[[Record], Request]


def operations(
    kind: str,
    name: str,
    create: Operation,
    describe: Tell,
    tell: Tell | None = None,
    no_filters: Sequence[str] = (),
) -> dict[str, Operation]:
    """Return the service's operations on the records of a kind, which it calls by `name`: TrainingJob.

    `describe` returns what it says of one, and `tell`, unless it is the same, what it says of one in a list. Lists
    cannot be filtered by `no_filters`.
    """

    def find(store: Store, request: Request) -> Record:
        return store.find(kind, request[f"{name}Name"])

    def describe_one(store: Store, request: Request) -> Request:
        return describe(find(store, request))

    def list_all(store: Store, request: Request) -> Request:
        refuse(request, *no_filters)
        jobs = list(store.told(kind, tell or describe))
        return page(jobs, request, f"{name}Summaries", f"{name}Status", f"{name}Name")

    def stop(store: Store, request: Request) -> Request:
        record = find(store, request)
        status = describe(record)[f"{name}Status"]
        if status not in ("InProgress", "Stopping"):
            raise InvalidError(f"The {words(kind)} {record.name} is {status} already.")
        record.ask_to_stop()
        return {}

    def delete(store: Store, request: Request) -> Request:
        record = find(store, request)
        status = describe(record)[f"{name}Status"]
        if status in ("InProgress", "Stopping"):
            raise ServiceError("ResourceInUse", f"The {words(kind)} {record.name} is {status}; stop it first.")
        record.remove()  # what it has left stays
        return {}

    return {
        f"Create{name}": create,
        f"Describe{name}": describe_one,
        f"List{name}s": list_all,
        f"Stop{name}": stop,
        f"Delete{name}": delete,
    }


def describe(record: Record, name: str, clear: Callable[[Record], None]) -> Request:
    """Return what the service says of a job that one process runs from beginning to end.

    One whose process broke down has failed; `clear` takes down what is left of its containers.
    """
    state, ended = f"{name}Status", f"{name.removesuffix('Job')}EndTime"
    if record.status[state] == "InProgress" and (lock := record.take()):
        with lock:
            if record.status[state] == "InProgress":
                clear(record)
                record.update(**{state: "Failed", ended: now()}, FailureReason=process.KILLED)
    status = record.status
    if record.stopping and status[state] == "InProgress":
        status[state] = "Stopping"
    return record.request | {f"{name}Arn": record.arn} | status
