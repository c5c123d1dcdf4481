"""Situation: what a device tells the network; choose: which sub-model the network answers with.

A situation is the paper's device situation information (DSI, section 2). Needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import ROUND_CEILING, Context
from functools import cached_property
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from insitu_widgets.air.channel import GUARDS, Link
from insitu_widgets.air.rates import parameter_counts
from insitu_widgets.cards import ROOTS, Card, family_of
from insitu_widgets.errors import in_range, of_type, one_of
from insitu_widgets.levels.recipe import Recipe
from insitu_widgets.network.catalogue import Catalogue, Measurement
from insitu_widgets.units import quantity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Large models whose size a root may take for the link's arithmetic: their parameters.
AS_IF = MappingProxyType(parameter_counts("exact"))
#: The largest seed of the channel.
MOST_SEED = 10**9


def _number(default: float, low: float, high: float, unit: str, label: str) -> Any:
    return field(default=default, metadata={"low": low, "high": high, "unit": unit, "label": label})


@dataclass(frozen=True)
class Situation:
    """A device's situation: its link, its limits, its receiver, and what it wants to run.

    Parameters
    ----------
    root
        Name of the root model that serves the application.
    bandwidth_hz, spectral_efficiency_bps_hz
        Their product is the rate of the link.
    latency_s
        Budget for the download, the link's delay included.
    delay_s
        Time before the first bit arrives.
    memory_bytes
        What the device can hold; the packet is kept as it was sent.
    bit_error_rate
        Probability that a bit of the body arrives turned over.
    guard
        What the receiver does with values that cannot have been sent: none, clamp or zero.
    seed
        Which realisation of the channel's noise a measurement draws.
    application
        A name for the people who read it; it decides nothing.
    recipe
        ``None`` lets the network choose; otherwise the sub-model asked for by hand, of the root
        or of its all-in-one weights.
    as_if
        A large model, one of the paper's three: sizes and times are as if the root had its number
        of parameters. What is measured stays the root's own. Empty: its own size.
    own
        The card of a root of the user's own; ``None`` for a shipped one.

    Raises
    ------
    ValueError
        Naming the field, the range, the value and the remedy.
    """

    root: str = "resnet-digits"
    bandwidth_hz: float = _number(5e5, 1e3, 1e10, "Hz", "Bandwidth")
    spectral_efficiency_bps_hz: float = _number(2.0, 0.1, 100.0, "bit/s/Hz", "Spectral efficiency")
    latency_s: float = _number(0.1, 1e-3, 10.0, "s", "Latency budget")
    delay_s: float = _number(0.005, 0.0, 10.0, "s", "Delay")
    memory_bytes: float = _number(1e6, 1e3, 1e9, "B", "Device memory")
    bit_error_rate: float = _number(1e-4, 0.0, 0.1, "", "Bit-error rate")
    guard: str = "clamp"
    seed: int = 0
    application: str = ""
    recipe: Recipe | None = None
    as_if: str = ""
    own: Card | None = None

    def __post_init__(self) -> None:
        one_of("root", self.root, ROOTS if self.own is None else (self.own.name,))
        one_of("as_if", self.as_if, ("", *AS_IF))
        one_of("guard", self.guard, GUARDS)
        in_range("seed", self.seed, 0, MOST_SEED)
        for item in NUMBERS.values():
            limits = item.metadata
            value = in_range(
                item.name, getattr(self, item.name), limits["low"], limits["high"], limits["unit"]
            )
            object.__setattr__(self, item.name, float(value))
        if self.recipe is not None and (
            not isinstance(self.recipe, Recipe) or self.recipe.root not in self.roots
        ):
            msg = (
                f"recipe must be a Recipe for the situation's root {self.root!r}, or None to let "
                f"the network choose; got {self.recipe!r}. {self._remedy_of_recipe()}"
            )
            raise ValueError(msg)
        is_text = isinstance(self.application, str)
        if not is_text:
            msg = f"application must be text; got {self.application!r}. Give a name in quotes."
            raise ValueError(msg)

    def _remedy_of_recipe(self) -> str:
        root = getattr(self.recipe, "root", None)
        if root in ROOTS:
            return f"Give a recipe of {self.root}, or set root to {root}."
        return f"Give a recipe of {self.root}, or none."

    @property
    def rate_bps(self) -> float:
        """Rate of the link: bandwidth times spectral efficiency."""
        return self.bandwidth_hz * self.spectral_efficiency_bps_hz

    @property
    def roots(self) -> tuple[str, ...]:
        """The roots whose sub-models may be sent: the root, and its all-in-one root if shipped."""
        return (self.root,) if self.own else family_of(self.root)

    @property
    def card(self) -> Card:
        """What is known of the root."""
        return self.own or ROOTS[self.root]

    @property
    def scale(self) -> float:
        """Bits on the link for each bit of a packet: above 1 where :attr:`as_if` says so."""
        return AS_IF[self.as_if] / self.card.parameters if self.as_if else 1.0

    @property
    def root_bits(self) -> float:
        """Bits of the float32 root as the link sees it, parameters only."""
        return 32 * self.card.parameters * self.scale

    @cached_property
    def link(self) -> Link:
        """The link as the packet sees it."""
        return Link(self.rate_bps, self.delay_s, self.bit_error_rate)


#: The numeric fields with their limits: ``metadata`` holds low, high, unit and label.
NUMBERS = MappingProxyType({item.name: item for item in fields(Situation) if item.metadata})
DEFAULT = Situation()

#: Situations to start from: one user's share of the air, with round figures. The digits roots are
#: a thousandth of the paper's models, so the shares that bind here are as small.
PRESETS: Mapping[str, Situation] = MappingProxyType(
    {
        "5G phone": Situation(
            application="image recognition on a 5G phone: the user experienced rate of ITU-R "
            "M.2410 (100 Mbit/s), and one second, as 3GPP TS 22.261 allows",
            bandwidth_hz=2e7,
            spectral_efficiency_bps_hz=5.0,
            latency_s=1.0,
            delay_s=0.01,
            memory_bytes=1e8,
            bit_error_rate=1e-5,
        ),
        "6G phone": Situation(
            application="video call on a 6G phone: the paper's user experienced rate (1 Gbit/s) "
            "and its 200 ms",
            bandwidth_hz=1e8,
            spectral_efficiency_bps_hz=10.0,
            latency_s=0.2,
            delay_s=0.001,
            memory_bytes=1e9,
            bit_error_rate=1e-3,
        ),
        "IoT sensor": Situation(
            application="a battery sensor on a narrow-band carrier of 200 kHz, with 4 kB to spare "
            "and no guard in its receiver",
            bandwidth_hz=2e5,
            spectral_efficiency_bps_hz=0.25,
            latency_s=1.0,
            delay_s=0.1,
            memory_bytes=4e3,
            bit_error_rate=1e-3,
            guard="none",
        ),
        "AR headset": Situation(
            application="augmented reality in a busy cell: five resource blocks, 10 ms from end "
            "to end",
            bandwidth_hz=1e6,
            spectral_efficiency_bps_hz=4.0,
            latency_s=0.01,
            delay_s=0.001,
            memory_bytes=5e6,
            bit_error_rate=1e-4,
        ),
        "Car": Situation(
            application="a moving car: a robust, slow modulation over a fading link that still "
            "turns over one bit in a hundred, 50 ms",
            bandwidth_hz=1e6,
            spectral_efficiency_bps_hz=0.5,
            latency_s=0.05,
            delay_s=0.01,
            memory_bytes=1e8,
            bit_error_rate=1e-2,
            guard="zero",
        ),
    }
)


@dataclass(frozen=True)
class Decision:
    """What the network answers, and why.

    Attributes
    ----------
    recipe : Recipe | None
        The sub-model; ``None`` when nothing fits.
    fits : bool | None
        Whether it keeps every limit. Only a recipe asked for by hand may not; ``None`` where the
        catalogue has not measured that one, so that its size is not known before it is packed.
    expected : Measurement | None
        What the catalogue measured for it, at the bit-error rate named there.
    binding : str
        The limit that keeps the next better candidate out: ``"latency"``, ``"memory"``, or
        ``"none"`` where nothing better was measured.
    next_better : Recipe | None
        The smallest candidate that is expected to do better, and does not fit.
    reasons : Mapping[Recipe, str]
        Why each other candidate fell.
    feasible : frozenset[Recipe]
        The candidates that keep every limit.
    remedy : str
        When nothing fits: what would have to change, and by how much. Else empty.
    """

    recipe: Recipe | None
    fits: bool | None
    expected: Measurement | None
    binding: str
    next_better: Recipe | None
    reasons: Mapping[Recipe, str]
    feasible: frozenset[Recipe]
    remedy: str = ""


class _Reasons(Mapping[Recipe, str]):
    """Sentences that are made when they are asked for: of hundreds the dashboard says one."""

    def __init__(
        self, say: Callable[[Measurement], str], rows: Mapping[Recipe, Measurement]
    ) -> None:
        self._say, self._rows = say, rows

    def __getitem__(self, recipe: Recipe) -> str:
        return self._say(self._rows[recipe])

    def __iter__(self) -> Iterator[Recipe]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def broken_limits(situation: Situation, num_bits: int) -> tuple[str, ...]:
    """Which limits a packet of ``num_bits`` bits breaks: ``"latency"``, ``"memory"``, or none."""
    broken = {
        "latency": situation.link.time_s(num_bits) > situation.latency_s,
        "memory": num_bits / 8 > situation.memory_bytes,
    }
    return tuple(limit for limit, breaks in broken.items() if breaks)


def broken_limit(situation: Situation, num_bits: int) -> str:
    """The first limit that a packet of ``num_bits`` bits breaks; ``""`` for none."""
    return next(iter(broken_limits(situation, num_bits)), "")


def candidates(situation: Situation, catalogue: Catalogue) -> tuple[Measurement, ...]:
    """The catalogue's rows for a situation, their bits as the link sees them.

    Rows of the root's all-in-one weights are among them, where the catalogue holds some.
    """
    rate, guard = situation.bit_error_rate, situation.guard
    found = (catalogue.at(root, rate, guard) for root in situation.roots)
    rows = tuple(chain.from_iterable(found))
    scale = situation.scale
    if scale == 1.0:
        return rows
    return tuple(replace(row, num_bits=round(scale * row.num_bits)) for row in rows)


def choose(situation: Situation, catalogue: Catalogue) -> Decision:
    """Choose the best sub-model that arrives in time and fits the memory.

    Candidates are the catalogue's recipes for the situation's root and for its all-in-one root,
    mixed precision among them; the decision may name either root. Each is judged by the
    accuracy measured at the situation's guard and its bit-error rate; where that rate was not
    measured, at the next higher one that was (nothing is interpolated). Of equally accurate
    ones the smallest packet wins. A recipe asked for by hand is judged alone.

    Raises
    ------
    ValueError
        If the catalogue knows nothing of the situation's root.
    TypeError
        If it is given something else than a situation and a catalogue.
    """
    of_type("situation", situation, Situation, "Make one with Situation(root=…, latency_s=…).")
    of_type("catalogue", catalogue, Catalogue, "Take load_catalogue(root), or what sweep returns.")
    measured = candidates(situation, catalogue)
    if not measured:
        raise ValueError(_no_measurements(situation))
    broken = {row.recipe: broken_limit(situation, row.num_bits) for row in measured}
    feasible = [row for row in measured if not broken[row.recipe]]
    if situation.recipe is not None:
        best = next((row for row in measured if row.recipe == situation.recipe), None)
    else:
        best = max(feasible, key=_merit, default=None)
    floor = best.accuracy if best else -1.0
    better = [row for row in measured if broken[row.recipe] and row.accuracy > floor]
    following = min(better, key=lambda row: row.num_bits, default=None)
    chosen = best.recipe if best else situation.recipe
    binding = broken[following.recipe] if following else "none"
    if best and broken[best.recipe]:
        binding = broken[best.recipe]
    return Decision(
        recipe=chosen,
        fits=_fits(best, chosen, broken),
        expected=best,
        binding=binding,
        next_better=following.recipe if following else None,
        reasons=_Reasons(
            lambda row: _reason(situation, row, best, broken[row.recipe]),
            {row.recipe: row for row in measured if row.recipe != chosen},
        ),
        feasible=frozenset(row.recipe for row in feasible),
        remedy="" if feasible else _remedy(situation, measured),
    )


def _no_measurements(situation: Situation) -> str:
    return (
        f"catalogue must hold measurements of {situation.root!r} at bit-error rate "
        f"{situation.bit_error_rate:g} or above; it holds none. Make them with: "
        f"python -m insitu_widgets.network.sweep {situation.root}"
    )


def not_known(situation: Situation) -> Decision:
    """What is answered where the catalogue cannot say: only what is asked for by hand is sent."""
    return Decision(
        recipe=situation.recipe,
        fits=None,
        expected=None,
        binding="none",
        next_better=None,
        reasons={},
        feasible=frozenset(),
        remedy=f"The {_no_measurements(situation)} – or choose by hand.",
    )


def _fits(
    best: Measurement | None, chosen: Recipe | None, broken: Mapping[Recipe, str]
) -> bool | None:
    if best is None:
        return False if chosen is None else None
    return not broken[best.recipe]


def _merit(row: Measurement) -> tuple[float, int]:
    return row.accuracy, -row.num_bits


def _reason(situation: Situation, row: Measurement, best: Measurement | None, broken: str) -> str:
    if broken == "latency":
        time = quantity(situation.link.time_s(row.num_bits), "s", 4)
        return f"would arrive after {time}, the budget is {quantity(situation.latency_s, 's', 4)}"
    if broken == "memory":
        size = quantity(row.num_bits / 8, "B", 4)
        return f"takes {size}, the device has {quantity(situation.memory_bytes, 'B', 4)}"
    if best is None:
        return "fits"
    points = 100 * (best.accuracy - row.accuracy)
    if points > 0:
        return f"fits, but {points:.2f} points less accurate"
    if points < 0:
        return f"fits, and {-points:.2f} points more accurate"
    return f"fits and is as accurate, with {row.num_bits - best.num_bits:+,} bits"


def _remedy(situation: Situation, measured: tuple[Measurement, ...]) -> str:
    smallest = min(measured, key=lambda row: row.num_bits)
    needs = []
    time_s = situation.link.time_s(smallest.num_bits)
    if time_s > situation.latency_s:
        now = quantity(situation.latency_s, "s")
        needs.append(f"a latency budget of {_enough(time_s, 's')} (now {now})")
        left_s = situation.latency_s - situation.delay_s
        if left_s > 0:
            rate_bps = smallest.num_bits / left_s * (1 + 1e-12)  # and a rounding error more
            now = quantity(situation.rate_bps, "bit/s")
            needs[-1] += f", or a rate of {_enough(rate_bps, 'bit/s')} (now {now})"
        else:
            needs[-1] += f"; the delay alone takes {quantity(situation.delay_s, 's')}"
    if smallest.num_bits / 8 > situation.memory_bytes:
        size, now = _enough(smallest.num_bits / 8, "B"), quantity(situation.memory_bytes, "B")
        needs.append(f"{size} of memory (now {now})")
    return f"Even the smallest sub-model ({smallest.recipe}) needs {', and '.join(needs)}."


def _enough(value: float, unit: str) -> str:
    """Three digits, rounded up: who provides what is written has enough."""
    up = float(Context(prec=3, rounding=ROUND_CEILING).create_decimal(value))
    return quantity(up, unit)
