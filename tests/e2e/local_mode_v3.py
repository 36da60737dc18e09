"""The SDK's version 3 in its own local mode, as its users write it: no service, no account, the images as they are.

    python tests/e2e/local_mode_v3.py PICTURES

in an empty folder, with the variables of `test_local_mode`.
"""

import sys
import tarfile
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from sagemaker.core.helper.session_helper import Session
from sagemaker.serve.builder.schema_builder import SchemaBuilder
from sagemaker.serve.mode.function_pointers import Mode as ServingMode
from sagemaker.serve.model_builder import ModelBuilder
from sagemaker.serve.utils.types import ModelServer
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import Compute, InputData, SourceCode
from sagemaker.train.model_trainer import Mode
from small_training import ENVIRONMENT, SETTINGS

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "own_scripts"


def train(session: Session, name: str, pictures: Path, **more: object) -> set[str]:
    """Train; return the names of the files in the model that is left."""
    root = Path.cwd() / name
    root.mkdir()
    trainer = ModelTrainer(
        training_image="byoc-vision-train:latest",
        training_mode=Mode.LOCAL_CONTAINER,
        role="arn:aws:iam::000000000000:role/local",
        base_job_name=name,
        compute=Compute(instance_type="local_cpu", instance_count=1),
        environment=ENVIRONMENT,
        sagemaker_session=session,
        local_container_root=str(root),
        **more,
    )
    trainer.train([InputData(channel_name="training", data_source=str(pictures))])
    with tarfile.open(root / "compressed_artifacts" / "model.tar.gz") as model:
        return {Path(member).name for member in model.getnames()}


def main() -> None:
    """Train with and without a script; then see that models are not served without an account."""
    pictures, session = Path(sys.argv[1]), Session(boto3.Session(region_name="us-east-1"))
    assert "model.safetensors" in train(session, "classifier", pictures, hyperparameters=SETTINGS)
    print("== ModelTrainer.train")
    code = SourceCode(source_dir=str(EXAMPLE), entry_script="train_model.py")
    values = {"epochs": 1, "image-size": 32}
    assert "model.pth" in train(session, "script", pictures / "train", source_code=code, hyperparameters=values)
    print("== ModelTrainer.train with SourceCode")
    (Path.cwd() / "model").mkdir()
    builder = ModelBuilder(
        mode=ServingMode.LOCAL_CONTAINER,
        image_uri="byoc-vision-serve:latest",
        model_server=ModelServer.MMS,
        model_path=str(Path.cwd() / "model"),
        schema_builder=SchemaBuilder([[1.0]], [[1.0]]),
        role_arn="arn:aws:iam::000000000000:role/local",
        sagemaker_session=session,
    )
    try:
        builder.build("classifier")
    except (BotoCoreError, ClientError) as error:
        print("== ModelBuilder asks for the account:", error)
    else:
        raise AssertionError("ModelBuilder asks nobody any more; say so in docs/own_scripts.md")


if __name__ == "__main__":
    main()
