"""Mixed precision: bits for each layer under a total budget (paper, section 2.3, its [11]).

First a measurement, layer by layer: how far the network's answers move when this layer alone is
quantised. Then arithmetic: the budget goes, step by step, to the layer where a bit buys most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from insitu_widgets.errors import in_range
from insitu_widgets.levels.quantised import rebuilt, tensors_of
from insitu_widgets.levels.quantisers import PER_CHANNEL, QUANTISERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from insitu_widgets.roots import Root

#: Widths that a layer may get.
WIDTHS = (1, 2, 3, 4, 5, 6, 7, 8)


@dataclass(frozen=True)
class LayerLoss:
    """What quantising, or pruning, one layer alone costs.

    Attributes
    ----------
    name : str
        The layer.
    weights : int
        How many it has.
    losses : tuple[float, …]
        For 1, 2, … 8 bits, or for each share of its weights: mean Kullback-Leibler divergence of
        the network's answers from the root's, in nat an image.
    """

    name: str
    weights: int
    losses: tuple[float, ...]

    def __post_init__(self) -> None:
        in_range(f"weights of {self.name}", self.weights, 1, 10**12)
        in_range(f"number of losses of {self.name}", len(self.losses), 1, len(WIDTHS))
        for loss in self.losses:
            in_range(f"loss of {self.name}", loss, -1e-3, 1e9, "nat")


@dataclass(frozen=True)
class Allocation:
    """Bits for each layer.

    Attributes
    ----------
    bits : dict[str, int]
        By layer.
    num_bits : int
        Bits of all codes.
    expected_loss : float
        Sum of the layers' losses, in nat an image: what it would be if layers did not interact.
    """

    bits: dict[str, int]
    num_bits: int
    expected_loss: float


def answers(root: Root, images: Tensor, exit: int | None = None) -> Tensor:  # noqa: A002
    """Log-probabilities ``[N, classes]`` of the root."""
    with torch.inference_mode():
        return functional.log_softmax(root(images, exit), dim=1)


def divergence(module: nn.Module, images: Tensor, expected: Tensor) -> float:
    """How far a network's answers to images have moved from the root's (nat an image)."""
    with torch.inference_mode():
        moved = functional.log_softmax(module(images), dim=1)
    return float(functional.kl_div(moved, expected, reduction="batchmean", log_target=True))


def layer_loss(
    root: Root, layer: str, images: Tensor, expected: Tensor, quantiser: str = PER_CHANNEL
) -> LayerLoss:
    """Quantise one layer alone to each width and measure how far the answers move.

    Parameters
    ----------
    root, layer
        The root, and a layer on the way to its last exit.
    images
        ``[N, C, H, W]``: images that nothing is reported on.
    expected
        The root's :func:`answers` to them.
    quantiser
        One that takes every width.
    """
    weight = tensors_of(root)[0][layer]
    losses = []
    for width in WIDTHS:
        module = rebuilt(root, {layer: QUANTISERS[quantiser](weight, width).dense()})
        losses.append(divergence(module, images, expected))
    return LayerLoss(layer, weight.numel(), tuple(losses))


def sensitivity(root: Root, images: Tensor, quantiser: str = PER_CHANNEL) -> Iterator[LayerLoss]:
    """Measure every layer on the way to the last exit, one after the other."""
    expected = answers(root, images)
    for layer in tensors_of(root)[0]:
        yield layer_loss(root, layer, images, expected, quantiser)


def allocate(measured: Sequence[LayerLoss], budget_bits: int) -> Allocation:
    """Give every layer its bits so that all codes together take at most ``budget_bits``.

    Each layer's (bits, loss) points are reduced to their lower convex hull; from the smallest
    widths, the hull's edges are taken by loss saved for each bit, steepest first, as long as they
    fit (T. Shoham and A. Gersho, IEEE Trans. ASSP 36, 1988). On the hull this is optimal at the
    budgets where an edge ends; between them, later edges of other layers fill what is left.

    Raises
    ------
    ValueError
        For a budget below one bit a weight: no packet is that small.
    """
    weights = {layer.name: layer.weights for layer in measured}
    least = sum(weights.values())
    if isinstance(budget_bits, bool) or not isinstance(budget_bits, int) or budget_bits < least:
        msg = (
            f"budget_bits must be a whole number of at least {least} bits, the smallest packet "
            f"(1 bit for each of {least} weights); got {budget_bits!r}. Give more bits, or prune "
            f"or cut at an earlier exit first."
        )
        raise ValueError(msg)
    bits, losses = dict.fromkeys(weights, 1), {m.name: m.losses for m in measured}
    edges = sorted(
        (-slope, position, name, width)
        for name, points in losses.items()
        for position, (width, slope) in enumerate(_hull(points, weights[name]))
    )
    left, closed = budget_bits - least, set()
    for _, _, name, width in edges:
        cost = weights[name] * (width - bits[name])
        if name in closed or cost > left:
            closed.add(name)  # what lies beyond an edge that does not fit costs more
            continue
        bits[name], left = width, left - cost
    expected = math.fsum(losses[name][width - 1] for name, width in bits.items())
    return Allocation(bits, budget_bits - left, expected)


def _hull(losses: Sequence[float], weights: int) -> list[tuple[int, float]]:
    """Edges of the lower hull: the width that each leads to, and the loss saved for each bit."""
    edges, width = [], 1
    while width < len(losses):
        here = losses[width - 1]
        slope, ahead = max(
            ((here - losses[w - 1]) / (weights * (w - width)), w)
            for w in range(width + 1, len(losses) + 1)
        )
        if slope <= 0:
            break
        edges.append((ahead, slope))
        width = ahead
    return edges
