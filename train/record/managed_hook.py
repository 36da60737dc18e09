"""smdebug's own hook, for jobs in which the service's Debugger says what to record and where (debughookconfig.json)."""

import os
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from train.record.smdebug_files import Step
from train.record.tensor_hook import LOSS

os.environ.setdefault("SMDEBUG_LOG_LEVEL", "error")  # Read when it is imported.

import numpy as np
import smdebug.pytorch as smd
from smdebug.core.modes import ModeKeys


class ManagedHook:
    """Records `network` as the file `configuration` says."""

    def __init__(self, network: nn.Module, configuration: Path) -> None:
        self._network = network
        self._hook = SmdebugHook.create_from_json_file(str(configuration))
        self._hook.register_module(network)

    def begin(self, step: Step) -> bool:
        """Before the forward pass; smdebug does the rest. Its steps are timed like any others, for all are hooked."""
        self._hook.set_mode(ModeKeys.TRAIN if step.mode == "train" else ModeKeys.EVAL)
        return False

    def forward(self, step: Step, loss: Tensor) -> None:
        self._hook.record_tensor_value(LOSS, loss.detach())

    def backward(self, step: Step) -> None:
        """Is not called: no step is recorded other than by smdebug."""

    def flush(self) -> None:
        """Smdebug writes when it likes to."""

    def close(self) -> None:
        """Write what is left, and that it is all; leave the network as it was, for it will be copied and traced."""
        self._hook.close()
        for module in self._network.modules():  # smdebug keeps no handles
            for registered in (module._forward_pre_hooks, module._forward_hooks):
                for key in [key for key, call in registered.items() if getattr(call, "__self__", None) is self._hook]:
                    del registered[key]


class Array(np.ndarray[Any, Any]):
    """What smdebug can write: it calls a method that NumPy 2.3 has removed."""

    tostring = np.ndarray.tobytes


class SmdebugHook(smd.Hook):  # type: ignore[misc]
    """smdebug's hook, for any NumPy, and for bfloat16: NumPy has none, and smdebug raises TypeError."""

    @staticmethod
    def _make_numpy_array(tensor_value: Any) -> Any:
        whole = tensor_value.float() if isinstance(tensor_value, Tensor) else tensor_value
        return np.asarray(smd.Hook._make_numpy_array(whole)).view(Array)
