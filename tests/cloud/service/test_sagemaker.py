"""SageMaker's operations over HTTP: how jobs, models and packages are told, checked and refused."""

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from byoc_vision.local import channels, containers, models, training, tuning
from byoc_vision.local.store import ACCOUNT, now
from byoc_vision.service.resumption import resume
from tests.cloud.service.conftest import BUCKET, ROLE, Service, refused, training_request

IMAGE = {"TrainingImage": "image", "TrainingInputMode": "File"}
RULE = {"RuleConfigurationName": "rule", "RuleEvaluatorImage": "image"}

#: An S3DataSource at which there is nothing.
ANYWHERE = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/none/"}


def test_a_training_job_is_told_as_the_service_tells_it(sagemaker: Any, service: Service) -> None:
    request = training_request(Tags=[{"Key": "a", "Value": "b"}])
    arn = sagemaker.create_training_job(**request)["TrainingJobArn"]
    told = sagemaker.describe_training_job(TrainingJobName="job")
    assert told["TrainingJobStatus"] == "InProgress"
    assert told["OutputDataConfig"] == {
        "KmsKeyId": "",
        "CompressionType": "GZIP",
        "S3OutputPath": f"s3://{BUCKET}/results",
    }
    assert told["ResourceConfig"]["InstanceType"] == "ml.m5.xlarge"
    assert told["CreationTime"].year >= 2026
    assert "Tags" not in told
    with refused("ResourceInUse", "already existing"):
        sagemaker.create_training_job(**request)
    warm = request["ResourceConfig"] | {"KeepAlivePeriodInSeconds": 600}
    for number in range(3):
        sagemaker.create_training_job(**training_request(f"other-{number}", ResourceConfig=warm))
    assert sagemaker.describe_training_job(TrainingJobName="other-0")["WarmPoolStatus"]["Status"] == "InUse"
    service.store.find(training.KIND, "other-0").update(TrainingJobStatus="Completed")
    assert sagemaker.describe_training_job(TrainingJobName="other-0")["WarmPoolStatus"]["Status"] == "Terminated"
    pages = sagemaker.get_paginator("list_training_jobs").paginate(PaginationConfig={"PageSize": 2})
    listed = [job["TrainingJobName"] for page in pages for job in page["TrainingJobSummaries"]]
    assert listed == ["other-2", "other-1", "other-0", "job"]
    created = sagemaker.describe_training_job(TrainingJobName="other-0")["CreationTime"]
    for bound, count in (("Before", 2), ("After", 3)):
        assert len(sagemaker.list_training_jobs(**{f"CreationTime{bound}": created})["TrainingJobSummaries"]) == count
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "c", "Value": "d"}, {"Key": "a", "Value": "e"}])
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["c"])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "e"}]
    with refused("ValidationException"):
        sagemaker.list_tags(ResourceArn=arn.replace("job/job", "job/none"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"RoleArn": "MySageMakerExecutionRole"}, "RoleArn"),
        ({"TrainingJobName": "a/../b"}, "TrainingJobName"),
        ({"OutputDataConfig": {"S3OutputPath": "s3://none/a"}}, "no bucket 'none'"),
        ({"OutputDataConfig": {"S3OutputPath": "s3://pictures/../.."}}, "cannot be a file's name"),
        ({"OutputDataConfig": {"S3OutputPath": "https://a"}}, "https://a is not on this machine"),
        ({"EnableManagedSpotTraining": True}, "MaxWaitTimeInSeconds. It must be present"),
        (
            {
                "EnableManagedSpotTraining": True,
                "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 59},
            },
            "greater than or equal to MaxRuntimeInSeconds, 60",
        ),
        (
            {
                "InputDataConfig": [
                    {"ChannelName": "sagemaker_remote_function_bootstrap", "DataSource": {"S3DataSource": ANYWHERE}}
                ]
            },
            "train with a script instead",
        ),
        ({"ModelPackageConfig": {"ModelPackageGroupArn": f"{ROLE.replace('iam', 'sagemaker')}"}}, "ModelPackage"),
        ({"ResourceConfig": {"InstanceType": "m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}}, "InstanceType"),
        ({"AlgorithmSpecification": {"TrainingImage": "image", "TrainingInputMode": "Stream"}}, "TrainingInputMode"),
        ({"AlgorithmSpecification": {**IMAGE, "AlgorithmName": "a"}}, "no AlgorithmName"),
        ({"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 0, "VolumeSizeInGB": 1}}, "of 1 or more"),
        ({"ResourceConfig": {"InstanceCount": 1, "VolumeSizeInGB": 1}}, "needs an InstanceType"),
        (
            {"StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60}},
            "only supported when EnableManagedSpotTraining is set to true",
        ),
        ({"CheckpointConfig": {"S3Uri": f"s3://{BUCKET}/a", "LocalPath": "a"}}, "must begin with a slash"),
        ({"DebugHookConfig": {"S3OutputPath": "s3://none/a"}}, "no bucket 'none'"),
        ({"ProfilerConfig": {"S3OutputPath": "s3://none/a"}}, "no bucket 'none'"),
        ({"TensorBoardOutputConfig": {"S3OutputPath": "s3://none/a"}}, "no bucket 'none'"),
        ({"ProfilerRuleConfigurations": [RULE, RULE]}, "Two of the ProfilerRuleConfigurations"),
        ({"DebugRuleConfigurations": [RULE | {"S3OutputPath": "s3://none/a"}]}, "no bucket 'none'"),
        ({"Environment": {"a b": "c"}}, "a key of Environment is 'a b'"),
        ({"HyperParameters": {"a" * 257: "1"}}, "a key of HyperParameters is 257"),
        ({"Tags": [{"Key": "a!", "Value": "b"}]}, "does not have the form"),
        ({"Tags": [{"Key": "a", "Value": "b"}, {"Key": "a", "Value": "c"}]}, "Two tags have the key 'a'"),
        ({"Tags": [{"Key": "AWS:a", "Value": "b"}]}, "take another key"),
        (
            {"InputDataConfig": [{"ChannelName": "training", "DataSource": {"S3DataSource": ANYWHERE}}]},
            "nothing at s3://pictures/none/",
        ),
    ],
)
def test_a_request_is_checked_as_the_service_does_it(sagemaker: Any, fields: dict[str, Any], said: str) -> None:
    with refused("ValidationException", said):
        sagemaker.create_training_job(**training_request(**fields))
    assert sagemaker.list_training_jobs()["TrainingJobSummaries"] == []


def test_a_resource_has_fifty_tags_at_most(sagemaker: Any) -> None:
    fifty = [{"Key": f"ä {number}", "Value": "漢字"} for number in range(50)]
    arn = sagemaker.create_training_job(**training_request(Tags=fifty))["TrainingJobArn"]
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "ä 0", "Value": "another"}])
    with refused("ValidationException", "These would be 51 tags"):
        sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "more", "Value": ""}])
    assert len(sagemaker.list_tags(ResourceArn=arn)["Tags"]) == 50


def test_a_list_tells_ten_where_it_is_not_asked_for_more(sagemaker: Any) -> None:
    for number in range(11):
        sagemaker.create_training_job(**training_request(f"job-{number}"))
    page = sagemaker.list_training_jobs()
    assert len(page["TrainingJobSummaries"]) == 10
    assert len(sagemaker.list_training_jobs(NextToken=page["NextToken"])["TrainingJobSummaries"]) == 1
    assert len(sagemaker.list_training_jobs(MaxResults=100)["TrainingJobSummaries"]) == 11


def test_what_channels_have_not_is_refused_and_none_is_nothing(sagemaker: Any, service: Service) -> None:
    service.client("s3").put_object(Bucket=BUCKET, Key="data/a.jpg", Body=b"x")
    channel = {
        "ChannelName": "training",
        "CompressionType": "None",
        "RecordWrapperType": "None",
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/data"}},
    }
    sagemaker.create_training_job(**training_request(InputDataConfig=[channel | {"InputMode": "FastFile"}]))
    with refused("ValidationException", "Pipe"):
        sagemaker.create_training_job(**training_request("other", InputDataConfig=[channel | {"InputMode": "Pipe"}]))
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5}
    source = channel["DataSource"]["S3DataSource"] | {"S3DataDistributionType": "ShardedByS3Key"}
    sharded = {"InputDataConfig": [channel | {"DataSource": {"S3DataSource": source}}]}
    sagemaker.create_training_job(**training_request("two", ResourceConfig=resources | {"InstanceCount": 2}, **sharded))
    shuffled = [channel | {"ShuffleConfig": {"Seed": 1}}]  # a folder has no order
    sagemaker.create_training_job(**training_request("shuffled", InputDataConfig=shuffled))


def test_hosts_may_each_have_a_part_of_a_channel(sagemaker: Any, service: Service, tmp_path: Path) -> None:
    s3, names = service.client("s3"), [f"{number} ü.jpg" for number in range(5)]
    for name in names:
        s3.put_object(Bucket=BUCKET, Key=f"data/{name}", Body=b"x")
    manifest = json.dumps([{"prefix": f"s3://{BUCKET}/data/"}, *names]).encode()
    s3.put_object(Bucket=BUCKET, Key="manifest", Body=manifest)
    for kind, key in (("S3Prefix", "data/"), ("ManifestFile", "manifest"), ("S3Prefix", "data/0 ü.jpg")):
        source = {"S3DataType": kind, "S3Uri": f"s3://{BUCKET}/{key}", "S3DataDistributionType": "ShardedByS3Key"}
        parts = [channels.folder(service.store, source, tmp_path / kind / key / str(n), n, 2) for n in range(2)]
        found = [sorted(file.name for file in part.rglob("*.jpg")) for part in parts]
        assert found == ([names[::2], names[1::2]] if ".jpg" not in key else [names[:1], []])
    assert channels.folder(service.store, source, tmp_path / "one").name == "0 ü.jpg"  # which has all


def test_a_channel_may_be_a_manifest(sagemaker: Any, service: Service, tmp_path: Path) -> None:
    s3 = service.client("s3")
    for key in ("data/a b/ü.jpg", "data/b.jpg", "secret"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode())

    def channel(*manifest: Any, kind: str = "ManifestFile") -> dict[str, Any]:
        s3.put_object(Bucket=BUCKET, Key="manifest", Body=json.dumps(manifest).encode())
        source = {"S3DataType": kind, "S3Uri": f"s3://{BUCKET}/manifest"}
        return {"ChannelName": "training", "DataSource": {"S3DataSource": source}}

    good = channel({"prefix": f"s3://{BUCKET}/data/"}, "a b/ü.jpg", "b.jpg")
    sagemaker.create_training_job(**training_request(InputDataConfig=[good]))
    folder = channels.folder(service.store, good["DataSource"]["S3DataSource"], tmp_path / "listed")
    assert {str(file.relative_to(folder)) for file in folder.rglob("*.jpg")} == {"a b/ü.jpg", "b.jpg"}
    with refused("ValidationException", "has S3Prefix and ManifestFile"):
        wrong = channel(kind="AugmentedManifestFile")
        sagemaker.create_training_job(**training_request("other", InputDataConfig=[wrong]))
    for manifest, said in (
        (({"prefix": f"s3://{BUCKET}/data/"}, "../secret"), "cannot be a file's name"),
        (({"prefix": f"s3://{BUCKET}/data/"}, "none"), "no such object"),
        (({"prefix": "s3://none/"}, "a"), "no bucket"),
        ((), "no manifest of the form"),
        (({"prefix": 1}, {}), "no manifest of the form"),
    ):
        with refused("ValidationException", said):
            sagemaker.create_training_job(**training_request("other", InputDataConfig=[channel(*manifest)]))


def test_the_resources_of_trials_as_the_sdk_sends_them(sagemaker: Any) -> None:
    definition = training_request()
    del definition["TrainingJobName"], definition["ResourceConfig"]
    definition["AlgorithmSpecification"] |= {"MetricDefinitions": [{"Name": "loss", "Regex": "loss=(.*)"}]}
    config = {
        "Strategy": "Bayesian",
        "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "loss"},
        "ResourceLimits": {"MaxNumberOfTrainingJobs": 1, "MaxParallelTrainingJobs": 1},
        "ParameterRanges": {"CategoricalParameterRanges": [{"Name": "a", "Values": ["b", "c"]}]},
    }
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 5}
    for name, given in (("plain", resources), ("list", {"InstanceConfigs": [resources]})):
        whole = definition | {"HyperParameterTuningResourceConfig": given}
        assert tuning.trial(whole)["ResourceConfig"] == resources
        sagemaker.create_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=name, HyperParameterTuningJobConfig=config, TrainingJobDefinition=whole
        )
        told = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
        assert told["TrainingJobDefinition"]["OutputDataConfig"]["KmsKeyId"] == ""
        assert told["TrainingJobDefinition"]["ResourceConfig"] == resources
        assert told["TrainingJobDefinition"]["StaticHyperParameters"] == {"_tuning_objective_metric": "loss"}
    with refused("ValidationException", "ResourceConfig"):
        sagemaker.create_hyper_parameter_tuning_job(
            HyperParameterTuningJobName="none", HyperParameterTuningJobConfig=config, TrainingJobDefinition=definition
        )


def test_a_model_may_be_a_folder_of_objects(sagemaker: Any, service: Service) -> None:
    service.client("s3").put_object(Bucket=BUCKET, Key="model/weights", Body=b"x")
    source = {"S3Uri": f"s3://{BUCKET}/model/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    container = {"Image": "image", "ModelDataSource": {"S3DataSource": source}}
    sagemaker.create_model(ModelName="a", ExecutionRoleArn=ROLE, Containers=[container])
    assert sagemaker.describe_model(ModelName="a")["Containers"][0]["Image"] == "image"
    for wrong in ({"Image": "image", "ModelDataUrl": f"s3://{BUCKET}/none.tar.gz"}, container | {"Mode": "MultiModel"}):
        with refused("ValidationException"):
            sagemaker.create_model(ModelName="b", ExecutionRoleArn=ROLE, PrimaryContainer=wrong)
    sagemaker.delete_model(ModelName="a")
    with refused("ValidationException", "Could not find model a"):
        sagemaker.describe_model(ModelName="a")


def test_a_model_is_registered_approved_and_deployed(sagemaker: Any, service: Service) -> None:
    service.client("s3").put_object(Bucket=BUCKET, Key="model.tar.gz", Body=b"x")
    container = {"Image": "image", "ModelDataUrl": f"s3://{BUCKET}/model.tar.gz", "Environment": {"a": "1", "b": "1"}}
    types = {"SupportedContentTypes": ["image/jpeg"], "SupportedResponseMIMETypes": ["application/json"]}
    request = {"ModelPackageGroupName": "dogs", "InferenceSpecification": types | {"Containers": [container]}}
    with refused("ValidationException", "Could not find model package group dogs"):
        sagemaker.create_model_package(**request)
    sagemaker.create_model_package_group(ModelPackageGroupName="dogs")
    first, second = (sagemaker.create_model_package(**request)["ModelPackageArn"] for _ in range(2))
    assert (first, second) == tuple(f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:model-package/dogs/{n}" for n in (1, 2))
    model = {"ModelName": "dogs", "ExecutionRoleArn": ROLE}
    wanted = {"ModelPackageName": second, "Environment": {"b": "2"}}
    with refused("ValidationException", "PendingManualApproval"):
        sagemaker.create_model(PrimaryContainer=wanted, **model)
    sagemaker.update_model_package(ModelPackageArn=second, ModelApprovalStatus="Approved")
    for changes, left in (
        ({"CustomerMetadataProperties": {"a": "1", "b": "1"}}, {"a": "1", "b": "1"}),
        ({"CustomerMetadataProperties": {"a": "2"}, "CustomerMetadataPropertiesToRemove": ["b"]}, {"a": "2"}),
    ):
        sagemaker.update_model_package(ModelPackageArn=second, **changes)
        assert sagemaker.describe_model_package(ModelPackageName=second)["CustomerMetadataProperties"] == left
    for kind, count in (({}, 0), ({"ModelPackageType": "Unversioned"}, 0), ({"ModelPackageType": "Both"}, 2)):
        assert len(sagemaker.list_model_packages(**kind)["ModelPackageSummaryList"]) == count
    approved = sagemaker.list_model_packages(ModelPackageGroupName="dogs", ModelApprovalStatus="Approved")
    assert [package["ModelPackageArn"] for package in approved["ModelPackageSummaryList"]] == [second]
    told = sagemaker.describe_model_package(ModelPackageName=second)
    assert (told["ModelPackageVersion"], told["ModelPackageStatus"]) == (2, "Completed")
    assert sagemaker.describe_model_package(ModelPackageName=told["ModelPackageName"])["ModelPackageArn"] == second
    sagemaker.add_tags(ResourceArn=second, Tags=[{"Key": "a", "Value": "b"}])
    sagemaker.create_model(PrimaryContainer=wanted, **model)
    assert models.container(service.store, "dogs") == container | {"Environment": {"a": "1", "b": "2"}}
    with refused("ConflictException"):
        sagemaker.delete_model_package_group(ModelPackageGroupName="dogs")
    for package in (first, second):
        sagemaker.delete_model_package(ModelPackageName=package)
    sagemaker.delete_model_package_group(ModelPackageGroupName="dogs")
    assert sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"] == []
    for name in (second, "dogs", second.replace("dogs", ".."), "model-package/../1"):
        with refused("ValidationException"):
            sagemaker.describe_model_package(ModelPackageName=name)


def test_lists_of_the_registry_are_filtered(sagemaker: Any) -> None:
    sagemaker.create_model_package_group(ModelPackageGroupName="dogs")
    inference = {"Containers": [{"Image": "image"}], "SupportedContentTypes": ["image/jpeg"]}
    sagemaker.create_model_package(ModelPackageGroupName="dogs", InferenceSpecification=inference)
    for part, count in (("dog", 1), ("sagemaker", 0)):  # of the ARN only the name counts
        found = sagemaker.list_model_packages(ModelPackageGroupName="dogs", NameContains=part)
        assert len(found["ModelPackageSummaryList"]) == count
    for option, count in (("SameAccount", 1), ("CrossAccount", 0)):
        found = sagemaker.list_model_package_groups(CrossAccountFilterOption=option)
        assert len(found["ModelPackageGroupSummaryList"]) == count


def test_a_processing_job_is_checked(sagemaker: Any, service: Service) -> None:
    place = {"S3Uri": f"s3://{BUCKET}/none/", "LocalPath": "/opt/ml/processing/a"}
    put = {"S3Uri": f"s3://{BUCKET}/out", "S3UploadMode": "EndOfJob"}
    given = {"InputName": "a", "S3Input": place | {"S3DataType": "S3Prefix", "S3InputMode": "File"}}
    cluster = {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
    request = {
        "ProcessingJobName": "job",
        "RoleArn": ROLE,
        "AppSpecification": {"ImageUri": "image"},
        "ProcessingResources": {"ClusterConfig": cluster},
    }
    for wrong, said in (
        ({"ProcessingInputs": [given]}, "nothing at"),
        ({"ProcessingInputs": [given | {"S3Input": given["S3Input"] | {"S3InputMode": "Pipe"}}]}, "File mode"),
        ({"ProcessingResources": {"ClusterConfig": cluster | {"InstanceCount": 2}}}, "one instance"),
        ({"ProcessingInputs": [given | {"AppManaged": True}]}, "AppManaged"),
        ({"ProcessingInputs": [{"InputName": "a"}]}, "S3Input with a LocalPath"),
        ({"ProcessingInputs": [given, given]}, "one InputName"),
        ({"ProcessingInputs": [given | {"S3Input": given["S3Input"] | {"LocalPath": "/usr"}}]}, "must begin with /opt"),
        (
            {"ProcessingOutputConfig": {"Outputs": [{"OutputName": "a", "S3Output": put | {"LocalPath": "a"}}]}},
            "'a' of",
        ),
        ({"ProcessingOutputConfig": {"Outputs": [{"OutputName": "a"}]}}, "S3Output with a LocalPath"),
    ):
        with refused("ValidationException", said):
            sagemaker.create_processing_job(**request | wrong)
    sagemaker.create_processing_job(**request)
    sagemaker.stop_processing_job(ProcessingJobName="job")
    assert sagemaker.describe_processing_job(ProcessingJobName="job")["ProcessingJobStatus"] == "Stopping"
    assert len(sagemaker.list_processing_jobs()["ProcessingJobSummaries"]) == 1


def test_ranges_that_cannot_be_searched_are_refused(sagemaker: Any) -> None:
    algorithm = {"AlgorithmSpecification": training_request()["AlgorithmSpecification"]}
    algorithm["AlgorithmSpecification"]["MetricDefinitions"] = [{"Name": "loss", "Regex": "loss=(.*)"}]
    trial = training_request(**algorithm)
    del trial["TrainingJobName"]
    config = {
        "Strategy": "Random",
        "HyperParameterTuningJobObjective": {"MetricName": "loss", "Type": "Minimize"},
        "ResourceLimits": {"MaxNumberOfTrainingJobs": 1, "MaxParallelTrainingJobs": 1},
    }
    whole, any_number, choice = (f"{kind}ParameterRanges" for kind in ("Integer", "Continuous", "Categorical"))
    for ranges, said in (
        ({whole: [{"Name": "a", "MinValue": "x", "MaxValue": "2"}]}, "MinValue of a is 'x'"),
        ({whole: [{"Name": "a", "MinValue": "1", "MaxValue": "2.5"}]}, "not a whole number"),
        ({any_number: [{"Name": "a", "MinValue": "nan", "MaxValue": "2"}]}, "not a number"),
        ({any_number: [{"Name": "a", "MinValue": "0", "MaxValue": "inf"}]}, "not a number"),
        ({choice: [{"Name": "a", "Values": ["1"]}, {"Name": "a", "Values": ["2"]}]}, "of one hyperparameter"),
        ({choice: [{"Name": "a", "Values": ["1", "1"]}]}, "one of its Values twice"),
    ):
        with refused("ValidationException", said):
            sagemaker.create_hyper_parameter_tuning_job(
                HyperParameterTuningJobName="job",
                HyperParameterTuningJobConfig=config | {"ParameterRanges": ranges},
                TrainingJobDefinition=trial,
            )
    config["ParameterRanges"] = {any_number: [{"Name": "a", "MinValue": "0", "MaxValue": "1"}]}
    hyperband = {"StrategyConfig": {"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": 9}}}
    channel = {"ChannelName": "training", "DataSource": {"S3DataSource": ANYWHERE}}
    for changed, fields, said in (
        ({}, {"StaticHyperParameters": {"a": "1"}}, "a has a range, and a static value"),
        ({}, {"InputDataConfig": [channel]}, "nothing at s3://pictures/none/"),
        ({}, {"EnableManagedSpotTraining": True}, "MaxWaitTimeInSeconds"),
        ({}, {"CheckpointConfig": {"S3Uri": "s3://none/a"}}, "no bucket 'none'"),
        ({}, {"AlgorithmSpecification": {"TrainingInputMode": "File"}}, "needs a TrainingImage"),
        (hyperband, {}, "Only the Hyperband strategy"),
        (hyperband | {"Strategy": "Hyperband", "TrainingJobEarlyStoppingType": "Auto"}, {}, "must be Off"),
    ):
        with refused("ValidationException", said):
            sagemaker.create_hyper_parameter_tuning_job(
                HyperParameterTuningJobName="job",
                HyperParameterTuningJobConfig=config | changed,
                TrainingJobDefinition=trial | fields,
            )


def test_what_would_end_a_job_later_is_refused_at_once(sagemaker: Any, service: Service) -> None:
    service.client("s3").put_object(Bucket=BUCKET, Key="a", Body=b"x")
    algorithm = {"TrainingImage": "image", "TrainingInputMode": "File"}
    algorithm["MetricDefinitions"] = [{"Name": "loss", "Regex": "loss=(["}]
    with refused("ValidationException", "Regex of the metric loss"):
        sagemaker.create_training_job(**training_request(AlgorithmSpecification=algorithm))
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/"}}
    channels = [{"ChannelName": "training", "DataSource": source}] * 2
    with refused("ValidationException", "one ChannelName"):
        sagemaker.create_training_job(**training_request(InputDataConfig=channels))
    model = {"ModelName": "model", "ExecutionRoleArn": ROLE, "PrimaryContainer": {"Image": "image"}}
    with refused("ValidationException", "give one of them"):
        sagemaker.create_model(**model, Containers=[{"Image": "other"}])
    sagemaker.create_model(**model)
    variant = {"VariantName": "a", "ModelName": "model", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    variant["ServerlessConfig"] = {"MemorySizeInMB": 2048, "MaxConcurrency": 1}
    with refused("ValidationException", "serverless or on instances"):
        sagemaker.create_endpoint_config(EndpointConfigName="config", ProductionVariants=[variant])
    serverless = {"VariantName": "a", "ModelName": "model", "ServerlessConfig": variant.pop("ServerlessConfig")}
    capture = {"EnableCapture": True, "InitialSamplingPercentage": 1, "DestinationS3Uri": f"s3://{BUCKET}/a"}
    for fields, said in (
        ({"ProductionVariants": [serverless, variant | {"VariantName": "b"}]}, "has one variant"),
        ({"EnableNetworkIsolation": True}, "cannot have EnableNetworkIsolation"),
        ({"DataCaptureConfig": capture | {"CaptureOptions": [{"CaptureMode": "Input"}]}}, "captures no data"),
    ):
        with refused("ValidationException", said):
            sagemaker.create_endpoint_config(
                **{"EndpointConfigName": "config", "ProductionVariants": [serverless]} | fields
            )
    transform = {
        "TransformJobName": "job",
        "ModelName": "model",
        "TransformInput": {"DataSource": source},
        "TransformOutput": {"S3OutputPath": f"s3://{BUCKET}/out"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    }
    for limits in ({"MaxPayloadInMB": 101}, {"MaxPayloadInMB": 51, "MaxConcurrentTransforms": 2}):
        with refused("ValidationException", "100 at most"):
            sagemaker.create_transform_job(**transform, **limits)


def test_what_a_killed_process_was_making_is_swept(service: Service) -> None:
    kind = service.store.root / "training-job"
    left = [kind / ".new-a", kind / ".removed-b", kind / ".new-c", kind / "job"]
    for folder in left:
        folder.mkdir(parents=True)
        (folder / "lock").touch()
        os.utime(folder, (0, 0))
    os.utime(left[2])  # one that may still be made
    resume(service.store)
    while left[0].exists() or left[1].exists():
        time.sleep(0.01)
    assert sorted(kind.iterdir()) == [kind / ".new-c", kind / "job"]


def test_of_clients_that_create_one_job_at_once_one_does(sagemaker: Any) -> None:
    def create(_: int) -> str:
        try:
            sagemaker.create_training_job(**training_request())
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return ""

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(create, range(8))) == ["", *["ResourceInUse"] * 7]
    assert len(sagemaker.list_training_jobs()["TrainingJobSummaries"]) == 1


def test_two_services_know_nothing_of_each_other(sagemaker: Any, service: Service, tmp_path: Path) -> None:
    sagemaker.create_training_job(**training_request())
    other = Service(tmp_path / "other")
    try:
        assert other.port != service.port
        assert other.client("s3").list_buckets()["Buckets"] == []
        assert other.client("sagemaker").list_training_jobs()["TrainingJobSummaries"] == []
    finally:
        other.close()


def test_waiters_wait(sagemaker: Any, service: Service) -> None:
    sagemaker.create_training_job(**training_request())
    record = service.store.find(training.KIND, "job")
    training.enter(record, "Completed", "done", TrainingJobStatus="Completed", TrainingEndTime=now())
    sagemaker.get_waiter("training_job_completed_or_stopped").wait(TrainingJobName="job")


def test_docker_that_was_stopped_is_not_the_requests_fault(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.client("s3").create_bucket(Bucket=BUCKET)
    client = tmp_path / "docker"
    client.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(containers, "ready", lambda: None)
    with refused("ServiceUnavailable", "start it and try again"):
        service.client("sagemaker").create_training_job(**training_request())
    client.write_text("#!/bin/sh\necho 'Error: No such image: image' >&2\nexit 1\n")
    with refused("ValidationException", "no image image"):
        service.client("sagemaker").create_training_job(**training_request())


def test_what_is_removed_meanwhile_is_no_hindrance(sagemaker: Any, service: Service) -> None:
    """Clients list jobs while another one deletes some."""
    for number in range(40):
        request = training_request(f"job-{number}")
        service.store.create(training.KIND, f"job-{number}", request, TrainingJobStatus="Completed")[1].release()
    logs, group = service.client("logs"), {"logGroupName": "/aws/sagemaker/TrainingJobs"}
    deleted = threading.Event()

    def delete() -> None:
        for number in range(40):
            sagemaker.delete_training_job(TrainingJobName=f"job-{number}")
        deleted.set()

    with ThreadPoolExecutor(1) as pool:
        deleting = pool.submit(delete)
        while not deleted.is_set():
            sagemaker.list_training_jobs()
            logs.describe_log_streams(**group)
            logs.filter_log_events(**group)
        deleting.result()
    assert sagemaker.list_training_jobs()["TrainingJobSummaries"] == []


def test_what_is_damaged_is_said(sagemaker: Any, service: Service) -> None:
    sagemaker.create_training_job(**training_request())
    (service.store.find(training.KIND, "job").folder / "status.json").write_text("{")
    for call in (lambda: sagemaker.describe_training_job(TrainingJobName="job"), sagemaker.list_training_jobs):
        with refused("ValidationException", "status.json is damaged, or another version's; remove"):
            call()
