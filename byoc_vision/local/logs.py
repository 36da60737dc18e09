"""What containers printed, read on from where the last look ended. Log files have a line's time before its text."""

from pathlib import Path

from byoc_vision.local import containers, fleets


class File:
    """A job's log file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._position = 0

    def new_entries(self) -> list[tuple[str, str]]:
        """Return the time and the text of the complete lines that came since the last call."""
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
    """The log of an endpoint or a transform job: of its containers, those there are and those that are gone.

    Of an endpoint it may be that of one variant. It begins after the time `since`, written as docker does.
    """

    def __init__(self, folder: Path, variant: str = "", since: str = "") -> None:
        self._folder, self._variant = folder, variant
        self._kept: dict[Path, File] = {}
        self._since = since

    def new_entries(self) -> list[tuple[str, str]]:
        """Return the time and the text of the lines that came since the last call."""
        printed = []
        for file in self._folder.glob(f"log-{self._variant}" if self._variant else "log*"):
            printed += self._kept.setdefault(file, File(file)).new_entries()
        alive = set(containers.labelled(containers.OWNER, str(self._folder)))
        if self._variant:
            alive &= set(containers.labelled(fleets.VARIANT, self._variant))
        for container in alive:
            printed += containers.printed(container, self._since)
        fresh = sorted((time, line) for time, line in printed if time > self._since)
        self._since = max([self._since, *(time for time, _ in fresh)])
        return fresh
