"""Keep an interrupted run's state on disk, whole or not at all."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from byoc_vision.contract.errors import UserError
from classifier.artifact import whole

NAME = "checkpoint.pt"

State = dict[str, Any]


class CheckpointError(UserError):
    """The checkpoint found cannot be continued from."""


class Checkpoint:
    """One run's checkpoint in `folder`; `identity` (plain values) says which run it is."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self._path = folder / NAME
        self._identity = dict(identity)

    def save(self, state: State) -> None:
        """Replace the checkpoint by `state` (tensors, plain values); killed at any moment, one of the two is left."""
        with whole(self._path) as path:
            torch.save({"identity": self._identity, "state": state}, path)

    def load(self) -> State | None:
        """Return the state saved last, or None; `CheckpointError` when it is damaged or of another run."""
        if not self._path.exists():
            return None
        try:
            content = torch.load(self._path, map_location="cpu", weights_only=True)
            identity, state = content["identity"], content["state"]
        except (OSError, RuntimeError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
            raise CheckpointError(f"the checkpoint {self._path} cannot be read; remove it to begin anew") from error
        for name in self._identity.keys() | identity.keys():
            old, new = identity.get(name), self._identity.get(name)
            if old != new:
                raise CheckpointError(
                    f"the checkpoint {self._path} is of another run ({name} was {_short(old)}, is {_short(new)}); "
                    "continue with what it was, or remove the checkpoint to begin anew"
                )
        return dict(state)

    def remove(self) -> None:
        """Remove the checkpoint: the run has ended and left its model."""
        self._path.unlink(missing_ok=True)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "…"
