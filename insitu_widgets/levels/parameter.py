"""Parameter level (paper, section 2.2): keep the weights that matter most."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


def magnitude_masks(weights: Mapping[str, Tensor], keep: float) -> dict[str, Tensor]:
    """Masks of the ``keep`` largest weights in magnitude, over all layers at once.

    Exactly ``max(1, round(keep · n))`` of the n weights are kept; where magnitudes tie, the
    earlier weight stays. Masks of a smaller ``keep`` are therefore subsets of those of a larger.

    Parameters
    ----------
    weights
        Layer name -> weights of any shape.
    keep
        Fraction in (0, 1].

    Returns
    -------
    dict[str, Tensor]
        Layer name -> bool mask of the layer's shape.
    """
    if keep == 1.0:
        return {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
    magnitude = torch.cat([w.flatten() for w in weights.values()]).abs()
    count = max(1, round(keep * magnitude.numel()))
    threshold = _kth_largest(magnitude, count)
    mask = magnitude > threshold
    ties = (magnitude == threshold).nonzero().flatten()
    mask[ties[: count - int(mask.sum())]] = True
    parts = mask.split([w.numel() for w in weights.values()])
    return {
        name: part.view(w.shape) for (name, w), part in zip(weights.items(), parts, strict=True)
    }


def _kth_largest(magnitude: Tensor, count: int) -> Tensor:
    # numpy's partition is a selection in linear time; torch.kthvalue is three times slower here.
    values = magnitude.numpy().copy()
    place = values.size - count
    values.partition(place)
    return torch.as_tensor(values[place])
