"""Folders and files of this machine to S3 and back; only what changed travels."""

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from byoc_vision.contract.errors import UserError
from byoc_vision.contract.folders import count, text
from byoc_vision.engine import visible
from byoc_vision.refusals import code_of

_log = logging.getLogger(__name__)

_THREADS = 16

#: Files whose turn in the threads is noted at a time: a million notes would take two gigabytes.
_AT_ONCE = 4096

#: The longest key that S3 takes.
_KEY_BYTES = 1024

T = TypeVar("T")


def split(uri: str) -> tuple[str, str]:
    """Return an S3 URI's bucket and key; raise `UserError` where it is none."""
    parts = urlsplit(uri)
    if parts.scheme != "s3" or not parts.netloc or not parts.path.strip("/"):
        raise UserError(f"{uri!r} is no S3 URI; write it as s3://bucket/folder/ or s3://bucket/file")
    return parts.netloc, parts.path.lstrip("/")


def destination(source: Path, under: str) -> str:
    """Return the URI below the URI `under` that belongs to the folder or file `source`, always the same one.

    A folder's ends in a slash, without which S3 takes every key that begins alike, and has part of the path's hash, so
    that two folders of one name stay apart. A file's has part of its content's: what an endpoint was made from must not
    change under it.
    """
    source = source.resolve()
    if source.is_dir():
        return f"{under}/{source.name}-{hashlib.sha256(str(source).encode()).hexdigest()[:8]}/"
    return f"{under}/{_md5(source)[:8]}/{source.name}"


def send(s3: Any, source: Path, uri: str, pictures: bool = False) -> None:
    """Make the objects at `uri` equal to the folder or file `source`: send what changed, remove what is gone.

    With `pictures` the folder has only what may be one.
    """
    bucket, key = split(uri)
    files = {key: source} if source.is_file() else _files(source, key, pictures)
    if not files:
        raise UserError(f"{source} holds no files")
    there = {item["Key"]: (item["Size"], item["ETag"].strip('"')) for item in listing(s3, bucket, key)}
    with ThreadPoolExecutor(_THREADS) as pool:
        names = list(files)
        same = _mapped(pool, lambda name: _same(s3, bucket, name, there.get(name), files[name]), names)
        changed = [name for name, unchanged in zip(names, same, strict=True) if not unchanged]
        total, done = sum(files[name].stat().st_size for name in changed), 0
        try:
            for number, size in enumerate(_mapped(pool, lambda name: _put(s3, bucket, name, files[name]), changed), 1):
                done += size
                sizes = f"{done / 1e6:.1f}/{total / 1e6:.1f} MB"
                # Of use while it lasts only: a terminal writes the next one over it.
                _log.info("%s: %d/%d files, %s", source, number, len(changed), sizes, extra={"passing": True})
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    gone = [{"Key": name} for name in there if name not in files and key.endswith("/")]
    for start in range(0, len(gone), 1000):
        s3.delete_objects(Bucket=bucket, Delete={"Objects": gone[start : start + 1000], "Quiet": True})
    sent = f"{len(changed)} of {len(files)} files sent ({done / 1e6:.1f} MB), {len(gone)} removed"
    _log.info("%s -> %s: %s", source, uri, sent)


def _mapped(pool: ThreadPoolExecutor, work: Callable[[str], T], names: Sequence[str]) -> Iterator[T]:
    """Yield what `work` gives for each of the `names`, in order."""
    for begin in range(0, len(names), _AT_ONCE):
        yield from pool.map(work, names[begin : begin + _AT_ONCE])


def _files(folder: Path, key: str, pictures: bool) -> dict[str, Path]:
    """Return the keys below `key` for what is in `folder`, without what cannot be read, which is said."""
    files = {key + text(file.relative_to(folder)): file for file in visible(folder, pictures)}
    if missing := [name for name, file in files.items() if not file.is_file()]:
        first = missing[0].removeprefix(key)
        _log.warning("%s: not sent, because it cannot be read: %s (%s)", folder, count(len(missing), "file"), first)
    for name in missing:
        del files[name]
    for name, file in files.items():
        if len(name.encode()) > _KEY_BYTES:
            raise UserError(
                f"{text(file.relative_to(folder))[:200]}… has a longer name than S3 takes, {_KEY_BYTES:,} bytes with"
                " its folders; shorten it"
            )
    return files


def listing(s3: Any, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a bucket whose keys begin with `prefix`."""
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from page.get("Contents", [])


def fetch(s3: Any, uri: str, folder: Path) -> list[Path]:
    """Copy the object at `uri`, or all below it where it ends in a slash, into `folder`; return the files."""
    bucket, key = split(uri)
    keys = [key]
    if key.endswith("/"):
        keys = [item["Key"] for item in listing(s3, bucket, key) if not item["Key"].endswith("/")]
    files = []
    for name in keys:
        file = folder / (name.removeprefix(key) or Path(name).name)
        if not file.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"the object s3://{bucket}/{name} would be written outside {folder}; it was not fetched")
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            s3.download_file(bucket, name, str(file))
        except Exception as error:
            if code_of(error) in ("404", "NoSuchKey"):
                raise UserError(f"there is no object s3://{bucket}/{name}; check the URI") from None
            raise
        files.append(file)
    return files


def contents(s3: Any, uri: str) -> Iterator[tuple[str, bytes]]:
    """Yield the keys below the folder's `uri`, relative to it, and the objects' content: keys may be no file's name."""
    bucket, key = split(f"{uri.rstrip('/')}/")
    for item in listing(s3, bucket, key):
        if not item["Key"].endswith("/"):
            yield item["Key"].removeprefix(key), s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()


def _same(s3: Any, bucket: str, key: str, there: tuple[int, str] | None, file: Path) -> bool:
    """Whether the object of the size and ETag `there` holds what `file` does."""
    if there is None or there[0] != file.stat().st_size:
        return False
    # The ETag is the MD5 of what came in one part and is not encrypted with a key of KMS; else our own note tells.
    md5 = _md5(file)
    if there[1] == md5:
        return True
    return bool(s3.head_object(Bucket=bucket, Key=key)["Metadata"].get("md5") == md5)


def _put(s3: Any, bucket: str, key: str, file: Path) -> int:
    s3.upload_file(str(file), bucket, key, ExtraArgs={"Metadata": {"md5": _md5(file)}})
    return file.stat().st_size


def _md5(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
