"""What a user writes with the SageMaker SDK, version 2: nothing in it knows that it runs against this machine.

    python tests/e2e/sdk_v2.py PICTURES

with the variables of `byoc service env`, by a Python that has `sagemaker<3`.
"""

import base64
import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import sagemaker
from sagemaker.debugger import CollectionConfig, DebuggerHookConfig, ProfilerConfig, ProfilerRule, Rule, rule_configs
from sagemaker.deserializers import JSONDeserializer
from sagemaker.estimator import Estimator
from sagemaker.model import Model
from sagemaker.predictor import Predictor
from sagemaker.processing import FrameworkProcessor, ProcessingOutput
from sagemaker.pytorch import PyTorch, PyTorchModel
from sagemaker.serializers import IdentitySerializer, JSONSerializer, NumpySerializer
from sagemaker.transformer import Transformer
from sagemaker.tuner import CategoricalParameter, ContinuousParameter, HyperparameterTuner
from small_training import ENVIRONMENT, METRICS, SETTINGS

ROLE = os.environ["SAGEMAKER_ROLE"]
EXAMPLE = str(Path(__file__).resolve().parents[2] / "examples" / "own_scripts")
TRAIN, SERVE = "byoc-vision-train:latest", "byoc-vision-serve:latest"
JUDGED = ("NoIssuesFound", "IssuesFound")


class Client:
    """The user, with a session and the pictures uploaded."""

    def __init__(self, pictures: Path) -> None:
        self.session = sagemaker.Session()
        self.data = self.session.upload_data(str(pictures), key_prefix="pictures")
        self.picture = next(pictures.glob("test/*/*.jpg")).read_bytes()
        self.labels = {folder.name for folder in (pictures / "test").iterdir()}

    def estimator(self, **more: object) -> Estimator:
        """Return what trains the classifier."""
        return Estimator(
            TRAIN,
            ROLE,
            1,
            "ml.m5.xlarge",
            hyperparameters=SETTINGS,
            metric_definitions=METRICS,
            environment=ENVIRONMENT,
            sagemaker_session=self.session,
            **more,
        )

    def listed(self, uri: str) -> list[str]:
        """Return the keys below an S3 URI in the default bucket."""
        bucket = self.session.default_bucket()
        return list(self.session.list_s3_files(bucket, uri.removeprefix(f"s3://{bucket}/")))

    def train_with_rules(self) -> Estimator:
        """Train the classifier with Debugger and Profiler; look at what they left."""
        training = self.estimator(
            rules=[
                Rule.sagemaker(rule_configs.loss_not_decreasing()),
                Rule.sagemaker(rule_configs.vanishing_gradient()),
                ProfilerRule.sagemaker(rule_configs.LowGPUUtilization()),
                ProfilerRule.sagemaker(rule_configs.ProfilerReport()),
            ],
            debugger_hook_config=DebuggerHookConfig(collection_configs=[CollectionConfig("losses")]),
            profiler_config=ProfilerConfig(system_monitor_interval_millis=500),
        )
        training.fit({"training": self.data}, logs="All")
        name = training.latest_training_job.name
        statuses = {rule["RuleConfigurationName"]: rule for rule in training.latest_training_job.rule_job_summary()}
        assert statuses["LossNotDecreasing"]["RuleEvaluationStatus"] in JUDGED, statuses
        assert statuses["VanishingGradient"]["RuleEvaluationStatus"] in JUDGED, statuses
        assert statuses["LowGPUUtilization"]["RuleEvaluationStatus"] == "NoIssuesFound", statuses
        assert self.listed(training.latest_job_debugger_artifacts_path())
        assert self.listed(training.latest_job_profiler_artifacts_path())
        (report,) = (rule for rule in statuses if rule.startswith("ProfilerReport"))
        page = f"{training.output_path}{name}/rule-output/{report}/profiler-output/profiler-report.html"
        assert self.listed(page), self.listed(f"{training.output_path}{name}")

        training.logs()
        attached = Estimator.attach(name, sagemaker_session=self.session)
        assert attached.hyperparameters() == SETTINGS
        assert attached.model_data == training.model_data
        metrics = attached.latest_training_job.describe()
        assert [each["MetricName"] for each in metrics["FinalMetricDataList"]] == ["validation_accuracy"]
        return training

    def tune(self) -> None:
        """Search, and read the search in all the ways that the tuner has."""
        tuner = HyperparameterTuner(
            self.estimator(),
            "validation_accuracy",
            {"lr": ContinuousParameter(0.0001, 0.1, "Logarithmic"), "batch-size": CategoricalParameter(["8", "16"])},
            METRICS,
            max_jobs=2,
            max_parallel_jobs=2,
            base_tuning_job_name="sdk-v2",
        )
        tuner.fit({"training": self.data}, wait=False)
        tuner.wait()
        frame = tuner.analytics().dataframe()
        assert list(frame["TrainingJobStatus"]) == ["Completed"] * 2
        assert tuner.best_training_job() in set(frame["TrainingJobName"])
        assert tuner.best_estimator().hyperparameters()["epochs"].strip('"') == "1"
        attached = HyperparameterTuner.attach(tuner.latest_tuning_job.name, sagemaker_session=self.session)
        assert attached.best_training_job() == tuner.best_training_job()

    def remove(self, predictor: Predictor) -> None:
        """Delete an endpoint with its configuration."""
        predictor.delete_endpoint()
        listed = self.session.sagemaker_client.list_endpoints(NameContains=predictor.endpoint_name)
        assert not listed["Endpoints"]

    def deploy(self, training: Estimator) -> None:
        """Serve the classifier's model; ask it with each serializer; then answer a folder, without an endpoint."""
        predictor = training.deploy(1, "ml.m5.large", image_uri=SERVE, deserializer=JSONDeserializer())
        predictor.serializer = IdentitySerializer("application/x-image")
        assert predictor.predict(self.picture)["predictions"][0]["label"] in self.labels
        answer = predictor.predict(self.picture, initial_args={"ContentType": "image/jpeg"})
        assert answer["predictions"][0]["label"] in self.labels
        predictor.serializer = NumpySerializer()
        assert predictor.predict(np.zeros((1, 3, 32, 32), "float32"))["predictions"]
        predictor.serializer = JSONSerializer()
        encoded = base64.b64encode(self.picture).decode()
        assert len(predictor.predict({"instances": [{"b64": encoded}] * 2})["predictions"]) == 2
        self.remove(predictor)

        model = Model(SERVE, training.model_data, ROLE, sagemaker_session=self.session)
        model.create(instance_type="ml.m5.large")
        transformer = Transformer(
            model.name, 1, "ml.m5.large", accept="application/json", sagemaker_session=self.session
        )
        transformer.transform(f"{self.data}/test/", content_type="application/x-image", wait=True)
        answers = self.listed(transformer.output_path)
        assert len(answers) == 12 and all(answer.endswith(".out") for answer in answers)
        bucket = self.session.default_bucket()
        assert json.loads(self.session.read_s3_file(bucket, answers[0]))["predictions"]
        model.delete_model()

    def run_scripts(self) -> None:
        """Train with a script, and serve what it left with another, as the PyTorch classes have it."""
        script = PyTorch(
            "train_model.py",
            source_dir=EXAMPLE,
            image_uri=TRAIN,
            role=ROLE,
            instance_count=1,
            instance_type="ml.m5.xlarge",
            framework_version="2.5",  # deploy() of the SDK ends in a TypeError without one
            py_version="py311",
            hyperparameters={"epochs": 1, "batch-size": 8, "image-size": 32},
            environment=ENVIRONMENT,
            rules=[Rule.sagemaker(rule_configs.poor_weight_initialization())],
            sagemaker_session=self.session,
        )
        script.fit({"training": f"{self.data}/train/"}, logs=False)
        (rule,) = (
            each for each in script.latest_training_job.rule_job_summary() if "Weight" in each["RuleConfigurationName"]
        )
        assert rule["RuleEvaluationStatus"] in JUDGED, rule
        asks = {"serializer": IdentitySerializer("image/jpeg"), "deserializer": JSONDeserializer()}
        predictor = script.deploy(
            1, "ml.m5.large", image_uri=SERVE, entry_point="inference.py", source_dir=EXAMPLE, **asks
        )
        assert predictor.predict(self.picture).keys() == self.labels
        self.remove(predictor)
        # The SDK packs the code into the model, but for versions before 1.2, where it names the code's place in S3.
        for version in ("2.5", "1.1"):
            model = PyTorchModel(
                script.model_data,
                ROLE,
                "inference.py",
                source_dir=EXAMPLE,
                image_uri=SERVE,
                framework_version=version,
                py_version="py311",
                sagemaker_session=self.session,
            )
            predictor = model.deploy(1, "ml.m5.large", **asks)
            container = self.session.sagemaker_client.describe_model(ModelName=model.name)["PrimaryContainer"]
            place = container["Environment"]["SAGEMAKER_SUBMIT_DIRECTORY"]
            assert place.startswith("s3://") == (version == "1.1"), place
            assert predictor.predict(self.picture).keys() == self.labels
            predictor.delete_model()
            self.remove(predictor)

    def process(self) -> None:
        """Run a script with a module of its own in a job, as evaluations do."""
        processor = FrameworkProcessor(
            PyTorch,
            "2.5",
            ROLE,
            1,
            "ml.m5.large",
            py_version="py311",
            image_uri="byoc-vision-serve-cpu:latest",
            command=["python3"],
            sagemaker_session=self.session,
        )
        bucket, out = self.session.default_bucket(), "/opt/ml/processing/out"
        with TemporaryDirectory() as folder:
            Path(folder, "evaluate.py").write_text(f"import figures\nopen('{out}/a', 'w').write(figures.TEXT)\n")
            Path(folder, "figures.py").write_text("TEXT = 'good'\n")
            target = ProcessingOutput(source=out, destination=f"s3://{bucket}/processed")
            processor.run("evaluate.py", source_dir=folder, outputs=[target])
        assert self.session.read_s3_file(bucket, "processed/a") == "good"


def main() -> None:
    """Do all of it."""
    client = Client(Path(sys.argv[1]))
    training = client.train_with_rules()
    client.tune()
    client.deploy(training)
    client.run_scripts()
    client.process()


if __name__ == "__main__":
    main()
