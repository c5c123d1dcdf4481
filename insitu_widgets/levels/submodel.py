"""A sub-model: its weights as they are sent, everything else, and the network that they make."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from torch import Tensor, nn

from insitu_widgets.inference import for_inference
from insitu_widgets.levels import bit, masked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from insitu_widgets.levels.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Layer:
    """The weights of one layer, as they are sent.

    Attributes
    ----------
    name : str
        The parameter's name in the sub-model.
    mask : Tensor
        bool, the layer's shape ``[C, …]``: which weights are sent.
    values : Tensor
        ``[kept]``, in the mask's order: uint8 codes, float16 or float32.
    scales : Tensor | None
        float32 ``[C]``, one for each output channel, for codes; ``None`` for floats.
    bits : int
        Bits for each value.
    """

    name: str
    mask: Tensor
    values: Tensor
    scales: Tensor | None
    bits: int

    def dense(self) -> Tensor:
        """The weights as the network computes with them: float32, zero where none was sent."""
        if self.scales is None:
            return masked.scatter(self.values.float(), self.mask)
        if self.values.numel() == self.mask.numel():
            rows = self.values.view(len(self.scales), -1)
            return bit.reconstruct(rows, self.scales[:, None], self.bits).view(self.mask.shape)
        per_value = self.scales.repeat_interleave(self.mask.flatten(1).sum(1))
        return masked.scatter(bit.reconstruct(self.values, per_value, self.bits), self.mask)


class SubModel:
    """A sub-model: its recipe, its weights as they are sent, and the network they make.

    Call it like a root: images ``[N, C, H, W]`` to logits ``[N, classes]``.

    Attributes
    ----------
    recipe : Recipe
        What was cut.
    layers : tuple[Layer, …]
        The weights: pruned, quantised, exposed to the channel.
    rest : Mapping[str, Tensor]
        Norms, biases, embeddings and running statistics, float32.
    """

    def __init__(
        self,
        recipe: Recipe,
        layers: tuple[Layer, ...],
        rest: Mapping[str, Tensor],
        architecture: nn.Module,
    ) -> None:
        self.recipe = recipe
        self.layers = layers
        self.rest = rest
        self._architecture = architecture

    @property
    def num_weights(self) -> int:
        """Weights that are kept."""
        return sum(layer.values.numel() for layer in self.layers)

    @property
    def num_parameters(self) -> int:
        """Weights that are kept, and all norms, biases and embeddings."""
        names = dict(self._architecture.named_parameters())
        return self.num_weights + sum(t.numel() for n, t in self.rest.items() if n in names)

    def with_layers(self, layers: tuple[Layer, ...]) -> SubModel:
        """The same sub-model with other values, as they arrived."""
        return SubModel(self.recipe, layers, self.rest, self._architecture)

    def with_rest(self, rest: Mapping[str, Tensor], recipe: Recipe) -> SubModel:
        """The same weights with other norms, biases and embeddings, and what was cut so."""
        return SubModel(recipe, self.layers, rest, self._architecture)

    @cached_property
    def module(self) -> nn.Module:
        """The network itself, in evaluation mode; made when first asked for."""
        tensors = {layer.name: layer.dense() for layer in self.layers} | dict(self.rest)
        memo: dict[int, object] = {}
        for name, parameter_ in self._architecture.named_parameters():
            memo[id(parameter_)] = nn.Parameter(tensors[name], requires_grad=False)
        for name, buffer in self._architecture.named_buffers():
            if name in tensors:
                memo[id(buffer)] = tensors[name]
        # Copying with the new tensors already in the memo copies the structure only.
        return copy.deepcopy(self._architecture, memo).eval()

    def for_inference(self) -> nn.Module:
        """The network made ready for many images: equal but for rounding, and faster."""
        return for_inference(self.module)

    def __call__(self, images: Tensor) -> Tensor:
        """Logits ``[N, classes]`` of ``images [N, C, H, W]``."""
        logits: Tensor = self.module(images)
        return logits

    def __eq__(self, other: object) -> bool:
        """Equal to the bit: recipe, masks, values, scales and everything else that is sent."""
        if not isinstance(other, SubModel):
            return NotImplemented
        return (
            self.recipe == other.recipe
            and self.rest.keys() == other.rest.keys()
            and all(_same(tensor, other.rest[name]) for name, tensor in self.rest.items())
            and len(self.layers) == len(other.layers)
            and all(_same_layer(a, b) for a, b in zip(self.layers, other.layers, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]  # equality compares tensors

    def __repr__(self) -> str:
        return f"SubModel({self.recipe}: {self.num_parameters:,} parameters)"


def _same(a: Tensor, b: Tensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return a.detach().numpy().tobytes() == b.detach().numpy().tobytes()


def _same_layer(a: Layer, b: Layer) -> bool:
    scales = (a.scales is None and b.scales is None) or (
        a.scales is not None and b.scales is not None and _same(a.scales, b.scales)
    )
    return (
        (a.name, a.bits) == (b.name, b.bits)
        and scales
        and _same(a.mask, b.mask)
        and _same(a.values, b.values)
    )
