"""Data capture: what an endpoint was sent and what it answered, as lines of JSON in the service's form."""

import base64
import json
import random
import uuid
from datetime import UTC, datetime

from byoc_vision.contract.files import write_text
from byoc_vision.local.files import locate
from byoc_vision.local.store import Record, Request


def keep(record: Record, capture: Request, variant: str, sent: Request, answered: Request) -> None:
    """Write one invocation's file; `sent` and `answered` have Type (the content's) and Content (bytes).

    `capture` is a DataCaptureConfig; of all invocations it samples some.
    """
    if random.random() * 100 >= capture["InitialSamplingPercentage"]:
        return
    modes = {option["CaptureMode"] for option in capture["CaptureOptions"]}
    wanted = {"Input": modes & {"Input", "InputAndOutput"}, "Output": modes & {"Output", "InputAndOutput"}}
    data = {
        f"endpoint{part}": _part(capture, part.upper(), message)
        for part, message in (("Input", sent), ("Output", answered))
        if wanted[part]
    }
    time, event = datetime.now(UTC), str(uuid.uuid4())
    line = {
        "captureData": data,
        "eventMetadata": {"eventId": event, "inferenceTime": f"{time:%Y-%m-%dT%H:%M:%SZ}"},
        "eventVersion": "0",
    }
    folder = locate(record.store, capture["DestinationS3Uri"]) / record.name / variant / f"{time:%Y/%m/%d/%H}"
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / f"{time:%M-%S-%f}-{event}.jsonl", json.dumps(line) + "\n")


def _part(capture: Request, mode: str, message: Request) -> Request:
    types = capture.get("CaptureContentTypeHeader", {})
    texts = {"CSV": types.get("CsvContentTypes", ["text/csv"])}
    texts["JSON"] = types.get("JsonContentTypes", ["application/json"])
    kind = message["Type"].partition(";")[0].strip()
    encoding = next((name for name, listed in texts.items() if kind in listed), "BASE64")
    content: bytes = message["Content"]
    data = base64.b64encode(content).decode() if encoding == "BASE64" else content.decode(errors="replace")
    return {"observedContentType": message["Type"], "mode": mode, "data": data, "encoding": encoding}
