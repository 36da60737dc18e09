"""The library as a program or a notebook uses it: the same requests as the commands', objects, and nothing printed."""

import json
import re
from pathlib import Path

import pytest

from byoc_vision import Session, UserError, home
from tests.cloud.conftest import Run, archive
from tests.cloud.fake_aws import FakeAws


@pytest.fixture
def session(environment: dict[str, str], pushed: None, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session in the fake account."""
    for name, value in environment.items():
        if name.startswith(("AWS_", "BYOC_", "SAGEMAKER_")):
            monkeypatch.setenv(name, value)
    return Session()


def test_a_dry_run_keeps_the_commands_request(
    session: Session, run: Run, data: Path, aws: FakeAws, capfd: pytest.CaptureFixture[str]
) -> None:
    job = session.train(data, hyperparameters={"epochs": 2, "lr": "0.01"}, dry_run=True)
    done = run("train", "--data", data, "--set", "epochs=2", "--set", "lr=0.01", "--dry-run")
    said = json.loads(done.out)
    said["CreateTrainingJob"]["TrainingJobName"] = job.name
    assert job.request == said
    assert capfd.readouterr() == ("", "")


def test_of_each_kind_there_is_a_request(session: Session, data: Path, tmp_path: Path) -> None:
    model = archive(tmp_path / "model.tar.gz", {"model.json": b"{}"})
    space = {"hyperparameters": {"lr": {"min": 0.001, "max": 0.1}}}
    assert set(session.tune(space, data, dry_run=True).request) == {
        "CreateTrainingJob",
        "CreateHyperParameterTuningJob",
    }
    made = session.deploy(str(model), "dogs", dry_run=True)
    assert set(made.request) == {"CreateModel", "CreateEndpointConfig", "CreateEndpoint"} and made.name == "dogs"
    transform = session.transform(str(model), data, dry_run=True)
    assert set(transform.request) == {"CreateModel", "CreateTransformJob"}
    for dry in (session.train(data, dry_run=True), made, transform):
        with pytest.raises(UserError, match="a dry run's, so nothing was sent"):
            dry.wait()


def test_what_is_wrong_is_one_kind_of_error(session: Session, data: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'epochs'"):
        session.train(data, hyperparameters={"epoch": 2}, dry_run=True)
    with pytest.raises(UserError, match="no channel 'pictures'"):
        session.train({"pictures": data}, dry_run=True)
    with pytest.raises(UserError, match="there is no job 'nobody'"):
        session.job("nobody")
    space = {"hyperparameters": {"lr": [0.1, 0.2]}}
    with pytest.raises(UserError, match="lr is searched in the search space"):
        session.tune(space, data, hyperparameters={"lr": 0.1}, dry_run=True)


@pytest.mark.parametrize("character", " _./:@#é")
def test_names_that_the_service_forbids(run: Run, pushed: None, data: Path, tmp_path: Path, character: str) -> None:
    request = tmp_path / "request.yaml"
    request.write_text(json.dumps({"CreateTrainingJob": {"TrainingJobName": f"a{character}b"}}), encoding="utf-8")
    said = run("train", "--local", "--data", data, "--request", request, "--dry-run").sentence
    assert "TrainingJobName" in said and "which does not have the form" in said


@pytest.mark.parametrize(
    "command",
    [
        ["deploy", "--model", "my-job"],
        ["deploy", "--delete"],
        ["watch", "my-job"],
        ["report", "my-job"],
        ["predict", "data/test/cat/0.jpg"],
        ["train", "--data", "data", "--hyperparameters", "my-search"],
    ],
    ids=" ".join,
)
def test_no_sentence_about_this_machine_speaks_of_aws(run: Run, data: Path, command: list[str]) -> None:
    done = run(*command, "--local")
    assert done.code == 1 and len(done.err.splitlines()) == 1
    assert "Traceback" not in done.err and not re.search("region|AWS|us-east", done.err), done.err


def test_without_docker(run: Run, data: Path, tmp_path: Path) -> None:
    done = run("train", "--local", "--data", data, DOCKER_HOST=f"unix://{tmp_path}/nothing")
    assert done.sentence.startswith("launch.train: no Docker engine answers (")
    assert done.sentence.endswith("let your user reach it (on Linux: through the group docker), and try again")
    assert len(done.err.splitlines()) == 1


def test_where_things_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BYOC_HOME", "BYOC_LOCAL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    deep = tmp_path / "checkout" / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert home.find() == tmp_path / "me" / ".byoc"
    (tmp_path / "checkout" / ".byoc").mkdir()
    assert home.find() == tmp_path / "checkout" / ".byoc" and home.local() == home.find() / "local"
    monkeypatch.setenv("BYOC_HOME", str(tmp_path / "other"))
    assert home.find() == tmp_path / "other"
    monkeypatch.setenv("BYOC_LOCAL", str(tmp_path / "jobs"))
    assert home.local() == tmp_path / "jobs"


def test_a_place_that_is_read_only_is_named_with_the_variable_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for place, variable in (("", "BYOC_HOME"), (str(tmp_path / "file" / "folder"), "BYOC_LOCAL")):
        monkeypatch.setenv("BYOC_LOCAL", place)
        with pytest.raises(UserError, match=rf"cannot be written .*; set {variable} to a folder of your own"):
            home.make(tmp_path / "file" / "folder")


def test_a_report_shows_itself_in_a_notebook(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps({"test_accuracy": 0.5}))
    report = Session(local=True).report(str(tmp_path))
    assert report.page == tmp_path / "report.html" and report.content["rules"]
    assert "<iframe srcdoc=" in report._repr_html_() and "&lt;html" in report._repr_html_()
