"""What is known of jobs, models and endpoints: a folder each, `ROOT/KIND/NAME`, that any process may read at any time.

    request.json   what Create… was sent
    status.json    what has become of it since, in the fields of Describe…
    log            what its containers printed
    tags.json      its tags, once they differ from those it was created with
    stop           exists once its end was asked for
    lock           held by the process that sees it through

A lock is the kernel's: it is gone with its process, however that ended. So a job that is under way and whose lock is
free was deserted; and only who holds the lock writes the status.
"""

import fcntl
import json
import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from byoc_vision import home
from byoc_vision.contract.files import write_text
from byoc_vision.engine import THIS_MACHINE

Request = dict[str, Any]

_Told = TypeVar("_Told")

#: Seconds after which a folder that is being made or removed has been left so.
_LEFT = 60 * 60

_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")

ACCOUNT = THIS_MACHINE
REGION = "us-east-1"


class ServiceError(Exception):
    """What the service would answer in place of a result: one of its error codes, and a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class InvalidError(ServiceError):
    """What the service calls a `ValidationException`: a request that it cannot do."""

    def __init__(self, message: str) -> None:
        super().__init__("ValidationException", message)


class Lock:
    """The right to change a record, from now until `release` or the end of every process that has `descriptor`."""

    def __init__(self, file: Path) -> None:
        """Raises `BlockingIOError` when another process has it."""
        self.descriptor = os.open(file, os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise

    def release(self) -> None:
        """Give it up, as far as this process is concerned."""
        os.close(self.descriptor)

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Record:
    """One job, model, endpoint configuration or endpoint."""

    def __init__(self, store: "Store", kind: str, name: str) -> None:
        self.store, self.kind, self.name = store, kind, name
        self.folder = store.root / kind / name

    @property
    def arn(self) -> str:
        """Its name to the service."""
        return f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{self.kind}/{self.name}"

    @property
    def request(self) -> Request:
        """What its creation was asked with."""
        return _read(self.folder / "request.json")

    @property
    def status(self) -> Request:
        """What has become of it."""
        return _read(self.folder / "status.json")

    @property
    def tags(self) -> dict[str, str]:
        """Its tags, by key."""
        file = self.folder / "tags.json"
        if file.exists():
            return _read(file)
        return {tag["Key"]: tag["Value"] for tag in self.request.get("Tags", [])}

    @tags.setter
    def tags(self, tags: dict[str, str]) -> None:
        _write(self.folder / "tags.json", tags)

    def update(self, **fields: Any) -> None:
        """Change fields of the status; None removes one. For the lock's holder only."""
        status = {field: value for field, value in (self.status | fields).items() if value is not None}
        _write(self.folder / "status.json", status | {"LastModifiedTime": now()})

    def take(self) -> Lock | None:
        """Return the record's lock, or None when another process has it."""
        try:
            return Lock(self.folder / "lock")
        except (BlockingIOError, FileNotFoundError):
            return None

    @property
    def stopping(self) -> bool:
        """Whether its end was asked for."""
        return (self.folder / "stop").exists()

    def ask_to_stop(self) -> None:
        """Ask whoever sees it through for its end."""
        (self.folder / "stop").touch()

    def remove(self) -> None:
        """Forget it. Its folder is first renamed: nobody shall find half of it."""
        doomed = Path(tempfile.mkdtemp(prefix=".removed-", dir=self.folder.parent))
        self.folder.rename(doomed / self.name)
        shutil.rmtree(doomed)


class Store:
    """All records below the folder `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def create(
        self, kind: str, name: str, request: Request, used: str = "ResourceInUse", **status: Any
    ) -> tuple[Record, Lock]:
        """Return a new record with its lock; `used` is the error's code when there is one of that name."""
        record = Record(self, kind, _checked(name))
        home.make(self.root)
        record.folder.parent.mkdir(parents=True, exist_ok=True)
        # Made aside and then renamed, so that it is found complete or not at all.
        fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=record.folder.parent))
        fresh.chmod(0o755)
        lock = Lock(fresh / "lock")
        _write(fresh / "request.json", request)
        _write(fresh / "status.json", {"CreationTime": now(), "LastModifiedTime": now()} | status)
        (fresh / "log").touch()
        try:
            fresh.rename(record.folder)
        except OSError:
            lock.release()
            shutil.rmtree(fresh)
            raise ServiceError(used, f"Cannot create already existing {words(kind)} {name}.") from None
        return record, lock

    def find(self, kind: str, name: str) -> Record:
        """Return the record; one that does not exist is an `InvalidError`."""
        record = Record(self, kind, _checked(name))
        if not record.folder.is_dir():
            raise InvalidError(f"Could not find {words(kind)} {name}.")
        return record

    def all(self, kind: str) -> Iterator[Record]:
        """Yield all records of a kind, in no order."""
        for folder in (self.root / kind).glob("[!.]*"):
            yield Record(self, kind, folder.name)

    def sweep(self, kind: str) -> None:
        """Remove what was being made or removed of a kind when its process was killed."""
        for pattern in (".new-*", ".removed-*"):
            for folder in (self.root / kind).glob(pattern):
                with suppress(FileNotFoundError):  # someone else has removed it
                    if time.time() - folder.stat().st_mtime > _LEFT:
                        shutil.rmtree(folder, ignore_errors=True)

    def told(self, kind: str, tell: Callable[[Record], _Told]) -> Iterator[_Told]:
        """Yield what `tell` returns of each record of a kind, except of those that are removed meanwhile."""
        for record in self.all(kind):
            try:
                yield tell(record)
            except ServiceError:
                if record.folder.exists():
                    raise


def now() -> str:
    """Return the time as status files have it."""
    return datetime.now(UTC).isoformat()


def refuse(what: Request, *fields: str) -> None:
    """Raise `InvalidError` where `what` has one of `fields`, which would change results and is not done here."""
    for field in fields:
        if what.get(field) not in (None, "None", [], {}, False):
            raise InvalidError(f"The local engine has no {field}; leave it out.")


def page(summaries: list[Request], request: Request, key: str, status: str, name: str) -> Request:
    """Return a List… operation's answer: the part of `summaries` that its `request` asks for, newest first."""
    chosen = [
        summary
        for summary in summaries
        if request.get("NameContains", "") in summary[name]
        and request.get("StatusEquals", summary.get(status)) == summary.get(status)
        and all(_is_between(summary, request, field) for field in ("CreationTime", "LastModifiedTime"))
    ]
    field = {"Name": name, "Status": status}.get(request.get("SortBy", ""), "CreationTime")
    chosen.sort(key=lambda summary: str(summary[field]), reverse=request.get("SortOrder", "Descending") == "Descending")
    return cut(chosen, request, key)


def cut(chosen: list[Request], request: Request, key: str, usual: int = 10) -> Request:
    """Return the page of `chosen` that `request` asks for with MaxResults, if not the `usual` one, and NextToken."""
    begin = offset(request.get("NextToken") or "0")
    end = begin + request.get("MaxResults", usual)
    return {key: chosen[begin:end]} | ({"NextToken": str(end)} if end < len(chosen) else {})


def offset(token: str) -> int:
    """Return where the page begins that a token asks for; a token that no page had is a `ServiceError`."""
    if not re.fullmatch(r"[0-9]{1,18}", token):
        raise InvalidError(f"{token[:40]!r} is no token of a page; give the one that was answered.")
    return int(token)


def words(kind: str) -> str:
    """Return how sentences call a kind of records."""
    return kind.replace("-", " ")


def _is_between(summary: Request, request: Request, field: str) -> bool:
    """Whether the time in `field` lies where the request, in seconds, wants it."""
    after, before = request.get(f"{field}After", -math.inf), request.get(f"{field}Before", math.inf)
    if (after, before) == (-math.inf, math.inf):
        return True
    return bool(after <= datetime.fromisoformat(summary[field]).timestamp() <= before)


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidError(f"{name!r} is no name: letters, digits and hyphens, 63 at most.")
    return name


def _read(file: Path) -> Request:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:  # removed since it was found
        raise InvalidError(f"Could not find {words(file.parent.parent.name)} {file.parent.name}.") from None
    except (ValueError, TypeError):
        raise InvalidError(f"{file} is damaged, or another version's; remove {file.parent} and begin anew.") from None


def _write(file: Path, content: Request) -> None:
    write_text(file, json.dumps(content, indent=2) + "\n")
