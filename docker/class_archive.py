"""Writes the archive of classes with which multi-model-server starts: they need not be read, checked and linked again.

`python class_archive.py JAVA FRONTEND`, run when the images are built: JAVA is the program, FRONTEND the folder of
multi-model-server's jars. The classes are those that it loads until it has answered a request.
"""

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_PROPERTIES = """
inference_address=unix:{socket}
management_address=unix:{socket}
model_store=/
"""
_HANDLER = "def handle(data, context):\n    return ['' for _ in data or ()]\n"

#: As it is started in `serve.model_server`: an archive holds for the class path that it was made with.
_GARBAGE_COLLECTOR, _MAIN = "-XX:+UseSerialGC", "com.amazonaws.ml.mms.ModelServer"


def main(java: str, frontend: Path) -> None:
    """Write `FRONTEND/classes.jsa`."""
    class_path = f"{frontend / 'mended.jar'}:{frontend / 'model-server.jar'}"
    with tempfile.TemporaryDirectory() as folder:
        classes = Path(folder, "classes")
        _serve_once(
            [java, "-Xshare:off", _GARBAGE_COLLECTOR, f"-XX:DumpLoadedClassList={classes}"], class_path, Path(folder)
        )
        archive = [
            "-Xshare:dump",
            f"-XX:SharedClassListFile={classes}",
            f"-XX:SharedArchiveFile={frontend / 'classes.jsa'}",
        ]
        subprocess.run([java, *archive, "-Xlog:cds=warning", "-cp", class_path], check=True)


def _serve_once(java: list[str], class_path: str, folder: Path) -> None:
    (folder / "model").mkdir()
    (folder / "tmp").mkdir()
    (folder / "handler.py").write_text(_HANDLER, encoding="utf-8")
    (folder / "properties").write_text(_PROPERTIES.format(socket=folder / "socket"), encoding="utf-8")
    frontend = Path(class_path.partition(":")[0]).parent
    options = {
        "java.io.tmpdir": folder / "tmp",
        "java.library.path": frontend / "native",
        "log4j.configurationFile": "/run/log4j2.xml",
        "model_server_home": frontend.parents[1],
    }
    properties = [f"-D{name}={value}" for name, value in options.items()]
    server = subprocess.Popen(
        [*java, *properties, "-cp", class_path, _MAIN, "--python", sys.executable, "-f", str(folder / "properties")],
        env=os.environ | {"PYTHONPATH": str(folder)},
    )
    try:
        model = {"model_name": "model", "url": str(folder / "model"), "handler": "handler"}
        _ask(folder / "socket", "/models", model | {"initial_workers": 1, "synchronous": True})
        _ask(folder / "socket", "/predictions/model", {})
    finally:
        server.terminate()
        server.wait()


def _ask(path: Path, address: str, body: dict[str, object]) -> None:
    deadline = time.monotonic() + 60
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    while True:
        try:
            connection.sock.connect(str(path))
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    with connection.sock:
        connection.request("POST", address, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            sys.exit(f"class_archive.py: {address} was answered {response.status}: {response.read()!r}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
