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
from sagemaker.core.resources import (
    Endpoint,
    EndpointConfig,
    HyperParameterTuningJob,
    Model,
    ModelPackage,
    ModelPackageGroup,
    ProcessingJob,
    TrainingJob,
    TransformJob,
)
from sagemaker.core.shapes import (
    AppSpecification,
    ContainerDefinition,
    MetricDefinition,
    ProcessingClusterConfig,
    ProcessingResources,
    TransformDataSource,
    TransformInput,
    TransformOutput,
    TransformResources,
    TransformS3DataSource,
)
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


def transform(data: str, model_data: str, output: str) -> None:
    """Answer a folder of pictures in a job."""
    container = ContainerDefinition(image="byoc-vision-serve:latest", model_data_url=model_data)
    model = Model.create("answers", primary_container=container, execution_role_arn=ROLE)
    source = TransformS3DataSource(s3_data_type="S3Prefix", s3_uri=f"{data}/test/")
    job = TransformJob.create(
        "answers",
        model_name="answers",
        transform_input=TransformInput(
            data_source=TransformDataSource(s3_data_source=source), content_type="application/x-image"
        ),
        transform_output=TransformOutput(s3_output_path=output),
        transform_resources=TransformResources(instance_type="ml.m5.large", instance_count=1),
    )
    job.wait(poll=1)
    assert TransformJob.get("answers").transform_job_status == "Completed"
    assert "answers" in [each.transform_job_name for each in TransformJob.get_all()]
    model.delete()


def process() -> None:
    """Run a program in a container."""
    job = ProcessingJob.create(
        "program",
        processing_resources=ProcessingResources(
            cluster_config=ProcessingClusterConfig(instance_count=1, instance_type="ml.m5.large", volume_size_in_gb=1)
        ),
        app_specification=AppSpecification(image_uri="byoc-vision-serve-cpu:latest", container_entrypoint=["true"]),
        role_arn=ROLE,
    )
    job.wait(poll=1)
    assert ProcessingJob.get("program").processing_job_status == "Completed"
    job.delete()
    assert "program" not in [each.processing_job_name for each in ProcessingJob.get_all()]


def register(session: Session, model_data: str) -> None:
    """Put a model into the registry, and take it out again."""
    group = ModelPackageGroup.create("classifiers")
    group.wait_for_status("Completed", poll=1)
    # ModelPackage.create of the SDK reads a field that the service does not answer (docs/service.md).
    created = session.sagemaker_client.create_model_package(
        ModelPackageGroupName="classifiers",
        InferenceSpecification={
            "Containers": [{"Image": "byoc-vision-serve:latest", "ModelDataUrl": model_data}],
            "SupportedContentTypes": ["image/jpeg"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
    )
    package = ModelPackage.get(created["ModelPackageArn"])
    package.wait_for_status("Completed", poll=1)
    package.update(model_approval_status="Approved")
    found = ModelPackage.get_all(model_package_group_name="classifiers")
    assert [each.model_approval_status for each in found] == ["Approved"]
    package.delete()
    package.wait_for_delete(poll=1)
    group.delete()
    group.wait_for_delete(poll=1)
    assert not [each for each in ModelPackageGroup.get_all() if each.model_package_group_name == "classifiers"]


def main() -> None:
    """Upload, train, run a script, tune, deploy, ask, use all kinds of resources, and clean up."""
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
    search.wait(poll=1)
    search.delete()
    search.wait_for_delete(poll=1)
    assert not list(HyperParameterTuningJob.get_all(name_contains=search.hyper_parameter_tuning_job_name))
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
    assert "classifier" in [each.endpoint_name for each in Endpoint.get_all(name_contains="classifier")]
    picture = next(pictures.glob("test/*/*.jpg"))
    answer = endpoint.invoke(picture.read_bytes(), content_type="application/x-image")
    labels = {folder.name for folder in picture.parent.parent.iterdir()}
    assert json.loads(answer.body.read())["predictions"][0]["label"] in labels

    model_data = job.model_artifacts.s3_model_artifacts
    transform(data, model_data, f"s3://{session.default_bucket()}/answers")
    process()
    register(session, model_data)
    job.wait(poll=1)
    job.delete()
    job.wait_for_delete(poll=1)
    assert job.training_job_name not in [each.training_job_name for each in TrainingJob.get_all()]

    endpoint.delete()
    endpoint.wait_for_delete()
    EndpointConfig.get("classifier").delete()
    Model.get("classifier").delete()
    assert "classifier" not in [each.endpoint_name for each in Endpoint.get_all(name_contains="classifier")]
    configs = EndpointConfig.get_all(name_contains="classifier")
    assert "classifier" not in [each.endpoint_config_name for each in configs]
    assert "classifier" not in [each.model_name for each in Model.get_all()]


if __name__ == "__main__":
    main()
