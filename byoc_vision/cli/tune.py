"""Search for the best hyperparameters: build CreateHyperParameterTuningJob, send it, and show the trials as they run.

Where the trials train a head on features that are the same in all of them, a training job computes these first; that
one is waited for with --no-wait, too.

byoc tune launch/examples/tune.yaml --data DIR_OR_S3_URI --best best.json
byoc train --data DIR_OR_S3_URI --hyperparameters best.json
"""

import argparse

from byoc_vision.cli.launcher import channels, line, opened, parser, positive, result, show, still_running


def options() -> argparse.ArgumentParser:
    new = parser("tune", __doc__)
    new.add_argument("space", metavar="SPACE.yaml", help="what is searched, and how; see launch/examples")
    new.add_argument(
        "--data", action="append", required=True, metavar="[CHANNEL=]SOURCE", help="as in byoc train; repeatable"
    )
    new.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="the same in every trial")
    new.add_argument("--max-jobs", type=positive, metavar="N", help="trials in all (default: the file's)")
    new.add_argument("--parallel-jobs", type=positive, metavar="N", help="trials at a time (default: the file's)")
    new.add_argument(
        "--best", type=result, metavar="FILE", help="where the best hyperparameters are saved, for byoc train"
    )
    new.add_argument("--instance-type", default="ml.g4dn.xlarge", metavar="TYPE", help="default: %(default)s")
    new.add_argument("--output", metavar="URI", help="where results go (default: the account's SageMaker bucket)")
    return new


def main(arguments: list[str] | None = None) -> int:
    args = options().parse_args(arguments)

    from byoc_vision.cli.trials import follow
    from byoc_vision.hyperparameter_sources import collect
    from byoc_vision.requests.script import texts

    session = opened(args)
    job = session.tune(
        args.space,
        channels(args.data),
        hyperparameters=collect(session.engine, None, args.set, texts),
        max_jobs=args.max_jobs,
        parallel_jobs=args.parallel_jobs,
        instance_type=args.instance_type,
        output=args.output,
        dry_run=args.dry_run,
        show=line,
    )
    if args.dry_run:
        return show(job.request)
    if args.no_wait:
        print(job.name, still_running(job, args.local), sep="\n")
    else:
        follow(job, args.local, args.best)
    return 0
