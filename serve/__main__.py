"""Serve the model in /opt/ml/model: `python -m serve`. Settings come from the environment, see `serve.settings`."""

import os
import signal
import sys


def main() -> int:
    """Serve until SIGTERM (0), or until what serving needs has failed (1, and the last line says what)."""
    from byoc_vision.contract.errors import UserError, one_line
    from serve import privileges
    from serve.settings import Settings
    from serve.supervisor import Supervisor

    try:
        settings = Settings.from_environment(os.environ)
        privileges.give_up(settings)
        return Supervisor(settings).run()
    except UserError as error:
        # It may name what the environment, or the model, has of any length.
        print(one_line(error, 2000), file=sys.stderr)
        return 1
    except OSError as error:  # of what the environment names, say
        print(f"the container cannot start ({one_line(error, 300)}); correct what is named there", file=sys.stderr)
        return 1


if __name__ == "__main__":
    # A first process that has no handler would not hear SIGTERM at all, and importing takes a while.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    sys.exit(main())
