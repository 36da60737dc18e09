"""A script of one's own in the requests of launch.train and launch.tune: one request for AWS and for this machine."""

import json
from pathlib import Path
from typing import Any

import pytest

from byoc_vision.contract import metrics
from tests.cloud.conftest import ROOT, Run
from tests.cloud.fake_aws import FakeAws

EXAMPLE = ROOT / "examples" / "own_scripts"
SCRIPT = ("--source", EXAMPLE, "--program", "train_model.py")


@pytest.fixture(autouse=True)
def _pushed(pushed: None) -> None:
    """All of these find their images pushed."""


def channels(job: dict[str, Any]) -> dict[str, str]:
    """Return channel -> URI of a training job's request."""
    return {one["ChannelName"]: one["DataSource"]["S3DataSource"]["S3Uri"] for one in job["InputDataConfig"]}


def test_the_code_is_a_channel_and_names_are_the_scripts(run: Run, data: Path) -> None:
    done = run(
        "train", "--data", f"birds={data}", *SCRIPT, "--set", "hidden_units=12", "--set", "amp=true",
        "--metric", "f1=f1: ([0-9.]+)", "--dry-run",
    )  # fmt: skip
    assert done.code == 0, done.err
    (request,) = json.loads(done.out).values()
    assert request["HyperParameters"] == {
        "sagemaker_program": "train_model.py", "hidden_units": "12", "amp": "true"
    }  # fmt: skip
    assert channels(request).keys() == {"birds", "code"}
    assert request["AlgorithmSpecification"]["MetricDefinitions"] == [{"Name": "f1", "Regex": "f1: ([0-9.]+)"}]


def test_without_metrics_those_of_this_project_are_followed(run: Run, data: Path) -> None:
    (request,) = json.loads(run("train", "--data", data, *SCRIPT, "--dry-run").out).values()
    assert request["AlgorithmSpecification"]["MetricDefinitions"] == metrics.DEFINITIONS


def test_a_program_is_named_as_its_folder_sees_it(run: Run, data: Path) -> None:
    done = run("train", "--data", data, "--source", EXAMPLE, "--program", EXAMPLE / "train_model.py", "--dry-run")
    assert done.code == 0, done.err
    (request,) = json.loads(done.out).values()
    assert request["HyperParameters"] == {"sagemaker_program": "train_model.py"}


def test_the_code_is_uploaded(run: Run, aws: FakeAws, data: Path) -> None:
    done = run("train", "--data", data, *SCRIPT, "--no-wait")
    assert done.code == 0, done.err
    (sent,) = aws.sent("CreateTrainingJob")
    assert channels(sent)["code"].startswith("s3://")


def test_the_shipped_search_space_is_over_the_scripts_own_hyperparameters(run: Run, data: Path) -> None:
    done = run("tune", EXAMPLE / "tune.yaml", "--data", data, "--set", "image-size=64", "--dry-run")
    assert done.code == 0, done.err
    (request,) = json.loads(done.out).values()  # no job before it computes features
    definition, config = request["TrainingJobDefinition"], request["HyperParameterTuningJobConfig"]
    assert definition["StaticHyperParameters"] == {
        "sagemaker_program": "train_model.py", "epochs": "5", "image-size": "64"
    }  # fmt: skip
    assert config["HyperParameterTuningJobObjective"] == {"Type": "Maximize", "MetricName": "validation_accuracy"}
    assert config["ParameterRanges"]["ContinuousParameterRanges"][0]["MinValue"] == "0.0001"
    assert config["ParameterRanges"]["CategoricalParameterRanges"] == [{"Name": "batch-size", "Values": ["16", "32"]}]
    assert "code" in channels(definition)


@pytest.mark.parametrize(
    ("ends", "kind"), [("{min: 1, max: 9}", "Integer"), ("{min: 1, max: 2.5}", "Continuous")]
)  # fmt: skip
def test_a_range_is_of_the_kind_of_number_it_is_written_in(
    run: Run, data: Path, tmp_path: Path, ends: str, kind: str
) -> None:
    (tmp_path / "train.py").write_text("")
    text = "source: .\nprogram: train.py\nobjective: mae\ndirection: minimize\nmetrics: {mae: 'mae=([0-9.]+)'}\n"
    (tmp_path / "space.yaml").write_text(text + f"hyperparameters:\n  depth: {ends}\n")
    (request,) = json.loads(run("tune", tmp_path / "space.yaml", "--data", data, "--dry-run").out).values()
    config = request["HyperParameterTuningJobConfig"]
    assert config["ParameterRanges"].keys() == {f"{kind}ParameterRanges"}
    assert config["HyperParameterTuningJobObjective"]["Type"] == "Minimize"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--program", "train_model.py"), "a script takes both, source and program"),
        (("--source", EXAMPLE, "--program", "gone.py"), "there is no program gone.py in"),
        (
            ("--source", EXAMPLE / "gone", "--program", "train_model.py"),
            "is no folder; name the folder that the program is",
        ),
        (("--source", EXAMPLE, "--program", "../own_scripts.ipynb"), "is not in"),
        (
            ("--source", EXAMPLE.parent, "--program", "own_scripts"),
            "is a folder without __main__.py; name a file in it",
        ),
        (("--source", ROOT / "notebooks", "--program", "own_scripts.ipynb"), "nbconvert --to script own_scripts.ipynb"),
        (("--metric", "loss=loss ([0-9.]+)"), "metrics are read from a script's own lines"),
        ((*SCRIPT, "--metric", "loss"), "'loss' is no metric; write --metric NAME=REGEX"),
        ((*SCRIPT, "--metric", "loss=[0-9.]+"), "with brackets around the figure"),
        ((*SCRIPT, "--metric", "loss=(["), "with brackets around the figure"),
    ],
)
def test_what_is_wrong_with_a_script_is_said(run: Run, data: Path, arguments: tuple[Any, ...], said: str) -> None:
    done = run("train", "--data", data, "--dry-run", *arguments)
    assert done.code == 1
    assert said in done.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("direction: minimize\n", "direction is for the objective of a script"),
        ("source: .\nprogram: train.py\nmetrics: [a]\n", "metrics is ['a']; give each figure a regular expression"),
        ("source: .\nprogram: train.py\nmetrics: {a: 'a=(.+)'}\n", "there is no objective 'validation_accuracy'"),
        ("source: .\nprogram: train.py\nstrategy: Hyperband\n", "give the script's epochs one value"),
        (
            "source: .\nprogram: train.py\nmetrics: {rmse: 'r=(.+)'}\nobjective: rmse\n",
            "nothing tells whether a high or a low rmse is good; add direction: maximize or minimize",
        ),
    ],
)
def test_what_is_wrong_with_a_search_space_is_said(run: Run, data: Path, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "train.py").write_text("")
    (tmp_path / "space.yaml").write_text(text + "hyperparameters: {batch-size: [8, 16]}\n")
    done = run("tune", tmp_path / "space.yaml", "--data", data, "--dry-run")
    assert done.code == 1
    assert said in done.err
