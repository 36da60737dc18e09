"""The user's code where it is not in the model: in the archive, in S3 or in the container, that the environment names.

    python -m serve.submitted PLACE FOLDER

It is fetched by a process of its own: boto3 takes memory and threads, which nothing needs afterwards.
"""

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from byoc_vision.contract.errors import UserError
from byoc_vision.contract.source import not_fetched, unpack
from serve import child

#: Environment: where the code of all models is unpacked.
FOLDER_VARIABLE = "SERVE_CODE"

#: Seconds to connect, and between two pieces of the answer; how often in all it is tried.
_CONNECT, _READ, _ATTEMPTS = 10, 60, 3


def place(environ: Mapping[str, str]) -> str | None:
    """Return the archive that SAGEMAKER_SUBMIT_DIRECTORY names, an S3 URI or a path; None where it names a folder."""
    submitted = environ.get("SAGEMAKER_SUBMIT_DIRECTORY", "").removeprefix("file://")
    return submitted if "://" in submitted or Path(submitted).is_file() else None


def fetch(archive: str, folder: Path, seconds: float) -> None:
    """Unpack the code at `archive` into the new `folder`; raises `UserError`, also where it takes over `seconds`."""
    try:
        lines, status = child.run([sys.executable, "-m", "serve.submitted", archive, str(folder)], seconds)
    except TimeoutError as error:
        raise not_fetched(archive, error) from None
    if status != 0:
        raise UserError(lines[-1] if lines else f"the code at {archive} could not be fetched (exit status {status})")


def main(archive: str, folder: Path) -> int:
    """Fetch and unpack the code; the last line that is printed says why it could not be done (1)."""
    try:
        folder.mkdir(mode=0o700)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            file = Path(archive)
            if "://" in archive:
                file = Path(scratch, PurePosixPath(archive).name)
                _download(archive, file)
            unpack(file, archive, folder)
    except UserError as error:
        print(error)
        return 1
    return 0


def _download(uri: str, file: Path) -> None:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    scheme, _, address = uri.partition("://")
    bucket, _, key = address.partition("/")
    if scheme != "s3" or not key:
        raise UserError(f"SAGEMAKER_SUBMIT_DIRECTORY is {uri[:200]}; name a folder, an archive or an s3:// URI of one")
    config = Config(connect_timeout=_CONNECT, read_timeout=_READ, retries={"total_max_attempts": _ATTEMPTS})
    region = os.environ.get("AWS_REGION") or os.environ.get("SAGEMAKER_REGION")  # besides those that boto3 looks for
    try:
        # As the SDK's local mode names a place of S3 that is not Amazon's; else boto3's own variables do.
        endpoint = os.environ.get("S3_ENDPOINT_URL")
        boto3.client("s3", region_name=region, endpoint_url=endpoint, config=config).download_file(
            bucket, key, str(file)
        )
    except (BotoCoreError, ClientError, ValueError, OSError) as error:
        raise not_fetched(uri, error) from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
