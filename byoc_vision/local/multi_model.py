"""Multi-model endpoints: models are unpacked and loaded when they are first asked for, as the service does it.

The container's contract is SageMaker's: POST /models loads a folder below /opt/ml/models, POST /models/NAME/invoke asks
it, DELETE /models/NAME unloads it. A load that does not fit is answered 507; then the model that was not asked for the
longest is unloaded. What is loaded the container knows; when a model was last asked for is the time of its folder.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from byoc_vision import archives
from byoc_vision.contract.errors import UserError
from byoc_vision.local import models
from byoc_vision.local.files import locate
from byoc_vision.local.store import Request, ServiceError, Store

#: Sends a request (method, path, body, headers) to the container; returns urllib3's response.
Send = Callable[[str, str, Any, Mapping[str, str]], Any]


def ask(store: Store, member: Request, target: str, body: Any, headers: Mapping[str, str], send: Send) -> Any:
    """Return the answer of the model `target`, a key below the container's prefix. Raises `ServiceError`."""
    archive = _archive(store, member["Container"], target)
    stat = archive.stat()
    # A model that was replaced is another one.
    version = f"{target}\0{stat.st_mtime_ns}\0{stat.st_size}\0{stat.st_ino}"
    name = hashlib.sha256(version.encode(errors="surrogateescape")).hexdigest()[:32]
    folder = Path(member["Model"]) / name
    if folder.is_dir():
        os.utime(folder)
        answer = send("POST", f"/models/{name}/invoke", body, headers)
        if answer.status != 404:
            return answer
    _load(archive, folder, send)
    return send("POST", f"/models/{name}/invoke", body, headers)


def _archive(store: Store, definition: Request, target: str) -> Path:
    uri = f"{models.data(definition)[0].rstrip('/')}/{target.removeprefix('/')}"
    if ".." not in target.split("/"):
        try:
            if (archive := locate(store, uri)).is_file():
                return archive
        except ServiceError:  # its name cannot be a file's
            pass
    raise ServiceError("ValidationError", f"Failed to download model data: there is no object at {uri}.")


def _load(archive: Path, folder: Path, send: Send) -> None:
    with folder.with_name(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one at a time: what is free is known when the one before has taken its part
        if not folder.exists():
            fresh = folder.with_name(f".{folder.name}")
            shutil.rmtree(fresh, ignore_errors=True)  # of a process that was killed
            (fresh / "model").mkdir(parents=True)
            try:
                archives.unpack(archive, fresh / "model")
            except UserError as error:
                shutil.rmtree(fresh)
                raise ServiceError("ValidationError", f"{error}.") from None
            fresh.rename(folder)
        request = json.dumps({"model_name": folder.name, "url": f"/opt/ml/models/{folder.name}/model"}).encode()
        headers = {"Content-Type": "application/json"}
        while (answer := send("POST", "/models", request, headers)).status == 507 and _unload_one(folder, send):
            pass
        if answer.status >= 400 and answer.status != 409:  # which it has loaded already
            shutil.rmtree(folder)
            said = answer.data.decode(errors="replace")
            raise ServiceError("ModelError", f"The model {archive.name} cannot be loaded ({answer.status}): {said}")


def _unload_one(wanted: Path, send: Send) -> bool:
    """Unload the model that was not asked for the longest; return whether there was one."""
    others = [folder for folder in wanted.parent.glob("[0-9a-f]*") if folder != wanted]
    if not others:
        return False
    oldest = min(others, key=lambda folder: folder.stat().st_mtime)
    send("DELETE", f"/models/{oldest.name}", b"", {}).drain_conn()
    shutil.rmtree(oldest)
    return True
