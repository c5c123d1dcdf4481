"""Broadcasting a nested model: everybody hears the base, the better links the refinements.

The sizes are those of real packets and refinements; the links and the time on the air are
simulated. Paper, sections 2.2 (nested subnets) and 3 (task-oriented communications).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from insitu_widgets.air.payload import Packet, pack
from insitu_widgets.errors import in_range
from insitu_widgets.levels.derive import derive
from insitu_widgets.network.refine import refinement
from insitu_widgets.roots import load_root

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from insitu_widgets.levels.recipe import Recipe


@dataclass(frozen=True)
class Layers:
    """A nested model cut into a base and refinements.

    Attributes
    ----------
    recipes : tuple[Recipe, …]
        What a device has after each.
    packets : tuple[Packet, …]
        Each of them as a packet of its own, as unicast sends it.
    parts : tuple[Packet, …]
        The base, then the refinements.
    """

    recipes: tuple[Recipe, ...]
    packets: tuple[Packet, ...]
    parts: tuple[Packet, ...]


def layers(recipes: Sequence[Recipe]) -> Layers:
    """Cut a base and its refinements, smallest first.

    Parameters
    ----------
    recipes
        Of a shipped root, each nested in the next.

    Raises
    ------
    ValueError
        If there is no recipe, or one is not nested in the next.
    """
    if not recipes:
        msg = "recipes must hold at least one recipe, the base; got none. Give some."
        raise ValueError(msg)
    packets = [pack(derive(load_root(recipe.root), recipe)) for recipe in recipes]
    parts = (packets[0], *(refinement(old, new) for old, new in pairwise(packets)))
    return Layers(tuple(recipes), tuple(packets), parts)


@dataclass(frozen=True)
class AirTime:
    """Seconds on the air until every listener has what its link is good for.

    Attributes
    ----------
    unicast_s, apart_s, nested_s : float
        One after the other; each size once, to all that take it; the base to all and each
        refinement to those that take it.
    level : int64 ``[listeners]``
        How many parts each listener gets, the same in all three; 0 is nothing.
    """

    unicast_s: float
    apart_s: float
    nested_s: float
    level: NDArray[np.int64]


def air_time(sizes: Layers, rates_bps: NDArray[np.float64], latency_s: float) -> AirTime:
    """Compare unicast with broadcasting for listeners with these rates.

    Each listener is to get the largest size that would reach it within ``latency_s`` if it were
    alone. What several hear is sent at the rate of the weakest among them.

    Parameters
    ----------
    sizes
        A base and refinements.
    rates_bps
        float ``[listeners]``, above 0.
    latency_s
        Above 0.

    Raises
    ------
    ValueError
        For a rate or a latency that cannot be.
    """
    in_range("latency_s", latency_s, 1e-6, 3600.0, "s")
    for rate in (float(rates_bps.min(initial=np.inf)), float(rates_bps.max(initial=0.0))):
        in_range("rates_bps", rate, 1e-6, 1e15, "bit/s")
    bits = np.array([packet.num_bits for packet in sizes.packets])
    level = (bits[None, :] <= latency_s * rates_bps[:, None]).sum(1)
    served = level > 0
    unicast = float((bits[level[served] - 1] / rates_bps[served]).sum())
    apart = nested = 0.0
    for number, part in enumerate(sizes.parts, 1):
        exactly, at_least = rates_bps[level == number], rates_bps[level >= number]
        apart += float(bits[number - 1] / exactly.min()) if exactly.size else 0.0
        nested += float(part.num_bits / at_least.min()) if at_least.size else 0.0
    return AirTime(unicast, apart, nested, level)


def links(listeners: int, median_bps: float, spread_db: float, seed: int) -> NDArray[np.float64]:
    """Rates of listeners: log-normal around a median. The first n are the same for every n."""
    in_range("listeners", listeners, 1, 10_000_000)
    in_range("median_bps", median_bps, 1e-3, 1e15, "bit/s")
    in_range("spread_db", spread_db, 0.0, 40.0, "dB")
    random = np.random.default_rng(seed)
    rates: NDArray[np.float64] = median_bps * 10.0 ** (random.normal(0, spread_db, listeners) / 10)
    return rates
