"""Where requests are sent: one interface, two engines, so that no caller asks which of them it has.

`byoc_vision.aws.cloud` is AWS; `byoc_vision.local` is this machine. Both take the same requests and give the
service's response shapes and exceptions (`botocore.exceptions.ClientError` with the service's codes).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from byoc_vision.contract import folders

#: The images, as build.sh names them: serve is for GPUs and runs on CPUs, too, serve-cpu is lean and only for these.
Target = Literal["train", "serve", "serve-cpu"]
SERVING: tuple[Target, ...] = ("serve", "serve-cpu")

#: What stands in the request of a dry run for what only the account knows.
ACCOUNT, REGION, ROLE, DIGEST, VERSION = PLACEHOLDERS = "<account>", "<region>", "<role>", "<digest>", "<version>"

#: The account that this machine says it is, to its own clients.
THIS_MACHINE = "000000000000"

#: What has a log: a job of a kind, or an endpoint.
LogKind = Literal["training", "transform", "endpoint"]


@dataclass(frozen=True)
class Content:
    """What a request's body holds: its media type, and what a file of it is called in examples."""

    media_type: str
    file: str


PICTURE, ARRAY = Content("image/jpeg", "picture.jpg"), Content("application/json", "array.json")


class Engine(Protocol):
    """What a launcher needs besides its request. Nothing is opened before it is used; all may raise `UserError`."""

    #: The option that picks this engine ("--local" or nothing), for the commands that messages suggest.
    option: str

    #: Whether it can be asked what it has; else (see `sketch`) only requests can be built, with `PLACEHOLDERS`.
    known: bool

    #: Seconds, at most, between two looks at what has become of a job or an endpoint.
    longest_pause: float

    def sketch(self) -> "Engine":
        """Return the engine for a dry run: this one, or where no account answers one with `known` false."""

    @property
    def region(self) -> str:
        """The region's name."""

    @property
    def where(self) -> str:
        """Where things are, in the words of a sentence: "in us-east-1", "in /home/me/.byoc/local"."""

    @property
    def sagemaker(self) -> Any:
        """A client with the methods of `boto3.client("sagemaker")`.

        Used are create, describe, list and stop of training, tuning and transform jobs,
        `list_training_jobs_for_hyper_parameter_tuning_job`, and create, describe, update and delete of models, endpoint
        configurations and endpoints. Creating returns at once; describing tells how far it has got.
        """

    @property
    def runtime(self) -> Any:
        """A client with `invoke_endpoint` of `boto3.client("sagemaker-runtime")`, safe to call from several threads."""

    def role(self) -> str:
        """Return the ARN of the execution role."""

    def image(self, target: Target) -> str:
        """Return the image for a request: in AWS the one that push.sh recorded, here the one that build.sh made."""

    def instance_type(self, wanted: str) -> str:
        """Return the instance type for a request that asks for `wanted`: in AWS that, here "local" or "local_gpu"."""

    def output(self) -> str:
        """Return the URI under which results go where the user names none; no slash at its end."""

    def place(self, source: str, under: str, *, send: bool, pictures: bool = False) -> str:
        """Return the URI at which containers find `source`, which is a URI, a folder or a file of this machine.

        What lies on this machine goes below the URI `under` where containers cannot read it in place, unless `send` is
        false; with `pictures` only what may be one. Results will go there, too, so it sees to it that they can. A
        folder's URI ends in a slash, a file's does not. Raises `UserError` where `source` does not exist.
        """

    def fetch(self, uri: str, folder: Path) -> list[Path]:
        """Copy the object at `uri`, or all below it where it ends in a slash, into `folder`; return the files."""

    def contents(self, uri: str) -> Iterator[tuple[str, bytes]]:
        """Yield the name and the content of each object below the URI `uri` of a folder; the names are text."""

    def logs(self, kind: LogKind, name: str) -> Callable[[], list[str]]:
        """Return a function that gives the lines logged since it was last called."""

    def refused(self, job: str) -> dict[str, str]:
        """Return the files that a transform job has ended without an answer to, by name, with what was said of each."""

    def curl(self, endpoint: str, content: Content = PICTURE) -> str:
        """Return a command line that sends a file of that content to the endpoint."""


def visible(folder: Path, pictures: bool = False) -> Iterator[Path]:
    """Yield what is below `folder` but for what desktops leave; links are followed, also where they lead nowhere.

    With `pictures` only what may be one, as in training.
    """
    content = folders.read(folder)
    return content.pictures() if pictures else content.everything()
