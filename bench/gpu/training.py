"""Training a head and all layers in each number format: the same results as on the CPU, within its rounding."""

from collections.abc import Iterator

import torch

from bench.gpu import runs
from bench.gpu.rows import Row, at_most, main, needs_gpu
from bench.gpu.setting import Setting
from classifier import network
from train import forms
from train.backbone import Backbone
from train.forms import Form

#: How far losses may be from those of float32 on the CPU, as a share: a GPU's float32 convolutions keep 10 bits (TF32).
TOLERANCE = {"float32": 0.02, "bfloat16": 0.05}

#: A small rate: with a larger one, rounding decides the course of a network with random weights.
RATE = 1e-4


def features_in_each_format(setting: Setting) -> Iterator[Row]:
    """A frozen backbone in float16 and bfloat16 beside float32: what forms `train` would take, and their speed."""
    device = torch.device(setting.device)
    preprocessing = network.preset(setting.arch).resized(setting.side)
    net = network.build(setting.arch, 6)
    network.load_backbone(net, setting.arch, runs.weights(setting, setting.arch))
    net = net.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    frozen, _ = network.split(net, network.head_name(net))
    backbone = Backbone(frozen, setting.arch, preprocessing, device)
    pixels = runs.pixels(setting, preprocessing, forms.SAMPLE)
    kinds = ("float16", "bfloat16", "float32") if setting.gpus else ("bfloat16", "float32")
    tried = forms.attempt(backbone, [Form("torch", kind) for kind in kinds], pixels, setting.scratch, runs.quiet)
    for kind in kinds:
        trial = tried.get(Form("torch", kind))
        if trial is None:
            yield Row(f"features in {kind}", "not usable", "usable", False)
            continue
        yield at_most(f"features in {kind}, difference from float32 as a share of their spread", trial.difference,
                      Form("torch", kind).tolerance)  # fmt: skip
        yield Row(f"features in {kind}, batch of {forms.TIMED}", f"{trial.speed:.2f} × float32")
    if not setting.gpus:
        yield needs_gpu("features in float16")
    yield Row(
        "forms that training would try, were rounding asked for", ", ".join(map(str, forms.candidates(device, None)))
    )


def a_head(setting: Setting) -> Iterator[Row]:
    """Head and features in float32 and bfloat16, beside the CPU in float32."""
    yield from _compared(setting, "head")


def all_layers(setting: Setting) -> Iterator[Row]:
    """All layers in float32 and bfloat16, beside the CPU in float32."""
    yield from _compared(setting, "all")
    yield Row("all layers in float16", "not offered: its gradients need loss scaling, and bfloat16 needs none")


def _compared(setting: Setting, layers: str) -> Iterator[Row]:
    name = {"head": "head", "all": "all layers"}[layers]
    chosen = {"train_layers": layers, "lr": RATE if layers == "all" else None}
    exact = runs.trained_on_cpu(setting, f"{layers}-cpu", **chosen)
    for kind, tolerance in TOLERANCE.items():
        left = runs.trained(setting, f"{layers}-{kind}", precision=kind, **chosen)
        furthest = max(abs(a - b) / b for a, b in zip(left.losses, exact.losses, strict=True))
        yield at_most(f"{name}, {kind}: losses of {len(exact.losses)} epochs beside the CPU's, as a share", furthest,
                      tolerance)  # fmt: skip
        figures = left.metrics
        yield Row(
            f"{name}, {kind}: test accuracy beside the CPU's",
            f"{figures['test_accuracy']:.3f}, {exact.metrics['test_accuracy']:.3f}",
        )
        expected = "cuda" if setting.gpus else "cpu"
        device = left.profile.run.get("device")
        yield Row(f"{name}, {kind}: ran on", str(device), expected, device == expected)


CHECKS = (features_in_each_format, a_head, all_layers)

if __name__ == "__main__":
    main(CHECKS)
