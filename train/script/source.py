"""The user's code in the folder where it runs, from wherever the job says it is."""

import shutil
import tempfile
from pathlib import Path, PurePosixPath

from byoc_vision.contract.errors import UserError
from byoc_vision.contract.source import not_fetched, unpack


def fetch(place: str, code: Path) -> None:
    """Put what is at `place`, an S3 URI or a path, into the folder `code`: a folder, an archive, or one file."""
    code.mkdir(parents=True, exist_ok=True)
    if place.startswith("s3://"):
        with tempfile.TemporaryDirectory() as scratch:
            archive = Path(scratch) / PurePosixPath(place).name
            _download(place, archive)
            unpack(archive, place, code)
        return
    source = Path(place)
    if not source.exists():
        raise UserError(f"there is no code at {place}; name its folder or archive as sagemaker_submit_directory")
    if not source.is_dir():
        unpack(source, place, code)
    elif source.resolve() != code.resolve():
        archives = [file for file in source.iterdir() if file.name.endswith(".tar.gz")]
        if len(archives) == 1 and len(list(source.iterdir())) == 1:  # as the SDK fills the channel `code`
            unpack(archives[0], place, code)
        else:
            shutil.copytree(source, code, dirs_exist_ok=True)


def _download(uri: str, file: Path) -> None:
    from botocore.exceptions import BotoCoreError, ClientError
    from sagemaker_training import files

    try:
        files.s3_download(uri, str(file))
    except (BotoCoreError, ClientError) as error:
        raise not_fetched(uri, error) from error
