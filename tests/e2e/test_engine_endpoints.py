"""Endpoints and transform jobs of the local engine: real containers of the serving image."""

import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from byoc_vision.contract.errors import UserError
from byoc_vision.local.files import path
from byoc_vision.requests import operations
from local_test.draw import CLASSES
from tests.e2e.local_engine import Local


@pytest.fixture
def picture(pictures: Path) -> bytes:
    return next((pictures / "test" / "red_circle").iterdir()).read_bytes()


def test_an_endpoint_from_its_creation_to_its_end(local: Local, artifact: str, picture: bytes, tmp_path: Path) -> None:
    for name in ("first", "second"):
        local.create_config(name, artifact)
    local.sagemaker.create_endpoint(**operations.endpoint("dogs", "first"))
    local.sagemaker.create_endpoint(**operations.endpoint("cats", "first"))
    with pytest.raises(ClientError, match="already existing"):
        local.sagemaker.create_endpoint(**operations.endpoint("dogs", "second"))
    for name in ("dogs", "cats"):
        assert local.deployed(name)["EndpointStatus"] == "InService"
    before = local.ask("dogs", picture)
    assert before["predictions"][0]["label"] in CLASSES
    assert local.ask("cats", picture) == before
    (tmp_path / "picture.jpg").write_bytes(picture)
    curl = local.engine.curl("dogs")
    assert json.loads(subprocess.check_output(curl, shell=True, cwd=tmp_path)) == before
    with pytest.raises(ClientError) as refused:
        local.ask("dogs", b"no picture")
    assert refused.value.response["Error"]["Code"] == "ModelError"
    assert refused.value.response["OriginalStatusCode"] == 400
    assert "error" in json.loads(refused.value.response["OriginalMessage"])

    local.sagemaker.update_endpoint(**operations.endpoint("dogs", "second"))
    asked = 0
    while local.sagemaker.describe_endpoint(EndpointName="dogs")["EndpointStatus"] == "Updating":
        assert local.ask("dogs", picture) == before  # without a gap
        asked += 1
    assert asked
    updated = local.deployed("dogs")
    assert (updated["EndpointStatus"], updated["EndpointConfigName"]) == ("InService", "second")
    assert local.ask("dogs", picture) == before
    assert local.engine.curl("dogs") == curl  # on the same port
    assert any("ready" in line for line in local.engine.logs("endpoint", "dogs")())

    for name in ("dogs", "cats"):
        local.sagemaker.delete_endpoint(EndpointName=name)
    with pytest.raises(ClientError, match="not found"):
        local.ask("dogs", picture)
    with pytest.raises(ClientError, match="Could not find endpoint dogs"):
        local.deployed("dogs")
    for name in ("first", "second"):
        local.sagemaker.delete_endpoint_config(EndpointConfigName=name)
        local.sagemaker.delete_model(ModelName=name)
    assert local.sagemaker.list_models()["Models"] == []


def test_an_endpoint_without_a_usable_model(local: Local, artifact: str, picture: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("{")
    with tarfile.open(tmp_path / "broken.tar.gz", "w:gz") as broken:
        broken.add(tmp_path / "model.json", "model.json")
    with tarfile.open(tmp_path / "traversing.tar.gz", "w:gz") as traversing:
        traversing.add(tmp_path / "model.json", "../../model.json")
    local.create_config("good", artifact)
    local.create_config("broken", (tmp_path / "broken.tar.gz").as_uri())
    local.create_config("traversing", (tmp_path / "traversing.tar.gz").as_uri())

    local.sagemaker.create_endpoint(**operations.endpoint("birds", "traversing"))
    failed = local.deployed("birds")
    assert failed["EndpointStatus"] == "Failed"
    assert "would land outside" in failed["FailureReason"]
    local.sagemaker.delete_endpoint(EndpointName="birds")

    local.sagemaker.create_endpoint(**operations.endpoint("birds", "good"))
    assert local.deployed("birds")["EndpointStatus"] == "InService"
    local.sagemaker.update_endpoint(**operations.endpoint("birds", "broken"))
    kept = local.deployed("birds")
    assert (kept["EndpointStatus"], kept["EndpointConfigName"]) == ("InService", "good")
    assert "ended before it could serve" in kept["FailureReason"]
    assert local.ask("birds", picture)["predictions"]
    local.sagemaker.delete_endpoint(EndpointName="birds")


def test_two_variants_of_which_one_loads_models_as_they_are_asked_for(
    local: Local, artifact: str, picture: bytes, tmp_path: Path
) -> None:
    engine, sagemaker = local.engine, local.sagemaker
    for name in ("first", "second"):
        shutil.copy(path(artifact), tmp_path / f"{name}.tar.gz")
    (tmp_path / "broken.tar.gz").write_bytes(b"no archive")
    sagemaker.create_model(**operations.model("one", engine.image("serve"), engine.role(), artifact))
    many = operations.model("many", engine.image("serve"), engine.role(), f"{tmp_path.as_uri()}/")
    many["PrimaryContainer"] |= {"Mode": "MultiModel"}
    sagemaker.create_model(**many)
    (variant,) = operations.endpoint_config("both", "one", "local")["ProductionVariants"]
    variants = [
        variant | {"VariantName": name, "ModelName": name, "InitialVariantWeight": weight}
        for name, weight in (("one", 1.0), ("many", 0.0))
    ]
    sagemaker.create_endpoint_config(EndpointConfigName="both", ProductionVariants=variants)
    sagemaker.create_endpoint(**operations.endpoint("both", "both"))
    deployed = local.deployed("both")
    assert deployed["EndpointStatus"] == "InService", deployed

    def ask(**fields: str) -> tuple[str, dict[str, Any]]:
        answer = engine.runtime.invoke_endpoint(EndpointName="both", ContentType="image/jpeg", Body=picture, **fields)
        return answer["InvokedProductionVariant"], json.loads(answer["Body"].read())

    variant, right = ask()
    assert (variant, right["predictions"][0]["label"] in CLASSES) == ("one", True)
    for name in ("first", "second", "first"):
        assert ask(TargetVariant="many", TargetModel=f"{name}.tar.gz") == ("many", right)
    for wrong in ("broken.tar.gz", "none.tar.gz", "../none"):
        with pytest.raises(ClientError) as refused:
            ask(TargetVariant="many", TargetModel=wrong)
        assert refused.value.response["Error"]["Code"] == "ValidationError"
    assert any("ready" in line for line in engine.logs("endpoint", "both")())
    sagemaker.delete_endpoint(EndpointName="both")
    sagemaker.delete_endpoint_config(EndpointConfigName="both")
    for name in ("one", "many"):
        sagemaker.delete_model(ModelName=name)


def test_a_transform_job_answers_for_every_picture(local: Local, artifact: str, pictures: Path, tmp_path: Path) -> None:
    engine = local.engine
    local.sagemaker.create_model(**operations.model("batch", engine.image("serve"), engine.role(), artifact))
    source, target = engine.place(str(pictures / "test"), "", send=True), f"{(tmp_path / 'answers').as_uri()}/"
    local.sagemaker.create_transform_job(**operations.transform_job("batch", "batch", source, target, "local"))
    local.sagemaker.delete_model(ModelName="batch")
    job = local.ended("TransformJob", "batch")
    assert job["TransformJobStatus"] == "Completed", job
    answers = engine.fetch(target, tmp_path / "fetched")
    expected = {f"{file.relative_to(pictures / 'test')}.out" for file in (pictures / "test").rglob("*.jpg")}
    assert {str(file.relative_to(tmp_path / "fetched")) for file in answers} == expected
    assert all(json.loads(file.read_bytes())["predictions"] for file in answers)
    assert engine.logs("transform", "batch")()


def test_a_transform_job_with_one_bad_picture(local: Local, artifact: str, picture: bytes, tmp_path: Path) -> None:
    engine = local.engine
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "good.jpg").write_bytes(picture)
    (tmp_path / "data" / "bad.jpg").write_text("no picture")
    (tmp_path / "data" / ".DS_Store").write_text("litter, which is not sent")
    local.sagemaker.create_model(**operations.model("mixed", engine.image("serve"), engine.role(), artifact))
    source, target = engine.place(str(tmp_path / "data"), "", send=True), f"{(tmp_path / 'answers').as_uri()}/"
    local.sagemaker.create_transform_job(**operations.transform_job("mixed", "mixed", source, target, "local"))
    job = local.ended("TransformJob", "mixed")
    assert job["TransformJobStatus"] == "Failed"
    assert "bad.jpg" in job["FailureReason"] and "DS_Store" not in job["FailureReason"]
    ((refused, said),) = engine.refused("mixed").items()
    assert refused == "bad.jpg" and "not a picture" in json.loads(said)["error"]
    assert [file.name for file in engine.fetch(target, tmp_path / "fetched")] == ["good.jpg.out"]
    local.sagemaker.delete_model(ModelName="mixed")


def test_files_and_folders_are_placed(local: Local, tmp_path: Path) -> None:
    engine = local.engine
    (tmp_path / "a file").write_text("content")
    assert engine.place(str(tmp_path), "", send=True) == f"{tmp_path.as_uri()}/"
    uri = engine.place(str(tmp_path / "a file"), f"{engine.output()}/models", send=True)
    shutil.rmtree(tmp_path / "a file", ignore_errors=True)
    (tmp_path / "a file").unlink()
    (copy,) = engine.fetch(uri, tmp_path / "fetched")
    assert copy.read_text() == "content"
    for missing in (str(tmp_path / "missing"), "s3://bucket/key"):
        with pytest.raises(UserError):
            engine.place(missing, f"{engine.output()}/models", send=True)
