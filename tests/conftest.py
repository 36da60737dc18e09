"""What all tests share: where the real photographs are."""

import os
import signal
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent

# A shell starts what runs in the background deaf to Ctrl-C, and the programs that tests interrupt would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder with data/trashnet6 and weights/; skip the test where it is not there."""
    folder = Path(os.environ.get("BYOC_TEST_DATA", CHECKOUT.parent / "shared")).resolve()
    if not (folder / "data" / "trashnet6").is_dir():
        pytest.skip(f"no real photographs in {folder}; BYOC_TEST_DATA names the folder that holds data/trashnet6")
    return folder
