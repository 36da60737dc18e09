"""The service's own requests, as plain data: what boto3's SageMaker client is sent, local mode's client is sent too."""

from collections.abc import Mapping
from typing import Any

Request = dict[str, Any]


def training_job(
    name: str,
    image: str,
    role: str,
    channels: Mapping[str, str],
    hyperparameters: Mapping[str, str],
    output: str,
    instance_type: str,
) -> Request:
    """Return CreateTrainingJob: train on `channels` (name -> URI of a folder) and leave the results under `output`."""
    return {
        "TrainingJobName": name,
        "RoleArn": role,
        "AlgorithmSpecification": {"TrainingImage": image, "TrainingInputMode": "File"},
        "HyperParameters": dict(hyperparameters),
        "InputDataConfig": [
            {
                "ChannelName": channel,
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix",
                        "S3Uri": uri,
                        "S3DataDistributionType": "FullyReplicated",
                    }
                },
            }
            for channel, uri in channels.items()
        ],
        "OutputDataConfig": {"S3OutputPath": output},
        "ResourceConfig": {"InstanceType": instance_type, "InstanceCount": 1, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 24 * 60 * 60},
    }


def model(name: str, image: str, role: str, artifact: str) -> Request:
    """Return CreateModel: `image` serving the model.tar.gz at the URI `artifact`."""
    container = {"Image": image, "ModelDataUrl": artifact, "Environment": {}}
    return {"ModelName": name, "ExecutionRoleArn": role, "PrimaryContainer": container}


def endpoint_config(name: str, model_name: str, instance_type: str) -> Request:
    """Return CreateEndpointConfig: one instance of the model."""
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": model_name,
        "InstanceType": instance_type,
        "InitialInstanceCount": 1,
    }
    return {"EndpointConfigName": name, "ProductionVariants": [variant]}


def endpoint(name: str, config_name: str) -> Request:
    """Return CreateEndpoint: the endpoint that the configuration describes."""
    return {"EndpointName": name, "EndpointConfigName": config_name}
