"""Follow a training, tuning or transform job to its end, or stop it.

byoc watch JOB
byoc watch JOB --stop
"""

import argparse

from byoc_vision.cli.launcher import left, line, opened, parser, result, shown, still_running, waiting


def options() -> argparse.ArgumentParser:
    new = parser("watch", __doc__, sends=False)
    new.add_argument("job", metavar="JOB", help="the job's name")
    new.add_argument("--stop", action="store_true", help="ask for the job's end")
    new.add_argument("--best", type=result, metavar="FILE", help="as in byoc tune")
    return new


def main(arguments: list[str] | None = None) -> int:
    args = options().parse_args(arguments)

    from byoc_vision.jobs import TrainingJob, TuningJob

    session = opened(args)
    job = session.job(args.job)
    if args.stop:
        job.stop()
        print(f"asked for the end of the {job.kind.name} {job.name}")
    elif isinstance(job, TuningJob):
        from byoc_vision.cli.trials import follow

        follow(job, args.local, args.best)
    else:
        with waiting(still_running(job, args.local), shown=True):
            job.wait(line)
        if isinstance(job, TrainingJob):
            left(job, session.engine.option)
        else:
            print(f"the answers are in {shown(job.describe()['TransformOutput']['S3OutputPath'])}")
    return 0
