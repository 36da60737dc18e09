"""Modules of the user's own that are called as this project's are: each side's imports find its own.

A name in `sys.modules` belongs to one of them only. It is the user's, whose module may be pickled by it, or asked for
parts later; what this project imports after that is looked up where its own modules are kept.
"""

import builtins
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

_OURS = ("byoc_vision", "classifier", "serve")

_PROGRAM = str(Path(__file__).parents[1])


def give_way() -> None:
    """Leave to the user those names of this project's packages that another module on the path has, too."""
    # What holds a copy of this very file is this program, too, as in a checkout that is tested inside an image.
    others = [place for place in sys.path if not os.access(Path(place, "serve", Path(__file__).name), os.F_OK)]
    names = {name for name in _OURS if _is_module(PathFinder.find_spec(name, others))}
    if names:
        sys.path[:] = others  # where a folder without __init__.py would come after ours, which are loaded
        builtins.__import__ = _Import(names)  # type: ignore[assignment]


def _is_module(spec: ModuleSpec | None) -> bool:
    """Whether there is a module, and not a folder of other files."""
    places = (spec and spec.submodule_search_locations) or []
    return bool(spec and (spec.origin or any(any(Path(place).glob("*.py")) for place in places)))


class _Import:
    """The function behind `import`."""

    def __init__(self, names: set[str]) -> None:
        self._names = names
        self._plain = builtins.__import__
        self._lock = threading.RLock()
        self._inside = False
        self._ours = self._taken()

    def __call__(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> ModuleType:
        statement = (name, globals, locals, fromlist, level)
        if level or name.partition(".")[0] not in self._names or not _is_ours(globals):
            return self._plain(*statement)
        with self._lock:
            if self._inside:  # ours are in their places already
                return self._plain(*statement)
            theirs = self._taken()
            sys.modules.update(self._ours)
            self._inside = True
            try:
                return self._plain(*statement)
            finally:
                self._inside = False
                self._ours = self._taken()
                sys.modules.update(theirs)

    def _taken(self) -> dict[str, ModuleType]:
        """Take the modules of the names out of `sys.modules`."""
        return {name: sys.modules.pop(name) for name in [*sys.modules] if name.partition(".")[0] in self._names}


def _is_ours(importer: Mapping[str, Any] | None) -> bool:
    spec = (importer or {}).get("__spec__")
    return str(getattr(spec, "origin", "")).startswith(f"{_PROGRAM}/")
