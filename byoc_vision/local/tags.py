"""Tags of jobs, models and endpoints, by ARN."""

import re
from collections.abc import Iterable

from byoc_vision.local.store import InvalidError, Record, Request, Store, cut

#: The most that a resource has, and how the names of AWS's own begin, in small letters.
_MOST, _RESERVED = 50, "aws:"


def check(tags: list[Request], before: Iterable[str] = ()) -> None:
    """Raise `InvalidError` where a resource that has the tags `before` cannot be given these, too."""
    keys = [tag["Key"] for tag in tags]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise InvalidError(f"Two tags have the key {twice!r}; give one of them.")
    if reserved := next((key for key in keys if key.lower().startswith(_RESERVED)), None):
        raise InvalidError(f"The tag key {reserved!r} begins with {_RESERVED}, which only AWS gives; take another key.")
    if (count := len({*before, *keys})) > _MOST:
        raise InvalidError(f"These would be {count} tags, and a resource has {_MOST} at most; delete some first.")


def _record(store: Store, arn: str) -> Record:
    kind, _, name = arn.rpartition(":")[2].rpartition("/")
    record = store.find(kind, name) if re.fullmatch(r"[a-zA-Z0-9-]+(/[a-zA-Z0-9-]+)?", kind) else None
    if record is None or record.arn != arn:
        raise InvalidError(f"There is nothing with the ARN {arn} on this machine.")
    return record


def _add(store: Store, request: Request) -> Request:
    record = _record(store, request["ResourceArn"])
    check(request["Tags"], record.tags)
    record.tags |= {tag["Key"]: tag["Value"] for tag in request["Tags"]}
    return {"Tags": _listed(record)}


def _list(store: Store, request: Request) -> Request:
    return cut(_listed(_record(store, request["ResourceArn"])), request, "Tags", _MOST)


def _delete(store: Store, request: Request) -> Request:
    record = _record(store, request["ResourceArn"])
    record.tags = {key: value for key, value in record.tags.items() if key not in request["TagKeys"]}
    return {}


def _listed(record: Record) -> list[Request]:
    return [{"Key": key, "Value": value} for key, value in sorted(record.tags.items())]


OPERATIONS = {"AddTags": _add, "ListTags": _list, "DeleteTags": _delete}
