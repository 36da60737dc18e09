"""The requests are what the real service's own model (botocore's) accepts."""

from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from local_test import requests

ROLE = "arn:aws:iam::000000000000:role/local"

REQUESTS: dict[str, dict[str, Any]] = {
    "CreateTrainingJob": requests.training_job(
        name="job",
        image="byoc-vision-train:latest",
        role=ROLE,
        channels={"training": "s3://bucket/pictures", "weights": "s3://bucket/weights"},
        hyperparameters={"arch": "resnet18", "epochs": "3"},
        output="s3://bucket/results",
        instance_type="ml.g5.xlarge",
    ),
    "CreateModel": requests.model("model", "byoc-vision-serve:latest", ROLE, "s3://bucket/model.tar.gz"),
    "CreateEndpointConfig": requests.endpoint_config("config", "model", "ml.g5.xlarge"),
    "CreateEndpoint": requests.endpoint("endpoint", "config"),
}


@pytest.mark.parametrize("operation", REQUESTS)
def test_the_service_would_take_the_request(operation: str) -> None:
    service = botocore.session.get_session().get_service_model("sagemaker")
    report = ParamValidator().validate(REQUESTS[operation], service.operation_model(operation).input_shape)
    assert not report.has_errors(), report.generate_report()
