"""A job's or an endpoint's lines in CloudWatch, read on from where the last look ended."""

import logging
import re
from collections.abc import Iterable
from typing import Any

from byoc_vision.engine import LogKind
from byoc_vision.refusals import code_of

_log = logging.getLogger(__name__)

_GROUPS = {
    "training": "/aws/sagemaker/TrainingJobs",
    "transform": "/aws/sagemaker/TransformJobs",
}


def data_log(lines: Iterable[str], bucket: str) -> dict[str, str]:
    """Return key -> what the lines of a transform job's data log say of that object in the bucket.

    For a refused one that is several lines: the kind of error, and the container's answer, whose lines follow.
    """
    said: dict[str, list[str]] = {}
    key = ""
    for line in lines:
        if match := re.search(rf"\[sagemaker logs\]: {re.escape(bucket)}/(.+?): ?(.*)", line):
            key, line = match.groups()
        elif "[sagemaker logs]: " in line:
            key = ""
        if key and line not in ("", "Message:"):
            said.setdefault(key, []).append(line)
    return {key: "\n".join(texts[1:] or texts) for key, texts in said.items()}


class CloudWatch:
    """The log of one job (all its instances) or endpoint."""

    def __init__(self, client: Any, kind: LogKind, name: str) -> None:
        self._client = client
        self._group = _GROUPS.get(kind, f"/aws/sagemaker/Endpoints/{name}")
        # An endpoint may have had many instances; the newest one is of interest.
        newest = {"orderBy": "LastEventTime", "descending": True, "limit": 1}
        self._choice: dict[str, Any] = newest if kind == "endpoint" else {"logStreamNamePrefix": f"{name}/"}
        self._positions: dict[str, str] = {}
        self._refused = False

    def new_lines(self) -> list[str]:
        """Return the lines since the last call; of several instances, each begins with the instance's name."""
        if self._refused:
            return []
        try:
            streams = self._client.describe_log_streams(logGroupName=self._group, **self._choice)["logStreams"]
            return [line for stream in streams for line in self._read(stream["logStreamName"], len(streams) > 1)]
        except Exception as error:
            if code_of(error) == "ResourceNotFoundException":  # nothing has been logged yet
                return []
            if code_of(error) not in ("AccessDeniedException", "AccessDenied"):
                raise
            self._refused = True
            _log.warning("the log %s cannot be shown: the credentials lack the permission", self._group)
            return []

    def _read(self, stream: str, named: bool) -> list[str]:
        label = f"{stream.rpartition('/')[2].rpartition('-')[0]}: " if named else ""
        lines = []
        while True:
            position = self._positions.get(stream)
            page = self._client.get_log_events(
                logGroupName=self._group,
                logStreamName=stream,
                startFromHead=True,
                **({"nextToken": position} if position else {}),
            )
            lines += [label + event["message"].rstrip() for event in page["events"]]
            self._positions[stream] = page["nextForwardToken"]
            if page["nextForwardToken"] == position:  # which is how the end is told
                return lines
