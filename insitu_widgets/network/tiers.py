"""Tiers of the AI library and the rule that says where a model lives. Needs no torch.

Paper, section 3: real-time models are stored in the edge cloud, non-real-time ones in the local
cloud, generic ones in the central cloud.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from insitu_widgets.air.channel import MOST_BPS, MOST_DELAY_S
from insitu_widgets.errors import in_range, of_type, one_of

#: Ways in which a tier may keep packets; see :mod:`insitu_widgets.network.store`.
KEEPING = ("apart", "pieces", "nested")


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
    beyond
        Name of the next farther tier; empty leaves it to the order in which tiers are given.
    keeping
        How it keeps packets: each ``"apart"``, equal ``"pieces"`` once, or ``"nested"`` in their
        root, which is kept once (they are then re-assembled when asked for, which takes time).

    Raises
    ------
    ValueError
        For a value out of its range.
    """

    name: str
    delay_s: float
    backhaul_bps: float
    capacity_bytes: float
    beyond: str = ""
    keeping: str = "apart"

    def __post_init__(self) -> None:
        in_range("delay_s", self.delay_s, 0.0, MOST_DELAY_S, "s")
        in_range("backhaul_bps", self.backhaul_bps, 1e-6, MOST_BPS, "bit/s")
        in_range("capacity_bytes", self.capacity_bytes, 0.0, 1e18, "B")
        one_of("keeping", self.keeping, KEEPING)


#: Nearest first. The figures are examples: the paper names the tiers, not their sizes.
TIERS = (
    Tier("edge", 0.0, MOST_BPS, 1e6),
    Tier("local", 0.005, 10e9, 1e8),
    Tier("central", 0.05, 1e9, 1e12),
)


def in_order(tiers: Sequence[Tier]) -> tuple[Tier, ...]:
    """The tiers, nearest first: as given, or as they point to one another.

    Raises
    ------
    ValueError
        If there is no tier, two have one name, one points nowhere, or they run in a loop.
    TypeError
        If they are no list of tiers.
    """
    of_type("tiers", tiers, Sequence, "Give a list of Tier, or leave it out for the usual three.")
    for tier in tiers:
        of_type("each of tiers", tier, Tier, "Make one with Tier(name, delay_s, backhaul_bps, …).")
    names = [tier.name for tier in tiers]
    if not names or len(set(names)) < len(names):
        msg = (
            f"tiers must be at least one, each with its own name; got {names}. Add or rename some."
        )
        raise ValueError(msg)
    if not any(tier.beyond for tier in tiers):
        return tuple(tiers)
    by_name = {tier.name: tier for tier in tiers}
    for tier in tiers:
        if tier.beyond:
            one_of(f"beyond of {tier.name}", tier.beyond, names)
    pointed = [tier.beyond for tier in tiers if tier.beyond]
    starts = [name for name in names if name not in pointed]
    chain = [by_name[starts[0] if starts else names[0]]]
    while chain[-1].beyond and by_name[chain[-1].beyond] not in chain:
        chain.append(by_name[chain[-1].beyond])
    if chain[-1].beyond or len(chain) < len(tiers):
        way = " → ".join(f"{tier.name} → {tier.beyond or 'nothing'}" for tier in tiers)
        msg = (
            f"tiers must run outwards in one line without a loop; got {way}. "
            f"Let each name the next farther one, and the farthest none."
        )
        raise ValueError(msg)
    return tuple(chain)


@dataclass(frozen=True)
class Kind:
    """A type of model (paper, section 3): how soon it is needed, and which tier is its home.

    ``home`` counts outwards from the edge: 0, 1, 2; a library with fewer tiers uses its last.
    """

    name: str
    latency_s: float
    home: int


#: Nearest home first. The latencies are examples within the paper's words: "several to tens of
#: milliseconds" for AR/VR, one second for image recognition (section 4), offline for the rest.
KINDS = (
    Kind("real-time", 0.05, 0),
    Kind("non-real-time", 1.0, 1),
    Kind("generic", 10.0, 2),
)


def kind_of(latency_s: float) -> Kind:
    """The kind of a model that has to be there within ``latency_s``: the slowest that will do."""
    in_range("latency_s", latency_s, 0.0, MOST_DELAY_S, "s")
    slow_enough = [kind for kind in KINDS if kind.latency_s <= latency_s]
    return slow_enough[-1] if slow_enough else KINDS[0]


def home(tiers: Sequence[Tier], latency_s: float) -> Tier:
    """The tier where a model lives that has to be there within ``latency_s``."""
    return tiers[min(kind_of(latency_s).home, len(tiers) - 1)]


def way_s(tiers: Sequence[Tier], position: int, num_bits: float) -> float:
    """Seconds for a request to reach the tier at ``position``, and the packet to reach the edge."""
    asked = sum(tier.delay_s for tier in tiers[: position + 1])
    return asked + sum(num_bits / hop.backhaul_bps for hop in tiers[1 : position + 1])
