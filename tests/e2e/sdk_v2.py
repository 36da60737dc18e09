"""What a user writes with the SageMaker SDK, version 2: nothing in it knows that it runs against this machine.

    python tests/e2e/sdk_v2.py PICTURES

with the variables of `byoc service env`, by a Python that has `sagemaker<3`.
"""

import base64
import sys
from pathlib import Path

import numpy as np
import sagemaker
from sagemaker.debugger import ProfilerRule, Rule, rule_configs
from sagemaker.deserializers import JSONDeserializer
from sagemaker.estimator import Estimator
from sagemaker.predictor import Predictor
from sagemaker.serializers import IdentitySerializer, JSONSerializer, NumpySerializer
from sagemaker.tuner import CategoricalParameter, ContinuousParameter, HyperparameterTuner

ROLE = "arn:aws:iam::000000000000:role/local"
METRICS = [{"Name": "validation_accuracy", "Regex": r"validation_accuracy=(\S+)"}]
SETTINGS = {
    "arch": "resnet18",
    "pretrained": "false",
    "train-layers": "all",
    "image-size": "32",
    "batch-size": "8",
    "epochs": "1",
    "workers": "0",
    "export": "false",
}


def estimator(session: sagemaker.Session) -> Estimator:
    """Return what trains the classifier."""
    return Estimator(
        "byoc-vision-train:latest",
        ROLE,
        1,
        "ml.m5.xlarge",
        hyperparameters=SETTINGS,
        metric_definitions=METRICS,
        rules=[
            Rule.sagemaker(rule_configs.loss_not_decreasing()),
            ProfilerRule.sagemaker(rule_configs.ProfilerReport()),
        ],
        sagemaker_session=session,
    )


def main() -> None:
    """Upload, train, tune, deploy, ask and clean up."""
    pictures = Path(sys.argv[1])
    session = sagemaker.Session()
    data = session.upload_data(str(pictures), key_prefix="pictures")

    training = estimator(session)
    training.fit({"training": data}, logs="All")
    name = training.latest_training_job.name
    attached = Estimator.attach(name, sagemaker_session=session)
    assert attached.hyperparameters() == SETTINGS
    assert attached.model_data == training.model_data
    statuses = {rule["RuleConfigurationName"]: rule for rule in training.latest_training_job.rule_job_summary()}
    assert statuses["LossNotDecreasing"]["RuleEvaluationStatus"] in ("NoIssuesFound", "IssuesFound"), statuses
    tensors = training.latest_job_debugger_artifacts_path().removeprefix(f"s3://{session.default_bucket()}/")
    assert session.list_s3_files(session.default_bucket(), tensors)
    reports = session.list_s3_files(session.default_bucket(), f"{name}/rule-output")
    assert [report for report in reports if report.endswith("/profiler-output/profiler-report.html")], reports

    tuner = HyperparameterTuner(
        estimator(session),
        "validation_accuracy",
        {"lr": ContinuousParameter(0.0001, 0.1, "Logarithmic"), "batch-size": CategoricalParameter(["8", "16"])},
        METRICS,
        max_jobs=2,
        max_parallel_jobs=2,
    )
    tuner.fit({"training": data})
    frame = tuner.analytics().dataframe()
    assert list(frame["TrainingJobStatus"]) == ["Completed"] * 2
    assert tuner.best_training_job() in set(frame["TrainingJobName"])
    assert tuner.best_estimator().hyperparameters()["epochs"].strip('"') == "1"
    HyperparameterTuner.attach(tuner.latest_tuning_job.name, sagemaker_session=session)

    predictor = training.deploy(
        1,
        "ml.m5.large",
        image_uri="byoc-vision-serve:latest",
        predictor_cls=Predictor,
        serializer=IdentitySerializer("application/x-image"),
        deserializer=JSONDeserializer(),
    )
    picture = next(pictures.glob("test/*/*.jpg"))
    answer = predictor.predict(picture.read_bytes())
    assert answer["predictions"][0]["label"] in {folder.name for folder in picture.parent.parent.iterdir()}
    predictor.serializer = NumpySerializer()
    assert predictor.predict(np.zeros((1, 3, 32, 32), "float32"))["predictions"]
    predictor.serializer = JSONSerializer()
    encoded = base64.b64encode(picture.read_bytes()).decode()
    assert len(predictor.predict({"instances": [{"b64": encoded}] * 2})["predictions"]) == 2
    predictor.delete_model()
    predictor.delete_endpoint()
    assert not session.sagemaker_client.list_endpoints()["Endpoints"]


if __name__ == "__main__":
    main()
