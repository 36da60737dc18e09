"""The command where something around it is not as usual: a second version, an old record, a home that is read-only."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from byoc_vision import Session, UserError, home
from byoc_vision.local.machine import Machine
from byoc_vision.requests import validation
from tests.cloud.conftest import ROOT, Run
from tests.cloud.test_launchers import REQUESTS

#: Operation -> the field that names what it makes.
NAMES = {
    "CreateTrainingJob": "TrainingJobName",
    "CreateHyperParameterTuningJob": "HyperParameterTuningJobName",
    "CreateModel": "ModelName",
    "CreateEndpointConfig": "EndpointConfigName",
    "CreateEndpoint": "EndpointName",
    "CreateTransformJob": "TransformJobName",
}
FORBIDDEN = [chr(code) for code in range(128) if not chr(code).isalnum() and chr(code) != "-"] + [*"éß²٣犬", "\u2013"]


def test_of_two_versions_it_is_said_which_one_runs(tmp_path: Path) -> None:
    other = tmp_path / "site-packages" / "byoc_vision"
    shutil.copytree(ROOT / "byoc_vision", other, ignore=shutil.ignore_patterns("__pycache__"))
    file = other / "__init__.py"
    file.write_text(file.read_text(encoding="utf-8").replace('__version__ = "0.1.0"', '__version__ = "0.0.9"'))
    for first, second, said in (
        (ROOT, other.parent, f"byoc 0.1.0 from {ROOT / 'byoc_vision'}\n"),
        (other.parent, ROOT, f"byoc 0.0.9 from {other}\n"),
    ):
        environment = os.environ | {"PYTHONPATH": f"{first}:{second}"}
        command = [sys.executable, "-m", "byoc_vision", "--version"]
        assert subprocess.check_output(command, cwd=tmp_path, env=environment, text=True) == said


def test_what_the_first_version_remembered_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written by hand as commit c4337a0 wrote it."""
    monkeypatch.setenv("BYOC_HOME", str(tmp_path))
    monkeypatch.delenv("BYOC_LOCAL", raising=False)
    job = tmp_path / "local" / "training-job" / "old"
    job.mkdir(parents=True)
    place, made = {"S3OutputPath": (tmp_path / "results").as_uri()}, "2026-01-02T03:04:05.678901+00:00"
    request = {"TrainingJobName": "old", "OutputDataConfig": place, "HyperParameters": {"epochs": "2"}}
    status = {"TrainingJobStatus": "Completed", "SecondaryStatus": "Completed"}
    status |= {"CreationTime": made, "LastModifiedTime": made}
    (job / "request.json").write_text(json.dumps(request))
    (job / "status.json").write_text(json.dumps(status))
    assert [each["TrainingJobName"] for each in Machine().sagemaker.list_training_jobs()["TrainingJobSummaries"]] == [
        "old"
    ]
    assert Machine().sagemaker.describe_training_job(TrainingJobName="old")["HyperParameters"] == {"epochs": "2"}


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '"x"', '{"a/b": []}', '{"a/b": {"byoc-vision-train": {"uri": "x"}}}']
)
def test_a_record_of_images_that_cannot_be_read_is_named(
    run: Run, environment: dict[str, str], data: Path, content: str
) -> None:
    home = Path(environment["BYOC_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    (home / "images.json").write_text(content)
    said = run("train", "--data", data, "--dry-run").sentence
    assert f"{home}/images.json is damaged, or another version's; remove it and run ./push.sh again" in said


@pytest.mark.parametrize("content", ["", "{", "7"])
def test_a_local_job_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setenv("BYOC_LOCAL", str(tmp_path))
    job = tmp_path / "training-job" / "old"
    job.mkdir(parents=True)
    for file in ("request.json", "status.json"):
        (job / file).write_text(content)
    with pytest.raises((ClientError, UserError), match="is damaged, or another version's; remove"):
        Session(local=True).engine.sagemaker.describe_training_job(TrainingJobName="old")


def test_a_home_that_is_read_only(tmp_path: Path) -> None:
    """A real read-only file system, for root may write to a folder whatever its mode."""
    home = tmp_path / "home"
    home.mkdir()
    mounted = 'mount --bind "$HOME" "$HOME" && mount -o remount,ro,bind "$HOME" && exec "$@"'
    prefix = ["unshare", "--mount", "sh", "-c", mounted, "sh"] if os.getuid() == 0 else []
    if subprocess.run([*prefix, "true"], env=os.environ | {"HOME": str(home)}, capture_output=True).returncode != 0:
        pytest.skip("root may not mount anything here")
    home.chmod(0o555)
    write = (
        "from byoc_vision import home; from byoc_vision.cli.launcher import guarded; "
        "guarded('byoc train', lambda: home.make(home.local()))"
    )
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT)}

    def said(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*prefix, sys.executable, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    done = said("-c", write)
    assert done.returncode == 1
    assert done.stderr.startswith(f"byoc train: {home}/.byoc/local cannot be written (")
    assert done.stderr.endswith("); set BYOC_HOME to a folder of your own\n") and done.stderr.count("\n") == 1
    for label in ("cat", "dog"):
        (tmp_path / "pictures" / label).mkdir(parents=True)
        (tmp_path / "pictures" / label / "a.jpg").write_bytes(b"a picture")
    assert said("-m", "byoc_vision", "train", "--local", "--data", "pictures", "--dry-run").returncode == 0
    environment["BYOC_HOME"] = str(tmp_path / "mine")
    assert said("-c", write).returncode == 0 and (tmp_path / "mine" / "local").is_dir()
    assert list(home.iterdir()) == []


def test_a_home_that_is_nobodys(run: Run, pushed: None, data: Path) -> None:
    said = run("train", "--data", "~no-such-user/pictures", "--dry-run").sentence
    assert said.endswith("~no-such-user/pictures does not exist; give a folder, a file or an S3 URI")
    source = ("--source", "~no-such-user/code", "--program", "x.py")
    assert "~no-such-user/code is no folder" in run("train", "--data", data, "--dry-run", *source).sentence


def test_a_user_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that is started as a user whom it does not know."""
    monkeypatch.delenv("BYOC_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="this user has no home folder; set BYOC_HOME to a folder of your own"):
        home.find()
    (tmp_path / ".byoc").mkdir()
    assert home.find() == tmp_path / ".byoc"


def test_a_current_folder_that_was_removed(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    program = (
        f"import os, sys; os.rmdir(os.getcwd()); sys.path.insert(0, {str(ROOT)!r}); sys.argv[1:] = ['jobs', '--local']"
    )
    program += "; from byoc_vision.cli import main; main()"
    environment = {name: value for name, value in os.environ.items() if name not in ("BYOC_HOME", "BYOC_LOCAL")}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path / "gone", env=environment, capture_output=True, text=True)
    said = "byoc jobs: the current folder is not there any more; change to another one\n"
    assert (done.returncode, done.stderr) == (1, said)


@pytest.mark.parametrize("start", ["byoc_vision", "byoc_vision.cli", "launch.train", "launch.predict"])
def test_a_python_that_is_too_old_is_told_so_by_every_command(start: str) -> None:
    program = (
        "import runpy, sys; sys.version_info, sys.version = (3, 10, 14), '3.10.14 (main)'; "
        f"sys.argv = ['x', '--help']; runpy.run_module('{start}', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "byoc-vision needs Python 3.11 or newer, and this is 3.10.14; use a newer one\n"


@pytest.mark.parametrize("operation", NAMES)
def test_no_name_holds_what_the_service_forbids(operation: str) -> None:
    for character in FORBIDDEN:
        for name in (f"a{character}b", f"{character}ab", f"ab{character}"):
            with pytest.raises(UserError, match=f"{NAMES[operation]} is .* does not have the form"):
                validation.check(operation, REQUESTS[operation] | {NAMES[operation]: name})
    for name in ("-ab", "ab-"):
        with pytest.raises(UserError, match=f"{NAMES[operation]} is .* does not have the form"):
            validation.check(operation, REQUESTS[operation] | {NAMES[operation]: name})
    validation.check(operation, REQUESTS[operation] | {NAMES[operation]: "a-b--C9"})


@pytest.mark.parametrize("name", ["a b", "a/b", "../a", "é", "a_b", "", "a" * 64])
def test_a_name_that_is_none_is_told_by_the_commands(run: Run, name: str) -> None:
    for arguments in (("watch", name), ("report", name), ("deploy", "--endpoint", name, "--delete")):
        done = run(arguments[0], "--local", *arguments[1:])
        assert done.code in (1, 2) and "Traceback" not in done.err, arguments
        assert done.code == 2 or len(done.err.splitlines()) == 1, done.err
