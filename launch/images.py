"""The record of pushed images: push.sh writes it, launchers read it. One file, .byoc/images.json, unknown to git."""

import json
import os
from pathlib import Path

from byoc_vision.contract.errors import UserError

FILE = Path(__file__).parents[1] / ".byoc" / "images.json"


def record(account: str, region: str, uris: dict[str, str], file: Path | None = None) -> None:
    """Remember `uris` (repository name -> URI with digest) as the account's and region's newest images."""
    file = file or FILE
    file.parent.mkdir(exist_ok=True)
    (file.parent / ".gitignore").write_text("*\n", encoding="utf-8")
    images = _read(file)
    images[f"{account}/{region}"] = images.get(f"{account}/{region}", {}) | uris
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(images, indent=2) + "\n", encoding="utf-8")
    os.replace(fresh, file)


def uri(account: str, region: str, repository: str, file: Path | None = None) -> str:
    """Return the URI under which `repository`'s newest image was pushed to the account and region."""
    found = _read(file or FILE).get(f"{account}/{region}", {}).get(repository)
    if found is None:
        raise UserError(f"{repository} was not pushed to account {account}, region {region}; run ./push.sh")
    return found


def _read(file: Path) -> dict[str, dict[str, str]]:
    try:
        images: dict[str, dict[str, str]] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise UserError(f"{file} is damaged; remove it and run ./push.sh again") from None
    return images
