"""The record of pushed images: push.sh writes it, launchers read it. One file, images.json."""

import json
from pathlib import Path

from byoc_vision import home
from byoc_vision.contract.errors import UserError
from byoc_vision.contract.files import write_text


def record(account: str, region: str, uris: dict[str, str]) -> None:
    """Remember `uris` (repository name -> URI with digest) as the account's and region's newest images."""
    file = _file()
    home.make(file.parent)
    images = _read(file)
    images[f"{account}/{region}"] = images.get(f"{account}/{region}", {}) | uris
    write_text(file, json.dumps(images, indent=2) + "\n")


def uri(account: str, region: str, repository: str) -> str:
    """Return the URI under which `repository`'s newest image was pushed to the account and region."""
    image = _read(_file()).get(f"{account}/{region}", {}).get(repository)
    if image is None:
        raise UserError(f"{repository} was not pushed to account {account}, region {region}; run ./push.sh")
    return image


def all_of() -> dict[str, dict[str, str]]:
    """Return all that is recorded: account and region -> repository name -> URI."""
    return _read(_file())


def _file() -> Path:
    return home.find() / "images.json"


def _read(file: Path) -> dict[str, dict[str, str]]:
    try:
        images: dict[str, dict[str, str]] = json.loads(file.read_text(encoding="utf-8"))
        if not all(isinstance(uri, str) for uris in images.values() for uri in uris.values()):
            raise ValueError(images)
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError):
        raise UserError(f"{file} is damaged, or another version's; remove it and run ./push.sh again") from None
    return images
