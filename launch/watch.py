"""Follow a training, tuning or transform job to its end, or stop it.

python -m launch.watch JOB
python -m launch.watch JOB --stop
"""

from launch.launcher import parser


def main(arguments: list[str] | None = None) -> int:
    """Do what the options say; return the exit code."""
    options_parser = parser("watch", __doc__, sends=False)
    options_parser.add_argument("job", help="the job's name")
    options_parser.add_argument("--stop", action="store_true", help="ask for the job's end")
    options_parser.add_argument("--best", metavar="FILE", help="as in launch.tune")
    options = options_parser.parse_args(arguments)

    from launch import engine, waiting
    from launch.tune import follow

    chosen = engine.pick(options.local)
    kind = waiting.find(chosen, options.job)
    if options.stop:
        kind.stop(chosen, options.job)
        print(f"asked for the end of the {kind.name} {options.job}")
    elif kind is waiting.TUNING:
        follow(chosen, options.job, options.best)
    else:
        waiting.until_done(chosen, kind, options.job)
    return 0


if __name__ == "__main__":
    from launch.errors import guarded

    guarded("launch.watch", main)
