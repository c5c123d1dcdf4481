"""A network made ready for many images: the same function, in fewer steps."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from insitu_widgets.roots import RESIDUAL

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Weights beyond this are a channel's doing: such a network is run as it arrived, step by step,
#: because folding would move the place where its numbers overflow.
LARGEST = 1e4


def for_inference(network: nn.Module) -> nn.Module:
    """A copy with each batch norm folded into the convolution before it, channels last.

    The logits are the network's own but for rounding. The network itself stays as it is, and is
    returned as it is if it holds NaN or weights that are beyond :data:`LARGEST`.
    """
    if not all(bool(tensor.abs().amax() <= LARGEST) for tensor in network.parameters()):
        return network
    ready = copy.deepcopy(network).eval()
    for parent in list(ready.modules()):
        for first, second in _in_a_row(parent):
            convolution, norm = parent.get_submodule(first), parent.get_submodule(second)
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, first, fuse_conv_bn_eval(convolution, norm))
                setattr(parent, second, nn.Identity())
    return ready.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _in_a_row(parent: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of children that surely run one after the other."""
    if isinstance(parent, nn.Sequential):
        yield from pairwise(name for name, _ in parent.named_children())
    elif isinstance(parent, RESIDUAL):
        numbers = [name.removeprefix("conv") for name, _ in parent.named_children()]
        yield from ((f"conv{n}", f"bn{n}") for n in numbers if n.isdecimal())
