"""All three levels together (paper, section 2, Fig. 1): the best sub-model for every budget.

A budget is in received bits, all counted. The roots have seen every training image, so the test
images serve twice: what is best is chosen on one half of them and measured on the other, and the
other way round. No image judges a choice that it took part in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

from insitu_widgets.air import protection
from insitu_widgets.air.channel import Link, transmit
from insitu_widgets.air.payload import pack, unpack
from insitu_widgets.cards import NESTED_SUFFIX, card_of
from insitu_widgets.errors import in_range, one_of
from insitu_widgets.estimate import Estimate
from insitu_widgets.evaluate import right_answers
from insitu_widgets.levels.derive import derive
from insitu_widgets.levels.quantisers import PER_CHANNEL, Coded
from insitu_widgets.levels.recipe import WIDEST_CODE, Recipe
from insitu_widgets.levels.retrain import Hardening, TrainingStep, retrain
from insitu_widgets.levels.submodel import SubModel
from insitu_widgets.roots import Root
from insitu_widgets.units import quantity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn

    from insitu_widgets.data import ImageSet

#: Which levels a candidate may use. The last but one has its norms recalibrated, the last one cuts
#: from the root's all-in-one weights.
FAMILIES = (
    *("depth alone", "parameters alone", "bits alone", "together"),
    *("together, recalibrated", "together, all-in-one"),
)
ALONE, TOGETHER, RECALIBRATED, ALL_IN_ONE = FAMILIES[:3], *FAMILIES[3:]
KEEPS = (1.0, 0.5, 0.2, 0.1)
WIDTHS = (2, 3, 4, 8)
#: Average bits of the mixed-precision candidates.
AVERAGES = (2, 3, 4)


@dataclass(frozen=True)
class Candidate:
    """What a budget may buy.

    Attributes
    ----------
    what : str
        Its recipe in words.
    num_bits : float
        Received bits.
    right : tuple[float, float]
        Images answered rightly, of the first and of the second half; a mean over channel draws.
    seen : tuple[int, int]
        Images in each half.
    """

    what: str
    num_bits: float
    right: tuple[float, float]
    seen: tuple[int, int]


@dataclass(frozen=True)
class Best:
    """The best that a budget buys: measured accuracy, and the choice of each half."""

    estimate: Estimate
    chosen: tuple[Candidate, Candidate]


@dataclass(frozen=True)
class Channel:
    """What happens to the body, and what protects it.

    Parameters
    ----------
    bit_error_rate
        Of the body's bits.
    guard
        The receiver's, for floats.
    protected
        First bits of each code that ride on the reliable channel.
    code_rate
        Of the reliable channel's code: a protected bit takes 1 / ``code_rate`` bits.
    seeds
        One draw of the errors each.
    """

    bit_error_rate: float = 0.0
    guard: str = "none"
    protected: int = 0
    code_rate: float = 0.5
    seeds: tuple[int, ...] = (0,)


def best(candidates: Sequence[Candidate], budget_bits: float) -> Best:
    """Choose on one half of the images, measure on the other, both ways.

    Of equally accurate candidates the smallest is chosen.

    Raises
    ------
    ValueError
        For a budget below the smallest candidate.
    """
    inside = [c for c in candidates if c.num_bits <= budget_bits]
    if not inside:
        if not candidates:
            msg = "candidates must hold at least one; got none. Measure some first."
            raise ValueError(msg)
        smallest = min(candidates, key=lambda c: c.num_bits)
        msg = (
            f"budget_bits must be at least {smallest.num_bits:g} ("
            f"{quantity(smallest.num_bits / 8, 'B')}), the smallest packet: {smallest.what}; got "
            f"{budget_bits:g}. Give more bits, or allow an earlier exit, fewer weights or bits."
        )
        raise ValueError(msg)
    first = max(inside, key=lambda c: (c.right[0], -c.num_bits))
    second = max(inside, key=lambda c: (c.right[1], -c.num_bits))
    return Best(
        Estimate(round(first.right[1] + second.right[0]), first.seen[1] + second.seen[0]),
        (first, second),
    )


def recipes(root: str, family: str, exits: int) -> list[Recipe]:
    """The recipes of a family, mixed precision among them where bits and more are free.

    The all-in-one weights were trained with one width for all layers, and are cut so. A shipped
    root without batch norms has nothing to recalibrate: that family is empty.
    """
    one_of("family", family, FAMILIES)
    card = card_of(root)
    again = family == RECALIBRATED
    if again and card and not card.has_batch_norms:
        return []
    every = range(1, exits + 1)
    if family == "depth alone":
        return [Recipe(root, exit_) for exit_ in every]
    if family == "parameters alone":
        return [Recipe(root, keep=keep) for keep in (*KEEPS, 0.3, 0.05)]
    if family == "bits alone":
        mixed = [Recipe(root, bits=bits, mixed=True) for bits in AVERAGES]
        return [*(Recipe(root, bits=bits) for bits in (*WIDTHS, 16, 32)), *mixed]
    if family == ALL_IN_ONE:
        return [Recipe(root + NESTED_SUFFIX, *levels) for levels in product(every, KEEPS, WIDTHS)]
    mixed = [Recipe(root, *levels, mixed=True) for levels in product(every, KEEPS, AVERAGES)]
    found = [*(Recipe(root, *levels) for levels in product(every, KEEPS, WIDTHS)), *mixed]
    return [replace(recipe, recalibrated=True) for recipe in found] if again else found


def measure(root: Root, recipe: Recipe, images: ImageSet, channel: Channel) -> Candidate:
    """Cut, pack, send and measure one sub-model.

    Parameters
    ----------
    root, recipe
        What to cut, and how.
    images
        What it is measured on.
    channel
        What happens to it on its way.

    Raises
    ------
    ValueError
        If more bits are to be protected than a code has, or bits of floats.
    """
    return measured(root, derive(root, recipe), images, channel)


def measured(root: Root, submodel: SubModel, images: ImageSet, channel: Channel) -> Candidate:
    """What arrives of a sub-model, as :func:`measure` measures it."""
    rights, num_bits = [], 0.0
    for arrived, num_bits in arrivals(root, submodel, channel):  # noqa: B007
        rights.append(halves(arrived.module, images))
    means = [sum(values) / len(rights) for values in zip(*rights, strict=True)]
    return Candidate(str(submodel.recipe), num_bits, (means[0], means[1]), _sizes(images))


def arrivals(root: Root, submodel: SubModel, channel: Channel) -> Iterator[tuple[SubModel, float]]:
    """What comes out of the packet for each seed of a channel, and its bits on the air.

    Raises
    ------
    ValueError
        If more bits are to be protected than a code has, or bits of floats.
    """
    packet = pack(submodel)
    for seed in channel.seeds:
        if channel.protected:
            yield _protected(submodel, len(packet.header), channel, seed)
        else:
            sent = transmit(packet, Link(1.0, bit_error_rate=channel.bit_error_rate), seed)
            yield unpack(sent, channel.guard, root)[0], packet.num_bits


def hardened(
    root: Root,
    exit: int,  # noqa: A002
    images: ImageSet,
    plan: Hardening,
    seed: int = 0,
) -> Iterator[TrainingStep]:
    """Train a root up to one exit against bit errors; the last step's root is measured as any is.

    The receiver pays nothing for it: what :func:`measure` makes of
    :meth:`~insitu_widgets.levels.retrain.TrainingStep.as_root` has as many bits as before.

    Parameters
    ----------
    root
        The root; it stays as it is, and its answers at this exit are what is learnt.
    exit
        1 … the root's exits.
    images
        Training images with labels; none of those that :func:`measure` is given.
    plan
        Bits, flips and limits in training.
    seed
        Of order, warping and bit errors.

    Raises
    ------
    ValueError
        If the exit is not one of the root's.
    """
    last = in_range("exit", exit, 1, root.num_exits)
    short = Root(root.name, root.stem, root.blocks[:last], root.heads[:last]).eval()
    yield from retrain(short, images, plan, seed)


def _protected(
    submodel: SubModel, header: int, channel: Channel, seed: int
) -> tuple[SubModel, float]:
    """A sub-model as it arrives with its first bits protected, and its bits on the air."""
    if submodel.recipe.bits > WIDEST_CODE:
        msg = (
            f"protected bits need codes of at most {WIDEST_CODE} bits; got floats of "
            f"{submodel.recipe.bits}. Guard floats instead, or choose fewer bits."
        )
        raise ValueError(msg)
    coded = {
        layer.name: Coded(
            PER_CHANNEL, tuple(layer.mask.shape), layer.bits, layer.values, layer.scales[:, None]
        )
        for layer in submodel.layers
        if layer.scales is not None
    }
    parts = protection.split(coded, channel.protected)
    arrived = protection.join(coded, parts.sent(channel.bit_error_rate, seed))
    layers = tuple(replace(la, values=arrived[la.name].codes) for la in submodel.layers)
    num_bits = 8 * header + parts.air_bits(channel.code_rate)
    return submodel.with_layers(layers), num_bits


def halves(model: nn.Module, images: ImageSet) -> tuple[int, int]:
    """Right answers among the images at even and at odd places."""
    right = right_answers(model, images)
    return int(right[0::2].sum()), int(right[1::2].sum())


def _sizes(images: ImageSet) -> tuple[int, int]:
    return (len(images) + 1) // 2, len(images) // 2
