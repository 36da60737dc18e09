"""Train a model, or run a script of your own: build CreateTrainingJob, send it, and follow the job to its end.

byoc train --data DIR_OR_S3_URI
byoc train --data DIR --data weights=resnet50.pth --set lr=0.01 --set epochs=10 --spot
byoc train --data s3://bucket/dogs/ --hyperparameters best.json
byoc train --data DIR --source examples/own_scripts --program train_model.py --set lr=0.01
"""

import argparse

from byoc_vision.cli.launcher import channels, left, line, opened, parser, positive, show, still_running, waiting


def options() -> argparse.ArgumentParser:
    new = parser("train", __doc__)
    new.add_argument(
        "--data",
        action="append",
        required=True,
        metavar="[CHANNEL=]SOURCE",
        help="S3 URI, folder or file; repeated for further channels, as in weights=FILE (default: training)",
    )
    new.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a hyperparameter (docs/training.md); repeatable",
    )
    new.add_argument("--hyperparameters", metavar="FILE|JOB", help="YAML or JSON file, or a tuning job for its best")
    new.add_argument("--instance-type", default="ml.g4dn.xlarge", metavar="TYPE", help="default: %(default)s")
    new.add_argument("--instance-count", type=positive, default=1, metavar="N", help="default: 1")
    new.add_argument("--spot", action="store_true", help="spare capacity; goes on where it was interrupted")
    new.add_argument("--debugger", choices=["managed"], help="add SageMaker's own Debugger and Profiler")
    new.add_argument("--output", metavar="URI", help="where results go (default: the account's SageMaker bucket)")
    script = new.add_argument_group("a script of your own, whose hyperparameters and channels --set and --data name")
    script.add_argument("--source", metavar="DIR", help="the folder of its code, with requirements.txt if it needs any")
    script.add_argument("--program", metavar="FILE", help="the file in it that is run")
    script.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="NAME=REGEX",
        help="a figure in the lines it prints; repeatable",
    )
    return new


def main(arguments: list[str] | None = None) -> int:
    args = options().parse_args(arguments)

    from byoc_vision.contract.hyperparameters import checked
    from byoc_vision.hyperparameter_sources import collect
    from byoc_vision.requests.script import texts

    session = opened(args)
    engine = session.engine.sketch() if args.dry_run else session.engine
    job = session.train(
        channels(args.data),
        hyperparameters=collect(engine, args.hyperparameters, args.set, texts if args.program else checked),
        instance_type=args.instance_type,
        instance_count=args.instance_count,
        spot=args.spot,
        managed=args.debugger == "managed",
        output=args.output,
        source=args.source,
        program=args.program,
        metrics=metrics(args.metric),
        dry_run=args.dry_run,
    )
    if args.dry_run:
        return show(job.request)
    if args.no_wait:
        print(job.name, still_running(job, args.local), sep="\n")
        return 0
    with waiting(still_running(job, args.local), shown=True):
        job.wait(line)
    left(job, session.engine.option)
    return 0


def metrics(texts: list[str]) -> dict[str, str]:
    """Return name -> regular expression for what `--metric NAME=REGEX` names."""
    from byoc_vision.contract.errors import UserError

    named = {}
    for text in texts:
        name, equals, regex = text.partition("=")
        if not equals:
            raise UserError(
                f"{text!r} is no metric; write --metric NAME=REGEX, for example --metric 'loss=loss ([0-9.]+)'"
            )
        named[name] = regex
    return named
