"""examples/aws/account.yaml: what it makes is all that the launchers and push.sh need, and no more."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from byoc_vision.aws import images
from tests.cloud.conftest import PACKAGES, ROOT, Run, archive, prediction
from tests.cloud.fake_aws import ACCOUNT, REGION, FakeAws
from tests.cloud.test_tune import described, trial

TEMPLATE = ROOT / "examples" / "aws" / "account.yaml"

#: Needed, and called by nobody here: the service checks the first for its own caller and asks the second for requests
#: with tags; logs are read of jobs that print; the others are what Docker's push becomes at Amazon's registry.
UNSEEN = {
    "launch": {"iam:PassRole", "sagemaker:AddTags", "logs:GetLogEvents"},
    "push": {
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:CompleteLayerUpload",
        "ecr:InitiateLayerUpload",
        "ecr:PutImage",
        "ecr:UploadLayerPart",
    },
}


@pytest.fixture
def stack(client: Callable[[str], Any]) -> dict[str, list[dict[str, Any]]]:
    """An account that the template was deployed to; the statements of the policies that it has made, by their names."""
    client("cloudformation").create_stack(StackName="byoc-vision", TemplateBody=TEMPLATE.read_text())
    iam = client("iam")
    statements = {}
    for policy in iam.list_policies(Scope="Local")["Policies"]:
        version = iam.get_policy_version(PolicyArn=policy["Arn"], VersionId=policy["DefaultVersionId"])
        name = policy["PolicyName"].removeprefix("byoc-vision-")
        statements[name] = version["PolicyVersion"]["Document"]["Statement"]
    return statements


def actions(statements: Iterable[dict[str, Any]]) -> set[str]:
    """Return the actions that statements allow."""
    return {
        action
        for statement in statements
        for action in (statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]])
    }


def test_the_template_has_no_fault() -> None:
    from cfnlint.api import lint_file

    assert lint_file(TEMPLATE) == []


def test_launchers_may_do_what_they_do_and_nothing_else(
    run: Run,
    aws: FakeAws,
    client: Callable[[str], Any],
    stack: dict[str, list[dict[str, Any]]],
    environment: dict[str, str],
    checkout: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BYOC_HOME", environment["BYOC_HOME"])
    registry = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
    names = [f"byoc-vision-{target}" for target in ("train", "serve", "serve-cpu")]
    images.record(ACCOUNT, REGION, {name: f"{registry}/{name}@sha256:{'1' * 64}" for name in names})

    def launch(*arguments: object) -> str:
        done = run(*arguments, SAGEMAKER_ROLE="byoc-vision")
        assert done.code == 0, done
        return done.out

    launch("train", "--data", data)
    (data / "test" / "cat" / "0.jpg").unlink()
    launch("train", "--data", data, "--no-wait")  # removes what is there no more
    first, second = (job["TrainingJobName"] for job in aws.sent("CreateTrainingJob"))

    best = trial("trial", "Completed", 0.9, lr="0.1")
    aws.script("DescribeHyperParameterTuningJob", described("InProgress"), described("Completed", best))
    aws.script("ListTrainingJobsForHyperParameterTuningJob", {"TrainingJobSummaries": [best]})
    for stop in ("StopHyperParameterTuningJob", "StopTrainingJob", "StopTransformJob"):
        aws.script(stop, {})  # moto has not all of them
    launch("tune", checkout / "launch" / "examples" / "tune.yaml", "--data", data)
    (tuning,) = (job["HyperParameterTuningJobName"] for job in aws.sent("CreateHyperParameterTuningJob"))

    bucket, job = f"sagemaker-{REGION}-{ACCOUNT}", f"byoc-vision/{first}/output"
    model = archive(tmp_path / "model.tar.gz", {"model.json": b"{}"}).read_bytes()
    client("s3").put_object(Bucket=bucket, Key=f"{job}/model.tar.gz", Body=model)
    metrics = json.dumps({"epochs": [{"epoch": 1, "validation_loss": 1.0}]}).encode()
    client("s3").put_object(Bucket=bucket, Key=f"{job}/metrics.json", Body=metrics)
    launch("deploy", "--model", first)
    launch("deploy", "--model", first)
    launch("endpoints")
    launch("jobs")
    aws.container = lambda body, content_type: (200, prediction("dog", 0.9))
    launch("predict", data / "test" / "dog")
    launch("transform", "--model", first, "--data", data / "test", "--no-wait")
    (transform,) = (job["TransformJobName"] for job in aws.sent("CreateTransformJob"))
    launch("watch", tuning, "--stop")
    del aws.answers["DescribeHyperParameterTuningJob"]
    launch("watch", second, "--stop")
    launch("watch", transform, "--stop")
    launch("report", first)
    for number in (1, 2):
        launch("models", "register", first)
        launch("models", "approve", f"byoc-vision/{number}")
    launch("deploy", "--model", "byoc-vision")
    launch("models", "rollback")
    launch("models")
    launch("deploy", "--delete")

    used = aws.actions[environment["AWS_ACCESS_KEY_ID"]] - {"sts:GetCallerIdentity"}  # which everybody may call
    allowed = actions(stack["launch"])
    assert used - allowed == set()
    assert allowed - used == UNSEEN["launch"]


def test_push_may_do_what_it_does_and_nothing_else(
    run: Run, aws: FakeAws, stack: dict[str, list[dict[str, Any]]], environment: dict[str, str], checkout: Path
) -> None:
    its = environment | {"PYTHONPATH": f"{environment['PYTHONPATH']}:{PACKAGES}"}
    for arguments in (("registry",), ("password",), ("repository", "byoc-vision-train")):
        command = [sys.executable, "-m", "byoc_vision", "images", *arguments]
        subprocess.run(command, env=its, cwd=checkout, check=True, capture_output=True)
    used = aws.actions[environment["AWS_ACCESS_KEY_ID"]] - {"sts:GetCallerIdentity"}
    allowed = actions(stack["push"])
    assert used - allowed == set()
    assert allowed - used == UNSEEN["push"]


def test_permissions_are_for_what_is_ours(stack: dict[str, list[dict[str, Any]]], client: Callable[[str], Any]) -> None:
    everywhere = [each["Sid"] for policy in stack.values() for each in policy if each["Resource"] == "*"]
    assert sorted(everywhere) == ["Lists", "Login", "Login", "Metrics"]  # actions that know no resource
    assert client("s3").list_buckets()["Buckets"][0]["Name"] == f"sagemaker-{REGION}-{ACCOUNT}"
