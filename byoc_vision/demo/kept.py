"""Pictures that were kept with the label that is right, laid out as training data: FOLDER/LABEL/DIGEST.jpg."""

import hashlib
from pathlib import Path

from byoc_vision.contract import folders
from byoc_vision.contract.errors import UserError
from byoc_vision.contract.files import replacing

#: What a file begins with -> its usual ending. Other kinds get none: training looks at the content.
_BEGINNINGS = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"GIF8": ".gif", b"RIFF": ".webp", b"BM": ".bmp"}


class Kept:
    """The pictures in `folder`, which is made when the first one comes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    def labels(self) -> list[str]:
        """Return the labels that there are, in order."""
        if not self.folder.is_dir():
            return []
        return sorted(entry.name for entry in self.folder.iterdir() if entry.is_dir() and _is_label(entry.name))

    def keep(self, picture: bytes, label: str) -> Path:
        """Write the picture below its label, and there only; return its file.

        A file's name says nothing of the picture's: what people drop may be called anything. Raises `UserError`.
        """
        label = label.strip()
        if not _is_label(label):
            raise UserError("this cannot be a label, which becomes a folder's name; use letters, digits, _ and -")
        if not picture:
            raise UserError("the picture is empty; choose another one")
        name = hashlib.sha256(picture).hexdigest()[:16]
        name += next((ending for start, ending in _BEGINNINGS.items() if picture.startswith(start)), "")
        file = self.folder / label / name
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(file) as temporary:
                temporary.write_bytes(picture)
            for other in self.labels():
                if other != label:
                    (self.folder / other / name).unlink(missing_ok=True)
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{file} cannot be written ({reason}); give another folder with --keep") from None
        return file


def _is_label(name: str) -> bool:
    """Whether a folder of that name is a class to training."""
    usable = 0 < len(name.encode(errors="replace")) <= 255 and name.isprintable() and not name.startswith((".", "-"))
    return usable and not any(letter in name for letter in "/\\:") and not folders.is_litter(name)
