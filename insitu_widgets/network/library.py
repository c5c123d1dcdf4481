"""The three-tier AI library (paper, section 3): packets at the edge, locally and centrally."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from insitu_widgets.air.channel import MOST_BPS, MOST_DELAY_S
from insitu_widgets.air.payload import Packet, pack
from insitu_widgets.errors import in_range, one_of
from insitu_widgets.levels.derive import derive
from insitu_widgets.roots import load_root

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from insitu_widgets.levels.recipe import Recipe


@dataclass(frozen=True)
class Tier:
    """One tier of the library.

    Parameters
    ----------
    name
        Its name.
    delay_s
        Time for a request to reach it from the next nearer tier, and back.
    backhaul_bps
        Rate at which it sends to the next nearer tier.
    capacity_bytes
        What it can store.

    Raises
    ------
    ValueError
        For a value out of its range.
    """

    name: str
    delay_s: float
    backhaul_bps: float
    capacity_bytes: float

    def __post_init__(self) -> None:
        in_range("delay_s", self.delay_s, 0.0, MOST_DELAY_S, "s")
        in_range("backhaul_bps", self.backhaul_bps, 1e-6, MOST_BPS, "bit/s")
        in_range("capacity_bytes", self.capacity_bytes, 0.0, 1e18, "B")


#: Nearest first. The figures are examples: the paper names the tiers, not their sizes.
TIERS = (
    Tier("edge", 0.0, MOST_BPS, 1e6),
    Tier("local", 0.005, 10e9, 1e8),
    Tier("central", 0.05, 1e9, 1e12),
)


@dataclass(frozen=True)
class Found:
    """A packet with where it was found, and how long it took until it was at the edge.

    ``time_s`` is modelled for the way (delays and back-haul) and measured for the making;
    ``made`` tells whether the packet was made on demand.
    """

    packet: Packet
    tier: str
    time_s: float
    made: bool


def from_root(recipe: Recipe) -> Packet:
    """Make a packet on demand from the shipped root."""
    return pack(derive(load_root(recipe.root), recipe))


class Library:
    """Packets by recipe, in tiers; what is asked for moves to the edge, the longest unused leaves.

    Parameters
    ----------
    tiers
        Nearest first.
    make
        Makes the packet of a recipe that no tier holds; this happens at the edge.

    Raises
    ------
    ValueError
        If there is no tier, or two have one name.
    """

    def __init__(
        self, tiers: Sequence[Tier] = TIERS, make: Callable[[Recipe], Packet] = from_root
    ) -> None:
        names = [tier.name for tier in tiers]
        if not names or len(set(names)) < len(names):
            msg = f"tiers must be at least one, each with its own name; got {names}. Rename them."
            raise ValueError(msg)
        self.tiers = tuple(tiers)
        self._make = make
        self._held: dict[str, OrderedDict[Recipe, Packet]] = {n: OrderedDict() for n in names}

    def held(self, tier: str) -> tuple[Recipe, ...]:
        """Recipes that a tier holds, the longest unused first."""
        one_of("tier", tier, self._held)
        return tuple(self._held[tier])

    def store(self, recipe: Recipe, packet: Packet, tier: str) -> bool:
        """Put a pre-generated packet into a tier, evicting the longest unused ones to make room.

        Returns whether it is held: a packet larger than the whole tier is not.
        """
        one_of("tier", tier, self._held)
        capacity = next(t.capacity_bytes for t in self.tiers if t.name == tier)
        held = self._held[tier]
        held.pop(recipe, None)
        if packet.num_bits / 8 > capacity:
            return False
        while held and sum(p.num_bits for p in held.values()) + packet.num_bits > 8 * capacity:
            held.popitem(last=False)
        held[recipe] = packet
        return True

    def fetch(self, recipe: Recipe) -> Found:
        """Bring a packet to the edge: from the nearest tier that holds it, else made on demand."""
        asked_s = 0.0
        for position, tier in enumerate(self.tiers):
            asked_s += tier.delay_s
            packet = self._held[tier.name].get(recipe)
            if packet is None:
                continue
            self._held[tier.name].move_to_end(recipe)
            sent_s = sum(packet.num_bits / hop.backhaul_bps for hop in self.tiers[1 : position + 1])
            self.store(recipe, packet, self.tiers[0].name)
            return Found(packet, tier.name, asked_s + sent_s, made=False)
        start = time.perf_counter()
        packet = self._make(recipe)
        made_s = time.perf_counter() - start
        self.store(recipe, packet, self.tiers[0].name)
        return Found(packet, self.tiers[0].name, asked_s + made_s, made=True)
