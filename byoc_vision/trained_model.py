"""Which model is meant, and which image serves it."""

import tempfile
from pathlib import Path
from typing import Any

from byoc_vision import checks
from byoc_vision.contract.errors import UserError
from byoc_vision.contract.files import path_in
from byoc_vision.contract.hyperparameters import unquote
from byoc_vision.engine import ARRAY, DIGEST, PICTURE, Content, Engine, Target
from byoc_vision.plan import Plan
from byoc_vision.refusals import unless_missing
from byoc_vision.repack import is_packed, needs_torch, pack, reads_arrays
from byoc_vision.requests import operations


def artifact(plan: Plan, model: str, source: str | Path | None = None) -> str:
    """Return the URI of the model.tar.gz that `model` names, with `source` as its code/.

    model: a training job; a model.tar.gz, URI or file; or a folder, a .pt or a .pth file, which is packed.
    """
    engine = plan.engine
    if job := _training_job(engine, model):
        if "S3ModelArtifacts" not in job.get("ModelArtifacts", {}):
            raise UserError(
                f"the training job {model} is {job['TrainingJobStatus']} and has no model; name one that has"
            )
        model = job["ModelArtifacts"]["S3ModelArtifacts"]
    if "://" not in model:
        checks.model(Path(model))
    models = f"{engine.output()}/models"
    if source is None and is_packed(Path(model)):
        return plan.place(model, model if "://" in model else models)
    if "://" in model and not engine.known:
        return f"{model.rpartition('/')[0]}/{DIGEST}/model.tar.gz"
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(model)
        if "://" in model:
            (archive,) = engine.fetch(model, Path(scratch))
            models = model.rpartition("/")[0]  # what may read the model may read what is made of it
        packed = pack(archive, Path(source) if source is not None else None, Path(scratch))
        return engine.place(str(packed), models, send=plan.send)


def serving_image(engine: Engine, model: str, instance_type: str, wanted: Target | None = None) -> str:
    """Return the image that serves `model` on instances of the type ("": serverless): the one `wanted`, if any.

    Else it is the lean one, where there is no GPU and the training job, if that is known, has left the graphs it needs:
    a script of the user's own has left a model for torch.
    """
    if wanted is None:
        job = _training_job(engine, model) or {}
        values = job.get("HyperParameters", {})
        exported = unquote(values.get("export", "true")) == "true" and "sagemaker_program" not in values
        gpu = operations.is_gpu(instance_type) or instance_type == "local_gpu"
        local = "://" not in model and Path(model).exists() and needs_torch(Path(model))
        wanted = "serve" if gpu or not exported or local else "serve-cpu"
    return engine.image(wanted)


def content(engine: Engine, model: str, source: str | Path | None) -> Content:
    """Return what the endpoint of `model` can be asked with: an array, where that can be seen here, else a picture."""
    if job := _training_job(engine, model):
        model = job.get("ModelArtifacts", {}).get("S3ModelArtifacts", model)
    file = path_in(model) if model.startswith("file://") else Path(model)
    return ARRAY if file.exists() and reads_arrays(file, Path(source) if source is not None else None) else PICTURE


def _training_job(engine: Engine, model: str) -> dict[str, Any] | None:
    """Return the training job that `model` names, if it names one and no URI or file."""
    if "/" in model or Path(model).exists():
        return None
    if not engine.known:
        return {"ModelArtifacts": {"S3ModelArtifacts": f"{engine.output()}/{model}/output/model.tar.gz"}}
    job = unless_missing(engine.sagemaker.describe_training_job, TrainingJobName=model)
    if job is None:
        raise UserError(f"{model!r} is neither a training job {engine.where} nor a file; check the name")
    return job
