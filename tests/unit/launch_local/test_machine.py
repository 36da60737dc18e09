"""What is placed where on this machine."""

import tarfile
from pathlib import Path
from types import SimpleNamespace

from byoc_vision.local.files import path
from byoc_vision.local.machine import Machine
from byoc_vision.trained_model import artifact


def test_a_jobs_model_gets_another_handler_and_stays_itself(tmp_path: Path) -> None:
    results, handler = tmp_path / "results", tmp_path / "handler"
    for folder in (results, handler):
        folder.mkdir()
    (handler / "inference.py").write_text("own = True")
    (results / "model.json").write_text("{}")
    with tarfile.open(results / "model.tar.gz", "w:gz") as archive:
        archive.add(results / "model.json", "model.json")
    model = (results / "model.tar.gz").as_uri()
    launch = SimpleNamespace(engine=Machine(tmp_path / "root"), send=True)
    changed = artifact(launch, model, str(handler))  # type: ignore[arg-type]
    assert changed != model
    with tarfile.open(path(changed)) as archive:
        assert {"model.json", "code/inference.py"} <= set(archive.getnames())
    with tarfile.open(path(model)) as archive:
        assert archive.getnames() == ["model.json"]
