"""What the depth level's panels measure, each measurement made once; importing it loads torch."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from insitu_widgets.air.channel import Link
from insitu_widgets.air.payload import pack
from insitu_widgets.cards import ROOTS
from insitu_widgets.data import shape_of
from insitu_widgets.evaluate import accuracy
from insitu_widgets.explorer.course import loaded
from insitu_widgets.levels.confidence import answer, cheapest
from insitu_widgets.levels.derive import derive
from insitu_widgets.levels.imagenet import IMAGE_SHAPE, parameter_bits
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.levels.split import count, split
from insitu_widgets.network.depth_rows import exits_of
from insitu_widgets.network.privacy import attack
from insitu_widgets.network.split import Cooperation, Uplink, cooperative_exits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from insitu_widgets.estimate import Estimate
    from insitu_widgets.levels.confidence import Answers
    from insitu_widgets.levels.routing import Routing
    from insitu_widgets.levels.split import Costs
    from insitu_widgets.network.depth_rows import Chosen
    from insitu_widgets.network.privacy import Attack


class Leaving(NamedTuple):
    """Early exits as the panel shows them, measured now or before.

    ``found`` is the lowest threshold that reaches the target on the ``size`` images to choose on,
    if one does, and ``most`` the best accuracy there. ``curve``, ``alone`` (all images at one exit)
    and ``route`` (any threshold that was measured) are of the images that are reported on.
    """

    found: Routing | Chosen | None
    most: float
    size: int
    curve: Sequence[Routing]
    alone: Sequence[Estimate]
    route: Callable[[float], Routing]


@lru_cache(maxsize=16)
def costs_of(network: str) -> Costs:
    """Counted operations and features of one image."""
    shape = shape_of(ROOTS[network].data) if network in ROOTS else IMAGE_SHAPE
    return count(loaded.root_of(network), shape)


@lru_cache(maxsize=256)
def download_bits(network: str, keep: float, bits: int) -> tuple[int, ...]:
    """Bits of the device's half at split points 0 … n: packed, or counted for a large network."""
    root = loaded.root_of(network)
    points = range(1, root.num_exits + 1)
    if network not in ROOTS:
        return (0, *(parameter_bits(root, point, keep, bits) for point in points))
    recipes = (Recipe(network, exit=point, keep=keep, bits=bits) for point in points)
    return (0, *(pack(derive(root, recipe)).num_bits for recipe in recipes))


@lru_cache(maxsize=1024)
def together(
    network: str,
    point: int,
    *,
    keep: float,
    bits: int,
    feature_bits: int,
    bit_error_rate: float,
) -> Estimate:
    """Accuracy of a device with a sub-model and a server with the root, over a real uplink."""
    root = loaded.root_of(network)
    recipe = Recipe(network, exit=point or None, keep=keep, bits=bits)
    halves = split(root, point, derive(root, recipe).module if point else None)
    link = Link(1.0, bit_error_rate=bit_error_rate)
    uplink = Uplink(feature_bits, link, np.random.default_rng(0))
    *_, last = accuracy(Cooperation(halves, uplink), loaded.images_of(network))
    return last


@lru_cache(maxsize=64)
def answers_of(network: str, part: str, *, point: int, bits: int, measure: str) -> Answers:
    """Every exit's answers, those behind the split from features that really went up."""
    uplink = Uplink(bits, Link(1.0), np.random.default_rng(0))
    exits = partial(cooperative_exits, loaded.root_of(network), point, uplink)
    return answer(exits, loaded.images_of(network, part), measure)


def leaving_now(
    network: str, target: float, *, source: str, point: int, bits: int, measure: str
) -> Leaving:
    """Early exits measured on this machine's images."""
    ask = partial(answers_of, network, point=point, bits=bits, measure=measure)
    aside, reported = ask("test").halves()
    if source == "train":
        aside = ask("train")
    most = max(aside.route(value).estimate.accuracy for value in aside.thresholds())
    curve = [reported.route(value) for value in reported.thresholds()]
    found = cheapest(aside, target)
    return Leaving(found, most, len(aside), curve, reported.everyone(), reported.route)


def leaving_before(
    network: str, target: float, *, source: str, point: int, bits: int, measure: str
) -> Leaving:
    """Early exits from the shipped table, at the thresholds and settings that it has."""
    held = exits_of(network, bits=bits, point=point, measure=measure, source=source)
    most = max(each.estimate.accuracy for each in held.aside)
    size = held.aside[0].estimate.seen
    return Leaving(held.cheapest(target), most, size, held.reported, held.alone, held.route)


@lru_cache(maxsize=128)
def attack_on(network: str, point: int, *, bits: int, attacker: str) -> Attack:
    """What an attacker makes of the test images' uploads."""
    train, test = loaded.images_of(network, "train"), loaded.images_of(network)
    return attack(loaded.root_of(network), point, train, test, bits=bits, attacker=attacker)
