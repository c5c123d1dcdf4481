"""A random sub-model in all-in-one training: the weights that would arrive, with a gradient."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor, nn

from insitu_widgets.levels.derive import weights_and_rest
from insitu_widgets.levels.parameter import near_group_masks
from insitu_widgets.levels.recipe import WIDEST_CODE
from insitu_widgets.levels.retrain import passed
from insitu_widgets.levels.shared_grid import SharedGrid

#: What is known of the layers' grids: a layer's own weights -> its grid.
Grids: TypeAlias = dict[Tensor, SharedGrid]


def arriving(
    network: nn.Module,
    keep: float,
    bits: int,
    grids: Grids,
    *,
    bit_error_rate: float = 0.0,
    random: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """An all-in-one sub-model's weights, with the gradient of those of the network that are sent.

    They are what :func:`~insitu_widgets.levels.derive.derive` gives for the same exit, share and
    bits, but for two things: the last bit of a float, and, of a network of more than about a
    million weights, the share itself, whose threshold is found from a sample: it is off by some
    thousandths (:func:`~insitu_widgets.levels.parameter.near_group_masks`). What is trained is
    therefore always a sub-model that can be asked for, by a share next to the one drawn.

    Parameters
    ----------
    network
        The root up to an exit, as :func:`insitu_widgets.levels.depth.cut` gives it.
    keep
        Fraction of the weights, in (0, 1].
    bits
        1 … 8, or 32.
    grids
        Known in this step; it grows.
    bit_error_rate
        Of the codes, in [0, 0.5]; floats arrive as they were.
    random
        Of the errors.

    Returns
    -------
    dict[str, Tensor]
        Layer name -> weights; empty where they are the network's own.
    """
    if keep == 1.0 and bits > WIDEST_CODE:
        return {}
    masks = near_group_masks(weights_and_rest(network)[0], keep)
    parameters = dict(network.named_parameters())

    def arrived(weight: Tensor) -> Tensor:
        if bits > WIDEST_CODE:
            return weight.detach()
        if weight not in grids:
            grids[weight] = SharedGrid.of(weight.detach())
        return grids[weight].dense(bits, bit_error_rate, random)

    return {
        name: passed(parameters[name], mask, arrived(parameters[name]) * mask)
        for name, mask in masks.items()
    }
