"""Search for the best hyperparameters: build CreateHyperParameterTuningJob, send it, and show the trials as they run.

Where the trials train a head on features that are the same in all of them, a training job computes these first; that
one is waited for with --no-wait, too.

python -m launch.tune launch/examples/tune.yaml --data DIR_OR_S3_URI --best best.json
python -m launch.train --data DIR_OR_S3_URI --hyperparameters best.json
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from byoc_vision.contract.errors import UserError
from launch import requests
from launch.engine import Engine
from launch.launcher import Launch, parser, positive


def options() -> argparse.ArgumentParser:
    """Return the launcher's options."""
    new = parser("tune", __doc__)
    new.add_argument("space", metavar="SPACE.yaml", help="what is searched, and how; see launch/examples")
    new.add_argument(
        "--data", action="append", required=True, metavar="[CHANNEL=]SOURCE", help="as in launch.train; repeatable"
    )
    new.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="the same in every trial")
    new.add_argument("--max-jobs", type=positive, metavar="N", help="trials in all (default: the file's)")
    new.add_argument("--parallel-jobs", type=positive, metavar="N", help="trials at a time (default: the file's)")
    new.add_argument("--best", metavar="FILE", help="where the best hyperparameters are saved, for launch.train")
    new.add_argument("--instance-type", default="ml.g4dn.xlarge", metavar="TYPE", help="default: %(default)s")
    new.add_argument("--output", metavar="URI", help="where results go (default: the account's SageMaker bucket)")
    return new


def main(arguments: list[str] | None = None) -> int:
    """Do what the options say; return the exit code."""
    given = options().parse_args(arguments)

    from launch import hyperparameters, search_space, waiting
    from launch.train import channels

    space = search_space.load(Path(given.space), given.max_jobs, given.parallel_jobs)
    launch = Launch(given)
    engine = launch.engine
    static = space.fixed | hyperparameters.collect(engine, None, given.set)
    searched = {found["Name"] for kind in space.ranges.values() for found in kind}
    if both := searched & static.keys():
        raise UserError(f"{min(both)} is searched in {given.space}, so it cannot be set; remove one of the two")
    # Of many trials one is kept at most, and is trained again for that.
    static = {name: "false" for name in hyperparameters.FOR_KEEPS if name not in searched} | static
    output = (given.output or engine.output()).rstrip("/")
    trial = requests.training_job(
        name="",  # the service names the trials
        image=engine.image("train"),
        role=launch.role(),
        channels=channels(launch, given.data, output),
        hyperparameters=static,
        output=output,
        instance_type=engine.instance_type(given.instance_type),
    )
    plan: dict[str, requests.Request] = {}
    if _share_features(static, searched, trial):
        extraction = requests.extraction_job(requests.new_name("byoc-features"), trial)
        trial = requests.with_channel(trial, "features", f"{extraction['CheckpointConfig']['S3Uri']}/features/")
        plan["CreateTrainingJob"] = extraction
    job = requests.tuning_job(requests.new_name("byoc-vision"), space.settings, space.ranges, trial)
    plan = launch.finish(plan | {"CreateHyperParameterTuningJob": job})
    if not launch.send:
        launch.show(plan)
        return 0
    if "CreateTrainingJob" in plan:
        launch.call("CreateTrainingJob", plan["CreateTrainingJob"])
        waiting.until_done(engine, waiting.TRAINING, plan["CreateTrainingJob"]["TrainingJobName"])
    job = plan["CreateHyperParameterTuningJob"]
    launch.call("CreateHyperParameterTuningJob", job)
    name = job["HyperParameterTuningJobName"]
    if given.no_wait:
        print(name)
        print(waiting.still_running(engine, waiting.TUNING, name))
        return 0
    follow(engine, name, given.best)
    return 0


def _share_features(static: dict[str, str], searched: set[str], trial: requests.Request) -> bool:
    """Whether the trials train on the same features, so that one job computes them before the search."""
    from byoc_vision.contract import hyperparameters

    if any(channel["ChannelName"] == "features" for channel in trial["InputDataConfig"]):
        return False
    if differs := searched & set(hyperparameters.FEATURES_DEPEND_ON):
        print(f"every trial computes its own features, because {min(differs)} is searched", file=sys.stderr)
        return False
    return hyperparameters.on_features(hyperparameters.parse(static))


def follow(engine: Engine, job: str, best: str | None) -> None:
    """Show the tuning job's trials until its end, then its best hyperparameters, and save these to the file `best`."""
    from launch import hyperparameters, waiting

    table = _Table()
    waiting.until_done(engine, waiting.TUNING, job, look=lambda _: table.show(_trials(engine, job)))
    values = hyperparameters.best_of(engine, job)
    print("the best hyperparameters:")
    for name, value in values.items():
        print(f"  {name}={value}")
    if best:
        hyperparameters.save(values, Path(best))
        print(f"saved to {best}; train with them: python -m launch.train --hyperparameters {best} --data …")
    else:
        print(f"train with them: python -m launch.train --hyperparameters {job} --data …")


def _trials(engine: Engine, job: str) -> list[dict[str, Any]]:
    """Return the summaries of the job's trials, oldest first."""
    found: list[dict[str, Any]] = []
    more: dict[str, str] = {}
    while True:
        page = engine.sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=job, SortBy="CreationTime", SortOrder="Ascending", MaxResults=100, **more
        )
        found += page["TrainingJobSummaries"]
        if not page.get("NextToken"):
            return found
        more = {"NextToken": page["NextToken"]}


class _Table:
    """The trials' table: on a terminal drawn over itself, elsewhere a line whenever a trial's state changes."""

    def __init__(self) -> None:
        self._drawn: list[str] = []

    def show(self, trials: list[dict[str, Any]]) -> None:
        """Show the trials as they are now."""
        rows = [_row(number, trial) for number, trial in enumerate(trials, 1)]
        if sys.stdout.isatty():
            if self._drawn:
                print(f"\033[{len(self._drawn)}F\033[J", end="")
            print(*rows, sep="\n", end="\n" if rows else "", flush=True)
        else:
            for row in rows:
                if row not in self._drawn:
                    print(row, flush=True)
        self._drawn = rows


def _row(number: int, trial: dict[str, Any]) -> str:
    from byoc_vision.contract.hyperparameters import unquote

    metric = trial.get("FinalHyperParameterTuningJobObjectiveMetric")
    value = f"{metric['MetricName']}={metric['Value']:.5g}" if metric else ""
    values = " ".join(f"{name}={unquote(value)}" for name, value in sorted(trial["TunedHyperParameters"].items()))
    return f"{number:>4}  {trial['TrainingJobStatus']:<11} {value:<32} {values}"


if __name__ == "__main__":
    from launch.errors import guarded

    guarded("launch.tune", main)
