"""Challenges: deliver a sub-model within limits; each try is checked on real bytes and images.

A challenge gives a link, a device and the accuracy to be reached; the learner chooses the root,
the cut and the receiver's guard. What counts is measured: the bits of the whole packet, and the
mean accuracy on all test images over :data:`DRAWS` draws of the channel. Of two that meet a
challenge, the one with fewer bits is the better. The table imports without torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from insitu_widgets.cards import NESTED_ROOTS, ROOTS
from insitu_widgets.errors import one_of
from insitu_widgets.levels.recipe import BITS, Recipe
from insitu_widgets.network.catalogue import Measurement, load_catalogue
from insitu_widgets.network.situation import Situation, broken_limit
from insitu_widgets.units import error_rate, percent, quantity

#: Draws of the channel that a check measures.
DRAWS = 5


@dataclass(frozen=True)
class Challenge:
    """What is to be delivered.

    Parameters
    ----------
    name
        Its key in the files of answers.
    story
        Who asks, in a few words.
    situation
        Link, budget and memory; its root, guard, seed and recipe are the learner's to choose.
    least_accuracy
        Mean over the draws, in [0, 1].
    bits
        Bits a weight that are allowed.
    """

    name: str
    story: str
    situation: Situation
    least_accuracy: float
    bits: tuple[int, ...] = BITS

    def __str__(self) -> str:
        here = self.situation
        allowed = "" if self.bits == BITS else f", with {' or '.join(map(str, self.bits))} bit"
        return (
            f"{self.story}: deliver {percent(self.least_accuracy, 0)} accuracy in "
            f"{quantity(here.latency_s, 's')} at a bit-error rate of "
            f"{error_rate(here.bit_error_rate)}{allowed} ({quantity(here.rate_bps, 'bit/s')} after "
            f"{quantity(here.delay_s, 's')}, {quantity(here.memory_bytes, 'B')} of memory)"
        )

    @property
    def most_bits(self) -> int:
        """The largest packet that arrives in time and fits the memory."""
        here = self.situation
        time_bits = (here.latency_s - here.delay_s) * here.rate_bps
        return int(min(time_bits, 8 * here.memory_bytes))


_SET = (
    Challenge(
        "sensor",
        "A sensor on a narrow carrier",
        Situation(bandwidth_hz=2e5, spectral_efficiency_bps_hz=4.0, latency_s=0.05, delay_s=0.005,
                  memory_bytes=6e3, bit_error_rate=1e-3),
        0.90,
    ),
    Challenge(
        "phone",
        "A phone that moves between two rooms",
        Situation(bandwidth_hz=1e6, spectral_efficiency_bps_hz=1.0, latency_s=0.1, delay_s=0.0,
                  memory_bytes=1e6, bit_error_rate=1e-3),
        0.98,
    ),
    Challenge(
        "car",
        "A car under a bridge",
        Situation(bandwidth_hz=1e6, spectral_efficiency_bps_hz=0.5, latency_s=1.0, delay_s=0.01,
                  memory_bytes=1e6, bit_error_rate=1e-2),
        0.90,
    ),
    Challenge(
        "floats",
        "A device that can only compute with floats",
        Situation(bandwidth_hz=2e5, spectral_efficiency_bps_hz=4.0, latency_s=0.5, delay_s=0.005,
                  memory_bytes=1e6, bit_error_rate=1e-3),
        0.95,
        bits=(16, 32),
    ),
)  # fmt: skip
#: Name -> challenge, the easiest first.
CHALLENGES: Mapping[str, Challenge] = MappingProxyType({each.name: each for each in _SET})


@dataclass(frozen=True)
class Verdict:
    """What a try has measured.

    Attributes
    ----------
    row : Measurement
        Bits and accuracy: mean, lowest and highest over the draws.
    faults : tuple[str, …]
        What is not met; empty when the challenge is.
    """

    row: Measurement
    faults: tuple[str, ...]

    @property
    def met(self) -> bool:
        """Whether the challenge is met."""
        return not self.faults


@lru_cache(maxsize=256)
def check(challenge: Challenge, recipe: Recipe, guard: str) -> Verdict:
    """Pack, send :data:`DRAWS` times, unpack and measure; loads torch.

    Raises
    ------
    ValueError
        If the recipe is of no shipped root of the digits: only their images are always there.
    """
    from insitu_widgets.data import load_data  # noqa: PLC0415
    from insitu_widgets.network.sweep import sweep  # noqa: PLC0415

    shipped = {**ROOTS, **NESTED_ROOTS}
    one_of("root", recipe.root, [name for name, card in shipped.items() if card.data == "digits"])
    here = challenge.situation
    images = load_data("digits")
    (row,) = sweep(
        [recipe],
        images,
        bit_error_rates=(here.bit_error_rate,),
        guards=(guard,),
        seeds=range(DRAWS),
        progress=False,
    ).rows
    return Verdict(row, tuple(_faults(challenge, row)))


def _faults(challenge: Challenge, row: Measurement) -> list[str]:
    here, faults = challenge.situation, []
    if not set(row.recipe.widths) <= set(challenge.bits):
        allowed = " or ".join(map(str, challenge.bits))
        widths = "widths of 1 to 8" if row.recipe.mixed else row.recipe.bits
        faults.append(f"bits must be {allowed} here; it has {widths}")
    broken = broken_limit(here, row.num_bits)
    if broken == "latency":
        arrival = quantity(here.link.time_s(row.num_bits), "s")
        faults.append(f"it arrives after {arrival}, allowed is {quantity(here.latency_s, 's')}")
    if broken == "memory":
        size = quantity(row.num_bits / 8, "B")
        faults.append(f"it takes {size}, the device has {quantity(here.memory_bytes, 'B')}")
    if row.accuracy < challenge.least_accuracy:
        wanted = percent(challenge.least_accuracy, 0)
        faults.append(f"it is {percent(row.accuracy)} accurate, asked for is {wanted}")
    return faults


def known_solutions(challenge: Challenge) -> tuple[Measurement, ...]:
    """What the shipped catalogues expect to meet a challenge, of the digits' roots, by bits.

    Where several guards do (they act on floats only), the most accurate one stands for all. Mixed
    precision and the all-in-one roots are left out: the panel does not offer them.
    """
    found: dict[Recipe, Measurement] = {}
    here = challenge.situation
    for name in (name for name, card in ROOTS.items() if card.data == "digits"):
        for guard in ("none", "clamp", "zero"):
            for row in load_catalogue(name).at(name, here.bit_error_rate, guard):
                better = row.recipe not in found or found[row.recipe].accuracy < row.accuracy
                if better and not row.recipe.mixed and not _faults(challenge, row):
                    found[row.recipe] = row
    return tuple(sorted(found.values(), key=lambda row: row.num_bits))
