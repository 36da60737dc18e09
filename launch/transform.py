"""Predict many pictures without an endpoint: build CreateModel and CreateTransformJob, send them, fetch the answers.

python -m launch.transform --model JOB --data DIR_OR_S3_URI --output answers.jsonl
"""

import argparse
import contextlib
import json
import sys
import tempfile
from pathlib import Path

from launch import requests
from launch.engine import SERVING
from launch.launcher import Launch, parser, positive


def options() -> argparse.ArgumentParser:
    """Return the launcher's options."""
    new = parser("transform", __doc__)
    new.add_argument("--model", required=True, metavar="JOB|URI|FILE", help="as in launch.deploy")
    new.add_argument("--data", required=True, metavar="SOURCE", help="S3 URI or folder of pictures")
    new.add_argument("--output", default="answers.jsonl", metavar="FILE", help="JSON lines (default: %(default)s)")
    new.add_argument("--instance-type", default="ml.m5.xlarge", metavar="TYPE", help="default: %(default)s")
    new.add_argument("--image", choices=SERVING, help="as in launch.deploy")
    new.add_argument("--instance-count", type=positive, default=1, metavar="N", help="default: 1")
    return new


def main(arguments: list[str] | None = None) -> int:
    """Do what the options say; return the exit code."""
    given = options().parse_args(arguments)

    from launch import waiting
    from launch.deploy import artifact, serving_image

    launch = Launch(given)
    engine = launch.engine
    name = requests.new_name("byoc-vision")
    instance_type = engine.instance_type(given.instance_type)
    image = serving_image(engine, given.model, instance_type, given.image)
    model = requests.model(name, image, launch.role(), artifact(launch, given.model))
    pictures = launch.place(given.data, f"{engine.output()}/data")
    answers = f"{engine.output()}/answers/{name}/"
    job = requests.transform_job(name, name, pictures, answers, instance_type, given.instance_count)
    plan = launch.finish({"CreateModel": model, "CreateTransformJob": job})
    if not launch.send:
        launch.show(plan)
        return 0
    name = plan["CreateTransformJob"]["TransformJobName"]
    launch.call("CreateModel", plan["CreateModel"])
    with contextlib.ExitStack() as undo:  # the job has its own copy at its end, or none is needed
        undo.callback(engine.sagemaker.delete_model, ModelName=plan["CreateModel"]["ModelName"])
        launch.call("CreateTransformJob", plan["CreateTransformJob"])
        if given.no_wait:
            undo.pop_all()
            print("the model stays, since the job needs it", file=sys.stderr)
            print(name)
            print(waiting.still_running(engine, waiting.TRANSFORM, name))
            return 0
        waiting.until_done(engine, waiting.TRANSFORM, name)
    count = _collect(launch, plan["CreateTransformJob"]["TransformOutput"]["S3OutputPath"], Path(given.output))
    print(f"{count} answers in {given.output}")
    return 0


def _collect(launch: Launch, uri: str, file: Path) -> int:
    """Write the answers below `uri`, one a line, to `file`; return their number."""
    from launch.predict import parsed

    with tempfile.TemporaryDirectory() as scratch, file.open("w", encoding="utf-8") as lines:
        answers = sorted(path for path in launch.engine.fetch(uri, Path(scratch)) if path.suffix == ".out")
        for path in answers:
            picture = str(path.relative_to(scratch)).removesuffix(".out")
            prediction = parsed(path.read_bytes())
            print(json.dumps({"picture": picture} | prediction, ensure_ascii=False), file=lines)
    return len(answers)


if __name__ == "__main__":
    from launch.errors import guarded

    guarded("launch.transform", main)
