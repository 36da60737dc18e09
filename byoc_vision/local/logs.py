"""What containers printed, read on from where the last look ended. Log files have a line's time before its text."""

from pathlib import Path

from byoc_vision.local import containers


class File:
    """A job's log file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._position = 0

    def new_lines(self) -> list[str]:
        """Return the complete lines that came since the last call."""
        return [line for _, line in self.new_entries()]

    def new_entries(self) -> list[tuple[str, str]]:
        """Return them with their times."""
        try:
            with self._file.open("rb") as log:
                log.seek(self._position)
                text = log.read()
        except FileNotFoundError:
            return []
        text = text[: text.rfind(b"\n") + 1]
        self._position += len(text)
        entries = (line.partition(" ") for line in text.decode(errors="replace").split("\n")[:-1])
        return [(time, line) for time, _, line in entries]


class Containers:
    """The log of an endpoint or a transform job: of its containers, those there are and those that are gone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept = File(folder / "log")
        self._since = ""

    def new_lines(self) -> list[str]:
        """Return the lines that came since the last call."""
        return [line for _, line in self.new_entries()]

    def new_entries(self) -> list[tuple[str, str]]:
        """Return them with their times."""
        printed = self._kept.new_entries()
        for container in containers.labelled(containers.OWNER, str(self._folder)):
            printed += containers.printed(container, self._since)
        fresh = sorted((time, line) for time, line in printed if time > self._since)
        self._since = max([self._since, *(time for time, _ in fresh)])
        return fresh
