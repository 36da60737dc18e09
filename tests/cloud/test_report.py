"""launch.report: what a job left is found, wherever it is, and judged on this machine."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from byoc_vision import Session, UserError, importance
from byoc_vision.contract.job import ASIDE
from byoc_vision.debugger.trials import Search, Trial
from tests.cloud.conftest import Run, archive
from tests.cloud.fake_aws import FakeAws, Refusal

#: A job with two kinds of test pictures, of which it got every cat wrong.
OUTPUT = {
    "metrics.json": b'{"test_accuracy": 0.5}',
    "predictions.csv": b"file,label,predicted,probability\na.jpg,cat,dog,0.9\nb.jpg,dog,dog,0.9\n",
}
MODEL = {"model.json": b'{"settings": {"lr": 0.25}}', "model.safetensors": b"weights"}
DESCRIBED = {"TrainingJobName": "job", "OutputDataConfig": {"S3OutputPath": "s3://mine/jobs"}}


@pytest.fixture
def job(tmp_path: Path, aws: FakeAws, client: Callable[[str], Any]) -> str:
    """A job whose archives are in S3; return the URI they are below."""
    aws.script("DescribeTrainingJob", DESCRIBED)
    s3 = client("s3")
    s3.create_bucket(Bucket="mine")
    for name, content in (("output", OUTPUT), ("model", MODEL)):
        s3.upload_file(str(archive(tmp_path / name, content)), "mine", f"jobs/job/output/{name}.tar.gz")
    return "s3://mine/jobs/job/output"


def check(page: Path) -> None:
    """Assert that the report has both archives' content."""
    facts = json.loads(page.with_suffix(".json").read_text())
    assert facts["figures"] == {"test_accuracy": 0.5} and facts["settings"] == {"lr": "0.25"}
    assert "100% of class cat mispredicted" in page.read_text()


def test_a_job_in_aws(run: Run, job: str, tmp_path: Path) -> None:
    done = run("report", "job")
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        "ClassImbalance: predictions: 100% of class cat mispredicted (1 of 1); threshold 0.7. "
        "Judged on the test split's predictions.",
        "wrote report/report.html",
    ]
    check(tmp_path / "report" / "report.html")


def test_a_prefix_and_an_archive(run: Run, job: str, tmp_path: Path) -> None:
    assert run("report", job, "--out", tmp_path / "all").code == 0
    check(tmp_path / "all" / "report.html")
    done = run("report", f"{job}/output.tar.gz", "--rules", "ClassImbalance", "--out", tmp_path / "one")
    assert done.code == 0, done.err
    facts = json.loads((tmp_path / "one" / "report.json").read_text())
    assert [rule["Rule"] for rule in facts["rules"]] == ["ClassImbalance"] and facts["settings"] == {}


def test_what_the_services_own_hook_recorded_is_fetched_too(
    run: Run, aws: FakeAws, job: str, client: Callable[[str], Any], tmp_path: Path
) -> None:
    aws.script("DescribeTrainingJob", DESCRIBED | {"DebugHookConfig": {"S3OutputPath": "s3://mine/debugger/"}})
    collections = "debugger/job/debug-output/collections/000000000/worker_0_collections.json"
    client("s3").put_object(Bucket="mine", Key=collections, Body=b"broken")
    assert run("report", "job").code == 0
    missing = json.loads((tmp_path / "report" / "report.json").read_text())["missing"]
    assert "worker_0_collections.json is damaged." in missing


def test_a_folder_keeps_its_report_beside_what_it_is_made_from(run: Run, tmp_path: Path) -> None:
    folders = {"results/output/data": OUTPUT, "results/model": MODEL}
    for folder, files in folders.items():
        (tmp_path / folder).mkdir(parents=True)
        for name, content in files.items():
            (tmp_path / folder / name).write_bytes(content)
    done = run("report", "results")
    assert done.code == 0, done.err
    assert done.out.endswith("wrote results/output/data/report.html\n")
    check(tmp_path / "results" / "output" / "data" / "report.html")


def test_rules_and_parameters_of_ones_own(run: Run, job: str, tmp_path: Path) -> None:
    rule = {"RuleConfigurationName": "mine", "RuleParameters": {"rule_to_invoke": "ClassImbalance"}}
    rule["RuleParameters"]["threshold_misprediction"] = "1"
    (tmp_path / "rules.json").write_text(json.dumps([rule]))
    done = run("report", "job", "--rules", tmp_path / "rules.json")
    assert done.out == "wrote report/report.html\n", done.err


@pytest.mark.parametrize("price", ["nan", "inf", "-1"])
def test_a_price_that_is_none(run: Run, job: str, price: str) -> None:
    refused = run("report", "job", f"--price-per-hour={price}")
    assert refused.code == 2 and "is no price: a number from 0 up" in refused.err
    with pytest.raises(UserError, match="give a number from 0 on"):
        Session(local=True).report("job", price_per_hour=float(price))


def test_a_folder_that_cannot_be_written_to(run: Run, job: str, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    assert "taken" in run("report", "job", "--out", "taken").sentence
    (tmp_path / "taken").unlink()
    (tmp_path / "taken" / "report.html").mkdir(parents=True)
    assert "report.html" in run("report", "job", "--out", "taken").sentence


def test_an_unknown_rule(run: Run, job: str) -> None:
    assert (
        "there is no rule Overfitting; the rules are VanishingGradient"
        in run("report", "job", "--rules", "Overfitting").sentence
    )


def test_a_tuning_job_shows_its_trials(run: Run, aws: FakeAws, tmp_path: Path) -> None:
    goal = {"MetricName": "validation_loss", "Type": "Minimize"}
    aws.script("DescribeTrainingJob", Refusal("ValidationException", "Requested resource not found."))
    aws.script(
        "DescribeHyperParameterTuningJob",
        {
            "HyperParameterTuningJobStatus": "InProgress",
            "HyperParameterTuningJobConfig": {"HyperParameterTuningJobObjective": goal},
        },
    )
    trials = [
        {
            "TrainingJobName": f"search-{number}",
            "TrainingJobStatus": "Completed" if value else "Failed",
            "TunedHyperParameters": {"lr": f'"{0.01 * number}"'},
        }
        | ({"FinalHyperParameterTuningJobObjectiveMetric": {"MetricName": "x", "Value": value}} if value else {})
        | {"TrainingStartTime": 100.0, "TrainingEndTime": 160.0}
        | ({} if value else {"FailureReason": "AlgorithmError:\nlr is too high"})
        for number, value in ((1, 0.5), (2, 0.25), (3, None))
    ]
    aws.script(
        "ListTrainingJobsForHyperParameterTuningJob",
        {"TrainingJobSummaries": trials[:2], "NextToken": "more"},
        {"TrainingJobSummaries": trials[2:]},
    )
    done = run("report", "search")
    assert done.out == "wrote report/report.html\n" and not done.err
    facts = json.loads((tmp_path / "report" / "report.json").read_text())
    assert facts["best"]["name"] == "search-2" and facts["best"]["settings"] == {"lr": "0.02"}
    assert [trial["spent"] for trial in facts["trials"]] == [60, 60, 60]
    assert [trial["value"] for trial in facts["trials"]] == [0.5, 0.25, None]
    page = (tmp_path / "report" / "report.html").read_text()
    assert "search-3" in page and "1 failed: AlgorithmError: lr is too high" in page


def test_no_such_job(run: Run, aws: FakeAws, tmp_path: Path) -> None:
    aws.script("DescribeTrainingJob", Refusal("ValidationException", "Requested resource not found."))
    aws.script("DescribeHyperParameterTuningJob", Refusal("ResourceNotFound", "Requested resource not found."))
    said = "'job' is neither a training job or tuning job"
    assert f"{said} in us-east-1 nor a folder" in run("report", "job").sentence
    here = run("report", "job", "--local", BYOC_LOCAL="local").sentence
    assert f"{said} in {tmp_path / 'local'} nor a folder" in here
    assert "results/job is no folder" in run("report", "results/job").sentence


def test_a_job_without_output(run: Run, aws: FakeAws, client: Callable[[str], Any], tmp_path: Path) -> None:
    aws.script("DescribeTrainingJob", DESCRIBED)
    client("s3").create_bucket(Bucket="mine")
    assert "there is nothing at s3://mine/jobs/job/output/; a job's output" in run("report", "job").sentence
    assert "there is nothing of a training job in" in run("report", tmp_path).sentence
    (tmp_path / "model.tar.gz").touch()
    assert "model.tar.gz is a file; name the folder that it is in" in run("report", tmp_path / "model.tar.gz").sentence


def test_folders_of_several_jobs(run: Run, tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / "jobs" / name).mkdir(parents=True)
        (tmp_path / "jobs" / name / "metrics.json").write_text("{}")
    assert "holds what several jobs have left (one, other); name one of these" in run("report", "jobs").sentence


def test_files_of_a_scripts_own_are_neither_a_job_nor_overwritten(run: Run, tmp_path: Path) -> None:
    output = tmp_path / "results" / "data"
    for name, text in {
        "profile/run.json": '{"program": "t.py"}',
        "folds/metrics.json": "[]",
        "report.html": "mine",
    }.items():
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).write_text(text)
    (output / ASIDE).mkdir()
    (output / ASIDE / "report.html").write_text("of the job")
    done = run("report", "results")
    assert done.code == 0, done.err
    assert (output / "report.html").read_text() == "mine"
    assert "t.py" in (output / ASIDE / "report.html").read_text()


def test_an_archive_that_is_broken_off(run: Run, tmp_path: Path) -> None:
    whole = archive(tmp_path / "output.tar.gz", OUTPUT).read_bytes()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "output.tar.gz").write_bytes(whole[:-40])
    assert "results/output.tar.gz cannot be unpacked" in run("report", "results").sentence


def test_pictures_that_are_not_there(run: Run, job: str) -> None:
    assert "nowhere is no folder; name the folder of the pictures" in run("report", "job", "--data", "nowhere").sentence


@pytest.fixture
def forbidden() -> Iterator[str]:
    """An S3 that permits nothing; yield its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(403)
            self.end_headers()
            self.wfile.write(b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_s3_without_permission(run: Run, forbidden: str) -> None:
    said = run("report", "s3://mine/jobs/job/", AWS_ENDPOINT_URL_S3=forbidden).sentence
    assert "Access Denied" in said and "the credentials or the role lack that permission" in said


def test_without_docker(run: Run, job: str, tmp_path: Path) -> None:
    """An engine is not asked for, nor its client: there is no other program at all."""
    done = run("report", "job", PATH=str(tmp_path / "nothing"), DOCKER_HOST="unix:///nowhere")
    assert done.code == 0, done.err
    check(tmp_path / "report" / "report.html")


def test_nothing_heavy_is_loaded(run: Run, job: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, sys\n"
        "names = ('smdebug', 'torch', 'pandas', 'scipy', 'optuna', 'sagemaker')\n"
        "atexit.register(lambda: print('loaded', *[name for name in names if name in sys.modules]))\n"
    )
    checkout = tmp_path / "checkout"
    done = run("report", "job", PYTHONPATH=f"{tmp_path}:{checkout}")
    assert done.out.splitlines()[-2:] == ["wrote report/report.html", "loaded"], done.err


def test_several_jobs_side_by_side(run: Run, job: str, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    for name, content in (OUTPUT | {"metrics.json": b'{"test_accuracy": 0.75}'} | MODEL).items():
        (tmp_path / "old" / name).write_bytes(content)
    done = run("report", "job", "old", "--out", tmp_path / "both")
    assert done.code == 0, done.err
    assert done.out == f"wrote {tmp_path}/both/report.html\n"
    facts = json.loads((tmp_path / "both" / "report.json").read_text())
    assert [figures["test accuracy"] for figures in facts["jobs"].values()] == [0.5, 0.75]
    assert not (tmp_path / "old" / "report.html").exists()
    assert "name several" in run("report", "old", "old").sentence
    assert "are for the report of one job" in run("report", "old", "job", "--rules", "Overfit").sentence


def test_without_a_screen_the_path_is_said(run: Run, job: str, tmp_path: Path) -> None:
    screens = {"DISPLAY": None, "WAYLAND_DISPLAY": None, "BROWSER": None}
    done = run("report", "job", "--open", **screens)
    assert done.code == 0 and done.out.splitlines()[-1] == "wrote report/report.html"
    assert "there is no browser here; open it in one" in done.err
    opener = tmp_path / "opener"
    opener.write_text(f'#!/bin/sh\necho "$1" >{tmp_path}/opened\n')
    opener.chmod(0o755)
    done = run("open", "job", **screens | {"BROWSER": f"{opener} %s"})
    assert done.code == 0 and done.out == f"{tmp_path}/report/report.html\n"
    assert (tmp_path / "opened").read_text() == f"file://{tmp_path}/report/report.html\n"


def test_the_jobs_there_are(run: Run, aws: FakeAws) -> None:
    image = {
        "AlgorithmSpecification": {"TrainingImage": "1.dkr.ecr.us-east-1.amazonaws.com/byoc-vision-train@sha256:1"}
    }
    other = {"AlgorithmSpecification": {"TrainingImage": "1.dkr.ecr.us-east-1.amazonaws.com/xgboost:1"}}
    figures = [{"MetricName": "test_accuracy", "Value": 0.875}, {"MetricName": "train_loss", "Value": 0.5}]
    names = ("search-001-a", "mine", "theirs", "a-trial")
    aws.script(
        "ListTrainingJobs",
        {
            "TrainingJobSummaries": [
                {"TrainingJobName": name, "TrainingJobStatus": "Completed", "CreationTime": 1000.0 - i}
                for i, name in enumerate(names)
            ]
        },
    )
    aws.script(
        "DescribeTrainingJob",
        image | {"FinalMetricDataList": figures},
        other,
        image | {"TuningJobArn": "arn:aws:sagemaker:us-east-1:1:hyper-parameter-tuning-job/gone"},
    )
    summary = {
        "HyperParameterTuningJobName": "search",
        "HyperParameterTuningJobStatus": "Failed",
        "CreationTime": 900.0,
    }
    aws.script("ListHyperParameterTuningJobs", {"HyperParameterTuningJobSummaries": [summary]})
    best = {"FinalHyperParameterTuningJobObjectiveMetric": {"MetricName": "validation_loss", "Value": 0.25}}
    counters = {"TrainingJobStatusCounters": {"Completed": 2, "NonRetryableError": 1}}
    described = {"TrainingJobDefinition": image, "BestTrainingJob": best} | counters
    aws.script("DescribeHyperParameterTuningJob", described)
    done = run("jobs")
    assert done.code == 0, done.err
    lines = [line.split() for line in done.out.splitlines()]
    assert [(line[0], line[1], line[2], line[5:]) for line in lines] == [
        ("mine", "training", "Completed", ["test_accuracy=0.875"]),
        ("search", "tuning", "Failed", ["validation_loss=0.25", "trials=3"]),
    ]


def test_no_jobs_at_all(run: Run, tmp_path: Path) -> None:
    done = run("jobs", "--local", BYOC_LOCAL="local")
    assert (done.code, done.out) == (0, "")
    assert done.err == f"there is no job of this project in {tmp_path}/local\n"


def test_what_mattered_in_a_search() -> None:
    made = []
    for number in range(40):
        rate, decay = 10.0 ** -(1 + number % 8 / 2), 0.01 * (number * 7 % 11)
        loss = abs(number % 8 / 2 - 2) + 0.001 * decay
        settings = {
            "lr": str(rate),
            "weight-decay": str(decay),
            "optimizer": ("adamw", "sgd")[number % 3 == 0],
            "seed": "1",
        }
        made.append(Trial(f"trial-{number}", "Completed", loss, settings))
    search = Search("search", "Completed", "validation_loss", False, tuple(made))
    shares = importance.of(search)
    assert next(iter(shares)) == "lr" and shares["lr"] > 0.5 and sum(shares.values()) == pytest.approx(1)
    assert shares.keys() == {"lr", "weight-decay", "optimizer"}  # nothing is known of what did not vary
    same = tuple(replace(trial, value=0.5) for trial in made)
    assert importance.of(Search("search", "Completed", "validation_loss", False, same)) == {}  # none was better
    few = Search("search", "Completed", "validation_loss", False, tuple(made[:5]))
    assert importance.of(few) == {}
