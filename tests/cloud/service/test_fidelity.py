"""All SageMaker operations that are answered, held against the service's own model (botocore's)."""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from botocore import xform_name
from botocore.loaders import create_loader
from botocore.validate import ParamValidator

from byoc_vision.local import operations, training, tuning
from byoc_vision.local.store import Store, now
from tests.cloud.service.conftest import BUCKET, ROLE, Service, refused, training_request

S3 = f"s3://{BUCKET}/"
RESOURCES = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5}
CONTAINER = {"Image": "image", "ModelDataUrl": f"{S3}model.tar.gz", "Environment": {"a": "b"}}
VARIANT = {"VariantName": "a", "ModelName": "name", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
METRIC = {"MetricName": "loss", "Type": "Minimize"}
SOURCE = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": S3}}
PLACE = {"S3Uri": S3, "LocalPath": "/opt/ml/processing/a"}
PACKAGE = f"arn:aws:sagemaker:us-east-1:{ROLE.split(':')[4]}:model-package/name/1"
ARN = PACKAGE.replace("model-package/name/1", "training-job/name")
TRAINING = training_request("name", InputDataConfig=[{"ChannelName": "training", "DataSource": SOURCE}])
TRIAL = {field: value for field, value in TRAINING.items() if field != "TrainingJobName"}
TRIAL["AlgorithmSpecification"] = TRIAL["AlgorithmSpecification"] | {
    "MetricDefinitions": [{"Name": "loss", "Regex": "loss=(.*)"}]
}

#: Operation -> a request that is answered, in an order in which each finds what it needs.
REQUESTS: dict[str, dict[str, Any]] = {
    "CreateTrainingJob": TRAINING,
    "DescribeTrainingJob": {"TrainingJobName": "name"},
    "ListTrainingJobs": {"StatusEquals": "InProgress", "NameContains": "a", "SortBy": "Name", "MaxResults": 1},
    "CreateHyperParameterTuningJob": {
        "HyperParameterTuningJobName": "name",
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "HyperParameterTuningJobObjective": METRIC,
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 1, "MaxParallelTrainingJobs": 1},
            "ParameterRanges": {"ContinuousParameterRanges": [{"Name": "lr", "MinValue": "0.1", "MaxValue": "1"}]},
        },
        "TrainingJobDefinition": TRIAL,
    },
    "DescribeHyperParameterTuningJob": {"HyperParameterTuningJobName": "name"},
    "ListHyperParameterTuningJobs": {"SortBy": "Status", "SortOrder": "Ascending"},
    "ListTrainingJobsForHyperParameterTuningJob": {
        "HyperParameterTuningJobName": "name",
        "SortBy": "FinalObjectiveMetricValue",
        "StatusEquals": "Completed",
    },
    "CreateModel": {"ModelName": "name", "ExecutionRoleArn": ROLE, "PrimaryContainer": CONTAINER},
    "DescribeModel": {"ModelName": "name"},
    "ListModels": {"MaxResults": 1},
    "CreateEndpointConfig": {"EndpointConfigName": "name", "ProductionVariants": [VARIANT]},
    "DescribeEndpointConfig": {"EndpointConfigName": "name"},
    "ListEndpointConfigs": {"CreationTimeAfter": 0},
    "CreateEndpoint": {"EndpointName": "name", "EndpointConfigName": "name"},
    "DescribeEndpoint": {"EndpointName": "name"},
    "ListEndpoints": {"StatusEquals": "Creating"},
    "UpdateEndpoint": {"EndpointName": "served", "EndpointConfigName": "name"},
    "UpdateEndpointWeightsAndCapacities": {
        "EndpointName": "served-too",
        "DesiredWeightsAndCapacities": [{"VariantName": "a", "DesiredWeight": 1}],
    },
    "CreateTransformJob": {
        "TransformJobName": "name",
        "ModelName": "name",
        "TransformInput": {"DataSource": SOURCE},
        "TransformOutput": {"S3OutputPath": S3},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    },
    "DescribeTransformJob": {"TransformJobName": "name"},
    "ListTransformJobs": {"LastModifiedTimeBefore": 9_999_999_999},
    "CreateProcessingJob": {
        "ProcessingJobName": "name",
        "RoleArn": ROLE,
        "AppSpecification": {"ImageUri": "image"},
        "ProcessingResources": {"ClusterConfig": RESOURCES},
        "ProcessingInputs": [{"InputName": "a", "S3Input": PLACE | {"S3DataType": "S3Prefix", "S3InputMode": "File"}}],
    },
    "DescribeProcessingJob": {"ProcessingJobName": "name"},
    "ListProcessingJobs": {"MaxResults": 1},
    "CreateModelPackageGroup": {"ModelPackageGroupName": "name"},
    "DescribeModelPackageGroup": {"ModelPackageGroupName": "name"},
    "ListModelPackageGroups": {"MaxResults": 1},
    "CreateModelPackage": {
        "ModelPackageGroupName": "name",
        "InferenceSpecification": {"Containers": [CONTAINER], "SupportedContentTypes": ["image/jpeg"]},
    },
    "DescribeModelPackage": {"ModelPackageName": PACKAGE},
    "ListModelPackages": {"ModelPackageGroupName": "name"},
    "UpdateModelPackage": {"ModelPackageArn": PACKAGE, "ModelApprovalStatus": "Approved"},
    "AddTags": {"ResourceArn": ARN, "Tags": [{"Key": "a", "Value": "b"}]},
    "ListTags": {"ResourceArn": ARN, "MaxResults": 50},
    "DeleteTags": {"ResourceArn": ARN, "TagKeys": ["a"]},
    "StopTrainingJob": {"TrainingJobName": "name"},
    "StopHyperParameterTuningJob": {"HyperParameterTuningJobName": "name"},
    "StopTransformJob": {"TransformJobName": "name"},
    "StopProcessingJob": {"ProcessingJobName": "name"},
    "DeleteTrainingJob": {"TrainingJobName": "ended"},
    "DeleteHyperParameterTuningJob": {"HyperParameterTuningJobName": "ended"},
    "DeleteProcessingJob": {"ProcessingJobName": "ended"},
    "DeleteModelPackage": {"ModelPackageName": PACKAGE},
    "DeleteModelPackageGroup": {"ModelPackageGroupName": "name"},
    "DeleteEndpoint": {"EndpointName": "served-too"},
    "DeleteEndpointConfig": {"EndpointConfigName": "name"},
    "DeleteModel": {"ModelName": "name"},
}

#: Required by the model, and yet not there in the service either until there are any.
LATE = ('"ModelArtifacts"',)


@pytest.fixture
def client(sagemaker: Any, service: Service, monkeypatch: pytest.MonkeyPatch) -> Any:
    """SageMaker's client; there is data, and two endpoints serve."""
    service.client("s3").put_object(Bucket=BUCKET, Key="model.tar.gz", Body=b"x")
    for name in ("served", "served-too"):
        serve(service.store, name)
    for kind, field, request in (
        (training.KIND, "TrainingJob", TRAINING),
        (tuning.KIND, "HyperParameterTuningJob", REQUESTS["CreateHyperParameterTuningJob"]),
        ("processing-job", "ProcessingJob", REQUESTS["CreateProcessingJob"]),
    ):
        ended = {f"{field}Status": "Completed"}
        service.store.create(kind, "ended", request | {f"{field}Name": "ended"}, **ended)[1].release()
    monkeypatch.setattr("byoc_vision.local.containers.running", lambda name: True)
    monkeypatch.setattr("byoc_vision.local.containers.answered", lambda *_: "")
    monkeypatch.setattr("byoc_vision.local.containers.owned", lambda folder: [])
    monkeypatch.setattr("byoc_vision.local.containers.orphans", lambda kind: [])
    return sagemaker


def serve(store: Store, name: str) -> None:
    member = {"Name": name, "Port": 1, "Model": "", "Variant": VARIANT, "Container": CONTAINER}
    status = {"EndpointStatus": "InService", "Port": 1, "Home": 1, "Serving": [member]}
    request = {"EndpointName": name, "EndpointConfigName": "name"}
    store.create("endpoint", name, request, **status)[1].release()


def test_each_operation_answers_with_all_that_the_service_promises(client: Any) -> None:
    assert set(REQUESTS) == operations.NAMES
    for operation, request in REQUESTS.items():
        answer = getattr(client, xform_name(operation))(**request)
        del answer["ResponseMetadata"]
        shape = client.meta.service_model.operation_model(operation).output_shape
        if shape is not None:
            report = ParamValidator().validate(answer, shape).generate_report()
            assert not [line for line in report.splitlines() if not any(field in line for field in LATE)], operation


def broken(value: Any, shape: Any) -> Iterator[tuple[str, Any]]:
    """Yield a value of the shape with one thing in it wrong, and where."""
    yield "", {"structure": "text", "list": {}, "map": []}.get(shape.type_name, [{}])
    if shape.type_name == "structure":
        for name in shape.required_members:
            yield name, {field: each for field, each in value.items() if field != name}
        for name, each in value.items():
            for where, wrong in broken(each, shape.members[name]):
                yield f"{name}.{where}", value | {name: wrong}
    elif shape.type_name == "list":
        for where, wrong in broken(value[0], shape.member):
            yield f"[0].{where}", [wrong, *value[1:]]
        if "max" in shape.metadata:
            yield "too many", value[:1] * (shape.metadata["max"] + 1)
    elif shape.type_name == "map":
        for name, each in value.items():
            for where, wrong in broken(each, shape.value):
                yield f"{name}.{where}", value | {name: wrong}
    elif shape.type_name == "string":
        if "max" in shape.metadata:
            yield "too long", "a" * (shape.metadata["max"] + 1)
        if shape.enum:
            yield "no such choice", "Nonsense"
        if "pattern" in shape.metadata and shape.metadata["pattern"] not in (".*", ".+", r"[\S\s]*"):
            yield "of another form", " \n/../ü "
    elif shape.type_name in ("integer", "long") and "min" in shape.metadata:
        yield "too small", shape.metadata["min"] - 1


def test_each_malformed_request_is_a_validation_exception(client: Any, service: Service) -> None:
    model = client.meta.service_model
    accepted, tried = [], 0
    for operation, request in REQUESTS.items():
        shape = model.operation_model(operation).input_shape
        for where, wrong in broken(deepcopy(request), shape):
            if where == "":
                continue
            tried += 1
            target = {"x_amz_target": f"SageMaker.{operation}"}
            status, body = service.ask("POST", "/", json.dumps(wrong).encode(), "sagemaker", **target)
            answer = json.loads(body)
            if (status, answer.get("__type")) != (400, "ValidationException") or "\n" in answer["message"]:
                accepted.append((operation, where, status, body[:200]))
    assert tried > 400
    assert not accepted


def test_what_is_not_there_is_said_by_each_operation(client: Any) -> None:
    for operation, request in REQUESTS.items():
        if operation.startswith(("Describe", "Stop", "Delete", "Update")):
            missing = {
                field: re.sub("name|ended|served(-too)?", "none", value) if isinstance(value, str) else value
                for field, value in request.items()
            }
            with refused("ValidationException"):
                getattr(client, xform_name(operation))(**missing)


def test_a_job_that_runs_cannot_be_deleted(client: Any) -> None:
    for field in ("TrainingJob", "HyperParameterTuningJob", "ProcessingJob"):
        getattr(client, xform_name(f"Create{field}"))(**REQUESTS[f"Create{field}"])
        with refused("ResourceInUse", "stop it first"):
            getattr(client, xform_name(f"Delete{field}"))(**{f"{field}Name": "name"})


def test_what_is_there_cannot_be_created_again(client: Any) -> None:
    for operation, request in REQUESTS.items():
        if operation.startswith("Create"):
            create = getattr(client, xform_name(operation))
            create(**request)
            if operation != "CreateModelPackage":  # of which each has a number
                jobs = operation.endswith("Job")
                with refused("ResourceInUse" if jobs else "ValidationException", "already existing"):
                    create(**request)


def test_all_paginators_give_everything_once(client: Any, service: Service) -> None:
    pages = create_loader().load_service_model("sagemaker", "paginators-1")["pagination"]
    kinds = {"ListTags": "", "ListTrainingJobsForHyperParameterTuningJob": ""}
    for operation, request in REQUESTS.items():
        if operation.startswith("Create"):
            getattr(client, xform_name(operation))(**request)
            for number in range(2):
                again = {field: f"name-{number}" for field in request if field.endswith("Name")} | {
                    field: value for field, value in request.items() if not field.endswith("Name")
                }
                for field in ("ModelName", "EndpointConfigName", "ModelPackageGroupName"):
                    if field in request and operation.removeprefix("Create") != field.removesuffix("Name"):
                        again[field] = "name"
                getattr(client, xform_name(operation))(**again)
    job = service.store.find(tuning.KIND, "name")
    for number in range(3):
        trial = f"trial-{number}"
        training.create(service.store, TRAINING | {"TrainingJobName": trial, "HyperParameters": {"lr": "1"}})
        service.store.find(training.KIND, trial).update(TuningJobArn=job.arn)
    client.add_tags(ResourceArn=ARN, Tags=[{"Key": key, "Value": "b"} for key in "xyz"])
    seen = set()
    for operation in operations.NAMES & pages.keys():
        needed = client.meta.service_model.operation_model(operation).input_shape.required_members
        request = {field: REQUESTS[operation][field] for field in needed}
        if operation == "ListModelPackages":
            request = REQUESTS[operation]
        key = pages[operation]["result_key"]
        whole = getattr(client, xform_name(operation))(**request)[key]
        size = 50 if operation == "ListTags" else 1
        one_by_one = client.get_paginator(xform_name(operation)).paginate(
            **request, PaginationConfig={"PageSize": size}
        )
        assert [each for page in one_by_one for each in page[key]] == whole
        assert len(whole) >= 3, operation
        if "NextToken" in client.meta.service_model.operation_model(operation).input_shape.members:
            with refused("ValidationException", "no token of a page"):
                getattr(client, xform_name(operation))(**request, NextToken="nonsense")
        seen.add(operation)
    assert kinds.keys() < seen


def test_all_waiters_wait(client: Any, service: Service) -> None:
    waiters = create_loader().load_service_model("sagemaker", "waiters-2")["waiters"]
    for operation, request in REQUESTS.items():
        if operation.startswith("Create") and ("Job" in operation or operation.endswith(("Model", "Config"))):
            getattr(client, xform_name(operation))(**request)
    for kind, field in (
        ("training-job", "TrainingJob"),
        ("transform-job", "TransformJob"),
        ("processing-job", "ProcessingJob"),
    ):
        service.store.find(kind, "name").update(**{f"{field}Status": "Completed", f"{field}EndTime": now()})
    waited = 0
    for name, waiter in waiters.items():
        if waiter["operation"] not in operations.NAMES:
            continue
        (field,) = REQUESTS[waiter["operation"]]
        here = {"EndpointInService": "served", "EndpointDeleted": "none"}.get(name, "name")
        client.get_waiter(xform_name(name)).wait(**{field: here}, WaiterConfig={"Delay": 0, "MaxAttempts": 1})
        waited += 1
    assert waited >= 5


def test_every_other_operation_is_refused_in_a_sentence(client: Any, service: Service) -> None:
    for operation in set(client.meta.service_model.operation_names) - operations.NAMES:
        status, body = service.ask("POST", "/", b"{}", "sagemaker", x_amz_target=f"SageMaker.{operation}")
        answer = json.loads(body)
        assert (status, answer["__type"]) == (400, "UnknownOperationException")
        assert operation in answer["message"] and answer["message"].endswith(".")
