"""Why a program failed: the line of what it wrote that says it."""

import re
from itertools import takewhile
from textwrap import dedent

from byoc_vision.contract.errors import plain
from classifier import state_dicts

#: What stands before a line: of a process that torchrun started, and of an exception group.
_BEFORE = re.compile(r"^(?:\[rank\d+\]:\s?)?(?: +[|+] ?)?")

_TRACEBACK = "Traceback (most recent call last)"

_PLACE = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+)')

#: The end of torchrun, and of a program that has started another: it only repeats that another process has failed.
_TORCHRUN = "torch.distributed.elastic"
_REPEATS = (_TORCHRUN, "subprocess.CalledProcessError")

#: What Python writes above the trace of an exception that ends no program; those of threads may be why one has ended.
_PASSED_OVER, _OF_A_THREAD = ("Exception ignored in", "Error in atexit._run_exitfuncs"), "Exception in thread "

#: The first line that faulthandler writes of a process that dies.
_FATAL = "Fatal Python error: "

#: Lines that are nobody's last word: bars of progress and torch's own log; and warnings, with the code below them.
_NOISE = re.compile(r"\d%\|.*\||^\[?[EWI]\d{4} \d\d:")
_WARNING = re.compile(r"^\S.*:\d+: \w*Warning: ")

#: pip's lines that name what it could not install, without its remarks on itself.
_PIP = re.compile(r"^ERROR: (?P<text>(?!.*pip's dependency resolver|ResolutionImpossible).+)")

#: What of a build pip shows of that, indented.
_BUILD = re.compile(r"╰─> \[.*output\]\n(?P<text>.*?)^\s*\[end of output\]", re.DOTALL | re.MULTILINE)

#: Where it names what was to be built.
_BUILT = re.compile(r"(?:Failed to build '|projects \(|╰─> from )(?P<name>[^\s')]+)")

#: What torch and NCCL say where processes have no room left to share tensors in.
_NO_SHARED_MEMORY = re.compile(r"</torch_\d|shared memory ?\(shm\)|out of shared memory|[Bb]us error|/dev/shm/")

#: Longest line that is told.
_LENGTH = 400


def reason(written: str, folder: str, uncaught: bool = True) -> str:
    """Return what the last exception that was `written` says and where in `folder` it was raised, else the last line.

    A message goes on in the indented lines below it, or begins there. Where no exception was `uncaught`, its trace was
    only logged, and the last line is told before it. Nothing where nothing is said.
    """
    lines = [_BEFORE.sub("", line.rsplit("\r", 1)[-1]).rstrip() for line in plain(written).splitlines()]
    lines = _without_passed_over(lines)
    fatal = max((i for i, line in enumerate(lines) if line.startswith(_FATAL)), default=-1)
    second = ""
    for start in reversed([i for i, line in enumerate(lines) if _TRACEBACK in line and i > fatal]):
        end = _end(lines, start)
        if end is None:
            continue
        below = lines[end + 1 :]
        message = [lines[end], *takewhile(lambda line: line[:1].isspace(), below)]
        if len(message) == 1 and lines[end].endswith(":"):
            message += [line for line in below if line][:1]
        said = _told(" ".join(map(str.strip, message)), lines[start:end], folder)
        if not uncaught and (later := _words(lines[end + len(message) :])):
            return f"{later[-1].strip()[:_LENGTH]}, after {said}"
        if lines[end].startswith(_REPEATS):
            before = (_words(lines[:start]) or [""])[-1].strip()[:_LENGTH]
            if before and not any(_TRACEBACK in line for line in lines[:start]):
                said = before if lines[end].startswith(_TORCHRUN) else f"{said}, after {before}"
        elif not lines[max(0, start - 1)].startswith(_OF_A_THREAD):
            return said
        second = second or said
    if second:
        return second
    if fatal >= 0:  # with the last call first
        return _told(lines[fatal], lines[:fatal:-1], folder)
    words = _words(lines)
    return _told(words[-1], words[-5:-1], folder) if words else ""


def lacks_shared_memory(said: str) -> bool:
    """Return whether an exception, or the last line, says that there was no room in /dev/shm."""
    return bool(_NO_SHARED_MEMORY.search(said)) and "Too many open files" not in said


def pip_reason(errors: str) -> str:
    """Return what pip says of the requirement that it could not install, or that one's build does."""
    if builds := _BUILD.findall(errors):
        name = (_BUILT.findall(errors) or ["a package"])[-1]
        return f"{pip_reason(dedent(builds[-1]))} (to build {name})"
    reasons = [match["text"] for line in errors.splitlines() if (match := _PIP.match(line))]
    return reasons[-1][:_LENGTH] if reasons else reason(errors, "")


def _without_passed_over(lines: list[str]) -> list[str]:
    """Return the lines without the traces of exceptions that Python passes over."""
    kept, place = [], 0
    while place < len(lines):
        if lines[place].startswith(_PASSED_OVER):
            place = (_end(lines, place + 1) or place) + 1
        else:
            kept.append(lines[place])
            place += 1
    return kept


def _end(lines: list[str], start: int) -> int | None:
    """Return the place of the exception's name below a trace that begins at `start`, if it is there."""
    return next((i for i in range(start + 1, len(lines)) if lines[i] and not lines[i].startswith(" ")), None)


def _words(lines: list[str]) -> list[str]:
    """Return the lines that may be a last word."""
    words, warned = [], False
    for line in lines:
        if warned and line.startswith(" "):
            continue
        warned = bool(_WARNING.match(line))
        if line.strip() and not warned and not _NOISE.search(line):
            words.append(line)
    return words


def _told(line: str, before: list[str], folder: str) -> str:
    """Return the line with the last place in `folder` that the lines before it name, and what to do about weights."""
    places = [match for other in before if (match := _PLACE.match(other))]
    own = [match for match in places if folder and match["file"].startswith(f"{folder}/")]
    where = f" ({own[-1]['file'].removeprefix(f'{folder}/')}, line {own[-1]['line']})" if own else ""
    shown = "".join(letter if letter.isprintable() else " " for letter in line.strip())
    remedy = state_dicts.advice(shown)
    return state_dicts.short(shown)[:_LENGTH] + where + (remedy and f"; {remedy}")
