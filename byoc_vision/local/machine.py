"""This machine as a `byoc_vision.engine.Engine`."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from byoc_vision import home
from byoc_vision.contract.errors import UserError
from byoc_vision.contract.files import expanded
from byoc_vision.contract.folders import text
from byoc_vision.engine import PICTURE, Content, LogKind, Target
from byoc_vision.local.files import link_or_copy, locate
from byoc_vision.local.store import ACCOUNT, REGION, ServiceError, Store


class Machine:
    """The local engine. State and results are below `root`; nothing is started before it is used."""

    option = "--local"
    known = True
    longest_pause = 0.5
    region = REGION

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or home.local()).absolute()
        self._store = Store(self.root)

    @property
    def where(self) -> str:
        """The folder, since another current folder may have another."""
        return f"in {self.root}"

    def sketch(self) -> "Machine":
        """Return this engine."""
        return self

    @cached_property
    def sagemaker(self) -> Any:
        """boto3's client of SageMaker, answered here."""
        from byoc_vision.local import client, operations

        return client.sagemaker(partial(operations.answer, self._store))

    @cached_property
    def runtime(self) -> Any:
        """boto3's client of SageMaker's endpoints, answered by the containers here."""
        from byoc_vision.local import client, invocations

        return client.runtime(invocations.Invocations(self._store).send)

    def role(self) -> str:
        """Return a role's name: a request has one, and here it permits nothing and is asked by no one."""
        return f"arn:aws:iam::{ACCOUNT}:role/local"

    def image(self, target: Target) -> str:
        """Return the image that build.sh made last."""
        return f"byoc-vision-{target}:latest"

    def instance_type(self, wanted: str) -> str:
        """Return "local_gpu" where this machine has NVIDIA GPUs, else "local"."""
        from byoc_vision.local.instances import has_gpus

        return "local_gpu" if has_gpus() else "local"

    def output(self) -> str:
        """Return the URI of the folder that has one folder per job's results."""
        return (self.root / "results").as_uri()

    def place(self, source: str, under: str, *, send: bool, pictures: bool = False) -> str:
        """Return the file:// URI of `source`. A file, which may be gone before it is needed, is kept below `under`.

        Folders are read in place, so `pictures` is for the job to heed.
        """
        path = self._path(source) if "://" in source else expanded(source).absolute()
        if not path.exists():
            raise UserError(f"{source} does not exist; give a folder or a file of this machine")
        if path.is_dir():
            return f"{path.as_uri()}/"
        if "://" not in source:
            path = _kept(path, self._path(under), send)
        return path.as_uri()

    def fetch(self, uri: str, folder: Path) -> list[Path]:
        """Copy the file, or all files below the folder, into `folder`."""
        source = self._path(uri)
        if not source.exists():
            if uri.endswith("/"):  # an empty folder, in S3
                return []
            raise UserError(f"there is nothing at {uri}; check the URI")
        files = sorted(file for file in source.rglob("*") if file.is_file()) if source.is_dir() else [source]
        copies = [folder / (file.relative_to(source) if source.is_dir() else file.name) for file in files]
        for file, copy in zip(files, copies, strict=True):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)
        return copies

    def _path(self, uri: str) -> Path:
        try:
            return locate(self._store, uri)
        except ServiceError:
            raise UserError(f"{uri} is not on this machine; fetch it first and name the folder or file") from None

    def contents(self, uri: str) -> Iterator[tuple[str, bytes]]:
        """Yield the name and the content of each file below the folder."""
        source = self._path(uri)
        for file in sorted(file for file in source.rglob("*") if file.is_file()):
            yield text(file.relative_to(source)), file.read_bytes()

    def logs(self, kind: LogKind, name: str) -> Callable[[], list[str]]:
        """Return a function that gives the lines which came since the last call."""
        from byoc_vision.local import logs

        log: logs.File | logs.Containers
        if kind == "training":
            log = logs.File(self.root / "training-job" / name / "log")
        else:
            log = logs.Containers(self.root / ("endpoint" if kind == "endpoint" else "transform-job") / name)
        return lambda: [line for _, line in log.new_entries()]

    def refused(self, job: str) -> dict[str, str]:
        """Return what the job noted of each file."""
        return dict(self._store.find("transform-job", job).status.get("Refused", {}))

    def curl(self, endpoint: str, content: Content = PICTURE) -> str:
        """Return a command line that works while the endpoint's present container does."""
        try:
            port = self._store.find("endpoint", endpoint).status["Port"]
        except ServiceError:
            raise UserError(f"there is no endpoint {endpoint!r} on this machine; check the name") from None
        url = f"http://127.0.0.1:{port}/invocations"
        header = f'--header "Content-Type: {content.media_type}"'
        return f"curl --noproxy 127.0.0.1 {header} --data-binary @{content.file} {url}"


def _kept(file: Path, under: Path, send: bool) -> Path:
    """Return a further name of the file, below `under`; where that is on another file system, a copy's."""
    status = file.stat()
    version = hashlib.sha256(f"{file} {status.st_size} {status.st_mtime_ns} {status.st_ino}".encode()).hexdigest()[:16]
    kept = under / version / file.name
    if send and not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(file, kept)
    return kept
