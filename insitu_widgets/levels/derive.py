"""Carry out a recipe: depth, then parameter, then bit. The only module that knows all three."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from insitu_widgets.errors import of_type
from insitu_widgets.inference import for_inference
from insitu_widgets.levels import bit, depth, masked, parameter
from insitu_widgets.levels.allocation import LayerLoss, shipped_sensitivity, widths_under
from insitu_widgets.levels.recipe import WIDEST_CODE, Recipe
from insitu_widgets.remembered import Remembered
from insitu_widgets.roots import Root, is_weight

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: The width whose steps are the grid of an all-in-one root.
NESTED_AT = 4
#: Weights of an all-in-one root -> codes of 8 bits, which all its sub-models share, and steps.
shared_codes = Remembered(partial(bit.nested_codes, bits=WIDEST_CODE, best_at=NESTED_AT))


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

    def with_rest(self, rest: Mapping[str, Tensor]) -> SubModel:
        """The same sub-model with other norms, biases and embeddings, of the same names."""
        return SubModel(self.recipe, self.layers, rest, self._architecture)

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


def derive(
    root: Root,
    recipe: Recipe,
    importance: Mapping[str, Tensor] | None = None,
    sensitivity: Sequence[LayerLoss] | None = None,
) -> SubModel:
    """Cut the sub-model that a recipe describes out of a root (paper, Fig. 1).

    The root is never changed; at full precision the sub-model shares its memory. An all-in-one
    root keeps groups of weights, and its sub-models share one grid a layer, whatever is kept: the
    codes of a smaller one are codes, or the first bits of codes, of a larger one. A mixed recipe
    gives each layer its own width, so that the weights that are kept take at most the recipe's bits
    on average (section 2.3).

    Parameters
    ----------
    root, recipe
        What to cut, and how.
    importance
        Layer name -> scores of the layer's shape; the weights with the highest are kept. ``None``
        is the magnitude; :mod:`insitu_widgets.levels.parameter` has others.
    sensitivity
        For a mixed recipe: what quantising each layer costs, at the recipe's exit, as
        :func:`insitu_widgets.levels.mixed.sensitivity` measures it. ``None`` takes what is shipped
        for the root of that name; for a root of your own nothing is.

    Raises
    ------
    TypeError
        If it is given something else than a root and a recipe.
    ValueError
        If the recipe is for another root, or asks for an exit that this one lacks; or for a mixed
        recipe if a layer's sensitivity is not known.
    """
    of_type("root", root, Root, "Load one with load_root(name), or wrap your own: Root.wrap(...).")
    of_type("recipe", recipe, Recipe, "Make one with Recipe(root, exit, keep, bits).")
    if recipe.root != root.name:
        msg = (
            f"recipe.root must be {root.name!r}, the root given; got {recipe.root!r}. "
            f"Load that root, or make the recipe for this one."
        )
        raise ValueError(msg)
    architecture = depth.cut(root, recipe.exit)
    weights, _ = weights_and_rest(architecture)
    if importance is not None:
        masks = parameter.masks(importance, recipe.keep, weights)
    elif root.is_nested:
        masks = parameter.group_masks(weights, recipe.keep)
    else:
        masks = parameter.magnitude_masks(weights, recipe.keep)
    widths = None
    if recipe.mixed:
        if sensitivity is None:
            exits = shipped_sensitivity(root.name)
            sensitivity = exits.get(recipe.exit or root.num_exits, ())
        kept = {name: int(np.count_nonzero(mask.numpy())) for name, mask in masks.items()}
        widths = widths_under(sensitivity, kept, recipe.bits)
    return sent(architecture, recipe, masks, shared_grid=root.is_nested, widths=widths)


def sent(
    architecture: nn.Module,
    recipe: Recipe,
    masks: Mapping[str, Tensor],
    *,
    shared_grid: bool = False,
    widths: Mapping[str, int] | None = None,
) -> SubModel:
    """The sub-model of a network that is already cut, and of which it is known what is kept.

    Parameters
    ----------
    architecture
        The network up to the recipe's exit, as :func:`insitu_widgets.levels.depth.cut` gives it.
    recipe
        Its bits are those that the weights are sent with.
    masks
        Layer name -> bool mask of the layer's shape.
    shared_grid
        Whether the codes are an all-in-one root's.
    widths
        For a mixed recipe: layer name -> bits for each of its weights.

    Raises
    ------
    ValueError
        For a mixed recipe without widths.
    """
    weights, rest = weights_and_rest(architecture)
    if widths is None:
        if recipe.mixed:
            msg = (
                f"widths must give each layer of {recipe} its bits; got none. Cut it with "
                f"derive(root, recipe), or choose one width for all: mixed=False."
            )
            raise ValueError(msg)
        widths = dict.fromkeys(weights, recipe.bits)
    layers = tuple(
        as_sent(name, w, masks[name], widths[name], shared_grid=shared_grid)
        for name, w in weights.items()
    )
    return SubModel(recipe, layers, rest, architecture)


def weights_and_rest(module: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Divide a network's tensors into the weights (exposed) and the small rest (float32).

    A parameter that is not trained is given as it is, so that what is remembered of it is found.
    """
    weights: dict[str, Tensor] = {}
    rest: dict[str, Tensor] = {}
    for name, parameter_ in module.named_parameters():
        tensor = parameter_.detach() if parameter_.requires_grad else parameter_
        (weights if is_weight(name, parameter_) else rest)[name] = tensor
    rest |= {n: buffer for n, buffer in module.named_buffers() if buffer.is_floating_point()}
    return weights, rest


def as_sent(name: str, weights: Tensor, mask: Tensor, bits: int, *, shared_grid: bool) -> Layer:
    """One layer's weights of which ``mask`` are kept, as they are sent with ``bits`` bits each.

    ``shared_grid`` tells whether the codes are an all-in-one root's.
    """
    if bits <= WIDEST_CODE and shared_grid:
        codes, steps = shared_codes(weights)
        steps = steps * 2.0 ** (NESTED_AT - bits)  # exact
        return Layer(name, mask, masked.select(codes, mask) >> (WIDEST_CODE - bits), steps, bits)
    if bits <= WIDEST_CODE:
        codes, scales = bit.quantise(weights, mask, bits)
        return Layer(name, mask, masked.select(codes, mask), scales, bits)
    values = masked.select(weights, mask)
    if bits == 16:
        largest = torch.finfo(torch.float16).max
        values = values.clamp(-largest, largest).to(torch.float16)
    return Layer(name, mask, values, None, bits)
