"""A network made ready for many images: the same function, in fewer steps."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from insitu_widgets.roots import RESIDUAL, RESIDUAL_BLOCKS

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Whether this build of torch has the operators that its own compiler fuses convolutions with.
FUSES = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
#: Weights beyond this are a channel's doing: such a network is run as it arrived, step by step,
#: because folding would move the place where its numbers overflow.
LARGEST = 1e4


def for_inference(network: nn.Module) -> nn.Module:
    """A copy with fewer steps, channels last.

    Each batch norm is folded into the convolution before it, and on a processor with oneDNN a
    convolution does the ReLU, and the addition of a residual block, that follow it, while its
    output is in the cache. In a context of autocast the copy's convolutions hold their weights in
    that type.

    The logits are the network's own but for rounding. The network itself stays as it is, and is
    returned as it is if it holds NaN or weights that are beyond :data:`LARGEST`.
    """
    if not all(bool(tensor.abs().amax() <= LARGEST) for tensor in network.parameters()):
        return network
    ready = _folded(network)
    if all(parameter.device.type == "cpu" for parameter in network.parameters()) and FUSES:
        _fuse(ready)
    return ready.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _folded(network: nn.Module) -> nn.Module:
    ready = copy.deepcopy(network).eval()
    for parent in list(ready.modules()):
        for first, second in _in_a_row(parent):
            convolution, norm = parent.get_submodule(first), parent.get_submodule(second)
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, first, fuse_conv_bn_eval(convolution, norm))
                setattr(parent, second, nn.Identity())
    return ready


def _in_a_row(parent: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of children that surely run one after the other."""
    if isinstance(parent, nn.Sequential):
        yield from pairwise(name for name, _ in parent.named_children())
    elif isinstance(parent, RESIDUAL):
        numbers = [name.removeprefix("conv") for name, _ in parent.named_children()]
        yield from ((f"conv{n}", f"bn{n}") for n in numbers if n.isdecimal())


class _Fused(nn.Module):
    """A convolution, ``other`` added to its output where it is given, and a ReLU: one operator."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        weight, bias = convolution.weight.detach(), convolution.bias
        if torch.is_autocast_enabled("cpu"):
            weight = weight.to(torch.get_autocast_dtype("cpu"))
        self.register_buffer("weight", weight)
        self.register_buffer("bias", None if bias is None else bias.detach().to(weight.dtype))
        lengths = (convolution.padding, convolution.stride, convolution.dilation)
        self.geometry = (*map(list, lengths), convolution.groups)

    def forward(self, feature: Tensor, other: Tensor | None = None) -> Tensor:
        """Feature ``[N, C, H, W]`` to feature."""
        convolve = torch.ops.mkldnn._convolution_pointwise  # noqa: SLF001
        own = (self.weight, self.bias, *self.geometry)
        feature = feature.to(self.weight.dtype)
        if other is None:
            fused: Tensor = convolve(feature, *own, "relu", [], "")
            return fused
        other = other.to(self.weight.dtype)
        added: Tensor = convolve.binary(feature, other, *own, "add", 1.0, "relu", [], None)
        return added


class _FusedResidual(nn.Module):
    """torchvision's residual block whose norms are folded, in as many steps as convolutions."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        steps = [child for child in block.children() if isinstance(child, nn.Conv2d)]
        self.convolutions = nn.ModuleList(map(_Fused, steps))
        self.downsample: nn.Module | None = dict(block.named_children()).get("downsample")

    def forward(self, feature: Tensor) -> Tensor:
        """Feature ``[N, C, H, W]`` to feature."""
        other = feature if self.downsample is None else self.downsample(feature)
        *first, last = self.convolutions
        for convolution in first:
            feature = convolution(feature)
        return last(feature, other)


def _fuse(network: nn.Module) -> None:
    """Put fused steps in the places of those that surely run one after the other."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) in RESIDUAL_BLOCKS and _is_folded(child):
                setattr(parent, name, _FusedResidual(child))
        if type(parent).forward is nn.Sequential.forward:
            steps = [(n, m) for n, m in parent.named_children() if not isinstance(m, nn.Identity)]
            for (first, convolution), (second, activation) in pairwise(steps):
                if _is_plain(convolution) and type(activation) is nn.ReLU:
                    setattr(parent, first, _Fused(convolution))
                    setattr(parent, second, nn.Identity())


def _is_folded(block: nn.Module) -> bool:
    own = {name: child for name, child in block.named_children() if name != "downsample"}
    convolutions = [child for name, child in own.items() if name.startswith("conv")]
    norms = [child for name, child in own.items() if name.startswith("bn")]
    return all(map(_is_plain, convolutions)) and all(type(n) is nn.Identity for n in norms)


def _is_plain(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether it is a convolution that the fused operator can do."""
    if type(module) is not nn.Conv2d:
        return False
    return module.padding_mode == "zeros" and not isinstance(module.padding, str)
