"""What a user writes with the SageMaker SDK, version 3: nothing in it knows that it runs against this machine.

    python tests/e2e/sdk_v3.py PICTURES

with the variables of `byoc service env`.
"""

import json
import os
import sys
from pathlib import Path

from sagemaker.core.helper.session_helper import Session
from sagemaker.core.parameter import CategoricalParameter, ContinuousParameter
from sagemaker.core.resources import Endpoint, EndpointConfig, HyperParameterTuningJob, Model, TrainingJob
from sagemaker.core.shapes import MetricDefinition
from sagemaker.serve.model_builder import ModelBuilder
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import Compute, InputData, SourceCode
from sagemaker.train.tuner import HyperparameterTuner
from small_training import ENVIRONMENT, METRICS, OBJECTIVE, SETTINGS

ROLE = os.environ["SAGEMAKER_ROLE"]
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "own_scripts"


def trainer(session: Session, name: str, **more: object) -> ModelTrainer:
    """Return what trains the classifier, or, with a `source_code`, a script."""
    return ModelTrainer(
        training_image="byoc-vision-train:latest",
        role=ROLE,
        base_job_name=name,
        compute=Compute(instance_type="ml.m5.xlarge", instance_count=1),
        environment=ENVIRONMENT,
        sagemaker_session=session,
        **more,
    )


def train(session: Session, data: str) -> TrainingJob:
    """Train the classifier; return the job as the service tells of it."""
    classifier = trainer(session, "classifier", hyperparameters=SETTINGS)
    classifier.with_metric_definitions([MetricDefinition(name=OBJECTIVE, regex=METRICS[0]["Regex"])])
    classifier.train([InputData(channel_name="training", data_source=data)])
    job = TrainingJob.get(classifier._latest_training_job.training_job_name)
    assert job.training_job_status == "Completed"
    assert job.hyper_parameters == SETTINGS
    assert [metric.metric_name for metric in job.final_metric_data_list] == [OBJECTIVE]
    assert job.training_job_name in [each.training_job_name for each in TrainingJob.get_all()]
    return job


def main() -> None:
    """Upload, train, run a script, tune, deploy, ask and clean up."""
    pictures = Path(sys.argv[1])
    session = Session()
    data = session.upload_data(str(pictures), key_prefix="pictures")
    job = train(session, data)
    print("== trained")

    code = SourceCode(source_dir=str(EXAMPLE), entry_script="train_model.py")
    script = trainer(session, "script", source_code=code, hyperparameters={"epochs": 1, "image-size": 32})
    script.train([InputData(channel_name="training", data_source=f"{data}/train/")])
    assert TrainingJob.get(script._latest_training_job.training_job_name).model_artifacts.s3_model_artifacts
    print("== script")

    tuner = HyperparameterTuner(
        trainer(session, "trial", hyperparameters=SETTINGS),
        OBJECTIVE,
        {"lr": ContinuousParameter(0.0001, 0.1, "Logarithmic"), "batch-size": CategoricalParameter(["8", "16"])},
        METRICS,
        max_jobs=2,
        max_parallel_jobs=2,
        base_tuning_job_name="sdk-v3",
    )
    tuner.tune([InputData(channel_name="training", data_source=data)])
    frame = tuner.analytics().dataframe()
    assert list(frame["TrainingJobStatus"]) == ["Completed"] * 2
    assert tuner.best_training_job() in set(frame["TrainingJobName"])
    search = HyperParameterTuningJob.get(tuner.latest_tuning_job.hyper_parameter_tuning_job_name)
    assert search.best_training_job.training_job_name == tuner.best_training_job()
    trials = search.get_all_training_jobs()
    assert {trial.training_job_name for trial in trials} == set(frame["TrainingJobName"])
    print("== tuned")

    builder = ModelBuilder(
        image_uri="byoc-vision-serve:latest",
        s3_model_data_url=job.model_artifacts.s3_model_artifacts,
        role_arn=ROLE,
        sagemaker_session=session,
    )
    builder.build("classifier")
    builder.deploy("classifier", instance_type="ml.m5.large")
    print("== deployed")
    endpoint = Endpoint.get("classifier")
    assert endpoint.endpoint_status == "InService"
    assert "classifier" in [each.endpoint_name for each in Endpoint.get_all()]
    picture = next(pictures.glob("test/*/*.jpg"))
    answer = endpoint.invoke(picture.read_bytes(), content_type="application/x-image")
    labels = {folder.name for folder in picture.parent.parent.iterdir()}
    assert json.loads(answer.body.read())["predictions"][0]["label"] in labels

    endpoint.delete()
    endpoint.wait_for_delete()
    EndpointConfig.get("classifier").delete()
    Model.get("classifier").delete()
    assert "classifier" not in [each.endpoint_name for each in Endpoint.get_all()]
    assert "classifier" not in [each.endpoint_config_name for each in EndpointConfig.get_all()]
    assert "classifier" not in [each.model_name for each in Model.get_all()]


if __name__ == "__main__":
    main()
