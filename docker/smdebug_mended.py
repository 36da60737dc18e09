"""smdebug's hook, mended for today's torch. The Dockerfile lets smdebug/pytorch/hook.py import this at its end.

smdebug hangs its functions on the modules, so that they are in each copy and pickle of a network: a copy breaks at its
first call, and what was saved can be loaded only where smdebug is. Nor does TorchScript take a module with them. Here
they are called by hooks that torch calls for all modules, and not while a network is traced, exported or compiled.
"""

import os
import warnings
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any

import torch
from smdebug.pytorch.hook import Hook
from torch import Tensor, nn
from torch.fx._symbolic_trace import is_fx_symbolic_tracing
from torch.nn.modules import module as modules

_is_fx_symbolic_tracing: Callable[[], bool] = is_fx_symbolic_tracing
_is_traced: Callable[[], bool] = torch._C._is_tracing

#: smdebug's functions before and after each module that is registered.
_before: "weakref.WeakKeyDictionary[nn.Module, list[Any]]" = weakref.WeakKeyDictionary()
_after: "weakref.WeakKeyDictionary[nn.Module, list[Any]]" = weakref.WeakKeyDictionary()

#: Hooks that know a loss and no network yet. AWS's torch registers it with them, as their examples expect (`get_hook`).
_waiting: "weakref.WeakSet[Hook]" = weakref.WeakSet()


def _is_followed() -> bool:
    """Whether this call is only looked at: its tensors hold nothing, or what is done with them would be kept."""
    return torch.compiler.is_compiling() or _is_traced() or _is_fx_symbolic_tracing()


def _registered(module: nn.Module) -> nn.Module:
    """Return the module that was registered, in place of what `torch.compile` made of it later."""
    return getattr(module, "_orig_mod", module)


def _call_before(module: nn.Module, inputs: Any) -> None:
    if not _is_followed():
        if _waiting:
            _register(module)
        for function in _before.get(_registered(module), ()):
            function(_registered(module), inputs)


def _call_after(module: nn.Module, inputs: Any, outputs: Any) -> None:
    if not _is_followed():
        for function in _after.get(_registered(module), ()):
            if function.__self__.prepared_collections:  # not before the network's first call
                function(_registered(module), inputs, outputs)


def _register(network: nn.Module) -> None:
    """Register a network, which is called as a whole before its parts, with the hooks that wait for one.

    What has no parameters is the loss, or prepares pictures; TorchScript takes no hooks.
    """
    if isinstance(network, torch.jit.ScriptModule) or next(network.parameters(), None) is None:
        return
    for hook in [*_waiting]:
        _waiting.discard(hook)
        if not hook.has_registered_module:
            hook.register_module(network)


def _apart(register: Callable[[Hook, nn.Module], None]) -> Callable[[Hook, nn.Module], None]:
    """Return what registers a module and then takes from it, and from those in it, what was hung on them."""

    @wraps(register)
    def registering(hook: Hook, module: nn.Module) -> None:
        if _registered(module) in hook.module_set:
            return
        register(hook, _registered(module))
        if not hook.has_registered_module:
            _waiting.add(hook)
        for part in module.modules():
            for hung, kept in ((part._forward_pre_hooks, _before), (part._forward_hooks, _after)):
                for key, function in [*hung.items()]:
                    if getattr(function, "__self__", None) is hook:
                        kept.setdefault(part, []).append(hung.pop(key))

    return registering


def _replicated(replicate: Callable[[nn.Module], nn.Module]) -> Callable[[nn.Module], nn.Module]:
    """Return what makes DataParallel's replica of a module, with the functions of the module."""

    @wraps(replicate)
    def replicating(module: nn.Module) -> nn.Module:
        replica = replicate(module)
        for kept in (_before, _after):
            if module in kept:
                kept[replica] = kept[module]
        return replica

    return replicating


def _compiled(compile_: Callable[..., None]) -> Callable[..., None]:
    """Return what compiles a module in place; what comes before and after the whole of it is not compiled."""

    @wraps(compile_)
    def compiling(module: nn.Module, *options: Any, **named: Any) -> None:
        compile_(module, *options, **named)
        call: Any = module._compiled_call_impl

        def calling(*inputs: Any, **named_inputs: Any) -> Any:
            _call_before(module, inputs)
            outputs = call(*inputs, **named_inputs)
            _call_after(module, inputs, outputs)
            return outputs

        module._compiled_call_impl = calling

    return compiling


def _reach(folder: str) -> None:
    """Let what is recorded in `folder` be found where the service's configuration has it, too, if it is the image's.

    Programs open the trial there, `create_trial("/opt/ml/output/tensors")`, and smdebug waits until there is one.
    """
    output, _, below = folder.rpartition("/data/")
    if below == "debugger":
        with suppress(OSError):  # it is there, or cannot be
            os.makedirs(folder, exist_ok=True)
            os.symlink(f"data/{below}", f"{output}/tensors")


def _noting(begin: Callable[..., None]) -> Callable[..., None]:
    """Return what makes a hook and notes the folder that it writes to, where the job has named a file for that.

    Where a hook cannot be made, why is told: smdebug asks such a hook for its collections, and tells that it has none.
    """

    @wraps(begin)
    def beginning(hook: Hook, *options: Any, **named: Any) -> None:
        try:
            begin(hook, *options, **named)
        except AttributeError as error:
            if error.name != "prepared_collections" or error.__context__ is None:
                raise
            raise error.__context__ from None
        folder = os.path.abspath(hook.out_dir)
        _reach(folder)
        if file := os.environ.get("BYOC_TENSORS"):
            with open(file, "a", encoding="utf-8") as noted:
                print(folder, file=noted)

    return beginning


def _array(value: Any, plain: Callable[[Any], Any] = Hook._make_numpy_array) -> Any:
    """Return a tensor as NumPy's, which has no bfloat16."""
    return plain(value.float() if isinstance(value, Tensor) and value.dtype is torch.bfloat16 else value)


warnings.filterwarnings("ignore", "Using `torch.compile.module.` when there are global hooks")
modules.register_module_forward_pre_hook(_call_before)
modules.register_module_forward_hook(_call_after)
for owner, name, made in (
    (nn.Module, "compile", _compiled),
    (nn.Module, "_replicate_for_data_parallel", _replicated),
    (Hook, "register_module", _apart),
    (Hook, "register_loss", _apart),
    (Hook, "__init__", _noting),
):
    setattr(owner, name, made(getattr(owner, name)))
Hook._make_numpy_array = staticmethod(_array)
