"""Code that the SageMaker SDK has uploaded for a container, which cannot fetch it: it is handed over as a file."""

from byoc_vision.contract.errors import UserError
from byoc_vision.local.containers import mount
from byoc_vision.local.files import locate
from byoc_vision.local.store import ServiceError, Store

_ARCHIVE, _FOLDER = "/opt/ml/input/sourcedir.tar.gz", "/opt/ml/code"


def handed_over(store: Store, place: str, *, readonly: bool = False) -> tuple[str, list[str]]:
    """Return where a container finds the code that is at `place`, and the options of `docker run` by which it does.

    A place in the container itself stays as it is. Raises `UserError` for a URI at which there is nothing here.
    """
    if not place.startswith(("s3://", "file://")):
        return place, []
    try:
        source = locate(store, place)
    except ServiceError as error:
        raise UserError(str(error)) from None
    if not source.exists():
        raise UserError(f"there is no code at {place}; upload it, or name another place")
    inside = _FOLDER if source.is_dir() else _ARCHIVE
    return inside, mount(source, inside, readonly=readonly)
