"""Carry out a recipe: depth, then parameter, then bit. The only module that knows all three."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from insitu_widgets.errors import of_type
from insitu_widgets.levels import bit, depth, masked, parameter
from insitu_widgets.levels.allocation import LayerLoss, shipped_sensitivity, widths_under
from insitu_widgets.levels.recalibrate import calibration_images, recalibrated
from insitu_widgets.levels.recipe import WIDEST_CODE, Recipe
from insitu_widgets.levels.submodel import Layer, SubModel
from insitu_widgets.remembered import Remembered
from insitu_widgets.roots import Root, is_weight

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from insitu_widgets.data import ImageSet

#: The width whose steps are the grid of an all-in-one root.
NESTED_AT = 4
#: Weights of an all-in-one root -> codes of 8 bits, which all its sub-models share, and steps.
shared_codes = Remembered(partial(bit.nested_codes, bits=WIDEST_CODE, best_at=NESTED_AT))


def derive(
    root: Root,
    recipe: Recipe,
    importance: Mapping[str, Tensor] | None = None,
    sensitivity: Sequence[LayerLoss] | None = None,
    images: ImageSet | None = None,
) -> SubModel:
    """Cut the sub-model that a recipe describes out of a root (paper, Fig. 1).

    The root is never changed; at full precision the sub-model shares its memory. An all-in-one
    root keeps groups of weights, and its sub-models share one grid a layer, whatever is kept: the
    codes of a smaller one are codes, or the first bits of codes, of a larger one. A mixed recipe
    gives each layer its own width, so that the weights that are kept take at most the recipe's bits
    on average (section 2.3). A recalibrated one has its batch norms measured anew.

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
    images
        For a recalibrated recipe: images such as the sub-model will see, without use of labels.
        ``None`` takes training images of a shipped root; for one of your own there are none.

    Raises
    ------
    TypeError
        If it is given something else than a root and a recipe.
    ValueError
        If the recipe is for another root, or asks for an exit that this one lacks; or for a mixed
        recipe if a layer's sensitivity is not known, for a recalibrated one if there are no batch
        norms or no images.
    DataError
        For a recalibrated recipe without ``images``, if a shipped root's are not on this machine.
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
    cut = sent(architecture, recipe, masks, shared_grid=root.is_nested, widths=widths)
    if not recipe.recalibrated:
        return cut
    return recalibrated(cut, calibration_images(root.name) if images is None else images)


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
