"""Tags of jobs, models and endpoints, by ARN."""

import re

from byoc_vision.local.store import InvalidError, Record, Request, Store, cut


def _record(store: Store, arn: str) -> Record:
    kind, _, name = arn.rpartition(":")[2].rpartition("/")
    record = store.find(kind, name) if re.fullmatch(r"[a-zA-Z0-9-]+(/[a-zA-Z0-9-]+)?", kind) else None
    if record is None or record.arn != arn:
        raise InvalidError(f"There is nothing with the ARN {arn} on this machine.")
    return record


def _add(store: Store, request: Request) -> Request:
    record = _record(store, request["ResourceArn"])
    record.tags |= {tag["Key"]: tag["Value"] for tag in request["Tags"]}
    return {"Tags": _listed(record)}


def _list(store: Store, request: Request) -> Request:
    return cut(_listed(_record(store, request["ResourceArn"])), request, "Tags")


def _delete(store: Store, request: Request) -> Request:
    record = _record(store, request["ResourceArn"])
    record.tags = {key: value for key, value in record.tags.items() if key not in request["TagKeys"]}
    return {}


def _listed(record: Record) -> list[Request]:
    return [{"Key": key, "Value": value} for key, value in sorted(record.tags.items())]


OPERATIONS = {"AddTags": _add, "ListTags": _list, "DeleteTags": _delete}
