"""Why a program failed: the line of what it wrote to stderr that says it."""

import re
from itertools import takewhile
from textwrap import dedent

from byoc_vision.contract.errors import plain

#: What stands before a line: of a process that torchrun started, and of an exception group.
_BEFORE = re.compile(r"^(?:\[rank\d+\]:\s?)?(?: +[|+] ?)?")

_TRACEBACK = "Traceback (most recent call last)"

_PLACE = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+)')

#: The end of torchrun, and of a program that has started another: it only repeats that another process has failed.
_REPEATS = ("torch.distributed.elastic", "subprocess.CalledProcessError")

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


def reason(errors: str, folder: str) -> str:
    """Return what the last exception in `errors` says and where in `folder` it was raised, else the last line.

    A message goes on in the indented lines below it, or begins there. Nothing where there is no line.
    """
    lines = [_BEFORE.sub("", line.rsplit("\r", 1)[-1]).rstrip() for line in plain(errors).splitlines()]
    repeated = ""
    for start in reversed([i for i, line in enumerate(lines) if _TRACEBACK in line]):
        end = next((i for i in range(start + 1, len(lines)) if lines[i] and not lines[i].startswith(" ")), None)
        if end is None:
            continue
        below = lines[end + 1 :]
        message = [lines[end], *takewhile(lambda line: line[:1].isspace(), below)]
        if len(message) == 1 and lines[end].endswith(":"):
            message += [line for line in below if line][:1]
        said = _told(" ".join(map(str.strip, message)), lines[start:end], folder)
        if not lines[end].startswith(_REPEATS):
            return said
        repeated = repeated or said
    if repeated:
        return repeated
    written = [line for line in lines if line.strip()]
    return _told(written[-1], written[-5:-1], folder) if written else ""


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


def _told(line: str, before: list[str], folder: str) -> str:
    """Return the line with the last place in `folder` that the lines before it name."""
    places = [match for other in before if (match := _PLACE.match(other))]
    own = [match for match in places if folder and match["file"].startswith(f"{folder}/")]
    where = f" ({own[-1]['file'].removeprefix(f'{folder}/')}, line {own[-1]['line']})" if own else ""
    return line.strip()[:_LENGTH] + where
