"""SageMaker's requests as plain data: what is written here is what `--dry-run` shows and what is sent.

Each function returns the arguments of the operation that its docstring names. All other fields come from `--request`
files (`byoc_vision.requests.request_file`).
"""

import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from byoc_vision.contract import metrics

Request = dict[str, Any]

#: GPUs of SageMaker's default hosts have drivers that are too old for the image's CUDA 12; this one brings 550.
GPU_HOST = "al2-ami-sagemaker-inference-gpu-3-1"

#: The variable of a model's environment that names the port of its endpoint on this machine.
PORT_VARIABLE = "BYOC_VISION_PORT"

#: Longest run, and longest wait for spot capacity besides, in seconds.
_DAY = 24 * 60 * 60


def new_name(stem: str) -> str:
    """Return a name that no other job has, made from `stem`; 32 characters at most, which tuning jobs are allowed."""
    return f"{stem[:14].rstrip('-')}-{datetime.now(UTC):%y%m%d-%H%M%S}-{secrets.token_hex(1)}"


def is_made_from(stem: str, name: str) -> bool:
    """Whether `new_name(stem)` could have returned `name`."""
    return re.fullmatch(rf"{re.escape(stem[:14].rstrip('-'))}-\d{{6}}-\d{{6}}-[0-9a-f]{{2}}", name) is not None


def is_gpu(instance_type: str) -> bool:
    """Whether instances of the type have NVIDIA GPUs."""
    return instance_type.startswith(("ml.g", "ml.p"))


def training_job(
    name: str,
    image: str,
    role: str,
    channels: Mapping[str, str],
    hyperparameters: Mapping[str, str],
    output: str,
    instance_type: str,
    instance_count: int = 1,
    spot: bool = False,
) -> Request:
    """Return CreateTrainingJob: train on `channels` (name -> URI) and leave the results under `output`."""
    request: Request = {
        "TrainingJobName": name,
        "RoleArn": role,
        "AlgorithmSpecification": {
            "TrainingImage": image,
            "TrainingInputMode": "File",
            "MetricDefinitions": metrics.DEFINITIONS,
        },
        "HyperParameters": dict(hyperparameters),
        "InputDataConfig": [_channel(channel, uri) for channel, uri in channels.items()],
        "OutputDataConfig": {"S3OutputPath": output},
        "ResourceConfig": {"InstanceType": instance_type, "InstanceCount": instance_count, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": _DAY},
    }
    if spot:
        # An interrupted run continues from its checkpoint, which lives there under the job's name.
        request["EnableManagedSpotTraining"] = True
        request["CheckpointConfig"] = {"S3Uri": f"{output}/{name}/checkpoints"}
        request["StoppingCondition"]["MaxWaitTimeInSeconds"] = 2 * _DAY
    return request


def extraction_job(name: str, trial: Request) -> Request:
    """Return CreateTrainingJob: compute the features that the trials share, as the training job `trial` would.

    They are left where the job keeps its checkpoints: copied there as they come, so an interrupted job loses none.
    """
    output = trial["OutputDataConfig"]["S3OutputPath"]
    return trial | {
        "TrainingJobName": name,
        "HyperParameters": trial["HyperParameters"] | {"extract-only": "true"},
        "CheckpointConfig": {"S3Uri": f"{output}/{name}/checkpoints"},
    }


def with_channel(job: Request, channel: str, uri: str) -> Request:
    """Return the training job `job` with one more channel."""
    return job | {"InputDataConfig": [*job["InputDataConfig"], _channel(channel, uri)]}


def tuning_job(name: str, space: Mapping[str, Any], ranges: Request, trial: Request) -> Request:
    """Return CreateHyperParameterTuningJob: search `ranges` as `space` says, each trial being the training job `trial`.

    `space` holds strategy, objective, direction, max_jobs, parallel_jobs and early_stopping.
    """
    definition = {field: value for field, value in trial.items() if field not in ("TrainingJobName", "HyperParameters")}
    definition["StaticHyperParameters"] = trial["HyperParameters"]
    strategy: Request = {
        "Strategy": space["strategy"],
        "HyperParameterTuningJobObjective": {"Type": space["direction"], "MetricName": space["objective"]},
        "ResourceLimits": {
            "MaxNumberOfTrainingJobs": space["max_jobs"],
            "MaxParallelTrainingJobs": space["parallel_jobs"],
        },
        "ParameterRanges": ranges,
        "TrainingJobEarlyStoppingType": "Auto" if space["early_stopping"] else "Off",
    }
    if space["strategy"] == "Hyperband":
        low, high = space["resource"]
        strategy["StrategyConfig"] = {"HyperbandStrategyConfig": {"MinResource": low, "MaxResource": high}}
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": strategy,
        "TrainingJobDefinition": definition,
    }


def model(name: str, image: str, role: str, artifact: str, port: int | None = None) -> Request:
    """Return CreateModel: `image` serving the model.tar.gz at the URI `artifact`, on this machine on the `port`."""
    return _model(name, {"Image": image, "ModelDataUrl": artifact}, role, port)


def registered_model(name: str, package: str, role: str, port: int | None = None) -> Request:
    """Return CreateModel: a version in the model registry, of which `package` is the ARN."""
    return _model(name, {"ModelPackageName": package}, role, port)


def _model(name: str, container: Request, role: str, port: int | None) -> Request:
    environment = {PORT_VARIABLE: str(port)} if port else {}
    return {
        "ModelName": name,
        "ExecutionRoleArn": role,
        "PrimaryContainer": container | {"Environment": environment},
    }


def model_package(group: str, image: str, artifact: str, properties: Mapping[str, str]) -> Request:
    """Return CreateModelPackage: the next version of the group, which waits for approval. `properties` are shown."""
    return {
        "ModelPackageGroupName": group,
        "ModelApprovalStatus": "PendingManualApproval",
        "InferenceSpecification": {
            "Containers": [{"Image": image, "ModelDataUrl": artifact}],
            "SupportedContentTypes": ["application/x-image", "image/jpeg", "image/png", "application/x-npy"],
            "SupportedResponseMIMETypes": ["application/json", "text/csv", "application/x-npy"],
        },
        "CustomerMetadataProperties": dict(properties),
    }


def endpoint_config(name: str, model_name: str, instance_type: str, instance_count: int = 1) -> Request:
    """Return CreateEndpointConfig: instances that serve the model."""
    variant: Request = {
        "VariantName": "AllTraffic",
        "ModelName": model_name,
        "InstanceType": instance_type,
        "InitialInstanceCount": instance_count,
    }
    if is_gpu(instance_type):
        variant["InferenceAmiVersion"] = GPU_HOST
    return {"EndpointConfigName": name, "ProductionVariants": [variant]}


def with_shadow(running: Request, shadow: Request) -> Request:
    """Return CreateEndpointConfig: `running`, and beside it the variant of `shadow`, which answers nobody.

    It gets a copy of every request. What is captured of the running model's is captured of its answers, too.
    """
    kept = ("DataCaptureConfig", "KmsKeyId", "ProductionVariants")
    variants = [{**variant, "VariantName": "Shadow"} for variant in shadow["ProductionVariants"]]
    return {
        "EndpointConfigName": shadow["EndpointConfigName"],
        **{field: running[field] for field in kept if running.get(field)},
        "ShadowProductionVariants": variants,
    }


def serverless_config(name: str, model_name: str, memory: int) -> Request:
    """Return CreateEndpointConfig: no instances, but up to 5 requests at a time with `memory` MB each."""
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": model_name,
        "ServerlessConfig": {"MemorySizeInMB": memory, "MaxConcurrency": 5},
    }
    return {"EndpointConfigName": name, "ProductionVariants": [variant]}


def endpoint(name: str, config_name: str) -> Request:
    """Return CreateEndpoint, or UpdateEndpoint: the endpoint that the configuration describes."""
    return {"EndpointName": name, "EndpointConfigName": config_name}


def transform_job(
    name: str,
    model_name: str,
    pictures: str,
    output: str,
    instance_type: str,
    instance_count: int = 1,
    content_type: str = "application/x-image",
) -> Request:
    """Return CreateTransformJob: one answer under `output` for each picture below the URI `pictures`."""
    resources: Request = {"InstanceType": instance_type, "InstanceCount": instance_count}
    if is_gpu(instance_type):
        resources["TransformAmiVersion"] = "al2-ami-sagemaker-batch-gpu-535"
    return {
        "TransformJobName": name,
        "ModelName": model_name,
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": pictures}},
            "ContentType": content_type,
            "CompressionType": "None",
            "SplitType": "None",
        },
        "TransformOutput": {"S3OutputPath": output, "Accept": "application/json", "AssembleWith": "None"},
        "TransformResources": resources,
        "BatchStrategy": "SingleRecord",
    }


def _channel(name: str, uri: str) -> Request:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}}
