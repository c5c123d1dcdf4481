"""A network made ready for many images: the same function, in fewer steps."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from insitu_widgets.roots import ENCODER, RESIDUAL

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Weights beyond this are a channel's doing: such a network is run as it arrived, step by step,
#: because folding would move the place where its numbers overflow.
LARGEST = 1e4


def for_inference(network: nn.Module) -> nn.Module:
    """A copy with each batch norm folded into the convolution before it, channels last.

    A transformer's self-attention takes one product for queries, keys and values, without the
    copies between two orders of its axes that torch's module makes.

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
        if isinstance(parent, ENCODER):
            parent.self_attention = _SelfAttention(parent.self_attention)
    return ready.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class _SelfAttention(nn.Module):
    """What ``nn.MultiheadAttention`` computes when it is asked about its input ``[N, L, E]``.

    A product, a softmax and a product: on a processor in bfloat16 they take less than half the
    time of torch's fused attention, in float32 the same.
    """

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads, self.out = attention.num_heads, attention.out_proj
        self.weight, self.bias = attention.in_proj_weight, attention.in_proj_bias

    def forward(self, features: Tensor, *_: Tensor, need_weights: bool) -> tuple[Tensor, None]:
        """Attend; the weights are never given, as the block that asks has no use for them."""
        assert not need_weights
        n, length, width = features.shape
        of_head = width // self.heads
        projected = functional.linear(features, self.weight, self.bias)
        queries, keys, values = projected.view(n, length, 3, self.heads, of_head).permute(
            2, 0, 3, 1, 4
        )
        likeness = (queries * of_head**-0.5) @ keys.transpose(-1, -2)
        heard = likeness.softmax(-1) @ values
        return self.out(heard.transpose(1, 2).reshape(n, length, width)), None


def _in_a_row(parent: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of children that surely run one after the other."""
    if isinstance(parent, nn.Sequential):
        yield from pairwise(name for name, _ in parent.named_children())
    elif isinstance(parent, RESIDUAL):
        numbers = [name.removeprefix("conv") for name, _ in parent.named_children()]
        yield from ((f"conv{n}", f"bn{n}") for n in numbers if n.isdecimal())
