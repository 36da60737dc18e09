"""What an endpoint, or a transform job, says of pictures."""

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from byoc_vision import pictures
from byoc_vision.contract.errors import UserError, one_line
from byoc_vision.contract.folders import text
from byoc_vision.engine import Engine

#: Pictures under way at a time.
_THREADS = 4


@dataclass(frozen=True, repr=False)
class Prediction:
    """What was said of one picture: the `answer` as it came, or, of a refused picture, an `error` instead.

    >>> said = endpoint.predict("dog.jpg")
    >>> said.label, said.probability
    ('dog', 0.98)
    """

    picture: str
    answer: dict[str, Any]
    error: str = ""

    @property
    def label(self) -> str:
        """The most probable class."""
        return str(self.answer["top_k"][0]["label"])

    @property
    def unsure(self) -> bool:
        """Whether that is less probable than the endpoint was told to be sure of (`BYOC_MIN_PROBABILITY`)."""
        return self.answer.get("label", "") is None

    @property
    def probability(self) -> float:
        """How probable the endpoint says that class is, from 0 to 1."""
        return float(self.answer["top_k"][0]["probability"])

    def __repr__(self) -> str:
        return f"Prediction({self.picture!r}, {self.error or self.answer!r})"

    def __str__(self) -> str:
        """The picture's name and a line for each class."""
        try:
            rows = [f"  {row['probability']:6.1%}  {row['label']}" for row in self.answer["top_k"]]
        except (KeyError, TypeError, ValueError):  # its own code/inference.py has another form
            rows = [f"  {json.dumps(self.answer, ensure_ascii=False)}"]
        return "\n".join([text(self.picture) + ": unsure" * self.unsure, *rows])


def request(endpoint: str, picture: pictures.Picture) -> dict[str, Any]:
    """Return InvokeEndpoint for the picture."""
    return {
        "EndpointName": endpoint,
        "ContentType": picture.content_type,
        "Accept": "application/json",
        "Body": picture.content,
    }


def ask(runtime: Any, endpoint: str, name: str) -> Prediction:
    """Return what the endpoint says of the picture in the file or at the URL `name`; raises `UserError`."""
    if Path(name).is_dir():
        raise UserError(f"{name} is a folder; name one picture")
    return Prediction(name, answer(runtime, endpoint, pictures.read(name)))


def answer(runtime: Any, endpoint: str, picture: pictures.Picture) -> dict[str, Any]:
    """Return the endpoint's answer about the picture; raises `UserError` where it is refused."""
    try:
        response = runtime.invoke_endpoint(**request(endpoint, picture))
    except Exception as error:
        said = _model_error(error)
        if said is None:
            raise
        raise UserError(said) from error
    return parsed(response["Body"].read())


def ask_all(runtime: Any, endpoint: str, sources: Iterable[str]) -> Iterator[Prediction]:
    """Yield a prediction for each picture; one that is refused has its `error`. See `Endpoint.predictions`."""

    def one(name: str) -> Prediction:
        try:
            return ask(runtime, endpoint, name)
        except UserError as error:
            return Prediction(name, {}, str(error))

    names = list(pictures.names(list(sources)))
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            yield from pool.map(one, names)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def stored(engine: Engine, uri: str) -> Iterator[Prediction]:
    """Yield the answers that a transform job has left below `uri`, by the pictures' names."""
    for name, content in engine.contents(uri):
        if name.endswith(".out"):
            yield _stored(name.removesuffix(".out"), content)


def _stored(picture: str, body: bytes) -> Prediction:
    """Return an answer that was stored; one of a handler's own form is kept whole, as `answer`."""
    try:
        return Prediction(picture, parsed(body))
    except UserError:
        pass
    try:
        said = body.decode()
    except UnicodeDecodeError:
        return Prediction(picture, {}, "the handler's own answer is no text; it is where the job leaves its answers")
    try:
        return Prediction(picture, {"answer": json.loads(said)})
    except (ValueError, RecursionError):
        return Prediction(picture, {"answer": said})


def parsed(body: bytes) -> dict[str, Any]:
    """Return the prediction in the endpoint's answer about one picture; raises `UserError` where there is none."""
    try:
        answer = dict(json.loads(body))
        return dict(answer["predictions"][0])
    except (ValueError, TypeError, KeyError, IndexError):
        raise UserError(
            "the endpoint's answer is none of this project's; check the endpoint's name, or ask a handler of your own "
            "with the curl line that byoc endpoints prints"
        ) from None


def _model_error(error: Exception) -> str | None:
    """Return what the container said when it refused this one picture, else None."""
    response = getattr(error, "response", {})
    if response.get("Error", {}).get("Code") != "ModelError":
        return None
    return error_in(str(response.get("OriginalMessage", response["Error"].get("Message", ""))))


def error_in(said: str) -> str:
    """Return the sentence in what a container answered; without one, all of that on one line."""
    try:
        return str(json.loads(said)["error"])
    except (ValueError, TypeError, KeyError):
        return one_line(said, None)
