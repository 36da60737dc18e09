"""What was found out about a model's numeric forms: told among the workers of a container, and kept for the next start.

The workers share a file, in which one of them decides for all. What was decided is kept in another, whose place
survives a restart of the container (or is the folder that `BYOC_FORMS` names). It is only advice: the form that it
names still has to answer the model's probe pictures.
"""

import fcntl
import glob
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TextIO

from byoc_vision.contract.files import write_text

logger = logging.getLogger(__name__)

#: What the supervisor tells the workers: the folder of the files that they share.
SHARED_VARIABLE = "SERVE_FORMS"

#: What the user may set: a folder for what is kept, also for other containers.
KEPT_VARIABLE = "BYOC_FORMS"

#: No record is longer, in bytes.
_LONGEST = 16_384


class Trials:
    """Which forms are tried, told before each, so that one that ends the process is not tried again."""

    def __init__(self, file: TextIO | None = None, ended: frozenset[str] = frozenset()) -> None:
        self._file = file
        #: The forms that have ended a process.
        self.ended = ended

    @contextmanager
    def of(self, form: str) -> Iterator[None]:
        """Try a form in the block."""
        self._note("trying", form)
        try:
            yield
        finally:
            self._note("tried", form)

    def _note(self, event: str, form: str) -> None:
        if self._file is not None:
            self._file.write(json.dumps([event, form]) + "\n")
            self._file.flush()


def once(shared: Path, decide: Callable[[], tuple[str, str]]) -> tuple[str, str]:
    """Return what `decide` returns, called in one of the processes that share a file.

    The others wait for it; when it dies, the next one decides.
    """
    with shared.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            file.seek(0)
            known = file.read()
            form, sentence = json.loads(known) if known else decide()
            if not known:
                file.write(json.dumps([form, sentence]))
                file.flush()
        finally:
            # A process that the model's own code forks has the file, too.
            fcntl.flock(file, fcntl.LOCK_UN)
    return form, sentence


def shared(model: Path, folder: Path) -> Path:
    """Return the file in `folder` that the workers of the model in the folder `model` share."""
    # With its time, for a multi-model endpoint may put another model at the same place.
    return folder / f"{_name(model)}-{model.stat().st_mtime_ns}"


def forget(model: Path, folder: Path) -> None:
    """Remove the files in `folder` that workers of the model in the folder `model`, which may be gone, have shared."""
    for file in folder.glob(f"{glob.escape(_name(model))}-[0-9]*"):
        file.unlink(missing_ok=True)


def _name(model: Path) -> str:
    return str(model.resolve()).replace("/", "-")


@dataclass(frozen=True)
class Kept:
    """The record of the form that was chosen under the same circumstances; `file` need not be there."""

    file: Path
    circumstances: Mapping[str, str]

    @classmethod
    def under(cls, circumstances: Mapping[str, str]) -> "Kept":
        """Return the record for these circumstances."""
        folder = Path(os.environ.get(KEPT_VARIABLE) or Path(tempfile.gettempdir(), "byoc-forms"))
        digest = sha256(json.dumps(circumstances, sort_keys=True).encode()).hexdigest()
        return cls(folder / f"{digest[:32]}.json", circumstances)

    def read(self) -> str | None:
        """Return the name of the form; None where there is no record, or none that can be used."""
        try:
            if not self.file.exists():
                return None
            # Of a pipe or a device there is no end.
            if not self.file.is_file() or self.file.stat().st_size > _LONGEST:
                raise ValueError("it is not a file of a few lines")
            content = json.loads(self.file.read_text(encoding="utf-8"))
            if content["circumstances"] != self.circumstances:
                raise ValueError("it is of another processor, model or image")
            return str(content["form"])
        # The decoder may also be asked for more than its depth.
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            logger.warning("the record %s cannot be used (%s), so the numeric forms are measured", self.file, error)
            return None

    def write(self, form: str) -> None:
        """Keep a form's name; where that cannot be done, the next start measures again."""
        content = {"form": form, "circumstances": self.circumstances}
        try:
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_text(self.file, json.dumps(content, indent=1))
        except OSError as error:
            logger.warning("the numeric form is not kept for the next start (%s)", error)
