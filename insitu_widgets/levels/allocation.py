"""Bits for each layer under a total budget (paper, section 2.3, its [11]). Needs no torch.

What quantising each layer alone costs was measured before (:mod:`insitu_widgets.levels.mixed`); of
the shipped roots the measurements are shipped, one JSON a root beside its catalogue. The rest is
arithmetic: the budget goes, step by step, to the layer where a bit buys most.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING

from insitu_widgets.errors import in_range

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


@lru_cache(maxsize=16)
def shipped_sensitivity(root: str) -> Mapping[int, tuple[LayerLoss, ...]]:
    """What was measured of a shipped root: its layers' losses by exit, 1 … n.

    Raises
    ------
    ValueError
        If nothing was measured of that root, with the remedy.
    """
    path = files("insitu_widgets") / "catalogue" / f"{root}-sensitivity.json"
    if not path.is_file():
        msg = (
            f"sensitivity of {root!r} must be measured before its layers get widths of their own; "
            f"none is shipped. Measure a shipped root's with: python -m "
            f"insitu_widgets.levels.mixed {root}; of your own give it: derive(root, recipe, "
            f"sensitivity=list(sensitivity(root, images, exit))), with the sensitivity of "
            f"insitu_widgets.levels.mixed."
        )
        raise ValueError(msg)
    exits = json.loads(path.read_text(encoding="utf-8"))["exits"]
    return MappingProxyType(
        {
            int(exit_): tuple(
                LayerLoss(name, layer["weights"], tuple(layer["losses"]))
                for name, layer in layers.items()
            )
            for exit_, layers in exits.items()
        }
    )


def widths_under(
    measured: Sequence[LayerLoss], kept: Mapping[str, int], average: int
) -> dict[str, int]:
    """Widths of a sub-model's layers that take at most ``average`` bits a kept weight.

    The losses are those of whole layers: what quantising the kept weights alone would cost is not
    measured anew for each share.

    Parameters
    ----------
    measured
        Each layer's losses; layers that are not in ``kept`` are passed over.
    kept
        Layer name -> weights that are sent. A layer of none is given one bit, which costs nothing.
    average
        Bits for each kept weight, 1 … 8.

    Returns
    -------
    dict[str, int]
        Layer name -> its width, in ``kept``'s order.

    Raises
    ------
    ValueError
        If a layer has no measurement.
    """
    losses = {layer.name: layer for layer in measured}
    missing = [name for name in kept if name not in losses]
    if missing:
        msg = (
            f"sensitivity must have the losses of every layer that is sent, {len(kept)}; got "
            f"{len(losses)} layers, the first that it lacks is {missing[0]!r}. Measure it on the "
            f"same root and exit."
        )
        raise ValueError(msg)
    sent = [replace(losses[name], weights=count) for name, count in kept.items() if count]
    bits = allocate(sent, average * sum(kept.values())).bits
    return {name: bits.get(name, 1) for name in kept}


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
    edges: list[tuple[int, float]] = []
    width = 1
    while width < len(losses):
        here = losses[width - 1]
        slope, ahead = max(
            ((here - losses[w - 1]) / (weights * (w - width)), w)
            for w in range(width + 1, len(losses) + 1)
        )
        if slope <= 0:
            break
        edges.append((ahead, min(slope, edges[-1][1]) if edges else slope))  # but for rounding
        width = ahead
    return edges
