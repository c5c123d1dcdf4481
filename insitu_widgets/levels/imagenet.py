"""Large networks by their shapes: torchvision's, on the meta device, without a weight.

They show where features shrink with depth, and where they do not (paper, section 2.1, and its
reference [7]); what needs weights (accuracy, packets) is for the shipped roots.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import nn

from insitu_widgets.errors import in_range, one_of
from insitu_widgets.roots import Root

from insitu_widgets import vision  # isort: skip  # noqa: F401  (makes the next importable)
from torchvision import models  # isort: skip

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: What these networks were designed for.
IMAGE_SHAPE = (3, 224, 224)


def _vgg16() -> Root:
    net = models.vgg16_bn()
    layers = list(net.features)
    ends = [i + 1 for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    blocks = [nn.Sequential(*layers[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    tail = nn.Sequential(net.avgpool, nn.Flatten(), net.classifier)
    return _root("VGG-16", nn.Identity(), blocks, tail)


def _resnet50() -> Root:
    net = models.resnet50()
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
    blocks = [net.layer1, net.layer2, net.layer3, net.layer4]
    return _root("ResNet-50", stem, blocks, nn.Sequential(net.avgpool, nn.Flatten(), net.fc))


def _mobilenet_v2() -> Root:
    net = models.mobilenet_v2()
    layers = list(net.features)
    # A block a resolution: its first layer halves the sides.
    starts = (1, 2, 4, 7, 14)
    ends = (*starts[1:], len(layers))
    blocks = [nn.Sequential(*layers[a:b]) for a, b in zip(starts, ends, strict=True)]
    tail = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), net.classifier)
    return _root("MobileNet-V2", layers[0], blocks, tail)


def _convnext_tiny() -> Root:
    net = models.convnext_tiny()
    layers = list(net.features)
    blocks = [layers[1], *(nn.Sequential(*layers[i : i + 2]) for i in (2, 4, 6))]
    return _root("ConvNeXt-Tiny", layers[0], blocks, nn.Sequential(net.avgpool, net.classifier))


def _root(name: str, stem: nn.Module, blocks: Sequence[nn.Module], tail: nn.Module) -> Root:
    """Only the last head is there: these networks were not trained with exits."""
    return Root(name, stem, blocks, [*(nn.Identity() for _ in blocks[1:]), tail])


#: Name -> its architecture; the paper names VGGNet, MobileNet and ConvNeXt.
LARGE: Mapping[str, Callable[[], Root]] = {
    "VGG-16": _vgg16,
    "MobileNet-V2": _mobilenet_v2,
    "ConvNeXt-Tiny": _convnext_tiny,
    "ResNet-50": _resnet50,
}


@lru_cache(maxsize=len(LARGE))
def large(name: str) -> Root:
    """One of :data:`LARGE` in evaluation mode, its tensors without memory. Never write to it."""
    one_of("network", name, LARGE)
    with torch.device("meta"):
        return LARGE[name]().eval().requires_grad_(requires_grad=False)


def parameter_bits(root: Root, point: int, keep: float, bits: int) -> int:
    """Bits of the device's half, parameters only: the paper's count, no mask, scale or header."""
    in_range(f"split point of {root.name}", point, 0, root.num_exits)
    if point == 0:
        return 0
    parts = [root.stem, *root.blocks[:point]]
    if point == root.num_exits:
        parts.append(root.heads[-1])
    return round(keep * bits * sum(p.numel() for part in parts for p in part.parameters()))
