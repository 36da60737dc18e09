"""Load and unload models: the one of a plain endpoint, and those SageMaker asks for at a multi-model endpoint.

SageMaker sends `POST /models {"model_name", "url"}`, `GET /models`, `GET /models/NAME` and `DELETE /models/NAME`.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from serve.control import Failure, Workers
from serve.model_server import Client
from serve.settings import Settings

Answer = tuple[int, dict[str, Any]]

_NAME = re.compile(r"[\w.-]{1,128}", re.ASCII)


class Models:
    """The models of this container, kept by multi-model-server."""

    def __init__(self, settings: Settings, client: Client, workers: Workers) -> None:
        self._settings = settings
        self._client = client
        self._workers = workers

    def load(self, name: str, folder: Path) -> Failure | None:
        """Load the model in `folder`; return None once all its workers are ready, or why they are not."""
        settings = self._settings
        if (folder / "code" / "requirements.txt").is_file():
            print("code/requirements.txt is ignored: nothing is installed when a container starts", file=sys.stderr)
        status, answer = self._client.register(
            name, folder, settings.workers, settings.batch_size, settings.startup_timeout
        )
        if status < 300:
            print(f"model {name}: {self._workers.wait_for_description(name)}", file=sys.stderr)
            return None
        reason = f"the model cannot be loaded ({answer.get('message', status)}); the lines above may say why"
        return self._workers.wait_for_failure(name) or Failure(reason, status=status)

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """Answer SageMaker's request about the models: a status and a JSON object."""
        path, _, query = path.partition("?")
        if path == "/models" and method == "POST":
            return self._load(body)
        if path == "/models" and method == "GET":
            return self._told(*self._client.list(query))
        name = path.removeprefix("/models/")
        if name == path or method not in ("GET", "DELETE"):
            return 405, {"error": f"{method} is not allowed at {path}"}
        if not _NAME.fullmatch(name):
            return 404, {"error": f"there is no model {name!r}"}
        if method == "DELETE":
            return self._told(*self._client.unregister(name))
        status, model = self._client.describe(name)
        if status == 200:
            return 200, {"modelName": model["modelName"], "modelUrl": model["modelUrl"]}
        return self._told(status, model)

    def _load(self, body: bytes) -> Answer:
        try:
            request = json.loads(body)
            name, url = str(request["model_name"]), str(request["url"])
        except (ValueError, RecursionError, KeyError, TypeError):
            return 400, {"error": 'the body is not of the form {"model_name": "...", "url": "..."}'}
        # multi-model-server would fetch an address, and would load any folder of the container.
        folder = Path(url)
        if not _NAME.fullmatch(name):
            return 400, {"error": f"{name[:100]!r} cannot name a model; use letters, digits, dot, dash and underscore"}
        if not folder.is_dir() or not folder.resolve().is_relative_to(self._settings.model_dir.resolve()):
            return 400, {"error": f"{url[:200]!r} is not a folder in {self._settings.model_dir}"}
        failure = self.load(name, folder)
        if failure is None:
            return 200, {"modelName": name, "modelUrl": url}
        print(failure.trace + f"model {name}: {failure.sentence}", file=sys.stderr)
        return failure.status, {"error": failure.sentence}

    @staticmethod
    def _told(status: int, answer: dict[str, Any]) -> Answer:
        return status, answer if status < 300 else {"error": answer.get("message", "multi-model-server gave no reason")}
