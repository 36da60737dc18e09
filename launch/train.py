"""Train a model: build CreateTrainingJob, send it, and follow the job to its end.

python -m launch.train --data DIR_OR_S3_URI
python -m launch.train --data DIR --data weights=resnet50.pth --set lr=0.01 --set epochs=10 --spot
python -m launch.train --data s3://bucket/dogs/ --hyperparameters best.json
"""

import argparse
import re

from byoc_vision.contract.errors import UserError
from byoc_vision.contract.job import CHANNELS
from launch import requests
from launch.launcher import Launch, parser, positive


def options() -> argparse.ArgumentParser:
    """Return the launcher's options."""
    new = parser("train", __doc__)
    new.add_argument(
        "--data",
        action="append",
        required=True,
        metavar="[CHANNEL=]SOURCE",
        help="S3 URI, folder or file; repeated for further channels, as in weights=FILE (default: training)",
    )
    new.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a hyperparameter; repeatable")
    new.add_argument("--hyperparameters", metavar="FILE|JOB", help="YAML or JSON file, or a tuning job for its best")
    new.add_argument("--instance-type", default="ml.g4dn.xlarge", metavar="TYPE", help="default: %(default)s")
    new.add_argument("--instance-count", type=positive, default=1, metavar="N", help="default: 1")
    new.add_argument("--spot", action="store_true", help="spare capacity; goes on where it was interrupted")
    new.add_argument("--debugger", choices=["managed"], help="add SageMaker's own Debugger and Profiler")
    new.add_argument("--output", metavar="URI", help="where results go (default: the account's SageMaker bucket)")
    return new


def channels(launch: Launch, data: list[str], output: str) -> dict[str, str]:
    """Return channel -> URI for what `--data` names."""
    sources: dict[str, str] = {}
    for text in data:
        named = re.fullmatch(r"(\w+)=(.+)", text)
        channel, source = named.groups() if named else ("training", text)
        if channel not in CHANNELS:
            raise UserError(f"there is no channel {channel!r}; give one of {', '.join(CHANNELS)}")
        if channel in sources:
            raise UserError(f"the channel {channel} is given twice")
        sources[channel] = source
    return {channel: launch.place(source, f"{output}/data") for channel, source in sources.items()}


def main(arguments: list[str] | None = None) -> int:
    """Do what the options say; return the exit code."""
    given = options().parse_args(arguments)

    from launch import debugger, hyperparameters, waiting
    from launch.errors import sentence

    launch = Launch(given)
    engine = launch.engine
    values = hyperparameters.collect(engine, given.hyperparameters, given.set)
    output = (given.output or engine.output()).rstrip("/")
    job = requests.training_job(
        name=requests.new_name("byoc-vision"),
        image=engine.image("train"),
        role=launch.role(),
        channels=channels(launch, given.data, output),
        hyperparameters=values,
        output=output,
        instance_type=engine.instance_type(given.instance_type),
        instance_count=given.instance_count,
        spot=given.spot,
    )
    if given.debugger:
        job |= debugger.managed(engine.region, output)
    plan = launch.finish({"CreateTrainingJob": job})
    if not launch.send:
        launch.show(plan)
        return 0
    job = plan["CreateTrainingJob"]
    name = job["TrainingJobName"]
    try:
        launch.call("CreateTrainingJob", job)
    except Exception as error:
        if given.debugger and re.search("debug|profiler", str(error), re.IGNORECASE):
            raise UserError(f"{sentence(error)}. If so, {debugger.REFUSED}") from error
        raise
    if given.no_wait:
        print(name)
        print(waiting.still_running(engine, waiting.TRAINING, name))
        return 0
    done = waiting.until_done(engine, waiting.TRAINING, name)
    for metric in done.get("FinalMetricDataList", []):
        print(f"{metric['MetricName']}={metric['Value']:.5g}")
    print(f"the model is {done['ModelArtifacts']['S3ModelArtifacts']}")
    print(f"deploy it: python -m launch.deploy --model {name} {engine.option}".rstrip())
    return 0


if __name__ == "__main__":
    from launch.errors import guarded

    guarded("launch.train", main)
