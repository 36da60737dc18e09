"""What holds for all launchers: few options, a quick start, shipped request files that the service would take."""

import argparse
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from byoc_vision.cli import COMMANDS
from byoc_vision.requests import operations, request_file, validation
from tests.cloud.conftest import ROOT, Run
from tests.cloud.fake_aws import FakeAws

LAUNCHERS = ("train", "tune", "deploy", "predict", "transform")
EXAMPLES = sorted((ROOT / "launch" / "examples").glob("*.yaml"))
#: The others are search spaces, and hyperparameters.
REQUEST_FILES = [file for file in EXAMPLES if not file.name.startswith(("tune", "accurate"))]

ROLE = "arn:aws:iam::123456789012:role/vision"
TRAINING = operations.training_job(
    "job", "image", ROLE, {"training": "s3://b/d/"}, {"lr": "0.1"}, "s3://b/o", "ml.m5.large"
)
REQUESTS = {
    "CreateTrainingJob": TRAINING,
    "CreateHyperParameterTuningJob": operations.tuning_job(
        "job",
        {
            "strategy": "Random",
            "objective": "validation_accuracy",
            "direction": "Maximize",
            "max_jobs": 2,
            "parallel_jobs": 1,
            "early_stopping": False,
        },
        {"CategoricalParameterRanges": [{"Name": "lr", "Values": ["0.1", "0.2"]}]},
        TRAINING,
    ),
    "CreateModel": operations.model("m", "image", ROLE, "s3://b/model.tar.gz"),
    "CreateEndpointConfig": operations.endpoint_config("c", "m", "ml.m5.large"),
    "CreateEndpoint": operations.endpoint("e", "c"),
    "UpdateEndpoint": operations.endpoint("e", "c"),
    "CreateTransformJob": operations.transform_job("t", "m", "s3://b/d/", "s3://b/o/", "ml.m5.large"),
}


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_launcher_has_a_bakers_dozen_of_options_at_most(name: str) -> None:
    parser: argparse.ArgumentParser = importlib.import_module(f"byoc_vision.cli.{name}").options()
    # Those of a group of their own, for a script of the user's own, are read by its author only.
    options = [action for action in parser._optionals._group_actions if action.dest != "help"]
    assert len(options) <= 13


@pytest.mark.parametrize("name", [*LAUNCHERS, "watch"])
def test_help_needs_no_heavy_module(name: str) -> None:
    watched = "('boto3', 'botocore', 'yaml', 'sagemaker', 'urllib3')"
    code = (
        "import runpy, sys\nsys.argv = ['x', '--help']\n"
        f"try: runpy.run_module('launch.{name}', run_name='__main__')\n"
        f"except SystemExit: print([m for m in {watched} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"python -m launch.{name}" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("operation", REQUESTS)
def test_every_request_is_what_the_service_takes(operation: str) -> None:
    validation.check(operation, REQUESTS[operation])


@pytest.mark.parametrize("file", REQUEST_FILES, ids=lambda file: file.stem)
def test_every_shipped_request_file_is_what_the_service_takes(file: Path) -> None:
    fields = request_file.load([str(file)])
    for operation, over in fields.items():
        merged = request_file.merged(REQUESTS[operation], over)
        assert merged != REQUESTS[operation]
        validation.check(operation, merged)


def test_shipped_request_files_go_together(run: Run, pushed: None, aws: FakeAws, data: Path, checkout: Path) -> None:
    examples = checkout / "launch" / "examples"
    given = [argument for name in ("vpc", "account", "kms") for argument in ("--request", examples / f"{name}.yaml")]
    done = run("train", "--data", data, "--dry-run", *given)
    assert done.code == 0, done.err
    request = json.loads(done.out)["CreateTrainingJob"]
    assert request["VpcConfig"] and request["Tags"] and request["OutputDataConfig"]["KmsKeyId"]
    assert request["OutputDataConfig"]["S3OutputPath"]


def test_output_that_nobody_reads(
    run: Run, pushed: None, environment: dict[str, str], data: Path, tmp_path: Path
) -> None:
    command = f"{sys.executable} -m launch.train --data {data} --dry-run | true"
    done = subprocess.run(["bash", "-c", command], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", ["--help", "completion", "train --help", "train --data s3://b/d/ --dry-run"])
def test_output_that_cannot_be_written_is_said_once(
    pushed: None, environment: dict[str, str], checkout: Path, arguments: str
) -> None:
    command = f"{sys.executable} -m byoc_vision {arguments} >/dev/full"
    done = subprocess.run(["bash", "-c", command], env=environment, cwd=checkout, capture_output=True, text=True)
    said = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and "there is no room left for what is to be written" in said, done.stderr
    assert "Exception ignored" not in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("trian --data x", "there is no command 'trian'; did you mean byoc train?"),
        ("frobnicate", "there is no command 'frobnicate'; give one of train, tune"),
        ("--local jobs", "--local stands before the command; options come after it, as in byoc train --local"),
        ("train --data x lr=0.1", "lr=0.1 stands alone; the hyperparameter is set with --set lr=0.1"),
        ("train --data x weights=x.pth", "weights=x.pth stands alone; the channel is given with --data weights=x.pth"),
        ("train --data x more", "nothing here takes 'more'; put names with blanks into quotes"),
        # What is given wrong is said before what is missing.
        ("train --dta x", "there is no option --dta; did you mean --data?"),
        ("train --epochs 3", "there is no option --epochs; the hyperparameter is set with --set epochs=3"),
        ("deploy --modle=x", "there is no option --modle; did you mean --model?"),
        ("watch -local", "there is no option -local; did you mean --local?"),
        ("predict --zzz x", "there is no option --zzz; byoc predict --help lists those that there are"),
        ("service start --prot 5", "there is no option --prot; did you mean --port?"),
        ("service --port 5 start", "--port comes too early; begin with the action, one that byoc service --help shows"),
        ("images --hlep", "there is no option --hlep; did you mean --help?"),
        ("images repository", "name one repository"),
        ("images record x", "name the images that were pushed, as NAME=URI"),
        ("images registry x", "registry takes no name"),
        (
            "models rollback dogs/1",
            "rollback takes no name but --endpoint; to serve dogs/1: byoc deploy --model dogs/1",
        ),
        ("deploy --local --model x --port 70000", "'70000' is no port: a number up to 65535"),
        ("report x --price-per-hour nan", "'nan' is no price: a number from 0 up, without a currency"),
        ("report x --price-per-hour 0.7$", "'0.7$' is no price"),
        (
            "tune t.yaml --data x --best no/best.json",
            "no/best.json cannot be written, for there is no folder no; make it",
        ),
        ("watch job --best .", ". is a folder; name a file"),
        ("transform --model x --data x --output no/answers", "no/answers cannot be written, for there is no folder no"),
    ],
)
def test_a_command_line_that_is_wrong(tmp_path: Path, arguments: str, said: str) -> None:
    command = [sys.executable, "-m", "byoc_vision", *arguments.split()]
    its = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=its, capture_output=True, text=True)
    assert done.returncode == 2 and said in done.stderr.splitlines()[-1], done.stderr
    assert not done.stdout and not list(tmp_path.iterdir())


def test_help_keeps_to_the_terminal_and_leaves_command_lines_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for name in COMMANDS:
        module = importlib.import_module(f"byoc_vision.cli.{name}")
        shown = module.options().format_help().splitlines()
        assert not [line for line in shown if len(line) > 80 and not line.lstrip().startswith("byoc ")], name
        assert not {line for line in module.__doc__.splitlines() if "byoc " in line[:10]}.difference(shown), name


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["byoc", "tr"], {"train", "try", "transform"}),
        (["byoc", "train", "--dr"], {"--dry-run"}),
        (["byoc", "train", "pict"], set()),  # files: left to the shell
    ],
)
def test_the_shell_completes_what_is_typed(typed: list[str], offered: set[str]) -> None:
    script = f'eval "$(byoc completion)"; COMP_WORDS=({" ".join(typed)}); COMP_CWORD={len(typed) - 1}; _byoc'
    done = subprocess.run(
        ["bash", "-uc", f'{script}; echo "${{COMPREPLY[*]}}"'],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    assert set(done.stdout.split()) == offered
