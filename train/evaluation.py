"""How a network does on pictures that it does not learn from, and the number format that it computes in."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from byoc_vision.contract.hyperparameters import Settings
from train.batches import Batches
from train.progress import progress
from train.record.callback import Callback
from train.record.smdebug_files import Step
from train.stopping import StopSignal

FIRST_EVALUATION = Step("eval", 0, 0, 0)


@dataclass(frozen=True)
class Evaluation:
    """Means over all samples, and each sample's predicted class [N] with its probability [N], on the CPU.

    `probabilities` [N, classes] float32 are those of all classes, if they were asked for.
    """

    loss: float
    accuracy: float
    predicted: Tensor
    probability: Tensor
    probabilities: Tensor | None = None


@torch.inference_mode()
def evaluate(
    network: nn.Module,
    batches: Batches,
    settings: Settings,
    stop: StopSignal,
    callback: Callback | None = None,
    first: Step = FIRST_EVALUATION,
    temperature: float = 1.0,
    all_classes: bool = False,
) -> Evaluation:
    """Return how `network` does on one unshuffled epoch of `batches`; figures do not depend on the batch size.

    `callback` is told of the steps, of which `first` is the first. The probabilities, and not the loss, are those of
    logits divided by `temperature`; with `all_classes` they are kept of every class.
    """
    network.eval()
    callback = callback or Callback()
    kind = precision(settings)
    losses, predicted, probability, truth, whole = [], [], [], [], []
    callback.wait()
    for batch, (inputs, targets) in enumerate(progress(batches.epoch(0), len(batches.order), "evaluating")):
        callback.batch(first._replace(number=first.number + batch, mode_number=first.mode_number + batch))
        if batches.order.group.size == 1:  # A replica that left would make the others wait.
            stop.check()
        with torch.autocast(inputs.device.type, kind, enabled=kind is not torch.float32):
            logits = network(inputs).float()
        smoothing = settings.label_smoothing
        losses.append(functional.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="none"))
        callback.forward(losses[-1].mean())
        shares = (logits / temperature).softmax(dim=1)
        top = shares.max(dim=1)
        predicted.append(top.indices)
        probability.append(top.values)
        truth.append(targets)
        if all_classes:
            whole.append(shares)
        callback.wait()
    loss, classes, sure, right = (batches.gather(torch.cat(rows)) for rows in (losses, predicted, probability, truth))
    accuracy = (classes == right).double().mean().item()
    probabilities = batches.gather(torch.cat(whole)).cpu() if all_classes else None
    return Evaluation(loss.double().mean().item(), accuracy, classes.cpu(), sure.cpu(), probabilities)


def precision(settings: Settings) -> torch.dtype:
    """Return the number format that `settings` name, or that suits what is trained and this machine.

    What learns on features is small: there is little to gain from rounding it.
    """
    preset = "bfloat16" if settings.train_layers == "all" and _has_bfloat16() else "float32"
    return torch.bfloat16 if (settings.precision or preset) == "bfloat16" else torch.float32


def _has_bfloat16() -> bool:
    """Whether this machine computes in bfloat16 itself, rather than by way of float32."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    processor = Path("/proc/cpuinfo")
    flags = processor.read_text(encoding="utf-8").split() if processor.exists() else []
    return "avx512_bf16" in flags or "amx_bf16" in flags
