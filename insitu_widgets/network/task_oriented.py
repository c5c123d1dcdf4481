"""Rate-centric and task-oriented downloading over the same air (paper, section 3).

The rate-centric network first makes the link reliable and then lets :func:`~.situation.choose`
fill it. The task-oriented one chooses modulation, protection and recipe together, for the
accuracy that the catalogue expects at the bit-error rate that results. Both send the header with
a reliable mode (section 4); the second may send the body faster than is reliable.
Needs no torch until something is sent.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING

from insitu_widgets.air.channel import Link, transmit
from insitu_widgets.air.radio import MODES, RELIABLE_BER, Mode, Radio, fastest
from insitu_widgets.cards import family_of
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.situation import Situation, choose

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from insitu_widgets.air.payload import Packet
    from insitu_widgets.levels.submodel import SubModel
    from insitu_widgets.network.catalogue import Catalogue, Measurement

#: The bit-error rate that the paper finds sufficient (section 4).
RELAXED_BER = 1e-3


@dataclass(frozen=True)
class Plan:
    """What is sent, and how.

    Attributes
    ----------
    recipe : Recipe
        The sub-model.
    header_mode, body_mode : Mode
        Modulation and protection of the two parts.
    bit_error_rate : float
        Of the body's bits, after the decoder, at the radio that was planned for.
    expected : Measurement
        The catalogue's row that the choice rests on; its bit-error rate is the next higher one
        that was measured.
    time_s : float
        Until the last bit has arrived, the situation's delay included.
    """

    recipe: Recipe
    header_mode: Mode
    body_mode: Mode
    bit_error_rate: float
    expected: Measurement
    time_s: float


@lru_cache(maxsize=8)
def body_bits(catalogue: Catalogue, root: str) -> Mapping[Recipe, int]:
    """Bits of each recipe's body, by what the catalogue knows: exact to the last weight or two.

    Of an exit's parameters only the weights are pruned, so two fractions kept tell how many
    weights there are; the root's all-in-one root has as many. Padding (up to 7 bits a layer) is
    left to the header's side. A mixed recipe's body is its budget, which it may fall short of.

    Raises
    ------
    ValueError
        If an exit was measured with one fraction only, or not with all of its weights.
    """
    counts: dict[int | None, dict[float, int]] = {}
    for row in (row for row in catalogue.rows if row.recipe.root == root):
        counts.setdefault(row.recipe.exit, {})[row.recipe.keep] = row.num_parameters
    rows = [row for row in catalogue.rows if row.recipe.root in family_of(root)]
    for row in rows:
        counts.setdefault(row.recipe.exit, {})
    others: dict[int | None, int] = {}
    for exit_, by_keep in counts.items():
        least = min(by_keep, default=1.0)
        if 1.0 not in by_keep or least == 1.0:
            msg = (
                f"catalogue must hold keep = 1 and a smaller one for every exit of {root!r}; exit "
                f"{exit_} has {sorted(by_keep)}. Measure both."
            )
            raise ValueError(msg)
        weights = round((by_keep[1.0] - by_keep[least]) / (1 - least))
        others[exit_] = by_keep[1.0] - weights
    return {
        row.recipe: min(
            row.recipe.bits * (row.num_parameters - others[row.recipe.exit]), row.num_bits
        )
        for row in rows
    }


def rate_centric(situation: Situation, radio: Radio, catalogue: Catalogue) -> Plan | None:
    """Reliable first: the fastest mode with a bit-error rate of at most 10⁻⁹, then the sub-model.

    The situation's own spectral efficiency and bit-error rate are replaced by the radio's.
    ``None`` where no mode is reliable, or nothing fits.
    """
    mode = fastest(radio, RELIABLE_BER)
    if mode is None:
        return None
    error_rate = mode.bit_error_rate(radio)
    asked = replace(
        situation,
        spectral_efficiency_bps_hz=mode.efficiency_bps_hz,
        bit_error_rate=error_rate,
        recipe=None,
    )
    expected = choose(asked, catalogue).expected
    if expected is None:
        return None
    time_s = asked.link.time_s(expected.num_bits)
    return Plan(expected.recipe, mode, mode, error_rate, expected, time_s)


def task_oriented(
    situation: Situation,
    radio: Radio,
    catalogue: Catalogue,
    modes: Iterable[Mode] = MODES,
) -> Plan | None:
    """Modulation, protection and recipe together: the highest expected accuracy in time.

    Every mode is tried with every recipe; of equally accurate plans the first to arrive wins.
    ``None`` where no mode carries the header reliably, or nothing fits.
    """
    header_mode = fastest(radio, RELIABLE_BER)
    if header_mode is None:
        return None
    bodies = body_bits(catalogue, situation.root)
    header_bps = header_mode.efficiency_bps_hz * situation.bandwidth_hz
    best: Plan | None = None
    for mode in modes:
        error_rate = mode.bit_error_rate(radio)
        measured_at = _next_measured(catalogue, error_rate)
        if measured_at is None:
            continue
        body_bps = mode.efficiency_bps_hz * situation.bandwidth_hz
        found = (catalogue.at(root, measured_at, situation.guard) for root in situation.roots)
        for row in chain.from_iterable(found):
            if row.num_bits / 8 > situation.memory_bytes:
                continue
            body = bodies[row.recipe]
            time_s = situation.delay_s + (row.num_bits - body) / header_bps + body / body_bps
            if time_s > situation.latency_s:
                continue
            if best is None or (row.accuracy, -time_s) > (best.expected.accuracy, -best.time_s):
                best = Plan(row.recipe, header_mode, mode, error_rate, row, time_s)
    return best


def relaxed(
    situation: Situation, radio: Radio, catalogue: Catalogue, most_ber: float = RELAXED_BER
) -> Plan | None:
    """Between the two: the body's mode is the fastest up to ``most_ber``, then the recipe.

    The paper's "normal reliability" (section 4) with the layers still apart; what the
    task-oriented network gains over it comes from choosing together.
    """
    mode = fastest(radio, most_ber)
    return task_oriented(situation, radio, catalogue, [mode]) if mode else None


@lru_cache(maxsize=8)
def _measured_rates(catalogue: Catalogue) -> tuple[float, ...]:
    return tuple(sorted({row.bit_error_rate for row in catalogue.rows}))


def _next_measured(catalogue: Catalogue, error_rate: float) -> float | None:
    rates = _measured_rates(catalogue)
    place = bisect_left(rates, error_rate)
    return rates[place] if place < len(rates) else None


@dataclass(frozen=True, eq=False)
class Delivered:
    """What arrived, and how many bits of it were turned over."""

    model: SubModel
    flips: int


def deliver(plan: Plan, guard: str, seed: int, packet: Packet | None = None) -> Delivered:
    """Carry a plan out: pack, turn over the body's bits at the plan's rate, unpack.

    ``packet`` is the plan's, if it has been made before. Bits are turned over independently, as
    a perfect interleaver after the decoder leaves them.
    """
    from insitu_widgets.air.payload import unpack  # noqa: PLC0415  (torch, only now)
    from insitu_widgets.network.library import from_root  # noqa: PLC0415

    sent = packet or from_root(plan.recipe)
    arrived = transmit(sent, Link(1.0, bit_error_rate=plan.bit_error_rate), seed)
    changed = int.from_bytes(sent.body) ^ int.from_bytes(arrived.body)
    return Delivered(unpack(arrived, guard)[0], changed.bit_count())
