"""torchvision's image classifiers, as far as they are known without torch.

`python -m tests.unit.classifier.test_architectures`, in the training image, prints the table.
"""

import difflib
from typing import NamedTuple


class Architecture(NamedTuple):
    """The name of the layer that makes the logits, the digest of the other tensors' names and shapes, and the number
    of blocks between the first layers and that one.
    """

    head: str
    digest: str
    blocks: int


ARCHITECTURES = {
    "alexnet": Architecture("classifier.6", "949187d35ea4", 6),
    "convnext_base": Architecture("classifier.2", "2af0e4c28235", 36),
    "convnext_large": Architecture("classifier.2", "b465b53092e1", 36),
    "convnext_small": Architecture("classifier.2", "a39288160ed4", 36),
    "convnext_tiny": Architecture("classifier.2", "505dad8ef877", 18),
    "densenet121": Architecture("classifier", "e25c22166295", 4),
    "densenet161": Architecture("classifier", "1165655d1e41", 4),
    "densenet169": Architecture("classifier", "c7b5c3729449", 4),
    "densenet201": Architecture("classifier", "9905b56c3217", 4),
    "efficientnet_b0": Architecture("classifier.1", "833a4a605980", 16),
    "efficientnet_b1": Architecture("classifier.1", "210b5515665b", 23),
    "efficientnet_b2": Architecture("classifier.1", "c4e6436c9bc3", 23),
    "efficientnet_b3": Architecture("classifier.1", "6a6095c437be", 26),
    "efficientnet_b4": Architecture("classifier.1", "a3629c1d095b", 32),
    "efficientnet_b5": Architecture("classifier.1", "850e68ea1431", 39),
    "efficientnet_b6": Architecture("classifier.1", "dc81ff052069", 45),
    "efficientnet_b7": Architecture("classifier.1", "3b811d5bf6f8", 55),
    "efficientnet_v2_l": Architecture("classifier.1", "152d08432c63", 75),
    "efficientnet_v2_m": Architecture("classifier.1", "0428ee59db6c", 54),
    "efficientnet_v2_s": Architecture("classifier.1", "672989009fd1", 38),
    "googlenet": Architecture("fc", "a9a02176c196", 9),
    "inception_v3": Architecture("fc", "b628bc492e0c", 11),
    "maxvit_t": Architecture("classifier.5", "e598f2056021", 33),
    "mnasnet0_5": Architecture("classifier.1", "d9ce4c0ebec8", 16),
    "mnasnet0_75": Architecture("classifier.1", "8cd83fc79c67", 16),
    "mnasnet1_0": Architecture("classifier.1", "44caf0b4f239", 16),
    "mnasnet1_3": Architecture("classifier.1", "67372398074c", 16),
    "mobilenet_v2": Architecture("classifier.1", "f673e9d92a9a", 17),
    "mobilenet_v3_large": Architecture("classifier.3", "31b700b7a258", 15),
    "mobilenet_v3_small": Architecture("classifier.3", "9d4a270c55fe", 11),
    "regnet_x_16gf": Architecture("fc", "ef2b705faf13", 22),
    "regnet_x_1_6gf": Architecture("fc", "d08015fddda1", 18),
    "regnet_x_32gf": Architecture("fc", "0159e91a6594", 23),
    "regnet_x_3_2gf": Architecture("fc", "53212974b283", 25),
    "regnet_x_400mf": Architecture("fc", "55b580ead390", 22),
    "regnet_x_800mf": Architecture("fc", "7b863e85d1ac", 16),
    "regnet_x_8gf": Architecture("fc", "06de2bcbee42", 23),
    "regnet_y_128gf": Architecture("fc", "72c6016b269a", 27),
    "regnet_y_16gf": Architecture("fc", "83e80d790995", 18),
    "regnet_y_1_6gf": Architecture("fc", "13117c31b00f", 27),
    "regnet_y_32gf": Architecture("fc", "76838743e394", 20),
    "regnet_y_3_2gf": Architecture("fc", "ba12a7f14c44", 21),
    "regnet_y_400mf": Architecture("fc", "7ba4bc85e7e4", 16),
    "regnet_y_800mf": Architecture("fc", "6399a67aa0db", 14),
    "regnet_y_8gf": Architecture("fc", "07cd23ab0c35", 17),
    "resnet101": Architecture("fc", "fa435ed251f7", 33),
    "resnet152": Architecture("fc", "1d01fa3f5a54", 50),
    "resnet18": Architecture("fc", "804c0cdcc273", 8),
    "resnet34": Architecture("fc", "a73a85199e37", 16),
    "resnet50": Architecture("fc", "6f8d71cd7011", 16),
    "resnext101_32x8d": Architecture("fc", "7afb830d0626", 33),
    "resnext101_64x4d": Architecture("fc", "3fd639c4055f", 33),
    "resnext50_32x4d": Architecture("fc", "66016fd2ed32", 16),
    "shufflenet_v2_x0_5": Architecture("fc", "b6fb8dd93d6c", 16),
    "shufflenet_v2_x1_0": Architecture("fc", "c0756919dca1", 16),
    "shufflenet_v2_x1_5": Architecture("fc", "be9448da4082", 16),
    "shufflenet_v2_x2_0": Architecture("fc", "448b6f741f1f", 16),
    "squeezenet1_0": Architecture("classifier.1", "1f11e45a6a2b", 8),
    "squeezenet1_1": Architecture("classifier.1", "644598888bad", 8),
    "swin_b": Architecture("head", "8df7e50c7680", 24),
    "swin_s": Architecture("head", "968a750b56bc", 24),
    "swin_t": Architecture("head", "6c2541336fdd", 12),
    "swin_v2_b": Architecture("head", "c63c974da0fa", 24),
    "swin_v2_s": Architecture("head", "b429b7eeb549", 24),
    "swin_v2_t": Architecture("head", "2a92dc38d37e", 12),
    "vgg11": Architecture("classifier.6", "9e5d51d2308b", 9),
    "vgg11_bn": Architecture("classifier.6", "55ef9001a9e9", 9),
    "vgg13": Architecture("classifier.6", "34186808c725", 11),
    "vgg13_bn": Architecture("classifier.6", "661fcc1f0466", 11),
    "vgg16": Architecture("classifier.6", "abfc1b1f824c", 14),
    "vgg16_bn": Architecture("classifier.6", "a5a88ce950fc", 14),
    "vgg19": Architecture("classifier.6", "524d9002acbc", 17),
    "vgg19_bn": Architecture("classifier.6", "01f71d985ce4", 17),
    "vit_b_16": Architecture("heads.head", "5b56a6cf4ca8", 12),
    "vit_b_32": Architecture("heads.head", "9374a6e93dcb", 12),
    "vit_h_14": Architecture("heads.head", "ab426f55941d", 32),
    "vit_l_16": Architecture("heads.head", "48593493a62e", 24),
    "vit_l_32": Architecture("heads.head", "88a9065e19d2", 24),
    "wide_resnet101_2": Architecture("fc", "baea10cb0e0e", 33),
    "wide_resnet50_2": Architecture("fc", "f6229ccb30ae", 16),
}


def similar(name: str) -> list[str]:
    """Return the names of up to three architectures that one who wrote `name` may have meant."""
    wanted = name.lower().replace("-", "_")
    begun = [arch for arch in ARCHITECTURES if wanted and arch.startswith(wanted)]
    return [*begun, *difflib.get_close_matches(wanted, [arch for arch in ARCHITECTURES if arch not in begun])][:3]
