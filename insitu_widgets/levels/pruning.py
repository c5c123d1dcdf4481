"""Pruning, measured and healed (paper, section 2.2): sensitivity of each layer, and re-training.

"Third, the pruned model is re-trained to prevent the model from suffering dramatic performance
loss from pruning": what was kept is trained on, what was pruned stays away.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.func import functional_call

from insitu_widgets.errors import in_range
from insitu_widgets.levels.derive import derive, sent
from insitu_widgets.levels.descent import descend
from insitu_widgets.levels.mixed import LayerLoss, divergence
from insitu_widgets.levels.parameter import masks
from insitu_widgets.levels.quantised import rebuilt, tensors_of
from insitu_widgets.levels.retrain import lesson, soft_answers, straight_through
from insitu_widgets.levels.submodel import SubModel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import nn

    from insitu_widgets.data import ImageSet
    from insitu_widgets.levels.recipe import Recipe
    from insitu_widgets.roots import Root


def pruned_layer_loss(
    root: Root, layer: str, keeps: Sequence[float], images: Tensor, expected: Tensor
) -> LayerLoss:
    """Prune one layer alone to each share of its weights, and measure how far the answers move.

    Parameters
    ----------
    root, layer
        The root, and a layer on the way to its last exit.
    keeps
        Shares in (0, 1].
    images
        ``[N, C, H, W]``: images that nothing is reported on.
    expected
        The root's :func:`~insitu_widgets.levels.mixed.answers` to them.
    """
    weight = tensors_of(root)[0][layer]
    only = {layer: weight}
    losses = []
    for keep in keeps:
        mask = masks({layer: weight.abs()}, keep, only)[layer]
        module = rebuilt(root, {layer: weight * mask})
        losses.append(divergence(module, images, expected))
    return LayerLoss(layer, weight.numel(), tuple(losses))


@dataclass(frozen=True)
class Healing:
    """How to re-train a pruned model.

    Parameters
    ----------
    steps
        Batches.
    peak_rate
        Adam's highest step size.
    batch
        Images a step.
    """

    steps: int = 60
    peak_rate: float = 2e-3
    batch: int = 100

    def __post_init__(self) -> None:
        in_range("steps", self.steps, 1, 100_000)
        in_range("peak_rate", self.peak_rate, 1e-8, 1.0)
        in_range("batch", self.batch, 2, 10_000, "images")


@dataclass(frozen=True, eq=False)
class HealingStep:
    """After one batch: its number, its loss (nat), and the network as it is now."""

    number: int
    loss: float
    network: nn.Module
    recipe: Recipe
    masks: Mapping[str, Tensor]

    def submodel(self) -> SubModel:
        """What a packet would hold now; it does not change with later steps."""
        return sent(copy.deepcopy(self.network).eval(), self.recipe, self.masks)


def heal(
    root: Root,
    recipe: Recipe,
    images: ImageSet,
    plan: Healing,
    *,
    seed: int = 0,
    importance: Mapping[str, Tensor] | None = None,
) -> Iterator[HealingStep]:
    """Re-train what a recipe keeps of a root, batch by batch; to stop is not to ask for more.

    With 8 bits and fewer it is trained with its codes, the gradient going straight through. In a
    context of autocast the passes are computed in its type.

    Parameters
    ----------
    root, recipe
        What to cut, and how; the root stays as it is and is the teacher.
    images
        Training images with labels.
    plan
        How.
    seed
        Of order and warping.
    importance
        As in :func:`~insitu_widgets.levels.derive.derive`.

    Raises
    ------
    ValueError
        For a mixed recipe.
    """
    if recipe.mixed:
        msg = (
            f"recipe must have one width for all layers to be re-trained; got {recipe}. Give it "
            f"mixed=False."
        )
        raise ValueError(msg)
    random = torch.Generator().manual_seed(seed)
    pruned = derive(root, replace(recipe, bits=32), importance)
    kept = {layer.name: layer.mask for layer in pruned.layers}
    network = copy.deepcopy(pruned.module).train().requires_grad_(requires_grad=True)

    def loss_of(batch: Tensor, labels: Tensor) -> Tensor:
        arrived = straight_through(network, sent(network, recipe, kept))
        logits = functional_call(network, arrived, (batch,)).float()
        return lesson(logits, labels, soft_answers(root, batch))

    for number, loss in descend(network, images, plan, loss_of, random):
        yield HealingStep(number, loss, network, recipe, kept)
