"""Load and unload models: the one of a plain endpoint, and those SageMaker asks for at a multi-model endpoint.

SageMaker sends `POST /models {"model_name", "url"}`, `GET /models`, `GET /models/NAME` and `DELETE /models/NAME`. A
load that does not fit into memory is answered 507: SageMaker then unloads another model, and asks again.
"""

import json
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from byoc_vision.contract.cgroup import kernel_kills
from byoc_vision.contract.errors import UserError
from serve import packages, records, user_code
from serve.control import Answer
from serve.memory import MB, own_memory
from serve.model_server import Client
from serve.settings import Settings
from serve.workers import Failure, Workers

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,127}", re.ASCII)

#: What a worker takes besides its model's files, until one has been measured.
_WORKER = 64 * MB

#: How long a model that is unloaded may go on answering what it was asked before, in seconds.
_DRAIN = 20

#: After so many seconds without work, a worker has no request that waits.
_IDLE = 0.2

#: So long after their last request, in seconds, workers have given back what it took.
_GIVE_BACK = 1.0


class Models:
    """The models of this container, kept by multi-model-server.

    `runtime` is the folder of temporary files. In its folder `models` each of them has a file, by which nginx knows
    which it may be asked for, and in `packages` an environment with what its code needs. `forget(name)` is called when
    a model is gone.
    """

    def __init__(
        self,
        settings: Settings,
        client: Client,
        workers: Workers,
        runtime: Path,
        forget: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._client = client
        self._workers = workers
        self._loaded = runtime / "models"
        self._packages = runtime / "packages"
        self._forms = runtime / "forms"
        self._forget = forget
        self._lock = threading.Lock()
        self._one_load = threading.Lock()
        self._folders: dict[str, str] = {}
        self._worker_bytes = _WORKER

    def load(self, name: str, folder: Path) -> Failure | None:
        """Load the model in `folder`; return None once all its workers are ready, or why they are not."""
        settings = self._settings
        if not folder.is_dir():
            return Failure(f"there is no folder {folder}; mount the model's files there, unpacked from their archive")
        requirements = user_code.folder(folder) / packages.REQUIREMENTS
        try:
            if user_code.has(requirements):
                installed = packages.install(requirements, self._packages / name, settings.startup_timeout)
                print(f"installed for model {name}: {installed}", file=sys.stderr)
        except UserError as error:
            return Failure(str(error))
        kills = kernel_kills()
        self._workers.expect(name)
        begun = time.monotonic()
        status, answer = self._client.register(
            name, folder, settings.workers, settings.batch_size, settings.startup_timeout
        )
        if status < 300:
            print(f"model {name}: {self._workers.wait_for_description(name)}", file=sys.stderr)
            (self._loaded / name).touch()
            return None
        self._workers.leave(name)  # those of its workers that could load it end, too
        if kernel_kills() > kills and settings.multi_model:
            return self._too_large()
        if kernel_kills() > kills:
            return Failure(
                f"the model does not fit into the container's memory ({settings.memory.total // MB} MB, workers: "
                f"{settings.workers}); give it more, or take fewer workers (SAGEMAKER_MODEL_SERVER_WORKERS)",
                status=507,
            )
        if time.monotonic() - begun > settings.startup_timeout:
            return Failure(
                f"the model took over {settings.startup_timeout} s to load; give it more time "
                "(SAGEMAKER_STARTUP_TIMEOUT), or look for what its own code waits for"
            )
        reason = f"the model cannot be loaded ({answer.get('message', status)}); the lines above may say why"
        return self._workers.wait_for_failure(name) or Failure(reason, status=status)

    def lose(self, name: str, why: str) -> None:
        """Unload a model that cannot go on; the others stay."""
        self._workers.leave(name)
        print(f"model {name} is unloaded: {why}", file=sys.stderr)
        threading.Thread(target=self._unload, args=(name,), daemon=True).start()

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """Answer SageMaker's request about the models: a status and a JSON object."""
        path = path.partition("?")[0]
        name = path.removeprefix("/models/")
        if path == "/models" and method == "POST":
            return self._load(body)
        if path == "/models" and method == "GET":
            with self._lock:
                loaded = [_shown(name, url) for name, url in self._folders.items() if (self._loaded / name).exists()]
            return 200, {"models": loaded}
        if name == path or method not in ("GET", "DELETE"):
            return 405, {
                "error": f"{method} is not allowed at this path; see SageMaker's multi-model container contract"
            }
        with self._lock:
            url = self._folders.get(name)
        if url is None:
            return 404, {"error": f"there is no model {name[:100]!r}; load it with POST /models"}
        return (200, _shown(name, url)) if method == "GET" else self._unload(name)

    def _load(self, body: bytes) -> Answer:
        try:
            request = json.loads(body)
            name, url = request["model_name"], request["url"]
            # multi-model-server would fetch an address, and would load any folder of the container.
            folder = Path(url)
            inside = (
                ".." not in folder.parts  # which multi-model-server does not take
                and folder.is_dir()
                and folder.resolve().is_relative_to(self._settings.model_dir.resolve())
            )
        except (ValueError, RecursionError, KeyError, TypeError):
            return 400, {"error": 'the body is not of the form {"model_name": "...", "url": "..."}'}
        except OSError:  # no file can have such a name
            inside = False
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            allowed = "use up to 128 letters, digits, dots, dashes and underscores, the first a letter or digit"
            return 400, {"error": f"{str(name)[:100]!r} cannot name a model; {allowed}"}
        if not inside:
            return 400, {"error": f"{url[:200]!r} is not a folder in {self._settings.model_dir}"}
        with self._lock:
            if name in self._folders:
                return 409, {"error": f"model {name} is loaded, or being loaded, already; unload it first"}
            self._folders[name] = url
        try:
            with self._one_load:  # what is free is known when the one before has taken its part
                failure = self._load_if_it_fits(name, folder)
        except OSError as error:
            failure = Failure(f"the model's folder, or multi-model-server, cannot be read ({error}); load it again")
        if failure is None:
            return 200, _shown(name, url)
        self._clear(name)
        print(failure.trace + f"model {name}: {failure.sentence}", file=sys.stderr)
        return failure.status, {"error": failure.sentence}

    def _load_if_it_fits(self, name: str, folder: Path) -> Failure | None:
        files = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        if not self._has_free(files + self._worker_bytes):
            return self._too_large()
        failure = self.load(name, folder)
        if failure is not None:
            return failure
        self._worker_bytes = max(self._worker_bytes, self._taken(name) - files)
        if not self._has_free(0):
            self._unload(name)
            return self._too_large()
        return None

    def _has_free(self, wanted: int) -> bool:
        """Tell whether so many bytes are left for models, once workers have given back what requests took."""
        deadline = time.monotonic() + _GIVE_BACK
        while self._free() < wanted:
            if time.monotonic() > deadline:
                return False
            time.sleep(_GIVE_BACK / 20)
        return True

    def _free(self) -> int:
        """Return the bytes of memory that are left for models."""
        return self._settings.memory.workers_bytes - self._settings.request_bytes - self._taken()

    def _taken(self, name: str | None = None) -> int:
        """Return the bytes of memory that the workers of a model hold, or those of all models."""
        return sum(own_memory(process) for process in self._workers.processes(name))

    def _too_large(self) -> Failure:
        left = max(0, self._free()) // MB
        return Failure(f"the model does not fit: {left} MB of memory are left for it; unload another one", status=507)

    def _unload(self, name: str) -> Answer:
        """Let the model answer what it has been asked, then stop its workers."""
        with self._lock:
            if not (self._loaded / name).exists():
                return 409, {"error": f"model {name} is being loaded, or unloaded; ask for it again when that is done"}
            (self._loaded / name).unlink()  # from now on nginx answers 404
        deadline, idle_since = time.monotonic() + _DRAIN, time.monotonic()
        while time.monotonic() < min(deadline, idle_since + _IDLE):
            time.sleep(_IDLE / 20)
            if self._workers.busy(name):
                idle_since = time.monotonic()
        processes = self._workers.processes(name)
        self._workers.leave(name)
        status, answer = self._client.unregister(name)
        # Their memory is free when they are gone, and their last words are heard.
        while time.monotonic() < deadline and (
            self._workers.processes(name) or any(Path(f"/proc/{process}").exists() for process in processes)
        ):
            time.sleep(_IDLE / 20)
        self._clear(name)
        if status < 300:
            return status, answer
        return status, {"error": answer.get("message", "multi-model-server gave no reason")}

    def _clear(self, name: str) -> None:
        """Leave nothing of a model that is gone."""
        shutil.rmtree(self._packages / name, ignore_errors=True)
        self._forget(name)
        with self._lock:
            folder = self._folders.pop(name, None)
        if folder:
            records.forget(Path(folder), self._forms)


def _shown(name: str, url: str) -> dict[str, str]:
    return {"modelName": name, "modelUrl": url}
