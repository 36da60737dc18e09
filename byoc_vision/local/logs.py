"""What containers printed, read on from where the last look ended."""

from pathlib import Path

from byoc_vision.local import containers


class File:
    """A job's log file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._position = 0

    def new_lines(self) -> list[str]:
        """Return the complete lines that came since the last call."""
        try:
            with self._file.open("rb") as log:
                log.seek(self._position)
                text = log.read()
        except FileNotFoundError:
            return []
        text = text[: text.rfind(b"\n") + 1]
        self._position += len(text)
        return text.decode(errors="replace").splitlines()


class Containers:
    """The log of an endpoint or a transform job: of its containers, those there are and those that are gone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept = File(folder / "log")
        self._since = ""

    def new_lines(self) -> list[str]:
        """Return the lines that came since the last call."""
        printed = [(line.partition(" ")[0], line.partition(" ")[2]) for line in self._kept.new_lines()]
        for container in containers.labelled(containers.OWNER, str(self._folder)):
            printed += containers.printed(container, self._since)
        fresh = sorted((time, line) for time, line in printed if time > self._since)
        self._since = max([self._since, *(time for time, _ in fresh)])
        return [line for _, line in fresh]
