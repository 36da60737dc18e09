"""The wheel, installed where there is no checkout: the way from pictures to an answer, in another folder."""

import json
import os
import subprocess
from pathlib import Path

from tests.e2e.local_engine import SETTINGS
from tests.e2e.small_training import ENVIRONMENT


def test_the_installed_command_trains_deploys_predicts_and_reports(wheel: Path, pictures: Path, tmp_path: Path) -> None:
    variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home")}
    variables |= {name: os.environ[name] for name in ("DOCKER_HOST",) if name in os.environ}
    (tmp_path / "home").mkdir()

    def byoc(*arguments: object) -> str:
        command = [wheel / "byoc", *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    (tmp_path / "one_thread.yaml").write_text(json.dumps({"CreateTrainingJob": {"Environment": ENVIRONMENT}}))
    settings = [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={value}")]
    trained = byoc("train", "--local", "--data", pictures, *settings, "--request", "one_thread.yaml")
    assert "epoch=2 " in trained and "\ntest_accuracy=" in trained
    (deploy,) = (line for line in trained.splitlines() if line.startswith("deploy it: "))
    job = deploy.removeprefix("deploy it: byoc deploy --model ").removesuffix(" --local")

    byoc("deploy", "--local", "--model", job, "--endpoint", "installed", "--image", "serve")
    try:
        picture = next((pictures / "test" / "red_circle").iterdir())
        answer = json.loads(byoc("predict", "--local", "--endpoint", "installed", "--json", picture))
    finally:
        byoc("deploy", "--local", "--delete", "--endpoint", "installed")
    assert answer["label"] in {folder.name for folder in (pictures / "test").iterdir()}

    assert byoc("report", "--local", job).endswith("wrote report/report.html\n")
    assert (tmp_path / "report" / "report.html").stat().st_size > 10_000
    assert {each.name for each in tmp_path.iterdir()} == {"home", "one_thread.yaml", "report"}
