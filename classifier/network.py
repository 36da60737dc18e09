"""Build torchvision's classifiers, load pretrained weights into them, and tell head from backbone."""

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode
from torchvision import models

from byoc_vision.contract import weights
from byoc_vision.contract.errors import one_line
from byoc_vision.contract.weights import WeightsError
from classifier.preprocessing import Preprocessing

# These two carry extra outputs for training from scratch, and their published weights expect the input rescaled.
_ARGUMENTS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": False, "transform_input": True},
    "inception_v3": {"aux_logits": False, "init_weights": False, "transform_input": True},
}

_DRAWING = frozenset({"kaiming_uniform_", "uniform_", "normal_", "erfinv_"})


def architectures() -> list[str]:
    """Return the names of torchvision's image classifiers."""
    return list(models.list_models(module=models))


def build(arch: str, classes: int) -> nn.Module:
    """Return the network `arch`, freshly initialised, for `classes` classes: [N, 3, H, W] -> logits [N, classes]."""
    network: nn.Module = models.get_model(arch, weights=None, num_classes=classes, **_ARGUMENTS.get(arch, {}))
    return network


class Uninitialised(TorchFunctionMode):
    """Makes networks, in the block, whose tensors hold anything: those of a file are about to be loaded into them.

    To draw random numbers takes longer than all else that loading a network does.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Do what `func` does, unless it draws."""
        kwargs = kwargs or {}
        if func.__name__ in _DRAWING:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def normalize(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Return uint8 [N, 3, H, W] `pixels` as `preprocessing.normalize` does, to the bit, on the device they lie on."""
    mean, std = (_constant(tuple(values), pixels.device) for values in (preprocessing.mean, preprocessing.std))
    return (pixels - mean) / std


@lru_cache
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return channel `values` of 0 to 1 as [3, 1, 1] of 0 to 255; kept, because a GPU waits for what is sent to it."""
    with torch.inference_mode(False):
        return (torch.tensor(values).view(3, 1, 1) * 255).to(device)


def head_name(network: nn.Module) -> str:
    """Return the name of the layer that makes the logits: the last linear layer or convolution there is."""
    layers = [name for name, layer in network.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    return str(layers[-1])


def blocks(network: nn.Module) -> list[tuple[str, ...]]:
    """Return the names of the layers of `network` in the order of the data, by block; the last is the head alone.

    A block is what a network repeats: a residual block, an inception, a dense block, an attention layer. Layers between
    two blocks belong to the one before, and those before all blocks (the stem) are the first. A network without blocks,
    as AlexNet or VGG, has one for each convolution or linear layer.
    """
    layers, head = list(_layers(network)), head_name(network)
    deep = any(_weighted(layer) > 1 for _, layer in layers)
    parts: list[list[str]] = [[]]
    for name, layer in layers:
        if name == head or (parts[-1] and _weighted(layer) > (1 if deep else 0)):
            parts.append([])
        parts[-1].append(name)
    return [tuple(names) for names in parts]


def _layers(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield what has parameters, with its name: blocks as a whole, and the layers that are in none."""
    for name, child in module.named_children():
        if _is_stack(child):
            yield from _layers(child, f"{prefix}{name}.")
        elif next(child.parameters(), None) is not None:
            yield f"{prefix}{name}", child


def _is_stack(module: nn.Module) -> bool:
    """Whether `module` only passes data from one child to the next, or holds a chain of two blocks of one kind."""
    if _is_chain(module):
        return True
    for chain in filter(_is_chain, module.children()):
        kinds = [type(child) for child in chain.children() if _weighted(child) > 1 and not _is_chain(child)]
        if len(kinds) > len(set(kinds)):
            return True
    return False


def _is_chain(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential | nn.ModuleList)


def _weighted(module: nn.Module) -> int:
    """Return how many linear layers and convolutions `module` has."""
    return sum(isinstance(layer, nn.Linear | nn.Conv2d) for layer in module.modules())


def split(network: nn.Module, layer: str) -> tuple[nn.Module, nn.Module]:
    """Return `network` in two parts, which share its layers: up to `layer`, the first of a block, and from there on.

    The first makes features [N, ...] of pictures [N, 3, H, W], and is in evaluation mode; the second makes logits of
    features.
    """
    nodes = list(_Tracer(network).trace(network).nodes)
    cut = next(i for i, node in enumerate(nodes) if node.target == layer)
    border = nodes[cut].args[0]
    first, second = fx.Graph(), fx.Graph()
    values: dict[Any, fx.Node] = {}
    for node in nodes[:cut]:
        values[node] = first.node_copy(node, values.__getitem__)
    first.output(values[border])
    values = {border: second.placeholder("features")}
    for node in nodes[cut:]:
        values[node] = second.node_copy(node, values.__getitem__)
    name = type(network).__name__
    return fx.GraphModule(network, first, name).eval(), fx.GraphModule(network, second, name)


class _Tracer(fx.Tracer):
    """Sees the blocks of a network, and not what is in them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._blocks = {layer for _, layer in _layers(network)}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return m in self._blocks or super().is_leaf_module(m, module_qualified_name)


def published_weights(arch: str, file: Path | None = None) -> models.WeightsEnum:
    """Return torchvision's own weights for `arch`: those that `file` is named after, or else its best."""
    published = models.get_model_weights(arch)
    if file is not None:
        for member in published:
            if Path(member.url).stem == file.stem:
                return member
    return published.DEFAULT


def preset(arch: str, file: Path | None = None) -> Preprocessing:
    """Return the preprocessing that pretrained weights of `arch` (from `file`, or torchvision's best) expect."""
    return Preprocessing.of(published_weights(arch, file))


def load_backbone(network: nn.Module, arch: str, file: Path | None = None) -> None:
    """Load pretrained weights of `arch` into all of `network` but its head, which stays as it is.

    They come from `file` (`.safetensors`, or `.pth` read without unpickling code), or from torchvision's download
    when there is none. Raises `WeightsError` when they cannot be read, or are of another architecture.
    """
    source = file.name if file else f"torchvision's weights for {arch}"
    state = _read(file) if file else _download(arch)
    wanted, offered = weights.backbone(network.state_dict(), arch), weights.backbone(state, arch)
    for problem, names in (
        ("lacks", wanted.keys() - offered.keys()),
        ("has besides", offered.keys() - wanted.keys()),
        (
            "has in another shape",
            {name for name in wanted.keys() & offered.keys() if wanted[name].shape != offered[name].shape},
        ),
    ):
        if names:
            raise WeightsError(
                f"{source} does not fit {arch}: it {problem} {len(names)} tensors, for example {min(names)!r}; "
                "give the weights of that architecture, or set arch to theirs"
            )
    network.load_state_dict(offered, strict=False)


def _read(file: Path) -> Mapping[str, Tensor]:
    weights.refuse_others(file)
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{file.name} holds more than tensors, so reading it could run code; save it as a plain state_dict"
        ) from error
    except (OSError, SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise WeightsError(f"{file.name} cannot be read as weights ({one_line(error, 100)}); save it again") from error
    content = weights.unwrapped(content)
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(f"{file.name} is not a state_dict (names to tensors); save it with model.state_dict()")
    return content


def _download(arch: str) -> Mapping[str, Tensor]:
    try:
        state: Mapping[str, Tensor] = published_weights(arch).get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"torchvision's weights for {arch} cannot be downloaded ({error}); give them in the weights channel, "
            "or set pretrained to false"
        ) from error
    return state
