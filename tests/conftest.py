"""What all tests share: where the real photographs are."""

import os
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder with data/trashnet6 and weights/; skip the test where it is not there."""
    folder = Path(os.environ.get("BYOC_TEST_DATA", CHECKOUT.parent / "shared")).resolve()
    if not (folder / "data" / "trashnet6").is_dir():
        pytest.skip(f"no real photographs in {folder}; BYOC_TEST_DATA names the folder that holds data/trashnet6")
    return folder
