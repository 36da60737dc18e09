"""What all commands share: common options, and how one ends (exit code 1 failed, 2 wrong usage, 130 interrupted)."""

import argparse
import contextlib
import io
import json
import math
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from byoc_vision.jobs import Job, TrainingJob
    from byoc_vision.session import Session

#: How the user calls a command: "byoc …", or as a launcher, "python -m launch.…".
_spelling = "byoc "

#: What is added where AWS was asked and no account is named: the option that was perhaps forgotten.
_forgotten = ""


def command(text: str) -> str:
    """Return a command line of ours, spelled as the user spelled this one."""
    return f"{_spelling}{text}".rstrip()


class _Help(argparse.RawDescriptionHelpFormatter):
    """Breaks paragraphs where the terminal ends, and leaves command lines as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        import textwrap

        return "\n\n".join(
            paragraph
            if paragraph.lstrip().startswith(_spelling)
            else textwrap.fill(paragraph, width, break_on_hyphens=False)
            for paragraph in text.strip().split("\n\n")
        )


class Parser(argparse.ArgumentParser):
    """Says what was perhaps meant by what no command takes, and says that before it asks for what is missing."""

    def __init__(self, **settings: Any) -> None:
        common: dict[str, Any] = {"formatter_class": _Help, "allow_abbrev": False}
        super().__init__(**common | settings)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        given = list(sys.argv[1:] if args is None else args)
        words = given[: given.index("--")] if "--" in given else given
        if not {"-h", "--help"}.intersection(words):
            self._check_options(words)
        return super().parse_known_args(args, namespace)

    def _check_options(self, words: list[str]) -> None:
        if self._subparsers:  # as in byoc service start: the options are those of the action's parser
            if words and _is_option(words[0]):
                self.error(f"{words[0]} comes too early; begin with the action, one that {self.prog} --help shows")
            return
        for word, following in zip(words, [*words[1:], "VALUE"], strict=False):
            option, _, value = word.partition("=")
            if _is_option(word) and option not in self._option_string_actions:
                said = f"there is no option {option}"
                meant = self._meant(option.lstrip("-"), value or ("VALUE" if _is_option(following) else following))
                self.error(f"{said}; {meant or f'{self.prog} --help lists those that there are'}")

    def error(self, message: str) -> NoReturn:
        if words := message.partition("unrecognized arguments: ")[2]:
            first = words.split()[0]
            name, _, value = first.partition("=")
            if value and (meant := self._meant(name, value)):
                message = f"{first} stands alone; {meant}"
            else:
                message = (
                    f"nothing here takes {words!r}; put names with blanks into quotes, and leave out what is too much"
                )
        super().error(message)

    def _meant(self, name: str, value: str) -> str:
        """Return what was perhaps meant by an option or setting that is none, or nothing."""
        import difflib

        from byoc_vision.contract.hyperparameters import similar_name
        from byoc_vision.contract.job import CHANNELS

        options = self._option_string_actions
        settable = "--set" in options
        if settable and name in CHANNELS:
            return f"the channel is given with --data {name}={value}"
        if near := difflib.get_close_matches(f"--{name.replace('_', '-')}", options, 1, 0.8):
            return f"did you mean {near[0]}?"
        if settable and (setting := similar_name(name)):
            return f"the hyperparameter is set with --set {setting}={value}"
        return ""


def _is_option(word: str) -> bool:
    """Whether argparse takes the word for an option, whatever stands before it."""
    return word.startswith("-") and word.lstrip("-")[:1].isalpha() and " " not in word


def parser(name: str, doc: str | None, sends: bool = True) -> Parser:
    """Return a parser with the options that all commands share; `doc` is the command's docstring."""
    new = Parser(prog=command(name), description=(doc or "").replace("byoc ", _spelling))
    new.add_argument("--local", action="store_true", help="on this machine instead of AWS")
    if sends:
        new.add_argument(
            "--request", action="append", default=[], metavar="FILE", help="YAML with any other field of the API"
        )
        new.add_argument("--no-wait", action="store_true", help="return once the request was accepted")
        new.add_argument("--dry-run", action="store_true", help="print the requests; send nothing, ask no account")
    return new


def positive(text: str) -> int:
    """Return the whole number from 1 up that an option was given."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 up")
    return int(text)


def port(text: str) -> int:
    """Return the port that an option was given; 0 is any that is free."""
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: a number up to 65535")
    return int(text)


def path(text: str) -> Path:
    """Return the path that an option was given; nothing is none, and not the current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty; name a folder or a file")
    return Path(text)


def result(text: str) -> Path:
    """Return the file that an option names for what comes of a job, which is no reason to have run one for nothing."""
    file = path(text)
    if file.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder; name a file")
    if not file.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text} cannot be written, for there is no folder {file.parent}; make it")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text} cannot be written; name a file in a folder of your own")
    return file


def price(text: str) -> float:
    """Return the price that an option was given."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no price: a number from 0 up, without a currency")
    return value


def channels(data: list[str]) -> dict[str, str]:
    """Return channel -> source for what `--data [CHANNEL=]SOURCE` names."""
    import re

    from byoc_vision.contract.errors import UserError

    sources: dict[str, str] = {}
    for text in data:
        named = re.fullmatch(r"(\w+)=(.+)", text)
        channel, source = named.groups() if named else ("training", text)
        if channel in sources:
            raise UserError(f"the channel {channel} is given twice; name each once, as in --data validation=DIR")
        sources[channel] = source
    return sources


def show(requests: Mapping[str, Any]) -> int:
    """Print requests as JSON; return the exit code."""
    json.dump(requests, sys.stdout, indent=2)
    print()
    return 0


def line(text: str) -> None:
    """Print a line of a job's log at once."""
    print(text, flush=True)


def still_running(job: "Job", local: bool) -> str:
    """Return how to watch and to stop a job that is not waited for."""
    watch = command(f"watch {job.name}{' --local' if local else ''}")
    return f"The {job.kind.name} goes on. To watch it: {watch}   To stop it: {watch} --stop"


def shown(uri: str) -> str:
    """Return the path of what lies on this machine, any other URI as it is."""
    from byoc_vision.contract.files import path_in
    from byoc_vision.contract.folders import text

    return text(path_in(uri)) if uri.startswith("file://") else uri


def left(job: "TrainingJob", option: str) -> None:
    """Print a training job's figures, what it has left and where, and what to do with it."""
    for name, value in job.metrics.items():
        print(f"{name}={value:.5g}")
    if job.has_model:
        print(f"deploy it: {command(f'deploy --model {job.name} {option}')}")
        print(f"the model is {shown(job.model)}")
    else:
        print("the job left no model")
    print(f"the report: {left_report(job) or command(f'report {job.name} {option}')}")


def left_report(job: "TrainingJob") -> Path | None:
    """Return the page that the job has left on this machine, if it has."""
    from byoc_vision.contract.job import REPORT, report_folder

    output = shown(job.describe()["OutputDataConfig"]["S3OutputPath"])
    report = report_folder(Path(output) / job.name / "output" / "data") / REPORT
    return report if report.is_file() else None


def browse(url: str) -> None:
    """Show what is at the URL in the user's browser; where there is no screen, say so."""
    screen = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))
    if screen:
        import webbrowser

        screen = webbrowser.open(url)
    if not screen:
        print("there is no browser here; open it in one", file=sys.stderr)


def _one_screen() -> bool:
    """Whether stdout and stderr end in the same place."""
    out, err = os.fstat(1), os.fstat(2)
    return (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino)


@contextlib.contextmanager
def waiting(hint: str, shown: bool = False) -> Iterator[None]:
    """Say what is known of a job that fails; say the hint where the wait is interrupted, which leaves the job alone.

    `shown`: the log has been printed on stdout as it came, so where that is read together with stderr it is not again.
    """
    from byoc_vision.endpoint import FailedError

    try:
        yield
    except FailedError as error:
        if error.log and not (shown and _one_screen()):
            print("\nThe last lines of its log:", *error.log, sep="\n  ", file=sys.stderr)
        raise
    except BaseException:  # Ctrl-C, or a network that is gone
        print(f"\n{hint}", file=sys.stderr)
        raise


def opened(args: argparse.Namespace) -> "Session":
    """Return the session that the options ask for; what the library does is printed from now on."""
    from byoc_vision.cli.screen import tell
    from byoc_vision.session import Session

    global _forgotten
    _forgotten = ", or add --local to stay on this machine"
    tell()
    return Session(args.local, request_files=getattr(args, "request", ()))


def end_as_at_ctrl_c() -> None:
    """Let SIGTERM, and a terminal that is closed, end this program as Ctrl-C does: it undoes what it has begun."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # where it is ignored, somebody has asked for that (nohup)
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # the shell and the kernel both say that a terminal is gone
    if number == signal.SIGHUP:
        for fd in (1, 2):
            with contextlib.suppress(OSError):
                if stat.S_ISCHR(os.fstat(fd).st_mode):  # to write to a terminal that is gone is an error
                    _silence(fd)
    raise KeyboardInterrupt


def _silence(fd: int) -> None:
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), fd)


def guarded(name: str, main: Callable[[], int | None]) -> NoReturn:
    """Run the `main` of a command and exit with its code; errors become one line on stderr, bugs keep their trace."""
    global _spelling
    _spelling = "python -m launch." if name.startswith("launch.") else "byoc "
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that has not all letters gets the others escaped
        sys.stdout.reconfigure(errors="backslashreplace")
    end_as_at_ctrl_c()
    try:
        sys.exit(_ended(main))
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        from byoc_vision.refusals import names_no_account, sentence

        said = sentence(error)
        if said is None:
            raise
        if names_no_account(error):
            said += _forgotten
        try:
            sys.stdout.flush()
        except OSError:  # else the interpreter complains again when it closes stdout
            _silence(1)
        print(f"{name}: {said}", file=sys.stderr)
        sys.exit(1)


def _ended(main: Callable[[], int | None]) -> int | str | None:
    """Return the exit code of a `main` once all that it printed is written, the parser's help too."""
    code: int | str | None
    try:
        code = main()
    except SystemExit as end:
        code = end.code
    sys.stdout.flush()
    return code
