"""What a job may name as its program: looked at by the launchers before anything is sent, and in the container."""

import os
from pathlib import Path

from byoc_vision.contract.errors import UserError

#: Names in a folder that a message tells.
_NAMED = 10

#: Bytes of a program's first line that are looked at: it need not be text.
_LINE = 4096


def check(program: str, code: Path, where: str = "") -> str:
    """Return the name of the program's file or folder as seen from the folder `code`, which messages call `where`.

    Raises `UserError` where it cannot be run.
    """
    folder, where = os.path.abspath(code), where or str(code)
    file = Path(os.path.abspath(os.path.join(folder, program)))
    if not file.is_relative_to(folder) or file == Path(folder):
        raise UserError(f"the program {program} is not in {where}; put it there and name it as that folder sees it")
    if not os.path.lexists(file):
        names = sorted(path.name for path in code.iterdir() if not path.name.startswith("."))
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        held = f"which holds {', '.join(names[:_NAMED])}{more}" if names else "which is empty"
        raise UserError(f"there is no program {program} in {where}, {held}; name one of its files")
    if file.is_dir() and not (file / "__main__.py").exists():
        raise UserError(f"the program {program} in {where} is a folder without __main__.py; name a file in it")
    if file.suffix == ".ipynb":
        raise UserError(
            f"the program {program} is a notebook, which a job cannot run; make a script of it "
            f"(jupyter nbconvert --to script {program}) and name {Path(program).with_suffix('.py')}"
        )
    try:
        with (file / "__main__.py" if file.is_dir() else file).open("rb") as opened:
            line = opened.readline(_LINE)
    except OSError as error:
        raise UserError(f"the program {program} in {where} cannot be read ({error.strerror}); check the file") from None
    if file.suffix != ".py" and not file.is_dir() and line.endswith(b"\r\n"):  # what starts it calls it not found
        raise UserError(
            f"the lines of {program} end as on Windows (CRLF), which a shell does not read; save it with the line ends "
            "of Unix (LF)"
        )
    return file.relative_to(folder).as_posix()
