"""The three-tier AI library (paper, section 3): packets at the edge, locally and centrally."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from insitu_widgets.air.payload import Packet, pack
from insitu_widgets.errors import in_range, of_type, one_of
from insitu_widgets.levels.derive import derive
from insitu_widgets.network import tiers as rules
from insitu_widgets.network.store import Apart, Nested, Pieces, Shelf
from insitu_widgets.network.tiers import TIERS, Tier
from insitu_widgets.roots import load_root

if TYPE_CHECKING:
    from insitu_widgets.levels.recipe import Recipe
    from insitu_widgets.network.store import Store
    from insitu_widgets.roots import Root

__all__ = ["TIERS", "Found", "Library", "Tier", "from_root"]


@dataclass(frozen=True)
class Found:
    """A packet with where it was found, and how long it took until it was at the edge.

    ``time_s`` is modelled for the way (delays and back-haul) and measured for the making and
    re-assembling, which are ``working_s`` of it; ``made`` tells whether the packet was made on
    demand.
    """

    packet: Packet
    tier: str
    time_s: float
    made: bool
    working_s: float = 0.0


def from_root(recipe: Recipe) -> Packet:
    """Make a packet on demand from the shipped root."""
    return pack(derive(load_root(recipe.root), recipe))


class Library:
    """Packets by recipe, in tiers; what is asked for moves to the edge, the longest unused leaves.

    Parameters
    ----------
    tiers
        Nearest first, or in any order if each names the one beyond it.
    make
        Makes the packet of a recipe that no tier holds; this happens at the edge. ``None``: what
        no tier holds is refused.
    inwards_after
        How often a packet is asked for before it is copied to the edge; 1 is at once.
    outwards
        Whether what leaves a tier for want of room goes to the next farther one.
    roots
        Where tiers that keep packets nested, or pieces of a user's own root, find the roots.

    Raises
    ------
    ValueError
        If there is no tier, two have one name, or they run in a loop.
    TypeError
        If they are no list of tiers, or ``make`` or ``roots`` cannot be called.
    """

    def __init__(
        self,
        tiers: Sequence[Tier] = TIERS,
        make: Callable[[Recipe], Packet] | None = from_root,
        *,
        inwards_after: int = 1,
        outwards: bool = False,
        roots: Callable[[str], Root] = load_root,
    ) -> None:
        self.tiers = rules.in_order(tiers)
        for field, given in (("make", make), ("roots", roots)):
            if given is not None:
                of_type(field, given, Callable, "Give a function, or leave it out.")  # type: ignore[arg-type]
        self._make, self._outwards = make, outwards
        self._inwards_after = in_range("inwards_after", inwards_after, 1, 10**9)
        self._asked: Counter[Recipe] = Counter()
        self._shelves = {t.name: Shelf(_store(t, roots), t.capacity_bytes) for t in self.tiers}

    def held(self, tier: str) -> tuple[Recipe, ...]:
        """Recipes that a tier holds, the longest unused first."""
        one_of("tier", tier, self._shelves)
        return self._shelves[tier].recipes

    def num_bytes(self, tier: str) -> int:
        """Bytes that a tier's packets take there, as it keeps them."""
        one_of("tier", tier, self._shelves)
        return self._shelves[tier].store.num_bytes

    def store(self, recipe: Recipe, packet: Packet, tier: str) -> bool:
        """Put a pre-generated packet into a tier, evicting the longest unused ones to make room.

        Returns whether it is held: a packet larger than the whole tier is not, and what the tier
        held under this recipe stays.

        Raises
        ------
        NotNestedError
            If the tier keeps packets nested and this one's root does not make it.
        """
        one_of("tier", tier, self._shelves)
        return self._put(recipe, packet, [t.name for t in self.tiers].index(tier), pinned=False)

    def place(self, recipe: Recipe, packet: Packet, latency_s: float) -> str:
        """Give a model the home that the rule wants, where it stays; returns the tier's name.

        Real-time models live at the edge, non-real-time ones locally, generic ones centrally
        (:data:`~insitu_widgets.network.tiers.KINDS`). A model whose need has changed moves.

        Raises
        ------
        ValueError
            If its home has too little room; it is then where it was.
        """
        tier = rules.home(self.tiers, latency_s)
        position = self.tiers.index(tier)
        if not self._put(recipe, packet, position, pinned=True):
            msg = (
                f"{tier.name} must have room for {packet.num_bits // 8} bytes more beside what is "
                f"pinned there; its capacity is {tier.capacity_bytes:g} bytes. Enlarge it, or keep "
                f"its packets nested."
            )
            raise ValueError(msg)
        for other in self.tiers:
            if other != tier:
                self._shelves[other.name].drop(recipe)
        return tier.name

    def fetch(self, recipe: Recipe) -> Found:
        """Bring a packet to the edge: from the nearest tier that holds it, else made on demand.

        Raises
        ------
        LookupError
            If no tier holds it, and this library makes none.
        """
        self._asked[recipe] += 1
        start = time.perf_counter()
        for position, tier in enumerate(self.tiers):
            if recipe not in self._shelves[tier.name]:
                continue
            packet = self._shelves[tier.name].take(recipe)
            nested = tier.keeping == "nested"
            working_s = time.perf_counter() - start if nested else 0.0
            self._inwards(recipe, packet, position)
            way_s = rules.way_s(self.tiers, position, packet.num_bits)
            return Found(packet, tier.name, way_s + working_s, made=False, working_s=working_s)
        if self._make is None:
            msg = (
                f"recipe must be one that the library holds; it holds no {recipe}, and makes none "
                f"on demand. Store its packet, or give the library a make."
            )
            raise LookupError(msg)
        packet = self._make(recipe)
        made_s = time.perf_counter() - start
        self._inwards(recipe, packet, len(self.tiers))
        asked_s = sum(tier.delay_s for tier in self.tiers)
        nearest = self.tiers[0].name
        return Found(packet, nearest, asked_s + made_s, made=True, working_s=made_s)

    def _inwards(self, recipe: Recipe, packet: Packet, position: int) -> None:
        if position > 0 and self._asked[recipe] >= self._inwards_after:
            self._put(recipe, packet, 0, pinned=False)

    def _put(self, recipe: Recipe, packet: Packet, position: int, *, pinned: bool) -> bool:
        kept, gone = self._shelves[self.tiers[position].name].put(recipe, packet, pinned=pinned)
        if self._outwards and position + 1 < len(self.tiers):
            for other, its in gone:
                if other not in self._shelves[self.tiers[position + 1].name]:
                    self._put(other, its, position + 1, pinned=False)
        return kept


def _store(tier: Tier, roots: Callable[[str], Root]) -> Store:
    if tier.keeping == "nested":
        return Nested(roots)
    return Pieces(roots) if tier.keeping == "pieces" else Apart()
