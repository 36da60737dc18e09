"""Ask an endpoint what is in pictures.

python -m launch.predict dog.jpg pictures/ https://example.org/dog.jpg
python -m launch.predict --json pictures/ | jq .
"""

import argparse
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from byoc_vision.contract.errors import UserError
from launch.engine import Engine
from launch.launcher import parser

#: Pictures under way at a time.
_THREADS = 4


def options() -> argparse.ArgumentParser:
    """Return the launcher's options."""
    new = parser("predict", __doc__, sends=False)
    new.add_argument("pictures", nargs="+", metavar="PICTURE", help="file, folder or URL")
    new.add_argument("--endpoint", default="byoc-vision", metavar="NAME", help="default: %(default)s")
    new.add_argument("--json", action="store_true", help="one JSON object a picture, a line each, instead of a table")
    new.add_argument("--dry-run", action="store_true", help="print the requests without their bodies; send nothing")
    return new


def main(arguments: list[str] | None = None) -> int:
    """Do what the options say; return the exit code: 1 when a picture had no answer."""
    given = options().parse_args(arguments)

    from launch import engine, pictures

    chosen = engine.pick(given.local)
    names = list(pictures.names(given.pictures))
    if given.dry_run:
        shown = [request(given.endpoint, pictures.read(name)) for name in names]
        json.dump({"InvokeEndpoint": [r | {"Body": f"{len(r['Body'])} bytes"} for r in shown]}, sys.stdout, indent=2)
        print()
        return 0
    failed = False
    for name, answer in _answers(chosen, given.endpoint, names):
        failed |= "error" in answer
        if given.json:
            print(json.dumps({"picture": name} | answer, ensure_ascii=False), flush=True)
        elif "error" in answer:
            print(f"{name}: {answer['error']}", file=sys.stderr)
        else:
            print(_table(name, answer), flush=True)
    return int(failed)


def request(endpoint: str, picture: Any) -> dict[str, Any]:
    """Return InvokeEndpoint for the picture."""
    return {
        "EndpointName": endpoint,
        "ContentType": picture.content_type,
        "Accept": "application/json",
        "Body": picture.content,
    }


def _answers(engine: Engine, endpoint: str, names: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each picture's name and what the endpoint says of it, or why there is no answer."""
    from launch import pictures

    runtime = engine.runtime  # made here, since making it is not safe in several threads

    def ask(name: str) -> dict[str, Any]:
        try:
            answer = runtime.invoke_endpoint(**request(endpoint, pictures.read(name)))
            return parsed(answer["Body"].read())
        except UserError as error:
            return {"error": str(error)}
        except Exception as error:
            said = _model_error(error)
            if said is None:
                raise
            return {"error": said}

    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            yield from zip(names, pool.map(ask, names), strict=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def parsed(body: bytes) -> dict[str, Any]:
    """Return the prediction in the endpoint's answer about one picture; raises `UserError` where there is none."""
    try:
        answer = dict(json.loads(body))
        return dict(answer["predictions"][0])
    except (ValueError, TypeError, KeyError, IndexError):
        raise UserError("the endpoint's answer is none of this project's; check --endpoint") from None


def _model_error(error: Exception) -> str | None:
    """Return what the container said when it refused this one picture, else None."""
    response = getattr(error, "response", {})
    if response.get("Error", {}).get("Code") != "ModelError":
        return None
    said = response.get("OriginalMessage", response["Error"].get("Message", ""))
    try:
        return str(json.loads(said)["error"])
    except (ValueError, TypeError, KeyError):
        return str(said)


def _table(name: str, answer: dict[str, Any]) -> str:
    try:
        rows = [f"  {each['probability']:6.1%}  {each['label']}" for each in answer["top_k"]]
    except (KeyError, TypeError, ValueError):  # its own code/inference.py has another form
        rows = [f"  {json.dumps(answer, ensure_ascii=False)}"]
    return "\n".join([name, *rows])


if __name__ == "__main__":
    from launch.errors import guarded

    guarded("launch.predict", main)
