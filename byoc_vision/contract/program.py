"""What a job may name as its program: looked at by the launchers before anything is sent, and in the container."""

import ast
import os
import re
import warnings
from pathlib import Path

from byoc_vision.contract.errors import UserError

#: Names in a folder that a message tells.
_NAMED = 10

#: Bytes of a program's first line that are looked at: it need not be text.
_LINE = 4096

#: A command of a notebook's: `%%writefile train.py`, `%matplotlib inline`, `!pip install timm`.
_MAGIC = re.compile(r"\s*(?:%%?[a-z]\w*|![\w./])")


def magic(error: SyntaxError) -> str:
    """Return the line that is not Python because it is a notebook's magic command; "" where that is not why."""
    line = (error.text or "").strip()
    return line[:_LINE] if _MAGIC.match(line) else ""


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
        below = next((inner for name in names if os.path.lexists(code / (inner := f"{name}/{program}"))), None)
        raise UserError(f"there is no program {program} in {where}, {held}; name {below or 'one of its files'}")
    if file.is_dir() and not (file / "__main__.py").exists():
        raise UserError(f"the program {program} in {where} is a folder without __main__.py; name a file in it")
    if file.suffix == ".ipynb":
        raise UserError(
            f"the program {program} is a notebook, which a job cannot run; make a script of it "
            f"(jupyter nbconvert --to script {program}) and name {Path(program).with_suffix('.py')}"
        )
    try:
        run = file / "__main__.py" if file.is_dir() else file
        with run.open("rb") as opened:
            line = opened.readline(_LINE)
        text = run.read_bytes() if run.suffix == ".py" else b""
    except OSError as error:
        raise UserError(f"the program {program} in {where} cannot be read ({error.strerror}); check the file") from None
    if file.suffix != ".py" and not file.is_dir() and line.endswith(b"\r\n"):  # what starts it calls it not found
        raise UserError(
            f"the lines of {program} end as on Windows (CRLF), which a shell does not read; save it with the line ends "
            "of Unix (LF)"
        )
    try:
        with warnings.catch_warnings(action="ignore"):
            ast.parse(text)
    except SyntaxError as error:  # any other is Python's to tell, which may be another version there
        if said := magic(error):
            raise UserError(
                f"line {error.lineno} of the program {program} is a notebook's magic command ({said[:80]}), which is "
                "not Python; remove it, and name packages in requirements.txt"
            ) from None
    except (ValueError, RecursionError):  # no text, or such as nobody writes
        pass
    return file.relative_to(folder).as_posix()
