"""A network made ready for many images: the same function, in fewer steps."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from insitu_widgets.roots import ENCODER, RESIDUAL, TokenHead

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Weights beyond this are a channel's doing: such a network is run as it arrived, step by step,
#: because folding would move the place where its numbers overflow.
LARGEST = 1e4


def for_inference(network: nn.Module) -> nn.Module:
    """A copy with each batch norm folded into the convolution before it, channels last.

    A transformer's self-attention takes one product for queries, keys and values, without the
    copies between two orders of its axes that torch's module makes. Of a ViT's last block only
    the class token is computed where its head hears nothing else.

    The logits are the network's own but for rounding. The network itself stays as it is, and is
    returned as it is if it holds NaN or weights that are beyond :data:`LARGEST`.
    """
    if not all(bool(tensor.abs().amax() <= LARGEST) for tensor in network.parameters()):
        return network
    ready = copy.deepcopy(network).eval()
    for parent in list(ready.modules()):
        for first, second in _in_a_row(parent):
            convolution: Any = parent.get_submodule(first)
            norm: Any = parent.get_submodule(second)
            # Torch's own only: nothing else is done to their weights and images.
            own = type(convolution) is nn.Conv2d and type(norm) is nn.BatchNorm2d
            if own and norm.running_mean is not None:
                setattr(parent, first, fuse_conv_bn_eval(convolution, norm))
                setattr(parent, second, nn.Identity())
        if isinstance(parent, ENCODER):
            parent.self_attention = _SelfAttention(parent.self_attention)
    for parent in list(ready.modules()):
        if _hears_class_tokens_only(parent):
            name, last = list(parent.get_submodule("blocks").named_children())[-1]
            setattr(parent.get_submodule("blocks"), name, _LastBlock(last))
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
        projected = functional.linear(features, self.weight, self.bias)
        return self._attend(*self._by_head(projected, 3)), None

    def first(self, features: Tensor) -> Tensor:
        """What the first token alone hears of all the others, ``[N, 1, E]``."""
        width = features.shape[2]
        asked = functional.linear(features[:, :1], self.weight[:width], self.bias[:width])
        told = functional.linear(features, self.weight[width:], self.bias[width:])
        return self._attend(*self._by_head(asked, 1), *self._by_head(told, 2))

    def _by_head(self, projected: Tensor, parts: int) -> Tensor:
        """``[N, L, parts · E]`` as ``[parts, N, heads, L, E / heads]``."""
        n, length, _ = projected.shape
        return projected.view(n, length, parts, self.heads, -1).permute(2, 0, 3, 1, 4)

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        likeness = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-1, -2)
        heard = likeness.softmax(-1) @ values
        return self.out(heard.transpose(1, 2).flatten(2))


class _LastBlock(nn.Module):
    """A ViT's last block before a head that hears the class token only: ``[N, T, D] → [N, 1, D]``.

    The other tokens are asked for their keys and values; nobody reads what would become of them.
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, tokens: Tensor) -> Tensor:
        """Compute the class token."""
        block: Any = self.block
        token = tokens[:, :1] + block.self_attention.first(block.ln_1(tokens))
        return token + block.mlp(block.ln_2(token))


def _hears_class_tokens_only(network: nn.Module) -> bool:
    """Whether it is a ViT in blocks, as roots and cuts are, and all its heads hear no more."""
    parts = dict(network.named_children())
    blocks = list(parts["blocks"].children()) if "blocks" in parts else []
    heads = [parts["head"]] if "head" in parts else parts.get("heads", network).children()
    if not blocks or not isinstance(blocks[-1], ENCODER):
        return False
    return all(isinstance(head, TokenHead) for head in heads)


def _in_a_row(parent: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of children that surely run one after the other."""
    if isinstance(parent, nn.Sequential) and type(parent).forward is nn.Sequential.forward:
        names = (name.split(".") for name, _ in parent.named_modules(remove_duplicate=False))
        yield from pairwise(name[0] for name in names if len(name) == 1 and name[0])
    elif isinstance(parent, RESIDUAL):
        numbers = [name.removeprefix("conv") for name, _ in parent.named_children()]
        yield from ((f"conv{n}", f"bn{n}") for n in numbers if n.isdecimal())
