"""Bring-your-own-container image classification for Amazon SageMaker.

>>> from byoc_vision import Session
>>> job = Session(local=True).train("pictures", hyperparameters={"epochs": 2}).wait()
>>> job.report()
>>> endpoint = job.deploy().wait()
>>> endpoint.predict("dog.jpg").label
'dog'

`local` runs on this machine what else runs in the AWS account of the environment. Users of the SageMaker SDK find here
what they would otherwise copy by hand:

>>> byoc_vision.use_local_service()                  # SageMaker on this machine; without it, your account
>>> Estimator(byoc_vision.image_uri("train"), byoc_vision.role_arn(), metric_definitions=byoc_vision.METRIC_DEFINITIONS)

Importing this loads next to nothing: each name brings what it needs when it is first used.
"""

import sys
from typing import TYPE_CHECKING, Any

if sys.version_info < (3, 11):  # noqa: UP036 – who starts it from a checkout has asked no installer
    sys.exit(f"byoc-vision needs Python 3.11 or newer, and this is {sys.version.split()[0]}; use a newer one")

#: The one place where the version is written: of the package, the images and what they leave.
__version__ = "0.1.0"

__all__ = [
    "METRIC_DEFINITIONS",
    "Endpoint",
    "ModelVersion",
    "Prediction",
    "Report",
    "Session",
    "TrainingJob",
    "TransformJob",
    "TuningJob",
    "UserError",
    "__version__",
    "image_uri",
    "role_arn",
    "use_local_service",
]

if TYPE_CHECKING:
    from byoc_vision.contract.errors import UserError
    from byoc_vision.endpoint import Endpoint
    from byoc_vision.jobs import TrainingJob, TransformJob, TuningJob
    from byoc_vision.prediction import Prediction
    from byoc_vision.reports import Report
    from byoc_vision.sdk import METRIC_DEFINITIONS, image_uri, role_arn, use_local_service
    from byoc_vision.session import Session
    from byoc_vision.versions import ModelVersion

_HOMES = {
    "METRIC_DEFINITIONS": "sdk",
    "Endpoint": "endpoint",
    "ModelVersion": "versions",
    "Prediction": "prediction",
    "Report": "reports",
    "Session": "session",
    "TrainingJob": "jobs",
    "TransformJob": "jobs",
    "TuningJob": "jobs",
    "UserError": "contract.errors",
    "image_uri": "sdk",
    "role_arn": "sdk",
    "use_local_service": "sdk",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
