"""The SDK's version 2 in its own local mode, as its users write it: no service, no account, the images as they are.

    python tests/e2e/local_mode_v2.py PICTURES PORT

in an empty folder, with the variables of `test_local_mode`, by a Python that has `sagemaker<3`.
"""

import sys
from pathlib import Path

import boto3
from sagemaker.deserializers import JSONDeserializer
from sagemaker.estimator import Estimator
from sagemaker.local import LocalSession
from sagemaker.pytorch import PyTorch, PyTorchModel
from sagemaker.serializers import IdentitySerializer
from small_training import ENVIRONMENT, SETTINGS

ROLE = "arn:aws:iam::000000000000:role/local"
EXAMPLE = str(Path(__file__).resolve().parents[2] / "examples" / "own_scripts")
#: Without one, deploy() asks STS for the account, to name a bucket that it does not use.
UNUSED = "s3://unused"
#: The SDK waits two minutes for an endpoint, and no longer.
ONE_WORKER = {"SAGEMAKER_MODEL_SERVER_WORKERS": "1"}
TRAIN, SERVE = "byoc-vision-train:latest", "byoc-vision-serve:latest"


def main() -> None:
    """Fit and deploy with each class."""
    pictures, port = Path(sys.argv[1]), int(sys.argv[2])
    picture = next(pictures.glob("test/*/*.jpg")).read_bytes()
    labels = {folder.name for folder in (pictures / "test").iterdir()}
    session = LocalSession(boto3.Session(region_name="us-east-1"))
    session.config = {"local": {"local_code": True, "serving_port": port, "container_root": str(Path.cwd())}}
    asks = {"serializer": IdentitySerializer("image/jpeg"), "deserializer": JSONDeserializer()}
    common = {
        "role": ROLE,
        "instance_count": 1,
        "instance_type": "local",
        "output_path": Path.cwd().as_uri(),
        "environment": ENVIRONMENT,
        "sagemaker_session": session,
    }

    classifier = Estimator(TRAIN, hyperparameters=SETTINGS, **common)
    classifier.fit({"training": pictures.as_uri()})
    predictor = classifier.deploy(1, "local", image_uri=SERVE, env=ONE_WORKER, **asks)
    assert predictor.predict(picture)["predictions"][0]["label"] in labels
    predictor.delete_endpoint()
    print("== Estimator.fit, deploy")

    script = PyTorch(
        "train_model.py",
        source_dir=EXAMPLE,
        image_uri=TRAIN,
        framework_version="2.5",  # deploy() of the SDK ends in a TypeError without one
        py_version="py311",
        code_location=UNUSED,
        hyperparameters={"epochs": 1, "batch-size": 8, "image-size": 32},
        **common,
    )
    script.fit({"training": (pictures / "train").as_uri()})
    own = {"entry_point": "inference.py", "source_dir": EXAMPLE, "image_uri": SERVE}
    predictor = script.deploy(1, "local", env=ONE_WORKER, **own, **asks)
    assert predictor.predict(picture).keys() == labels
    predictor.delete_endpoint()
    print("== PyTorch.fit, deploy")

    model = PyTorchModel(
        script.model_data, ROLE, code_location=UNUSED, env=ONE_WORKER, sagemaker_session=session, **own
    )
    predictor = model.deploy(1, "local", **asks)
    assert predictor.predict(picture).keys() == labels
    predictor.delete_endpoint()
    print("== PyTorchModel.deploy")


if __name__ == "__main__":
    main()
