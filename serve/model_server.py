"""Start multi-model-server and speak to its management API, over its unix socket."""

import http.client
import json
import socket
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from serve.memory import MB
from serve.settings import Settings

#: What is multi-model-server's own folder, where it looks for the programs that it starts.
_HOME = Path(__file__).parent / "home"

#: The starter's; see there.
STARTER_VARIABLE = "SERVE_STARTER_SOCKET"


def starter(name: str, folder: Path) -> list[str]:
    """Return the command that imports what the workers of a model need, before multi-model-server asks for it."""
    file = _HOME / "mms" / "model_service_worker.py"
    return [sys.executable, str(file), "--model-name", name, "--model-path", str(folder)]


def command(settings: Settings, runtime: Path) -> list[str]:
    """Return the command that runs multi-model-server in the foreground.

    Its own launcher forks into the background, and lets the JVM size its heap from the host's memory.
    """
    frontend = Path(str(distribution("multi-model-server").locate_file(""))) / "mms" / "frontend"
    return [
        "java",
        f"-Xmx{settings.memory.heap_bytes // MB}m",
        f"-XX:MaxDirectMemorySize={settings.memory.direct_bytes // MB}m",
        "-XX:+ExitOnOutOfMemoryError",  # it would go on without what it could not do; the supervisor ends the container
        "-XX:+DisplayVMOutputToStderr",  # why it cannot start, say: nobody reads its stdout
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:-UsePerfData",
        f"-XX:SharedArchiveFile={frontend / 'classes.jsa'}",
        *settings.jvm_options,
        f"-Djava.io.tmpdir={runtime / 'tmp'}",
        f"-Djava.library.path={frontend / 'native'}",
        f"-Dlog4j.configurationFile={runtime / 'log4j2.xml'}",
        f"-Dmodel_server_home={_HOME}",
        *("-cp", f"{frontend / 'mended.jar'}:{frontend / 'model-server.jar'}", "com.amazonaws.ml.mms.ModelServer"),
        *("--python", sys.executable, "-f", str(runtime / "mms.properties")),
    ]


class Client:
    """multi-model-server's management API; each call returns the HTTP status and the JSON answer."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def is_up(self) -> bool:
        """Tell whether multi-model-server accepts connections yet."""
        try:
            with _connect(self._path):
                return True
        except OSError:
            return False

    def register(
        self, name: str, folder: Path, workers: int, batch_size: int, timeout: int
    ) -> tuple[int, dict[str, Any]]:
        """Load the model in `folder` into `workers` processes and wait until all have it, or one has failed.

        A worker that is free is given up to `batch_size` of the requests that wait. `timeout` bounds the loading, in
        seconds.
        """
        return self._request(
            "POST",
            "/models",
            {
                "model_name": name,
                "url": str(folder),  # relative to the model store, which is /
                "handler": "serve.handler",
                "initial_workers": workers,
                "batch_size": batch_size,
                # In milliseconds. Requests gather while a worker is busy; an idle one does not wait for more of them.
                "max_batch_delay": 1,
                "synchronous": True,
                "response_timeout": timeout,
            },
        )

    def unregister(self, name: str) -> tuple[int, dict[str, Any]]:
        """Stop the workers of a model and forget it."""
        return self._request("DELETE", f"/models/{name}")

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = _connect(self._path)
        try:
            connection.request(method, path, json.dumps(body or {}), {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        # It closes the connection where the process that starts workers is killed.
        except (OSError, http.client.HTTPException) as error:
            return 503, {"message": f"multi-model-server gave no answer: {error}"}
        finally:
            connection.close()


def _connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection
