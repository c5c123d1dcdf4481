"""Parameter level (paper, section 2.2): keep the weights that matter most."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.func import functional_call
from torch.nn import functional

from insitu_widgets.errors import one_of
from insitu_widgets.remembered import Remembered
from insitu_widgets.roots import is_weight

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from insitu_widgets.data import ImageSet

#: What may say how much a weight matters; the last one is the control.
IMPORTANCES = (
    "magnitude",
    "magnitude, per layer",
    "magnitude, layer-adaptive",
    "first-order Taylor",
    "random",
)
_IMAGES_A_GRADIENT = 10
#: Weights of a layer of which more than whole kernels can be told apart.
_LARGE = 250_000
#: Bits of a float32 below its sign, its exponent and the first seven digits of its fraction.
_DIGITS = 16


def importance(
    kind: str, network: nn.Module, images: ImageSet | None = None, seed: int = 0
) -> dict[str, Tensor]:
    """Score every weight of a network; :func:`masks` keeps those with the highest scores.

    Parameters
    ----------
    kind
        One of :data:`IMPORTANCES`. Magnitude compares weights over all layers, or within each
        layer only, so that every layer keeps the same share; layer-adaptive it is squared and
        divided by the sum of the squares in its layer that are no smaller (LAMP: J. Lee et al.,
        "Layer-adaptive Sparsity for the Magnitude-based Pruning", ICLR 2021), so that each layer's
        largest weight scores 1. First-order Taylor is (w · ∂L/∂w)², summed over small batches: the
        squared change of the loss if the weight went (P. Molchanov et al., CVPR 2019, eq. 8).
        Random is the control.
    network
        A root cut at an exit: images to logits.
    images
        With labels, for the gradients: first-order Taylor needs them, the others do not.
    seed
        Of the random scores.

    Returns
    -------
    dict[str, Tensor]
        Layer name -> float32 scores of the layer's shape.

    Raises
    ------
    ValueError
        For an unknown kind, and for first-order Taylor without images.
    """
    one_of("importance", kind, IMPORTANCES)
    weights = {n: p.detach() for n, p in network.named_parameters() if is_weight(n, p)}
    if kind == "first-order Taylor":
        if images is None:
            msg = (
                f"images must be an ImageSet for {kind}, which asks for the gradients of its loss; "
                f"got None. Give training images, or take a magnitude, which needs none."
            )
            raise ValueError(msg)
        return _taylor(network, weights, images)
    if kind == "random":
        random = torch.Generator().manual_seed(seed)
        return {name: torch.rand(w.shape, generator=random) for name, w in weights.items()}
    magnitudes = {name: w.abs() for name, w in weights.items()}
    if kind == "magnitude":
        return magnitudes
    scored = _ranks if kind == "magnitude, per layer" else _layer_adaptive
    return {name: scored(magnitude) for name, magnitude in magnitudes.items()}


def _taylor(
    network: nn.Module, weights: Mapping[str, Tensor], images: ImageSet
) -> dict[str, Tensor]:
    moving = {name: w.clone().requires_grad_() for name, w in weights.items()}
    scores = {name: torch.zeros_like(w) for name, w in weights.items()}
    for index in torch.arange(len(images)).split(_IMAGES_A_GRADIENT):
        logits = functional_call(network, moving, (images.images[index],))
        loss = functional.cross_entropy(logits, images.labels[index])
        gradients = torch.autograd.grad(loss, list(moving.values()))
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
            scores[name] += (weight * gradient).square()
    return scores


def _ranks(magnitude: Tensor) -> Tensor:
    """Each weight's place in its layer, from above 0 to 1, the earlier first where they tie."""
    order = magnitude.flatten().argsort(descending=True, stable=True)
    ranks = torch.empty(order.numel())
    ranks[order] = torch.arange(order.numel(), 0, -1) / order.numel()
    return ranks.view(magnitude.shape)


def _layer_adaptive(magnitude: Tensor) -> Tensor:
    """Each weight's square in proportion to all in its layer that come no later by size."""
    squares = magnitude.flatten().double().square()
    order = squares.argsort(descending=True, stable=True)
    scores = torch.empty_like(squares)
    # A layer of zeros has nothing to compare: all its weights score 0.
    larger = squares[order].cumsum(0).clamp_min(torch.finfo(torch.float64).tiny)
    scores[order] = squares[order] / larger
    return scores.float().view(magnitude.shape)


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
    return masks({name: w.abs() for name, w in weights.items()}, keep, weights)


def masks(
    scores: Mapping[str, Tensor], keep: float, weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Masks of the weights with the highest scores, over all layers at once.

    As :func:`magnitude_masks`, for any other importance: of the same scores, masks of a smaller
    ``keep`` are subsets of those of a larger.

    Parameters
    ----------
    scores
        Layer name -> importance of each weight, finite; layers that are not in ``weights`` are
        passed over.
    keep
        Fraction in (0, 1].
    weights
        Layer name -> weights.

    Raises
    ------
    ValueError
        If a layer has no scores, or scores of another shape.
    """
    for name, weight in weights.items():
        shape = tuple(scores[name].shape) if name in scores else None
        if shape != tuple(weight.shape):
            msg = (
                f"importance must have a score for each weight of {name}, {tuple(weight.shape)}; "
                f"got {shape or 'none'}. Measure it on the same root and exit."
            )
            raise ValueError(msg)
    if keep == 1.0:
        return _all_of(weights)
    everything = torch.cat([scores[name].flatten() for name in weights])
    count = max(1, round(keep * everything.numel()))
    values = everything.numpy()
    threshold = _kth_largest(values, count)
    kept = values > threshold
    ties = np.flatnonzero(values == threshold)
    kept[ties[: count - np.count_nonzero(kept)]] = True
    parts = torch.from_numpy(kept).split([w.numel() for w in weights.values()])
    return {
        name: part.view(w.shape) for (name, w), part in zip(weights.items(), parts, strict=True)
    }


def group_size(shape: Sequence[int]) -> int:
    """Neighbouring weights that an all-in-one root keeps or prunes together.

    A kernel of a convolution ``[C, D, h, w]``, or a row of one in a layer of more than a quarter
    of a million weights; where a kernel is one weight, up to eight of an output channel. A mask
    then costs a bit a group instead of a bit a weight, on every channel use.

    Rows are a compromise. With a tenth of its weights, ResNet-18 of CIFAR-100 answered 71 % of
    images rightly after 140 steps of all-in-one training on whole kernels, 74 % after 80 on rows,
    80 % on single weights (1,000 training images kept back); but a download in four parts (keep
    10, 20, 50 and 100 % at 4 bits) then takes 5 % less, 0.2 % more and 18 % more than one download,
    for the order of single weights is long to tell (section 2.2).
    """
    if math.prod(shape[2:]) == 1:
        return math.gcd(shape[1], 8)
    return shape[-1] if math.prod(shape) > _LARGE else math.prod(shape[2:])


def group_masks(weights: Mapping[str, Tensor], keep: float) -> dict[str, Tensor]:
    """Masks of the groups with the largest root mean squares, over all layers at once.

    As many whole groups as fit into ``round(keep · n)`` of the n weights are kept, at least one;
    masks of a smaller ``keep`` are subsets of those of a larger.
    """
    if keep == 1.0:
        return _all_of(weights)
    return _of_groups(_strongest(*_groups(weights), keep), weights)


def near_group_masks(
    weights: Mapping[str, Tensor], keep: float, sample: int = 2**17
) -> dict[str, Tensor]:
    """:func:`group_masks` of a share close to ``keep``, for less time: trainings need many.

    Of more groups than ``sample`` only every k-th is sorted, and the smallest that these keep tells
    what all others need. These are the masks of a share that is off by chance: by
    √(keep · (1 - keep) / sample), some thousandths, and so nested like all others. Of no more
    groups they are :func:`group_masks` to the bit.
    """
    if keep == 1.0:
        return _all_of(weights)
    if sum(w.numel() // group_size(w.shape) for w in weights.values()) <= sample:
        return group_masks(weights, keep)
    power, sizes = _groups(weights)
    every = -(-len(power) // sample) | 1  # odd, so that no input channel is passed over
    some = power[::every]
    smallest = some[_strongest(some, sizes[::every], keep)].min()
    return _of_groups(power >= smallest, weights)


def _groups(weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Mean square and number of weights of every group, layer after layer; numbers in float64."""
    sizes = [
        torch.full((w.numel() // size,), size, dtype=torch.float64, device=w.device)
        for w in weights.values()
        for size in [group_size(w.shape)]
    ]
    return torch.cat([_powers(w) for w in weights.values()]), torch.cat(sizes)


@Remembered
def _powers(weight: Tensor) -> Tensor:
    return weight.reshape(-1, group_size(weight.shape)).square().mean(1)


def _strongest(power: Tensor, sizes: Tensor, keep: float) -> Tensor:
    """Which groups are the strongest, the earlier of equal ones first, that hold so many weights.

    As if all were sorted, in linear time: the exponents and first digits of their powers tell all
    but those near the weakest that is kept.
    """
    powers, held = power.cpu().numpy(), sizes.cpu().numpy()
    room = round(keep * int(held.sum()))
    digits = powers.view(np.int32) >> _DIGITS  # ordered as the powers, for none is negative
    above = np.bincount(digits, weights=held)[::-1].cumsum()[::-1]  # of these digits and above
    weakest = int((above > room).sum()) - 1  # the last ones that do not all fit
    kept = digits > weakest
    near = np.flatnonzero(digits == weakest)
    order = near[np.argsort(-powers[near], kind="stable")]
    room_left = room - above[weakest] + held[near].sum()
    fit = held[order].cumsum() <= room_left
    kept[order[fit]] = True
    if not kept.any():
        kept[order[:1]] = True
    return torch.from_numpy(kept).to(power.device)


def _all_of(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}


def _of_groups(kept: Tensor, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Which weights are kept, given which groups are."""
    sizes = [group_size(w.shape) for w in weights.values()]
    parts = kept.split([w.numel() // size for w, size in zip(weights.values(), sizes, strict=True)])
    return {
        name: part.repeat_interleave(size).view(w.shape)
        for (name, w), part, size in zip(weights.items(), parts, sizes, strict=True)
    }


def _kth_largest(values: NDArray[np.float32], count: int) -> np.float32:
    # numpy's partition is a selection in linear time; torch.kthvalue is three times slower here.
    values = values.copy()
    place = values.size - count
    values.partition(place)
    return values[place]
