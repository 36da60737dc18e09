"""The command `byoc`: one file a command, whose `options` are its parser.

Its `main` parses, calls the library once, prints, and returns the exit code.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import NoReturn

#: Command -> what it is for. Only the module of the one that is asked for is imported.
COMMANDS = {
    "train": "train a model",
    "tune": "search for the best hyperparameters",
    "deploy": "serve a model, or remove what serves it",
    "endpoints": "list the endpoints that were made",
    "models": "register models, approve them, go back to an earlier one",
    "predict": "ask an endpoint what is in pictures",
    "try": "try a model in the browser",
    "transform": "predict many pictures without an endpoint",
    "watch": "follow a job to its end, or stop it",
    "report": "make a job's report, or compare several",
    "jobs": "list the jobs that there are, with their figures",
    "open": "show a job's report in the browser",
    "service": "be SageMaker on this machine for any client",
    "images": "show which images were pushed to the registry",
}


def main() -> None:
    """Run the command that the command line names."""
    from byoc_vision.cli.launcher import guarded

    name = (sys.argv[1:2] or ["--help"])[0]
    if name in COMMANDS:
        run(name, f"byoc {name}", sys.argv[2:])
    guarded("byoc", lambda: _about(name))


def _about(name: str) -> int:
    """Say what there is, or that there is no such command; return the exit code."""
    if name in ("-h", "--help", "help"):
        print("usage: byoc COMMAND …        (byoc COMMAND --help says more)\n")
        print(*(f"  {command:<11}{purpose}" for command, purpose in COMMANDS.items()), sep="\n")
        print('\neval "$(byoc completion)" lets the shell complete them.')
    elif name == "--version":
        import byoc_vision

        print(f"byoc {byoc_vision.__version__} from {byoc_vision.__path__[0]}")  # where several are installed
    elif name == "completion":  # read by the shell: eval "$(byoc completion)"
        print(Path(__file__).with_name("completion.bash").read_text(encoding="utf-8"), end="")
    else:
        import difflib

        said = f"there is no command {name!r}; give one of {', '.join(COMMANDS)}"
        if name.startswith("-"):
            said = f"{name} stands before the command; options come after it, as in byoc train {name}"
        elif near := difflib.get_close_matches(name, COMMANDS, 1):
            said = f"there is no command {name!r}; did you mean byoc {near[0]}?"
        print(f"byoc: {said}", file=sys.stderr)
        return 2
    return 0


def run(name: str, spelling: str, arguments: list[str] | None = None) -> NoReturn:
    """Run a command, which the user called by that `spelling`, and exit with its code."""
    from byoc_vision.cli.launcher import guarded

    command = import_module(f"byoc_vision.cli.{name}")
    guarded(spelling, lambda: command.main(arguments))
