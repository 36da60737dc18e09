"""What users of SageMaker's own SDK and of boto3 need to know of this project."""

import os
from importlib.util import find_spec

from byoc_vision.contract import metrics
from byoc_vision.contract.errors import UserError
from byoc_vision.engine import Target
from byoc_vision.session import Session

#: The figures in the lines that the classifier prints, as CreateTrainingJob and the SDK's classes take them: a list of
#: {"Name": …, "Regex": …}.
METRIC_DEFINITIONS: list[dict[str, str]] = metrics.DEFINITIONS


def image_uri(target: Target) -> str:
    """Return the URI of an image for the account and region of the environment, as `./push.sh` has recorded it.

    target: "train", "serve" (for GPUs; runs on CPUs, too), or "serve-cpu".

    >>> byoc_vision.image_uri("train")
    '123456789012.dkr.ecr.us-east-1.amazonaws.com/byoc-vision-train@sha256:…'

    Under `byoc service`, the name of the image on this machine. Raises `UserError` where it was not pushed there.
    """
    return Session().engine.image(target)


def role_arn() -> str:
    """Return the ARN of the execution role that SAGEMAKER_ROLE names, or, inside SageMaker, of the one this runs under.

    >>> byoc_vision.role_arn()
    'arn:aws:iam::123456789012:role/MySageMakerRole'

    Raises `UserError` where there is none, or where SageMaker may not take it.
    """
    return Session().engine.role()


def use_local_service() -> str:
    """Lead the SageMaker clients that this process makes from now on to this machine; return the service's URL.

    The service is started where it does not run, and stays: `byoc service stop` ends it. Does what
    `eval "$(byoc service env)"` does in a shell. Raises `UserError` where it cannot be started.

    >>> byoc_vision.use_local_service()
    'http://127.0.0.1:4545'
    """
    from byoc_vision.service import env
    from byoc_vision.service.daemon import Service

    service = Service()
    address = service.address
    if address is None:
        if find_spec("optuna") is None:  # an environment of the SDK's version 2, which has the library without the rest
            raise UserError("no service runs, and this Python cannot run one; start it elsewhere: byoc service start")
        address = service.start(None, None)
    for name in env.UNSET:
        os.environ.pop(name, None)
    os.environ.update(env.variables(service.root, address.url, address.token))
    return address.url
