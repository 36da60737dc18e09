"""The rules by their documented names; `TENSOR_RULES` read what smdebug recorded, `PROFILER_RULES` the profile."""

from byoc_vision.debugger.rules.activations import DeadRelu, SaturatedActivation
from byoc_vision.debugger.rules.base import TensorRule
from byoc_vision.debugger.rules.classes import ClassImbalance, Confusion
from byoc_vision.debugger.rules.images import CheckInputImages
from byoc_vision.debugger.rules.initialization import PoorWeightInitialization
from byoc_vision.debugger.rules.losses import LossNotDecreasing, Overfit, Overtraining
from byoc_vision.debugger.rules.profiler_report import RULES, ProfilerReport
from byoc_vision.debugger.rules.profiling import ProfilerRule
from byoc_vision.debugger.rules.tensors import (
    AllZero,
    ExplodingTensor,
    TensorVariance,
    UnchangedTensor,
    VanishingGradient,
    WeightUpdateRatio,
)
from byoc_vision.debugger.rules.timing import StalledTrainingRule

_DEFAULT_TENSOR: tuple[type[TensorRule], ...] = (
    VanishingGradient, ExplodingTensor, Overfit, Overtraining, PoorWeightInitialization, LossNotDecreasing, DeadRelu,
    ClassImbalance,
)  # fmt: skip
_DEFAULT_PROFILER: tuple[type[ProfilerRule], ...] = (*RULES, ProfilerReport)
_ON_REQUEST = (
    AllZero, TensorVariance, UnchangedTensor, WeightUpdateRatio, SaturatedActivation, CheckInputImages, Confusion,
)  # fmt: skip

TENSOR_RULES: dict[str, type[TensorRule]] = {rule.__name__: rule for rule in (*_DEFAULT_TENSOR, *_ON_REQUEST)}
PROFILER_RULES: dict[str, type[ProfilerRule]] = {
    rule.__name__: rule for rule in (*_DEFAULT_PROFILER, StalledTrainingRule)
}

#: The rules that run when none are asked for: as many as the service lets a job have, 20.
DEFAULT = tuple(rule.__name__ for rule in (*_DEFAULT_TENSOR, *_DEFAULT_PROFILER))
